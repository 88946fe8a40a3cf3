"""What a finished job notes of its crops, for whoever goes on with a store that was not finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mufnet_lightning.store.looks import look
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
    """

    name: str
    looks: str
    fingerprint: int

    @classmethod
    def of(cls, name: str, rgb: np.ndarray) -> CropNote:
        """Of the pixels (H, W, 3) of a crop."""
        return cls(name, look(rgb), fingerprint(rgb))


def write_notes(finished: Path, notes: Iterable[CropNote]) -> None:
    """Mark a job as finished."""
    lines = [f"{note.name} {note.looks or ORDINARY} {note.fingerprint:016x}\n" for note in notes]
    write_atomic(finished, "".join(lines))


def read_notes(finished: Path) -> list[CropNote]:
    """The notes of a finished job.

    Raises:
        ValueError: they are of an earlier version, or damaged.
    """
    notes = []
    for line in finished.read_text(encoding="utf-8").splitlines():
        name, looks, code = line.split()
        notes.append(CropNote(name, "" if looks == ORDINARY else looks, int(code, 16)))
    return notes
