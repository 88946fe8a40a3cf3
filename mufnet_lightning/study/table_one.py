"""Table 1 of a cohort: its patients.csv, two groups side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.characteristics import (
    characteristics,
    characteristics_frame,
)
from mufnet_lightning.evaluation.statistics.characteristics_rows import CharacteristicsRow
from mufnet_lightning.evaluation.text import json_text
from mufnet_lightning.vocabulary import Kind

OUTCOMES = ("grade", "label")
MISSING_WORDS = ("", "na", "n/a", "nan", "-")  # as R and spreadsheets write them


def table_one(
    path: Path,
    by: str,
    variables: Sequence[str] | None = None,
    kinds: dict[str, Kind] | None = None,
) -> list[CharacteristicsRow]:
    """Rows of Table 1, see `characteristics`.

    Args:
        path: of a CSV with a row a patient.
        by: column with the two groups. `grade` means grades 1 and 2 against 3 and 4. Of `grade` and
            `label` the table may have the other one.
        variables: columns to describe; all but patient_id, grade, label and `by` unless given.
        kinds: `number` or `category` for columns where the rule errs.

    Raises:
        InputFault: the file is no table, or the groups are not two.
    """
    texts = read_table(path)
    table = texts.apply(_typed)
    if by == "grade" or (by == "label" and by not in texts):
        table[by] = _grade_groups(texts, path)
    if variables is None:
        variables = [name for name in table.columns if name not in ("patient_id", by, *OUTCOMES)]
    odd = {
        str(name): cell
        for name, column in table.items()
        if name not in (kinds or {}) and (cell := _not_a_number(column)) is not None
    }
    return [
        _noted(row, f"Read as categories, since {odd[row.variable]!r} is no number.")
        if row.variable in odd
        else row
        for row in characteristics(table, by, variables, kinds)
    ]


def _noted(row: CharacteristicsRow, note: str) -> CharacteristicsRow:
    return replace(row, note=f"{row.note} {note}".strip())


def printed(rows: Sequence[CharacteristicsRow], form: Literal["table", "csv", "json"]) -> str:
    """The rows as text."""
    if form == "json":
        return json_text([row.as_json() for row in rows])
    frame = characteristics_frame(rows)
    return frame.to_csv(index=False).rstrip("\n") if form == "csv" else frame.to_string(index=False)


def _typed(column: pd.Series) -> pd.Series:
    """Text, or numbers where every cell that is not missing is one."""
    known = column.mask(column.str.lower().isin(MISSING_WORDS), "")
    numbers = pd.to_numeric(known.mask(known == ""), errors="coerce")
    return numbers if numbers.notna().equals(known != "") and (known != "").any() else known


def _not_a_number(column: pd.Series) -> str | None:
    """The first cell that keeps a column of numbers from being one."""
    if not pd.api.types.is_string_dtype(column) and column.dtype != object:
        return None
    known = column[column != ""].astype(str)
    numbers = pd.to_numeric(known, errors="coerce")
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
