"""What a finished job notes of its crops, for whoever goes on with a store that was not finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mufnet_lightning.store.looks import look
from mufnet_lightning.store.seal import sha256
from mufnet_lightning.store.twins import fingerprint
from mufnet_lightning.system.files import write_atomic

ORDINARY = "-"


@dataclass(frozen=True)
class CropNote:
    """Of one crop.

    Attributes:
        name: of its file.
        looks: how it is odd, see `look`; empty where it is not.
        fingerprint: see `twins`.
        sum: SHA-256 of the file, 64 hexadecimal digits; empty where there is none.
    """

    name: str
    looks: str
    fingerprint: int
    sum: str = ""

    @classmethod
    def of(cls, name: str, rgb: np.ndarray, digest: str = "") -> CropNote:
        """Of the pixels (H, W, 3) of a crop, and the SHA-256 of its file."""
        return cls(name, look(rgb), fingerprint(rgb), digest)


def write_notes(finished: Path, notes: Iterable[CropNote]) -> None:
    """Mark a job as finished."""
    lines = [
        f"{note.name} {note.looks or ORDINARY} {note.fingerprint:016x} {note.sum}\n" for note in notes
    ]
    content = "".join(lines)
    write_atomic(finished, f"{content}{sha256(content.encode())}\n")


def read_notes(finished: Path) -> list[CropNote]:
    """The notes of a finished job.

    Raises:
        ValueError: they are of an earlier version, or damaged.
    """
    *lines, last = finished.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    if last.strip() != sha256("".join(lines).encode()):
        raise ValueError(f"{finished} is not as it was written")
    notes = []
    for line in lines:
        name, looks, code, digest = line.split()
        notes.append(CropNote(name, "" if looks == ORDINARY else looks, int(code, 16), digest))
    return notes
