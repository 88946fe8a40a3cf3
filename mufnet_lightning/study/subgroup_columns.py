"""Properties of patients that subgroups are made by: columns of a cohort's tables or of a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.personal import MISSING_WORDS, why_personal
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.evaluation.subgroups import Subgroups, subgroups

SEVERAL = "several"


@dataclass(frozen=True)
class Property:
    """A property of patients.

    Attributes:
        name: of the column.
        values: by patient.
        cut: of numbers, where one was asked for.
    """

    name: str
    values: Mapping[str, str]
    cut: float | None = None


def subgroups_by(
    scores: Scores,
    by: Sequence[str],
    cohort: Path | None,
    manifest: pd.DataFrame | None,
    chosen: Collection[str] = (),
) -> list[Subgroups]:
    """The subgroups that each of `by` makes.

    Args:
        scores: of arms, on patients of the tables.
        by: columns; `size:4` cuts numbers at 4.
        cohort: folder of patients.csv, and of clips.csv for the scanner.
        manifest: of the store.
        chosen: see `subgroups`.

    Raises:
        InputFault: a column is in neither, differs between a patient's images, tells who somebody is,
            or makes no subgroups.
    """
    properties = [read_property(one, cohort, manifest) for one in by]
    return [subgroups(scores, one.name, one.values, one.cut, chosen) for one in properties]


def read_property(asked: str, cohort: Path | None, manifest: pd.DataFrame | None) -> Property:
    """One column, by patient: of patients.csv, else of clips.csv, else of the store's manifest.

    Of a patient's clips that differ (two scanners) the value is `several`.

    Raises:
        InputFault: as above.
    """
    tables: dict[str, pd.DataFrame] = {}
    for name in ("patients.csv", "clips.csv"):
        if cohort is not None and (cohort / name).is_file():
            tables[name] = read_table(cohort / name)
    if cohort is not None and "patients.csv" not in tables:
        raise InputFault(f"--cohort {cohort}: there is no patients.csv in it")
    if manifest is not None:
        tables["the store's manifest"] = manifest
    column, cut = _cut(asked, tables)
    where = next((name for name, table in tables.items() if column in table), None)
    if where is None:
        known = "; ".join(f"{name}: {', '.join(map(str, one))}" for name, one in tables.items())
        more = "" if cohort is not None else " (--cohort DIR adds those of patients.csv)"
        raise InputFault(
            f"--by {column}: there is no such column{more}; {known or 'no table is known'}"
        )
    table = tables[where].dropna(subset=[column]).astype({column: str})
    table = table[~table[column].str.strip().str.lower().isin(MISSING_WORDS)]
    groups = table.groupby("patient_id")[column]
    values = groups.first()
    differ = groups.nunique() > 1
    if differ.any() and where != "clips.csv":
        raise InputFault(
            f"--by {column}: it differs between the images of patient {differ.idxmax()}, expected a "
            "property of the patient"
        )
    values = values.mask(differ, SEVERAL)
    reason = "it names the patients" if column == "patient_id" else why_personal(column, values, True)
    if reason:
        raise InputFault(f"--by {column}: no subgroups are made by it: {reason}")
    return Property(column, {str(patient): str(value) for patient, value in values.items()}, cut)


def _cut(asked: str, tables: Mapping[str, pd.DataFrame]) -> tuple[str, float | None]:
    """`size:4` is the column size, cut at 4, unless a column is called so."""
    column, mark, number = asked.rpartition(":")
    if not mark or any(asked in table for table in tables.values()):
        return asked, None
    try:
        return column, float(number)
    except ValueError:
        raise InputFault(f"--by {asked}: {number!r} is no number to cut {column} at") from None
