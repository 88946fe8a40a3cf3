"""Pairs of crops out of a store's memory-mapped cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    Items are dictionaries: a tensor (3, H, W) uint8 RGB for each modality, `label`, and `row` (of the
    manifest, so that a score finds its way back to its image).
    """

    def __init__(
        self,
        caches: dict[str, CropCache],
        rows: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        transform: Transform | None = None,
        present: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self._caches = caches
        self._transform = transform
        self._present = present

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int | Draw) -> dict[str, Tensor | int]:
        """A pair by its place in this part; a `Draw` also seeds its augmentation."""
        index, seed = item if isinstance(item, Draw) else (item, None)
        row = int(self.rows[index])
        crops = {modality: cache[row] for modality, cache in self._caches.items()}
        there = {}
        if self._present is not None:
            some = next(iter(crops.values()))
            crops = {modality: crops.get(modality, np.zeros_like(some)) for modality in self._present}
            there["present"] = torch.tensor([bool(has[index]) for has in self._present.values()])
        if self._transform is not None:
            if seed is None:
                raise TypeError("an augmented dataset is drawn from by a sampler that yields Draws")
            crops = self._transform(crops, seed)
        tensors = {
            modality: torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
            for modality, crop in crops.items()
        }
        return {**tensors, **there, "label": int(self.labels[index]), "row": row}
