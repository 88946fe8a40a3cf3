"""All crops of one modality at a training size, as one file that is read as a memory map.

    <modality>_<size>.u8      crops × size × size × channels uint8: RGB, or 1 where every crop is grey
    <modality>_<size>.json    what it was made from

A cache is built on first use. It knows nothing of tables: loaders' worker processes unpickle a
`CropCache` from here.
"""

from __future__ import annotations

import json
import logging
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import atomic_path, cache_folder, write_atomic
from mufnet_lightning.system.locks import waiting
from mufnet_lightning.system.processes import cores, progress_bar

log = logging.getLogger(__name__)

ROWS_PER_BATCH = 64  # of a cache in the making, held in memory together
READS_PER_RELEASE = 32  # of a cache's map, after which its pages are given back: 11 MB at 300 × 300


def open_cache(store: Path, digest: str, modality: str, crops: Sequence[str], size: int) -> CropCache:
    """The cache of a store's crops at size × size, built where it is not there yet.

    Args:
        store: the store's folder; where it cannot be written to, the cache goes to ~/.cache/mufnet.
        digest: of the store; a cache of another store is built again.
        modality: names the file.
        crops: paths inside the store, in the order of the manifest; "" for a missing crop.
        size: side in pixels.

    Raises:
        InputFault: a crop cannot be read, or the disk is full.
    """
    if size < 1:
        raise ValueError(f"a cache of {size} × {size} pixels")
    made_of = _Origin(digest, len(crops), size)
    path = store / "cache" / f"{modality}_{size}.u8"
    if cache := _whole(path, made_of):
        return cache
    lock = path.parent / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError:
        path = cache_folder() / digest[:16] / path.name
        if cache := _whole(path, made_of):
            return cache
        log.warning("%s cannot be written to, its cache is in %s", store, path.parent)
    try:
        with waiting(path.parent / "lock"):  # other processes of the same training wait here
            if cache := _whole(path, made_of):
                return cache
            with progress_bar(f"{modality} crops at {size} × {size}", len(crops)) as advance:
                channels = _build(path, made_of, store, crops, advance)
    except OSError as error:
        raise InputFault(f"cannot write the cache {path.parent}: {error.strerror}") from error
    return CropCache(path, len(crops), size, channels)


class CropCache:
    """The crops of one modality at one size, memory-mapped; row i is the manifest's row i.

    Reading returns copies, and the map's pages are given back every few dozen reads: memory stays
    constant however much is read. Pickling sends the path, and the other process maps the file
    itself.
    """

    def __init__(self, path: Path, rows: int, size: int, channels: int = 3) -> None:
        self.path, self.rows, self.size, self.channels = path, rows, size, channels
        self._reads = 0
        with open(path, "rb") as file:
            length = rows * self._crop_length
            self._map = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> np.ndarray:
        """A crop as size × size × channels uint8; zeros where the pair lacks this modality."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of a cache with {self.rows} rows")
        length = self._crop_length
        pixels = np.frombuffer(self._map, np.uint8, length, int(row) * length).copy()
        self._reads += 1
        if self._reads % READS_PER_RELEASE == 0:
            _release(self._map)
        return pixels.reshape(self.size, self.size, self.channels)

    def __reduce__(self) -> tuple[type[CropCache], tuple[Path, int, int, int]]:
        return CropCache, (self.path, self.rows, self.size, self.channels)

    @property
    def _crop_length(self) -> int:
        return self.size * self.size * self.channels


def resized(rgb: np.ndarray, size: int) -> np.ndarray:
    """A crop at size × size: area averages where it shrinks (or speckle aliases), else cubic."""
    shrinks = size < max(rgb.shape[:2])
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(rgb, (size, size), interpolation=method)


@dataclass(frozen=True)
class _Origin:
    """What a cache was made from, as the note beside it says."""

    digest: str
    rows: int
    size: int

    def as_json(self, channels: int) -> dict[str, Any]:
        return {"digest": self.digest, "shape": [self.rows, self.size, self.size, channels]}


def _whole(path: Path, made_of: _Origin) -> CropCache | None:
    """The cache at `path`, if it is whole and was built from these crops."""
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        length = path.stat().st_size
    except (OSError, ValueError):
        return None
    for channels in (1, 3):
        crop = made_of.size * made_of.size * channels
        if (note, length) == (made_of.as_json(channels), made_of.rows * crop):
            return CropCache(path, made_of.rows, made_of.size, channels)
    return None


def _build(
    path: Path, made_of: _Origin, store: Path, crops: Sequence[str], advance: Callable[[], object]
) -> int:
    """Write the file row by row, then the note of what it was made from; returns its channels.

    It is written as one of grey crops until one has colour; what was written is then made RGB.
    """
    missing = np.zeros((made_of.size, made_of.size, 3), np.uint8)
    for draft in path.parent.glob(".partial-*"):  # of a process that was killed: we hold the lock
        draft.unlink()

    def load(name: str) -> np.ndarray:
        return resized(_read_crop(store / name), made_of.size) if name else missing

    channels = 1
    with atomic_path(path) as draft:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(crops), ROWS_PER_BATCH):
                loaded = list(pool.map(load, crops[start : start + ROWS_PER_BATCH]))
                if channels == 1 and any((pixels != pixels[..., :1]).any() for pixels in loaded):
                    _widen(draft, start, made_of.size**2)
                    channels = 3
                with open(draft, "ab") as file:
                    for pixels in loaded:
                        file.write(np.ascontiguousarray(pixels[..., :channels]).data)
                        advance()
        path.with_suffix(".json").unlink(missing_ok=True)  # it speaks of the file that goes now
    write_atomic(path.with_suffix(".json"), json.dumps(made_of.as_json(channels)) + "\n")
    return channels


def _widen(draft: Path, rows: int, pixels: int) -> None:
    """Make RGB of the grey crops written so far."""
    wide = draft.with_name(f"{draft.name}-rgb")
    with open(wide, "wb") as target:
        for row in range(rows):
            grey = np.fromfile(draft, np.uint8, pixels, offset=row * pixels)
            target.write(np.repeat(grey, 3).data)
    wide.replace(draft)


def _release(pages: mmap.mmap) -> None:
    """Give pages back that were read: they count as ours until then. Windows takes them as it likes."""
    if hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _read_crop(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InputFault(f"the crop store is damaged: {path} cannot be read; prepare it again")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
