"""Patients of a store who look alike (see `store.twins`), and the two sides of a split."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mufnet_lightning.store.inputs import TWINS
from mufnet_lightning.store.twins import leaders, read_twins

log = logging.getLogger(__name__)


def one_side(root: Path, grouped: bool) -> dict[str, str]:
    """Of each patient with twins the one whose part all of them share; empty unless `grouped`."""
    return leaders(read_twins(root)) if grouped else {}


def split_twins(folds: pd.DataFrame, fold: int, twins: Iterable[tuple[str, str]]) -> int:
    """How many pairs of patients who look alike stand in different parts.

    Args:
        folds: columns `fold, patient_id, part`.
        fold: which of them.
        twins: see `store.twins.read_twins`.
    """
    here = folds[folds["fold"] == fold]
    part = dict(zip(here["patient_id"], here["part"], strict=True))
    both = [{part.get(one, ""), part.get(other, "")} for one, other in twins]
    return sum(len(parts - {""}) > 1 for parts in both)


def warn_of_twins(folds: pd.DataFrame, fold: int, root: Path) -> None:
    """Say so where patients of a store who look alike stand on both sides of a fold's split."""
    if pairs := split_twins(folds, fold, read_twins(root)):
        log.warning(
            "pairs of patients who look alike and stand in different parts of the split: %s (%s); "
            "a split made with data.group_duplicates keeps them together",
            pairs,
            root / TWINS,
        )
