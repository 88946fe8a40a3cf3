"""Crops that show nothing, or hardly anything: what a wrong table or a wrong decoder leaves behind.

A network learns from a black crop without complaint, so each is named, and a store that is mostly
made of them is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.store.inputs import ODD
from mufnet_lightning.system.files import write_part
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES

TINY = 8
"""Sides below it, pixels, are those of a box in other units."""
DARK, BRIGHT = 4, 251
"""Of 255: 99% of the pixels are at or below the first (black), or at or above the other (saturated)."""
SPREAD = 1.0
"""SD of the grey levels below which a crop is flat."""
MOSTLY = 0.5
SHOWN = 5


def look(rgb: np.ndarray) -> str:
    """`tiny`, `black`, `saturated` or `flat`, or an empty word where a crop (H, W, 3) is none of them.

    >>> look(np.zeros((20, 20, 3), np.uint8)), look(np.full((1, 30, 3), 90, np.uint8))
    ('black', 'tiny')
    """
    if min(rgb.shape[:2]) < TINY:
        return "tiny"
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    count = np.bincount(grey.ravel(), minlength=256)
    below = np.cumsum(count) / grey.size
    low, high = np.searchsorted(below, (0.01, 0.99))
    if high <= DARK:
        return "black"
    if low >= BRIGHT:
        return "saturated"
    levels = np.arange(256)
    mean = (count * levels).sum() / grey.size
    variance = (count * (levels - mean) ** 2).sum() / grey.size
    return "flat" if variance < SPREAD**2 else ""


def keep_odd(store: Path, odd: Mapping[str, str]) -> None:
    """Write down in a store which crops are odd; nothing where none is."""
    if odd:
        lines = [f"{name},{looks}\n" for name, looks in sorted(odd.items())]
        write_part(store / ODD, "crop,looks\n" + "".join(lines))


def judgement(odd: Mapping[str, str], crops: Iterable[str]) -> tuple[list[str], list[str]]:
    """(warnings, faults) about the odd ones among crops, a sentence each.

    Args:
        odd: how each odd crop looks, by the name of its file.
        crops: the names of all files.
    """
    names = list(crops)
    warnings, faults = [], []
    for modality in MODALITIES:
        own = [name for name in names if name.endswith(f"_{modality}.png")]
        of_look: dict[str, list[str]] = {}
        for name in own:
            if name in odd:
                of_look.setdefault(odd[name], []).append(name)
        mostly = sum(map(len, of_look.values())) > MOSTLY * len(own)
        for word, which in sorted(of_look.items()):
            shown = ", ".join(which[:SHOWN]) + (", ..." if len(which) > SHOWN else "")
            many = f"{len(which):,} of {len(own):,} {MODALITY_NAMES[modality]} crops"
            sentence = f"{many} {'are' if len(own) != 1 else 'is'} {word}: {shown}"
            if mostly:
                faults.append(f"{sentence}; {EXPECTED[word]}")
            else:
                warnings.append(sentence)
    return warnings, faults


EXPECTED = {
    "tiny": "expected boxes in pixels of the whole frame, not in shares of it",
    "black": "expected pictures: do boxes and panes lie where the tissue is, and is the clip decoded?",
    "saturated": "expected pictures: do boxes and panes lie where the tissue is?",
    "flat": "expected pictures: do boxes and panes lie where the tissue is?",
}
