"""Does the score depend on where the map points?

Deletion and insertion: Petsiuk V et al. RISE. BMVC 2018. What is deleted is replaced by a blurred image
rather than by black: in ultrasound, black means something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.models.mufnet import MufNet

BLUR = 0.1  # standard deviation, as a share of the image's side


@dataclass(frozen=True)
class Curves:
    """Probability of the explained class while pixels go or come, those with the highest map first.

    Attributes:
        deletion: (N, S + 1), from the whole image to the blurred one.
        insertion: (N, S + 1), from the blurred image to the whole one.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    def areas(self) -> dict[str, NDArray[np.float64]]:
        """Areas under the curves, (N,) each: `deletion` (a low one is good), `insertion` (high)."""
        return {
            name: np.trapezoid(curve, dx=1 / (curve.shape[1] - 1), axis=1)
            for name, curve in (("deletion", self.deletion), ("insertion", self.insertion))
        }


def deletion_insertion(
    net: MufNet,
    images: Mapping[str, Tensor],
    classes: NDArray[np.int64],
    maps: Mapping[str, NDArray[np.float32]],
    steps: int = 10,
    seed: int | Sequence[int] = 0,
) -> Curves:
    """Delete and insert the pixels of all modalities together, in the order of their maps.

    Args:
        net: in evaluation mode meanwhile.
        images: for each modality (N, 3, H, W), 0 to 255, on the network's device.
        classes: (N,), the class whose probability is followed.
        maps: for each modality (N, H, W), on one scale for all modalities.
        steps: S, equal shares of the pixels.
        seed: of the order among equal values of a map.
    """
    count = len(classes)
    ranks = _ranks(np.stack([maps[m] for m in net.modalities], axis=1), seed)
    whole = torch.stack([images[m] for m in net.modalities], dim=1)
    blurred = torch.stack([_blurred(images[m]) for m in net.modalities], dim=1)
    chosen = torch.as_tensor(classes, device=whole.device)[:, None]
    curves = np.empty((2, count, steps + 1))
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        with torch.inference_mode():
            for step in range(steps + 1):
                gone = torch.from_numpy(ranks < step / steps).to(whole.device)[:, :, None]
                for row, (below, above) in enumerate(((blurred, whole), (whole, blurred))):
                    mixed = torch.where(gone, below, above)
                    logits = net(dict(zip(net.modalities, mixed.unbind(1), strict=True))).logits
                    share = logits.float().softmax(dim=1).gather(1, chosen)
                    curves[row, :, step] = share[:, 0].cpu().numpy()
    finally:
        for module in training:
            module.training = True
    return Curves(curves[0], curves[1])


def random_maps(
    modalities: tuple[str, ...],
    count: int,
    grid: tuple[int, int],
    size: tuple[int, int],
    seed: int | Sequence[int] = 0,
) -> dict[str, NDArray[np.float32]]:
    """Maps that mean nothing, as coarse as real ones: for each modality (N, H, W).

    Args:
        modalities: names.
        count: N.
        grid: height and width of the feature maps.
        size: H and W.
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).random((len(modalities), count, *grid), np.float32)
    return {
        modality: np.stack([cv2.resize(one, size[::-1]) for one in maps])
        for modality, maps in zip(modalities, noise, strict=True)
    }


def _ranks(maps: NDArray[np.float32], seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Share of an image's pixels, of all modalities, that come before each; same shape."""
    flat = maps.reshape(len(maps), -1)
    lots = np.random.default_rng(seed).random(flat.shape, np.float32)
    order = np.stack([np.lexsort((lot, -row)) for lot, row in zip(lots, flat, strict=True)])
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1]) / flat.shape[1], axis=1)
    return ranks.reshape(maps.shape)


def _blurred(images: Tensor) -> Tensor:
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    sigma = BLUR * max(pixels.shape[1:3])
    soft = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in pixels])
    return torch.from_numpy(soft).permute(0, 3, 1, 2).to(images)
