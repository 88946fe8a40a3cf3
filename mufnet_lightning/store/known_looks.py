"""Whether somebody's crops look like those of a patient of another store, by their hashes alone.

A trained model keeps the perceptual hashes (see `twins`) of those who trained it, from which no picture
can be made again, so the next patient is held against them where the training store is not at hand.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.store.inputs import ODD
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.store.twins import fingerprint, some_of_each_clip
from mufnet_lightning.system.files import write_part
from mufnet_lightning.vocabulary import MODALITIES, PATHS

KNOWN = 8
"""Of 63 signs, so many that differ at most.

Of 89,700 pairs of a phantom's strangers the nearest differ in 14. Of 300 crops each, scaled to 0.7,
made brighter and encoded as JPEG at quality 60, 99% are within 8; moved by 2 pixels 94%, by 4 a third.
"""
FINGERPRINTS = "fingerprints.csv"

Looks = Mapping[str, Mapping[str, list[str]]]
"""By modality and patient, hashes as 16 hexadecimal digits."""


@dataclass(frozen=True)
class Likeness:
    """Somebody who looks like a patient of another store.

    Attributes:
        patient: id of the latter.
        apart: signs in which their nearest hashes differ, 0 to `KNOWN`.
    """

    patient: str
    apart: int


def keep_fingerprints(root: Path, fingerprints: Mapping[str, int]) -> None:
    """Write the hashes of a store's crops, by their file names, into it."""
    lines = [f"{name},{code:016x}\n" for name, code in sorted(fingerprints.items())]
    write_part(root / FINGERPRINTS, "crop,fingerprint\n" + "".join(lines))


def store_looks(
    store: CropStore, patients: Iterable[str] | None = None
) -> dict[str, dict[str, list[str]]]:
    """Hashes of some crops of each clip, but for those that show nothing; of all patients, or some."""
    wanted = None if patients is None else set(patients)
    known, odd = _column(store.root / FINGERPRINTS), _column(store.root / ODD)
    looks: dict[str, dict[str, list[str]]] = {name: {} for name in MODALITIES}
    rows = [{str(key): value for key, value in row.items()} for row in _rows(store)]
    for row in some_of_each_clip(rows):
        patient = str(row["patient_id"])
        if wanted is not None and patient not in wanted:
            continue
        for modality, path in zip(MODALITIES, (str(row[name]) for name in PATHS), strict=True):
            name = Path(path).name
            if path and name not in odd:
                code = known.get(name) or f"{fingerprint(store.crop(path)):016x}"
                looks[modality].setdefault(patient, []).append(code)
    return looks


def alike(one: Looks, other: Looks) -> dict[str, Likeness]:
    """Patients of the one who look like a patient of the other, with the nearest.

    >>> here = {"bmode": {"new": ["00000000000000ff"]}, "ceus": {}}
    >>> there = {"bmode": {"P7": ["00000000000000fe"], "P8": ["7fffffffffffff00"]}, "ceus": {}}
    >>> alike(here, there)
    {'new': Likeness(patient='P7', apart=1)}
    """
    nearest: dict[str, Likeness] = {}
    for modality in MODALITIES:
        owners, codes = _codes(other.get(modality, {}))
        if not owners:
            continue
        for patient, own in one.get(modality, {}).items():
            mine = np.array([int(code, 16) for code in own], np.uint64)
            apart = np.bitwise_count(mine[:, None] ^ codes[None]).min(axis=0)
            place = int(apart.argmin())
            likeness = Likeness(owners[place], int(apart[place]))
            before = nearest.get(patient)
            if likeness.apart <= KNOWN and (before is None or likeness.apart < before.apart):
                nearest[patient] = likeness
    return nearest


def _rows(store: CropStore) -> list[dict[Hashable, object]]:
    return store.manifest[["patient_id", "clip_id", *PATHS]].to_dict("records")


def _codes(looks: Mapping[str, list[str]]) -> tuple[list[str], NDArray[np.uint64]]:
    pairs = [(patient, int(code, 16)) for patient, codes in looks.items() for code in codes]
    return [patient for patient, _ in pairs], np.array([code for _, code in pairs], np.uint64)


def _column(file: Path) -> dict[str, str]:
    """The second column of a file of a store by the first; nothing where there is no such file."""
    if not file.is_file():
        return {}
    with open(file, encoding="utf-8", newline="") as opened:
        return {line[0]: line[1] for line in csv.reader(opened) if len(line) > 1}
