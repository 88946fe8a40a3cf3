"""The same images in the prediction tables of several arms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.faults import quoted
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.checks import EvaluationError, as_labels, as_scores
from mufnet_lightning.evaluation.statistics.scores import Scores

NEEDED = ("patient_id", "label", "score")
TEXTS = ("pair_id", "patient_id", "clip_id", "split")
MISSING = ("", "NA", "nan")
WHOLE = 2**53
IDENTIFIERS = ("pair_id", "patient_id", "clip_id", "frame")


@dataclass(frozen=True, eq=False)
class MatchedScores(Scores):
    """Arms that were scored on the same images, in the order of the first arm's table.

    Attributes:
        matched_by: the columns that say which rows belong together.
        rows: (K, N), the place of each image in each arm's table, from 0.
        chosen_baseline: name of a baseline whose epoch these very patients chose; empty where there is
            none. Of the other arms whoever compares them has to say it.
    """

    matched_by: tuple[str, ...]
    rows: NDArray[np.intp]
    chosen_baseline: str = ""


def read_predictions(path: Path, name: str | None = None) -> pd.DataFrame:
    """Read a predictions CSV; identifiers stay the text that they are, a patient may be called NA.

    Args:
        path: of the file.
        name: what messages call it; the path unless given.

    Raises:
        EvaluationError: it is no CSV, a needed column is missing, or a label or score no number.
    """
    name = str(name or path)
    try:
        table = read_table(Path(path))
    except InputFault as fault:
        raise EvaluationError([f"{name}: no predictions: {one}" for one in fault.faults]) from None
    absent = [column for column in NEEDED if column not in table.columns]
    if absent:
        raise EvaluationError(f"{name} has no column {absent[0]}.")
    for column in table.columns:
        if column in TEXTS:
            table[column] = table[column].astype("string")
        else:
            table[column] = _numbers(name, table[column])
    return table.reset_index(drop=True)


def _numbers(name: str, cells: pd.Series) -> pd.Series:
    """Cells as numbers, NaN where they are empty; as they are where a column holds other text."""
    known = cells.mask(cells.isin(MISSING))
    odd = known[known.notna() & pd.to_numeric(known, errors="coerce").isna()]
    if len(odd) and cells.name in NEEDED:
        raise EvaluationError(
            f"{name}, row {odd.index[0]}: {cells.name} is {quoted(odd.iloc[0])}, expected a number."
        )
    if len(odd):
        return cells
    values = known.astype("float64")  # to the last digit, which pandas' own reader may miss
    whole = values.notna().all() and not known.str.contains(r"[.eEnN]").any()
    return values.astype("int64") if whole and (values.abs() < WHOLE).all() else values


def match_predictions(tables: Mapping[str, pd.DataFrame]) -> MatchedScores:
    """Match the rows of prediction tables one to one.

    By pair_id where all tables have it, else by patient_id with clip_id and frame as far as all have
    them. A table has a column when no cell of it is empty. A number and its text are the same
    identifier (12, 12.0 and "12"), but "012" is another.

    Args:
        tables: by the name of the arm; columns `patient_id`, `label`, `score`, and any of `pair_id`,
            `clip_id`, `frame`.

    Raises:
        EvaluationError: a column is missing, rows do not match one to one, the tables disagree on a
            label or a patient, or a patient has two labels.
    """
    if not tables:
        raise EvaluationError("there are no predictions to match.")
    arms = {name: _checked(name, table) for name, table in tables.items()}
    keys = _keys(list(arms.values()))
    arms = {name: _indexed(name, arm, keys) for name, arm in arms.items()}
    first, *others = arms
    for other in others:
        _check_same_images((first, arms[first]), (other, arms[other]), keys)
        arms[other] = arms[other].loc[arms[first].index]
        _check_agreement((first, arms[first]), (other, arms[other]), keys)
    labels = arms[first]["label"].to_numpy(dtype=bool)
    patients = arms[first]["patient_id"].to_numpy(dtype=object)
    scores = np.stack([arm["score"].to_numpy(dtype=np.float64) for arm in arms.values()])
    rows = np.stack([arm["row"].to_numpy(dtype=np.intp) for arm in arms.values()])
    folds = _folds(tables, rows, patients)
    return MatchedScores(tuple(arms), labels, scores, patients, tuple(keys), rows, folds=folds)


def _folds(
    tables: Mapping[str, pd.DataFrame], rows: NDArray[np.intp], patients: NDArray[np.generic]
) -> NDArray[np.intp] | None:
    """The fold of each image (K, N), of arms that were pooled out of folds; see `Scores`."""
    folds = np.full(rows.shape, -1, np.intp)
    for arm, table in enumerate(tables.values()):
        if "fold" not in table.columns or pd.to_numeric(table["fold"], errors="coerce").isna().any():
            continue  # an ensemble of all folds, or no cross-validation
        fold = pd.to_numeric(table["fold"]).to_numpy(np.intp)[rows[arm]]
        if len(np.unique(fold)) > 1:
            split = pd.Series(fold).groupby(patients).nunique()
            if (split > 1).any():
                raise EvaluationError(
                    f"patient {split.index[int(np.argmax(split > 1))]} was scored by several folds; "
                    "take one score of each image, as the parent run of a cross-validation does."
                )
            folds[arm] = fold
    return folds if (folds >= 0).any() else None


def _checked(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Identifiers as text (those without a gap), labels as flags, scores as numbers."""
    absent = [column for column in NEEDED if column not in table.columns]
    if absent:
        raise EvaluationError(f"{name} has no column {absent[0]}.")
    if not len(table):
        raise EvaluationError(f"{name} has no rows.")
    checked = pd.DataFrame({"row": range(len(table))})
    try:
        checked["label"] = as_labels(table["label"].to_numpy(dtype=object))
        checked["score"] = as_scores(table["score"].to_numpy(dtype=object), len(table))[0]
        _check_shares(checked["score"])
    except EvaluationError as error:
        raise EvaluationError(f"{name}: {error}") from None
    for column in IDENTIFIERS:
        if column in table.columns:
            texts = table[column].map(_text).to_numpy(dtype=object)
            empty = texts == ""
            if not empty.any():
                checked[column] = texts
            elif column in NEEDED:
                raise EvaluationError(f"{name} has {empty.sum()} rows without a {column}.")
    return checked


