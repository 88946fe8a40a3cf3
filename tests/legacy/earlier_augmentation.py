"""The augmentation of the version that made these runs, for trainings that are to have its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import albumentations as A
import cv2
import numpy as np

from mufnet_lightning.data.transforms import Transform


class EarlierAugmentation(Transform):
    """Albumentations' transforms composed, with the strengths of configs/paper.yaml."""

    def __init__(self, image_size: int) -> None:
        border, sigma = cv2.BORDER_REFLECT_101, 0.08 * image_size
        self._geometry = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.VerticalFlip(p=0.5),
                A.Affine(
                    rotate=(-20, 20),
                    scale=(0.9, 1.1),
                    translate_percent=(-0.05, 0.05),
                    border_mode=border,
                    p=0.7,
                ),
                A.ElasticTransform(
                    alpha=0.02 * image_size * sigma / 0.07, sigma=sigma, border_mode=border, p=0.2
                ),
            ],
            additional_targets={"ceus": "image"},
        )
        self._noise = A.Compose(
            [
                A.RandomGamma(gamma_limit=(80, 125), p=0.3),
                A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True, p=0.3),
                A.GaussNoise(std_range=(0.01, 0.04), p=0.3),
            ]
        )

    def __call__(self, pair: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """One geometry for both crops, noise apart for each."""
        places = dict(zip(pair, ("image", "ceus"), strict=False))
        self._geometry.set_random_seed(seed)
        moved = self._geometry(**{place: pair[name] for name, place in places.items()})
        augmented = {}
        for position, (name, place) in enumerate(places.items()):
            noise_seed = np.random.SeedSequence([seed, position]).generate_state(1)[0]
            self._noise.set_random_seed(int(noise_seed))
            augmented[name] = self._noise(image=moved[place])["image"]
        return augmented
