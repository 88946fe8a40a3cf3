"""What is said of the pictures: look-alikes, files that are the same, crops that show nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.inspection.findings import Finding, SameFile
from mufnet_lightning.store.inspection.look import CropLook
from mufnet_lightning.store.looks import judgement
from mufnet_lightning.store.twins import CERTAIN, Twins

LOOK_ALIKE, FEWEST = 0.1, 4
"""A share of the patients with a look-alike, and their number, from which a study is spoilt."""
SHOWN = 5
THUMB = 150
"""Pixels, of a crop's longer side on the page."""


def of_the_twins(twins: Sequence[Twins], patients: int) -> list[Finding]:
    """What is said of patients who look alike.

    Args:
        twins: as `find_twins` gives them.
        patients: how many there are.
    """
    findings = []
    for pair in twins:
        if two_grades(pair) and pair.similarity >= CERTAIN:
            findings.append(Finding("fault", "twins", f"{pair}: one scan under two grades"))
    doubtful = [pair for pair in twins if not (two_grades(pair) and pair.similarity >= CERTAIN)]
    findings += [
        Finding("doubt", "twins", f"{pair}; are they one person?") for pair in doubtful[:SHOWN]
    ]
    if len(doubtful) > SHOWN:
        more = len(doubtful) - SHOWN
        findings.append(Finding("doubt", "twins", f"{_more(more, 'pair')} of patients look alike"))
    concerned = len({name for pair in twins for name in pair.patients})
    if concerned >= FEWEST and concerned > LOOK_ALIKE * patients:
        findings.insert(
            0,
            Finding(
                "fault",
                "twins",
                f"{concerned:,} of {patients:,} patients have a look-alike, more than "
                f"{100 * LOOK_ALIKE:.0f}%: a network that learns them by heart seems to grade "
                "(data.group_duplicates: true keeps each such group on one side of every split)",
            ),
        )
    return findings


def two_grades(pair: Twins) -> bool:
    """Whether one of them is known to be of low and one of high grade."""
    return None not in pair.labels and pair.labels[0] != pair.labels[1]


def same_files(
    owners: Mapping[str, str], sums: Mapping[str, str], labels: Mapping[str, int | None]
) -> list[SameFile]:
    """Files of two patients that are the same.

    Args:
        owners: patient of each file.
        sums: SHA-256 of each file.
        labels: of each patient, None where it is not known.
    """
    first: dict[str, str] = {}
    same = []
    for file, owner in owners.items():
        twin = first.setdefault(sums.get(file, file), file)
        if owners[twin] != owner:
            known = {labels[owners[twin]], labels[owner]}
            same.append(
                SameFile((owners[twin], owner), (twin, file), None not in known and len(known) > 1)
            )
    return same


def of_the_same_files(same: Sequence[SameFile]) -> list[Finding]:
    """What is said of them."""
    findings = [
        Finding(
            "fault" if one.two_grades else "doubt",
            "twins",
            f"{one.files[0]} of patient {one.patients[0]!r} and {one.files[1]} of patient "
            f"{one.patients[1]!r} are the same file, byte for byte"
            + (", under two grades" if one.two_grades else ""),
        )
        for one in same
    ]
    shown = [one for one in findings if one.severity == "fault"]
    doubts = [one for one in findings if one.severity == "doubt"]
    if len(doubts) > SHOWN:
        rest = f"{_more(len(doubts) - SHOWN, 'pair')} of files of two patients that are the same"
        doubts[SHOWN:] = [Finding("doubt", "twins", rest)]
    return shown + doubts


def _more(count: int, what: str) -> str:
    return f"{count:,} more {what}{'s' * (count != 1)}"


def of_the_odd(crops: Mapping[str, CropLook], names: Sequence[str]) -> list[Finding]:
    """What is said of crops that show nothing.

    Args:
        crops: by file name.
        names: of all crops.
    """
    odd = {name: crop.note.looks for name, crop in crops.items() if crop.note.looks}
    warnings, faults = judgement(odd, names)
    return [Finding("fault", "odd", one) for one in faults] + [
        Finding("doubt", "odd", one) for one in warnings
    ]


def thumbnail(file: Path) -> bytes:
    """A crop as a small JPEG; empty where it cannot be read any more."""
    try:
        rgb = read_image(file)
    except InputFault:
        return b""
    scale = min(THUMB / max(rgb.shape[:2]), 4.0)
    size = tuple(max(1, round(side * scale)) for side in rgb.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    bgr = np.ascontiguousarray(cv2.resize(rgb, size, interpolation=method)[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
