"""Pairs of crops out of a store's memory-mapped cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mufnet_lightning.data.sampler import Draw
from mufnet_lightning.data.transforms import Transform
from mufnet_lightning.store.cache import CropCache


class RoiPairDataset(Dataset[dict[str, Any]]):
    """The chosen rows of a store, read from the cache one at a time; nothing else stays in memory.

    Args:
        caches: crops by modality, each indexed by the row of the store's manifest.
        rows: manifest rows of this part, shape (N,).
        labels: class of each of them, shape (N,); -1 where it is not known.
        transform: augmentation, or None for validation, test and prediction.
        present: for each modality which of the rows have it, (N,) bool, where some lack one: items then
            have `present`, (M,) bool, and zeros for the picture that is not there.
        drawn: from a `Draw`'s seed to what is drawn for the pair, as tensors by name, where the pair is
            augmented later (see `device_augmentation`); items then have these too.
        rgb: make RGB of crops that are stored grey.

    Items are dictionaries: a tensor (C, H, W) uint8 for each modality (RGB, or one channel where all
    crops of the store are grey), `label`, and `row` (of the manifest, so that a score finds its way
    back to its image).
    """

    def __init__(
        self,
        caches: dict[str, CropCache],
        rows: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        transform: Transform | None = None,
        present: Mapping[str, np.ndarray] | None = None,
        drawn: Callable[[int], Mapping[str, Tensor]] | None = None,
        rgb: bool = False,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self._caches = caches
        self._transform = transform
        self._present = present
        self._drawn = drawn
        self._rgb = rgb

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_light(self) -> bool:
        """Whether items have no pictures, so that no other process need load them."""
        return not self._caches

    def __getitem__(self, item: int | Draw) -> dict[str, Tensor | int]:
        """A pair by its place in this part; a `Draw` also seeds its augmentation."""
        index, seed = item if isinstance(item, Draw) else (item, None)
        row = int(self.rows[index])
        crops = {modality: cache[row] for modality, cache in self._caches.items()}
        if self._rgb:
            crops = {modality: _rgb(crop) for modality, crop in crops.items()}
        there: dict[str, Tensor] = {}
        if self._present is not None:
            if crops:
                some = next(iter(crops.values()))
                crops = {m: crops.get(m, np.zeros_like(some)) for m in self._present}
            there["present"] = torch.tensor([bool(has[index]) for has in self._present.values()])
        if self._transform is not None or self._drawn is not None:
            if seed is None:
                raise TypeError("an augmented dataset is drawn from by a sampler that yields Draws")
            crops = self._transform(crops, seed) if self._transform else crops
            there |= self._drawn(seed) if self._drawn else {}
        tensors = {
            modality: torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
            for modality, crop in crops.items()
        }
        return {**tensors, **there, "label": int(self.labels[index]), "row": row}


def _rgb(crop: np.ndarray) -> np.ndarray:
    return crop if crop.shape[2] == 3 else np.repeat(crop, 3, axis=2)
