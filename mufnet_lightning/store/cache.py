"""All crops of one modality at a training size, as one file that is read as a memory map.

    <modality>_<size>.u8      crops × size × size × channels uint8: RGB, or 1 where every crop is grey
    <modality>_<size>.json    what it was made from, and a CRC-32 of every row

Where some crops are not to be read, as those of test patients in a sweep, a file of its own,
`<modality>_<size>_some_<sum>`, has zeros in their place.

A cache is built on first use. It knows nothing of tables: loaders' worker processes unpickle a
`CropCache` from here.

Each process checks a row when it reads it for the first time. A row that is damaged is made from its
crop again, and the note is removed, so that whoever opens the cache next builds all of it. CRC-32 is
three times as fast as SHA-256, and what it is to find is no forgery: 18 µs a row of 300 × 300.
"""

from __future__ import annotations

import json
import logging
import mmap
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.crops import read_crop
from mufnet_lightning.store.seal import StoreSums
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.files import atomic_path, cache_folder, remove_file, write_atomic
from mufnet_lightning.system.guards import LARGEST_NOTES, read_text
from mufnet_lightning.system.locks import waiting
from mufnet_lightning.system.processes import cores, progress_bar
from mufnet_lightning.system.write_points import write_point

log = logging.getLogger(__name__)

ROWS_PER_BATCH = 64  # of a cache in the making, held in memory together
READS_PER_RELEASE = 32  # of a cache's map, after which its pages are given back: 11 MB at 300 × 300
ROWS_AT_OPENING = 16
"""Evenly chosen rows that are checked when a cache is opened: of a file of zeros none is right."""


def open_cache(
    sums: StoreSums, digest: str, modality: str, crops: Sequence[str], size: int, of_some: bool = False
) -> CropCache:
    """The cache of a store's crops at size × size, built where it is not there yet, or damaged.

    Args:
        sums: of the store; where that cannot be written to, the cache goes to ~/.cache/mufnet.
        digest: of the store; a cache of another store is built again.
        modality: names the file.
        crops: paths inside the store, in the order of the manifest; "" for a missing crop.
        size: side in pixels.
        of_some: crops that are there are left out; such a cache has a file of its own.

    Raises:
        InputFault: a crop cannot be read or is damaged, or the disk is full.
    """
    if size < 1:
        raise ValueError(f"a cache of {size} × {size} pixels")
    store, made_of = sums.root, _Origin(digest, tuple(crops), size, sums)
    some = f"_some_{zlib.crc32(_names(crops)):08x}" if of_some else ""
    path = store / "cache" / f"{modality}_{size}{some}.u8"
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
            if cache := _whole(path, made_of, tell=True):
                return cache
            with progress_bar(f"{modality} crops at {size} × {size}", len(crops)) as advance:
                channels, checks = _build(path, made_of, advance)
    except OSError as error:
        raise InputFault(f"cannot write the cache {path.parent}: {error.strerror}") from error
    return CropCache(path, len(crops), size, channels, checks, made_of)


class CropCache:
    """The crops of one modality at one size, memory-mapped; row i is the manifest's row i.

    Reading returns copies, and the map's pages are given back every few dozen reads: memory stays
    constant however much is read. Pickling sends the path, and the other process maps the file
    itself.

    Args:
        path: of the file.
        rows: of the manifest.
        size: side in pixels.
        channels: 1 or 3.
        checks: CRC-32 of each row; None: they are read unchecked.
        made_of: from which a damaged row is made again.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        size: int,
        channels: int = 3,
        checks: Sequence[int] | None = None,
        made_of: _Origin | None = None,
    ) -> None:
        self.path, self.rows, self.size, self.channels = path, rows, size, channels
        self._checks, self._made_of = checks, made_of
        self._unchecked = bytearray(b"\1" * (rows if checks is not None else 0))
        self._reads, self._damaged = 0, False
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
        pixels = pixels.reshape(self.size, self.size, self.channels)
        if self._checks is not None and self._unchecked[row]:
            if zlib.crc32(pixels.data) != self._checks[row]:
                return self._made_again(int(row))
            self._unchecked[row] = 0
        return pixels

    def is_sound(self, rows: Sequence[int]) -> bool:
        """Whether some rows are as they were written, as far as it has checks."""
        length, checks = self._crop_length, self._checks
        return checks is None or all(
            zlib.crc32(self._map[row * length : (row + 1) * length]) == checks[row] for row in rows
        )

    def _made_again(self, row: int) -> np.ndarray:
        """A row out of its crop.

        Raises:
            InputFault: that is damaged, too.
        """
        if not self._damaged:
            self._damaged = True
            log.warning(
                "warning: the cache %s is damaged (row %d is not as it was written): such rows are "
                "made from their crops again, and all of it when it is opened next",
                self.path,
                row,
            )
            with suppress(OSError):
                remove_file(self.path.with_suffix(".json"))
        if self._made_of is None:
            raise InputFault(f"the cache {self.path} is damaged: delete it, and it is built again")
        return np.ascontiguousarray(self._made_of.pixels(row)[..., : self.channels])

    def __reduce__(self) -> tuple[type[CropCache], tuple[object, ...]]:
        shape = self.rows, self.size, self.channels
        return CropCache, (self.path, *shape, self._checks, self._made_of)

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
    """What a cache was made from, as the note beside it says: a store's crops, "" for a missing one."""

    digest: str
    crops: tuple[str, ...]
    size: int
    sums: StoreSums

    def as_json(self, channels: int) -> dict[str, Any]:
        shape = [len(self.crops), self.size, self.size, channels]
        named = zlib.crc32(_names(self.crops))
        return {"digest": self.digest, "shape": shape, "crops_crc32": named}

    def pixels(self, row: int) -> np.ndarray:
        """A row, (size, size, 3); zeros where the crop is missing."""
        name = self.crops[row]
        if not name:
            return np.zeros((self.size, self.size, 3), np.uint8)
        return resized(read_crop(self.sums, name), self.size)


