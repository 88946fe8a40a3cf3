"""Table 1 of a cohort: its patients.csv, groups side by side."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.implausible import check_patients, check_values
from mufnet_lightning.cohort.personal import MISSING_WORDS, why_personal
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.characteristics import (
    characteristics,
    characteristics_frame,
)
from mufnet_lightning.evaluation.statistics.characteristics_rows import CharacteristicsRow
from mufnet_lightning.evaluation.text import json_text
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.vocabulary import Kind

log = logging.getLogger(__name__)

OUTCOMES = ("grade", "label")


@dataclass(frozen=True)
class TableOne:
    """Table 1 of a cohort.

    Attributes:
        rows: of it.
        left_out: why a column is not in it, by name: it may tell who somebody is.
    """

    rows: Sequence[CharacteristicsRow]
    left_out: Mapping[str, str]

    def frame(self) -> pd.DataFrame:
        """The rows as text, see `characteristics_frame`."""
        return characteristics_frame(self.rows)

    def note(self) -> str:
        """What was left out, and why; empty where nothing was."""
        reasons = "; ".join(f"{name} ({reason})" for name, reason in self.left_out.items())
        return f"Left out: {reasons}." if reasons else ""

    def printed(self, form: Literal["table", "csv", "json"]) -> str:
        """As text; what was left out stands under a table alone."""
        if form == "json":
            return json_text([row.as_json() for row in self.rows])
        if form == "csv":
            return csv_text(self.frame()).rstrip("\n")
        return "\n\n".join(filter(None, [self.frame().to_string(index=False), self.note()]))


def table_one(
    path: Path,
    by: str,
    variables: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    groups: Mapping[str, str] | None = None,
) -> TableOne:
    """Table 1, see `characteristics`.

    Args:
        path: of a CSV with a row a patient; without patient_id a warning says what is taken for one.
        by: column with the groups. `grade` means grades 1 and 2 against 3 and 4. Of `grade` and
            `label` the table may have the other one.
        variables: columns to describe; all but patient_id, grade, label and `by` unless given, and
            those that may tell who somebody is (see `why_personal`).
        kinds: `number` or `category` for columns where the rule errs.
        groups: the group of each patient by patient_id, where no column has them; `by` is then what
            they are called, whoever has none is left out, and grade and label are described too.

    Raises:
        InputFault: the file is no table, there are not two groups or more, nothing is left to
            describe, or a column that is asked for tells who somebody is.
    """
    texts = read_table(path)
    check_patients(path, texts)
    if "patient_id" not in texts:
        log.warning("warning: %s has no column patient_id: each row is taken for a patient", path)
    if groups is not None:
        of_patients = texts["patient_id"].map(groups)
        texts = texts.assign(**{by: of_patients})[of_patients.notna()]
    table = texts.apply(_typed)
    asked = set(variables or ())
    personal = {
        str(name): reason
        for name, column in texts.items()
        if (reason := why_personal(str(name), column, name in asked or name == by))
    }
    if by == "grade" or (by == "label" and by not in texts):
        table[by] = _grade_groups(texts, path)
    elif by in personal:
        raise InputFault(f"{path}: no groups are made by {by}: {personal[by]}")
    refused = next((name for name in variables or () if name in personal), None)
    if refused:
        raise InputFault(f"{path}: column {refused} is never printed: {personal[refused]}")
    left_out: dict[str, str] = {}
    if variables is None:
        outcomes = OUTCOMES if groups is None else ()
        others = [n for n in table.columns if n not in ("patient_id", by, *outcomes)]
        left_out = {name: personal[name] for name in others if name in personal}
        variables = [name for name in others if name not in left_out]
        if left_out and not variables:
            raise InputFault(f"{path}: nothing to describe. {TableOne([], left_out).note()}")
    check_values(path, texts, variables)
    odd = {
        str(name): cell
        for name, column in table.items()
        if name not in (kinds or {}) and (cell := _not_a_number(column)) is not None
    }
    rows = [
        _noted(row, f"Read as categories, since {odd[row.variable]!r} is no number.")
        if row.variable in odd
        else row
        for row in characteristics(table, by, variables, kinds)
    ]
    return TableOne(rows, left_out)


def _noted(row: CharacteristicsRow, note: str) -> CharacteristicsRow:
    return replace(row, note=f"{row.note} {note}".strip())


def _typed(column: pd.Series) -> pd.Series:
    """Text, or numbers where every cell that is not missing is one."""
    known = column.mask(column.str.lower().isin(MISSING_WORDS), "")
    numbers = pd.to_numeric(known.mask(known == ""), errors="coerce")
    numbers = numbers.mask(numbers.abs() == math.inf)  # x / 0 is none
    return numbers if numbers.notna().equals(known != "") and (known != "").any() else known


def _not_a_number(column: pd.Series) -> str | None:
    """The first cell that keeps a column of numbers from being one."""
    if not pd.api.types.is_string_dtype(column) and column.dtype != object:
        return None
    known = column[column != ""].astype(str)
    numbers = pd.to_numeric(known, errors="coerce")
    numbers = numbers.mask(numbers.abs() == math.inf)
    return str(known[numbers.isna()].iloc[0]) if 0.5 < numbers.notna().mean() < 1 else None


def _grade_groups(texts: pd.DataFrame, path: Path) -> pd.Series:
    source = next((name for name in OUTCOMES if name in texts), None)
    if source is None:
        raise InputFault(f"{path} has neither column grade nor column label")
    low, high = {"grade": (("1", "2"), ("3", "4")), "label": (("0",), ("1",))}[source]
    names = dict.fromkeys(low, "low grade") | dict.fromkeys(high, "high grade")
    values = texts[source].str.replace(r"\.0+$", "", regex=True).map(names)
    odd = values[values.isna()].index
    if len(odd):
        raise InputFault(
            f"{path}, row {odd[0]}: {source} is {texts[source][odd[0]]!r}, expected one of "
            f"{', '.join(names)}"
        )
    return values.astype(pd.CategoricalDtype(["low grade", "high grade"], ordered=True))
