"""An arm that was scored: a predictions CSV, or the run that left one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.tracking.runs import TrackedRun, find_run, finished_folds, resolve_artifact
from mufnet_lightning.vocabulary import EXTERNAL, PREDICTIONS, Part


@dataclass(frozen=True)
class ScoredArm:
    """Scores of an arm, and where they come from.

    Attributes:
        reference: what the user called it.
        name: of the arm.
        table: all rows of its predictions, a row an image.
        run: None for a file.
    """

    reference: str
    name: str
    table: pd.DataFrame
    run: TrackedRun | None = None

    def part(self, split: Part, fold: int | None = None) -> pd.DataFrame:
        """The rows of `val` or `test`; a table that names no split is a test part, and so is one of
        `predict`, but for the patients who trained the model.

        Args:
            split: which part.
            fold: where several folds stand in the table, the rows of this one only.

        Raises:
            InputFault: there are no such rows.
        """
        named = (
            self.table["split"].fillna("") if "split" in self.table else pd.Series("", self.table.index)
        )
        rows = self.table[named == split]
        if split == "test" and named.isin(["", "predict", "train"]).all():
            rows = self.table[named != "train"]
        if fold is not None and "fold" in rows and rows["fold"].nunique() > 1:
            rows = rows[rows["fold"] == fold]
        if rows.empty:
            of_fold = "" if fold is None else f" of fold {fold}"
            there = ", ".join(sorted(set(named) - {""})) or "none"
            raise InputFault(
                f"{self.reference} has no scores of the {split} part{of_fold} (parts in it: {there})"
            )
        return rows.reset_index(drop=True)

    def chosen_by(self, split: Part) -> bool:
        """Whether the patients of a part chose its epoch; of a cross-validation, that of any fold.

        Of a file nobody can tell.
        """
        if self.run is None:
            return False
        folds = finished_folds(self.run).values() if self.run.is_cv else ()
        return split in (self.run.chosen_on, *(fold.chosen_on for fold in folds))

    def has(self, split: Part) -> bool:
        """Whether there are rows of `val` or `test`."""
        try:
            return len(self.part(split)) > 0
        except InputFault:
            return False


def read_arm(reference: str) -> ScoredArm:
    """Read an arm: a predictions CSV, `runs:/ID` or `ID` of a run or a cross-validation's parent run.

    `NAME=REFERENCE` gives it a name; without, it is the file's, or what the run's tag `arm` says.

    Raises:
        InputFault: there is no such file or run, or no predictions in it.
    """
    name, mark, rest = reference.partition("=")
    if mark and not Path(reference).exists():
        if not any(sign.isalnum() for sign in name):
            raise InputFault(f"{reference}: an arm's name needs a letter or a digit before the =")
        return replace(read_arm(rest), name=name)
    path = resolve_artifact(reference, PREDICTIONS)
    table = read_predictions(path, reference)
    if Path(reference).exists():
        return ScoredArm(reference, path.stem, table)
    run = find_run(reference)
    arm = f"{run.arm} {EXTERNAL}" if run.verb == EXTERNAL and run.arm else run.arm
    return ScoredArm(reference, arm or run.name, table, run)