def _names(crops: Sequence[str]) -> bytes:
    return "\n".join(crops).encode()


def _whole(path: Path, made_of: _Origin, tell: bool = False) -> CropCache | None:
    """The cache at `path`, if it is whole and was built from these crops."""
    rows = len(made_of.crops)
    try:
        note = parse_json(read_text(path.with_suffix(".json"), LARGEST_NOTES))
        length = path.stat().st_size
    except (OSError, ValueError):
        return None
    checks = note.pop("crc32", None) if isinstance(note, dict) else None
    if not isinstance(checks, list) or len(checks) != rows:
        return None
    for channels in (1, 3):
        crop = made_of.size * made_of.size * channels
        if (note, length) == (made_of.as_json(channels), rows * crop):
            cache = CropCache(path, rows, made_of.size, channels, checks, made_of)
            if cache.is_sound(
                np.linspace(0, rows - 1, min(rows, ROWS_AT_OPENING)).astype(int).tolist()
            ):
                return cache
            if tell:
                log.warning("warning: the cache %s is damaged, it is built again", path)
    return None


def _build(path: Path, made_of: _Origin, advance: Callable[[], object]) -> tuple[int, list[int]]:
    """Write the file row by row, then the note of what it was made from; its channels, and the checks.

    It is written as one of grey crops until one has colour; what was written is then made RGB.
    """
    for draft in path.parent.glob(".partial-*"):  # of a process that was killed: we hold the lock
        remove_file(draft)
    rows, checks = range(len(made_of.crops)), list[int]()
    channels = 1
    with atomic_path(path) as draft:
        with ThreadPoolExecutor(cores()) as pool:
            for start in rows[::ROWS_PER_BATCH]:
                loaded = list(pool.map(made_of.pixels, rows[start : start + ROWS_PER_BATCH]))
                if channels == 1 and any((pixels != pixels[..., :1]).any() for pixels in loaded):
                    checks = _widen(draft, start, made_of.size**2)
                    channels = 3
                write_point("part", draft)
                with open(draft, "ab") as file:
                    for pixels in loaded:
                        row = np.ascontiguousarray(pixels[..., :channels])
                        checks.append(zlib.crc32(row.data))
                        file.write(row.data)
                        advance()
        remove_file(path.with_suffix(".json"))  # it speaks of the file that goes now
    note = {**made_of.as_json(channels), "crc32": checks}
    write_atomic(path.with_suffix(".json"), json.dumps(note) + "\n")
    return channels, checks


def _widen(draft: Path, rows: int, pixels: int) -> list[int]:
    """Make RGB of the grey crops written so far; the checks of these."""
    wide, checks = draft.with_name(f"{draft.name}-rgb"), []
    with open(wide, "wb") as target:
        for row in range(rows):
            grey = np.fromfile(draft, np.uint8, pixels, offset=row * pixels)
            colour = np.repeat(grey, 3)
            checks.append(zlib.crc32(colour.data))
            target.write(colour.data)
    wide.replace(draft)
    return checks


def _release(pages: mmap.mmap) -> None:
    """Give pages back that were read: they count as ours until then. Windows takes them as it likes."""
    if hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
