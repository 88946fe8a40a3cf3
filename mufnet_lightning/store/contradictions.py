"""One scan under two grades: whatever a network learns from it, one of them is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mufnet_lightning.store.twins import CERTAIN, Twins

SHOWN = 20


def two_grades(pair: Twins) -> bool:
    """Whether one of them is known to be of low and one of high grade."""
    return None not in pair.labels and pair.labels[0] != pair.labels[1]


def is_contradiction(pair: Twins) -> bool:
    """Whether two patients of different grade have one scan, for sure."""
    return two_grades(pair) and pair.similarity >= CERTAIN


def contradictions(twins: Sequence[Twins], root: Path) -> list[str]:
    """A fault for each such pair of patients.

    Args:
        twins: of a store.
        root: where its crops can be looked at.
    """
    pairs = [pair for pair in twins if is_contradiction(pair)]
    more = len(pairs) - SHOWN
    return [
        f"{pair}, in {root / 'crops'}: one scan under two grades, expected one grade, or one patient"
        for pair in pairs[:SHOWN]
    ] + ([f"... and {more:,} more such pairs"] if more > 0 else [])
