"""Training augmentation of a pair: one geometry for both panes, noise drawn apart for each.

The two crops show the same tissue, so whatever moves one moves the other; their noise comes from two
acquisitions, so it is drawn twice. Every draw follows from the seed that the sampler gave, whichever
worker makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np

from mufnet_lightning.errors import check_least, check_share
from mufnet_lightning.vocabulary import MODALITIES


@dataclass(frozen=True)
class Augmentation:
    """Strength of each transform; a probability of 0 switches it off.

    Args:
        flip: probability of a mirror image, for each of both axes.
        affine: probability of a rotation (within `rotate` degrees), a scaling (within a share `scale`
            of 1) and a shift (within a share `shift` of the side), all drawn evenly.
        elastic: probability of a smooth random deformation of some 2% of the side.
        noise: probability of additive Gaussian noise, standard deviation 1 to 4% of full scale.
        speckle: probability of multiplicative noise a pixel, factor within 0.8 to 1.2.
        gamma: probability of x ↦ x^γ, γ within 0.8 to 1.25.
    """

    flip: float = 0.5
    affine: float = 0.7
    rotate: float = 20.0
    scale: float = 0.1
    shift: float = 0.05
    elastic: float = 0.2
    noise: float = 0.3
    speckle: float = 0.3
    gamma: float = 0.3

    def __post_init__(self) -> None:
        for name in ("flip", "affine", "elastic", "noise", "speckle", "gamma"):
            check_share(f"data.augmentation.{name}", getattr(self, name))
        for name in ("scale", "shift"):
            check_share(f"data.augmentation.{name}", getattr(self, name), one=False)
        check_least("data.augmentation.rotate", self.rotate, 0)


_PLACES = ("image", *MODALITIES[1:])  # what Albumentations calls the crops of a pair, in their order
_ELASTIC_SIGMA = 0.08  # of the side: how smooth a deformation is


class Transform:
    """What changes the crops of a training pair; `data.transform` takes the class path of one.

    It is made with `image_size`, the side of the crops in pixels, and with its own `init_args`.
    """

    def __call__(self, pair: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Change the crops of one tissue.

        Args:
            pair: crops by modality (one or two), each (H, W, 3) uint8 RGB of one size.
            seed: of every draw, at least 0: the same seed must give the same result.

        Returns:
            The crops by modality, same shapes and type.
        """
        raise NotImplementedError


class PairTransform(Transform):
    """Augments a pair of crops; the same seed gives the same result.

    >>> crops = {name: np.full((64, 64, 3), 90, np.uint8) for name in ("bmode", "ceus")}
    >>> transform = PairTransform(Augmentation(noise=1.0), image_size=64)
    >>> first, again, other = (transform(crops, seed)["ceus"] for seed in (1, 1, 2))
    >>> bool((first == again).all()), bool((first == other).all())
    (True, False)

    Args:
        augmentation: how strong.
        image_size: side of the crops, pixels.
    """

    def __init__(self, augmentation: Augmentation, image_size: int) -> None:
        a = augmentation
        self._geometry = A.Compose(
            [
                A.HorizontalFlip(p=a.flip),
                A.VerticalFlip(p=a.flip),
                A.Affine(
                    rotate=(-a.rotate, a.rotate),
                    scale=(1 - a.scale, 1 + a.scale),
                    translate_percent=(-a.shift, a.shift),
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=a.affine,
                ),
                A.ElasticTransform(
                    # measured: a pixel moves by 0.07 alpha / sigma (standard deviation)
                    alpha=0.02 * image_size * _ELASTIC_SIGMA * image_size / 0.07,
                    sigma=_ELASTIC_SIGMA * image_size,
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=a.elastic,
                ),
            ],
            additional_targets=dict.fromkeys(_PLACES[1:], "image"),
        )
        self._noise = A.Compose(
            [
                A.RandomGamma(gamma_limit=(80, 125), p=a.gamma),
                A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True, p=a.speckle),
                A.GaussNoise(std_range=(0.01, 0.04), p=a.noise),
            ]
        )

    def __call__(self, pair: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Augment the crops of one tissue, see `Transform`."""
        names = list(pair)
        self._geometry.set_random_seed(seed)
        moved = self._geometry(**{key: pair[name] for key, name in zip(_PLACES, names, strict=False)})
        augmented = {}
        for position, (key, name) in enumerate(zip(_PLACES, names, strict=False)):
            noise_seed = np.random.SeedSequence([seed, position]).generate_state(1)[0]
            self._noise.set_random_seed(int(noise_seed))
            augmented[name] = self._noise(image=moved[key])["image"]
        return augmented
