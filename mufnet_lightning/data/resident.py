"""A store's crops on the device of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.cache import CropCache
from mufnet_lightning.system.processes import progress_bar

ROWS_AT_ONCE = 64
SPARE = 0.2
"""Of a GPU's memory, that must be left for the network."""


class ResidentCrops:
    """Crops of whole caches on a device, read there once, with the first batch."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.device], Tensor] = {}

    def of_rows(
        self, caches: Mapping[str, CropCache], rows: Tensor, modalities: Iterable[str]
    ) -> dict[str, Tensor]:
        """Crops of manifest rows.

        Args:
            caches: by modality.
            rows: (N,), on the device.
            modalities: those that are asked for.

        Returns:
            For each modality (N, C, H, W) uint8, on the device of `rows`; zeros where it has no cache.

        Raises:
            InputFault: they do not fit there.
        """
        crops = {name: self._whole(name, cache, rows.device)[rows] for name, cache in caches.items()}
        none = torch.zeros_like(next(iter(crops.values())))
        return {name: crops.get(name, none) for name in modalities}

    def _whole(self, name: str, cache: CropCache, device: torch.device) -> Tensor:
        key = f"{name} {cache.path}", device
        if key not in self._held:
            self._held[key] = _read(name, cache, device)
        return self._held[key]


def _read(name: str, cache: CropCache, device: torch.device) -> Tensor:
    shape = len(cache), cache.channels, cache.size, cache.size
    needed = int(np.prod(shape))
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        if needed > free - SPARE * total:
            raise InputFault(
                f"data.resident is true, but the {name} crops take {needed / 1e9:.1f} GB, and the GPU "
                f"has {free / 1e9:.1f} of {total / 1e9:.1f} GB free; set data.resident to false"
            )
    crops = torch.empty(shape, dtype=torch.uint8, device=device)
    with progress_bar(f"{name} crops to {device}", len(cache)) as advance:
        for start in range(0, len(cache), ROWS_AT_ONCE):
            some = [cache[row] for row in range(start, min(start + ROWS_AT_ONCE, len(cache)))]
            block = np.ascontiguousarray(np.stack(some).transpose(0, 3, 1, 2))
            crops[start : start + len(some)] = torch.from_numpy(block).to(device)
            for _ in some:
                advance()
    return crops
