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
    ordered: Sequence[Mapping[str, NDArray[np.float32]]],
    steps: int = 10,
    seed: int | Sequence[int] = 0,
) -> list[Curves]:
    """Delete and insert the pixels of all modalities together, in the order of their maps.

    Args:
        net: in evaluation mode meanwhile.
        images: for each modality (N, 3, H, W), 0 to 255, on the network's device, where all is done.
        classes: (N,), the class whose probability is followed.
        ordered: one or more sets of maps; each for each modality (N, H, W), on one scale for all
            modalities.
        steps: S, equal shares of the pixels.
        seed: of the order among equal values of a map.

    Returns:
        Of each set of maps; the ends of all curves are those of the whole and of the blurred images.
    """
    whole = torch.stack([images[m].float() for m in net.modalities], dim=1)
    blurred = torch.stack([_blurred(images[m]) for m in net.modalities], dim=1)
    chosen = torch.as_tensor(classes, device=whole.device)[:, None]

    def share(pixels: Tensor) -> NDArray[np.float32]:
        logits = net(dict(zip(net.modalities, pixels.unbind(1), strict=True))).logits
        of_class: NDArray[np.float32] = (
            logits.float().softmax(dim=1).gather(1, chosen)[:, 0].cpu().numpy()
        )
        return of_class

    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        with torch.inference_mode():
            ends = share(whole), share(blurred)
            every: list[Curves] = []
            for maps in ordered:
                curves = np.empty((2, len(classes), steps + 1))
                curves[0, :, 0], curves[0, :, steps] = ends
                curves[1, :, 0], curves[1, :, steps] = ends[::-1]
                places = _places(
                    torch.stack([_on(whole, maps[m]) for m in net.modalities], dim=1), seed
                )
                pixels = places[0].numel()
                for step in range(1, steps):
                    gone = (places * steps < step * pixels)[:, :, None]
                    curves[0, :, step] = share(torch.where(gone, blurred, whole))
                    curves[1, :, step] = share(torch.where(gone, whole, blurred))
                every.append(Curves(curves[0], curves[1]))
    finally:
        for module in training:
            module.training = True
    return every


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


def _places(maps: Tensor, seed: int | Sequence[int]) -> Tensor:
    """How many of an image's pixels, of all modalities (N, M, H, W), come before each; same shape."""
    flat = maps.flatten(1)
    lots = _on(maps, np.random.default_rng(seed).random(tuple(flat.shape), np.float32))
    drawn = lots.argsort(dim=1, stable=True)
    order = drawn.gather(1, flat.gather(1, drawn).argsort(dim=1, descending=True, stable=True))
    count = torch.arange(flat.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, count).reshape(maps.shape)


def _blurred(images: Tensor) -> Tensor:
    """(N, 3, H, W), float32."""
    sigma = BLUR * max(images.shape[-2:])
    down, across = (_on(images, _blur(side, sigma)) for side in images.shape[-2:])
    return down @ images.float() @ across.T


def _blur(side: int, sigma: float) -> NDArray[np.float32]:
    """What blurs a line of pixels, (side, side), with OpenCV's kernel and borders."""
    lines = cv2.GaussianBlur(np.eye(side, dtype=np.float32), (1, 0), sigmaX=sigma, sigmaY=sigma)
    return np.asarray(lines, np.float32)


def _on(like: Tensor, values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(values).to(like.device)