def _check_shares(scores: pd.Series) -> None:
    outside = scores[(scores < 0) | (scores > 1)]
    if len(outside):
        percent = scores.min() >= 0 and 1 < scores.max() <= 100
        hint = "; divide scores in percent by 100" if percent else ""
        raise EvaluationError(
            f"{len(outside)} scores are no probabilities, the first of them that of image "
            f"{outside.index[0]} ({outside.iloc[0]:g}), expected 0 to 1{hint}."
        )


def _keys(arms: Sequence[pd.DataFrame]) -> list[str]:
    shared = [column for column in IDENTIFIERS if all(column in arm.columns for arm in arms)]
    return ["pair_id"] if "pair_id" in shared else shared


def _indexed(name: str, arm: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_frame(arm[keys])
    repeated = index.duplicated()
    if repeated.any():
        raise EvaluationError(
            f"{name} has {repeated.sum()} more rows than images that {_listed(keys)} can tell apart; "
            f"the first repeated is {_shown(index[int(repeated.argmax())], keys)}."
        )
    return arm.set_index(index)


def _check_same_images(
    first: tuple[str, pd.DataFrame], other: tuple[str, pd.DataFrame], keys: list[str]
) -> None:
    for (name, arm), (lacking, there) in ((first, other), (other, first)):
        for what, column in (("patients", "patient_id"), ("images", None)):
            mine = arm.index if column is None else pd.Index(arm[column].unique())
            theirs = there.index if column is None else pd.Index(there[column].unique())
            left = mine.difference(theirs, sort=False)
            if len(left):
                example = _shown(left[0], keys) if column is None else left[0]
                raise EvaluationError(
                    f"{name} and {lacking} were scored on different {what}: {len(left)} of {name} are "
                    f"not in {lacking}, for example {example}."
                )


def _check_agreement(
    first: tuple[str, pd.DataFrame], other: tuple[str, pd.DataFrame], keys: list[str]
) -> None:
    for column, what in (("patient_id", "patient"), ("label", "label")):
        apart = (first[1][column] != other[1][column]).to_numpy()
        if apart.any():
            example = _shown(first[1].index[int(apart.argmax())], keys)
            raise EvaluationError(
                f"{first[0]} and {other[0]} disagree on the {what} of {apart.sum()} images, for "
                f"example of {example}."
            )


def _text(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _shown(key: Hashable, keys: list[str]) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value}" for name, value in zip(keys, values, strict=True))


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])} and {keys[-1]}"
