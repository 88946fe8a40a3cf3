"""Training augmentation of a pair on the CPU, with OpenCV.

Flips, rotation, scaling, shift and elastic deformation are one map, that is made at the nodes of a
coarse grid, made finer and applied once to both crops, in fixed point; gamma is a table of 256 levels,
and noise comes from a bank, from a place on that is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets

from mufnet_lightning.data.augmentation import (
    BANK_UNIT,
    SPECKLE_UNIT,
    Augmentation,
    Geometry,
    PaneNoise,
    draw_geometry,
    draw_noise,
    grid_of,
    noise_bank,
    pair_draws,
    speckle_bank,
)

Crop = np.ndarray


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
        self.augmentation, self.image_size = augmentation, image_size

    def __call__(self, pair: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Augment the crops of one tissue, see `Transform`; they may have one channel, (H, W, 1)."""
        a, size = self.augmentation, self.image_size
        geometry_draws, noise_draws = pair_draws(seed, len(pair))
        moved = moved_crops(list(pair.values()), draw_geometry(a, size, geometry_draws))
        return {
            name: noisy_crop(crop, draw_noise(a, size, draws))
            for name, crop, draws in zip(pair, moved, noise_draws, strict=True)
        }


class PairGeometry(A.DualTransform):
    """The geometry alone as a transform of Albumentations, for pipelines of one's own.

    It can be replayed (`A.ReplayCompose`) and written down (`A.to_dict`). Crops are square, and further
    targets of the size of `image` are moved alike.

    >>> crop = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    >>> both = A.Compose([PairGeometry()], additional_targets={"ceus": "image"}, seed=1)
    >>> moved = both(image=crop, ceus=crop)
    >>> bool((moved["image"] == moved["ceus"]).all())
    True

    Args:
        flip, affine, rotate, scale, shift, elastic: see `Augmentation`.
        p: probability of doing anything at all.

    Raises:
        InputFault: one of them is out of its range.
        ValueError: when called, a crop that is not square.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    class InitSchema(A.DualTransform.InitSchema):  # type: ignore[name-defined,misc]
        """What Albumentations checks the arguments with; `Augmentation` checks their ranges."""

        flip: float
        affine: float
        rotate: float
        scale: float
        shift: float
        elastic: float

    def __init__(
        self,
        flip: float = Augmentation.flip,
        affine: float = Augmentation.affine,
        rotate: float = Augmentation.rotate,
        scale: float = Augmentation.scale,
        shift: float = Augmentation.shift,
        elastic: float = Augmentation.elastic,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        self.flip, self.affine, self.rotate = flip, affine, rotate
        self.scale, self.shift, self.elastic = scale, shift, elastic
        self._augmentation = Augmentation(flip, affine, rotate, scale, shift, elastic)

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """The drawn geometry, as plain arrays."""
        height, width = params["shape"][:2]
        if height != width:
            raise ValueError(f"crops are square, not {width} × {height} pixels")
        return asdict(draw_geometry(self._augmentation, height, self.random_generator))

    def apply(self, img: Crop, **params: Any) -> Crop:
        """Move a crop."""
        (moved,) = moved_crops([img], _geometry(params))
        return moved

    def apply_to_mask(self, mask: Crop, **params: Any) -> Crop:
        """Move a mask, whose values are not mixed."""
        (moved,) = moved_crops([mask], _geometry(params), cv2.INTER_NEAREST)
        return moved


_MOST_CHANNELS = 4  # that OpenCV maps at once: a grey and a colour crop together


def moved_crops(
    crops: list[Crop], geometry: Geometry, interpolation: int = cv2.INTER_LINEAR
) -> list[Crop]:
    """Crops (H, H, C) of one size, moved alike; what lies outside is the mirror image of the inside."""
    if geometry.mirror is not None:
        return [_mirrored(crop, geometry.mirror) for crop in crops]
    whole, parts = sampling_maps(geometry, len(crops[0]), interpolation == cv2.INTER_NEAREST)

    def moved(crop: Crop) -> Crop:
        result = cv2.remap(crop, whole, parts, interpolation, borderMode=cv2.BORDER_REPLICATE)
        return result.reshape(crop.shape)  # OpenCV drops a last axis of 1

    channels = [crop.reshape(*crop.shape[:2], -1).shape[2] for crop in crops]
    if len(crops) == 1 or sum(channels) > _MOST_CHANNELS:
        return [moved(crop) for crop in crops]
    planes = list(cv2.split(moved(cv2.merge([plane for crop in crops for plane in cv2.split(crop)]))))
    return [
        cv2.merge([planes.pop(0) for _ in range(n)]).reshape(c.shape)
        for n, c in zip(channels, crops, strict=True)
    ]


def sampling_maps(
    geometry: Geometry, size: int, nearest: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel is taken from, in OpenCV's fixed point: whole pixels (H, H, 2), and the number
    of a place between them (H, H), which `nearest` has not.
    """
    grid = grid_of(size)
    nodes = grid.places if geometry.displacement is None else grid.places + geometry.displacement
    side = grid.nodes * grid.cell
    fine = cv2.resize(
        cv2.transform(nodes, geometry.matrix), (side, side), interpolation=cv2.INTER_LINEAR
    )
    inside = slice(grid.cell, grid.cell + size)
    # a place outside is that of its mirror image inside, which remap finds faster than border pixels
    last = np.float32(size - 1)
    taken = np.abs(fine[inside, inside])
    if last > 0 and taken.max() > 2 * last:  # of a strong scaling: mirrored more than once
        taken %= 2 * last
    for _ in range(2):  # in place: last - |last - |x||
        np.subtract(last, taken, out=taken)
        np.abs(taken, out=taken)
    none = np.empty(0, np.float32)
    whole, parts = cv2.convertMaps(taken, none, cv2.CV_16SC2, nninterpolation=nearest)
    return whole, none if nearest else parts


def noisy_crop(crop: Crop, drawn: PaneNoise) -> Crop:
    """A crop (H, H, C) with other brightness, as it was drawn."""
    size, channels = len(crop), crop.shape[2]
    changed: np.ndarray = crop
    if drawn.gamma != 1:
        levels = np.rint(255 * (np.arange(256) / 255) ** drawn.gamma).astype(np.uint8)
        changed = cv2.LUT(changed, levels)
    if drawn.speckle is not None:
        factors = _from(speckle_bank(size, channels), drawn.speckle, size)
        changed = cv2.multiply(changed, factors, scale=1 / SPECKLE_UNIT)
    if drawn.noise is not None:
        noise = _from(noise_bank(size, channels), drawn.noise, size)
        unit = 255 * drawn.noise_sd / BANK_UNIT
        changed = cv2.addWeighted(changed, 1, noise, unit, -128 * unit)
    return changed.reshape(crop.shape)


def _geometry(params: Mapping[str, Any]) -> Geometry:
    return Geometry(params["matrix"], params["displacement"], params["mirror"])


def _from(bank: Crop, place: tuple[int, int], size: int) -> Crop:
    row, column = place
    return bank[row : row + size, column : column + size]


def _mirrored(crop: Crop, mirror: tuple[bool, bool]) -> Crop:
    columns, rows = mirror
    if not columns and not rows:
        return crop
    return np.ascontiguousarray(crop[:: -1 if rows else 1, :: -1 if columns else 1])
