"""Values of patients that cannot be, and those that may stand for a missing one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.faults import quoted, raise_faults
from mufnet_lightning.cohort.schemas import numbers

log = logging.getLogger(__name__)

OLDEST_YEARS = 125
_UNITS = {"month": 12, "week": 53, "day": 366}
_DERIVED = {
    *("z", "score", "sd", "std", "standardized", "standardised", "scaled", "centered", "centred"),
    *("normalized", "normalised", "norm", "log", "ln", "delta", "diff", "difference"),
    *("group", "bin", "class", "category", "quartile", "tertile", "decile", "quantile", "percentile"),
    *("rank", "ratio"),
}
"""Of columns that are computed from ages and are none."""
_CODES = r"-9+(\.0*)?|999+(\.0*)?"
"""Of a value that is missing, in many hospitals' tables: -9, -99, 999, 9999."""


def check_patients(path: Path, table: pd.DataFrame) -> None:
    """Refuse a table that has a patient twice, or one without a name.

    Args:
        path: of the file, for messages.
        table: as `read_table` gives it: text, indexed by the row in the file.

    Raises:
        InputFault: it names every row.
    """
    if "patient_id" not in table:
        return
    ids = table["patient_id"]
    first = {name: row for row, name in reversed(list(ids.items()))}
    raise_faults(
        f"{path}, row {row}: patient_id {quoted(name)} is in row {first[name]} already"
        if name
        else f"{path}, row {row}: patient_id is empty, expected one"
        for row, name in ids.items()
        if first[name] != row or not name
    )


def check_values(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Refuse ages that nobody reaches; warn of numbers that may stand for a missing value.

    Args:
        path, table: as of `check_patients`.
        columns: that are used.

    Raises:
        InputFault: it names every row.
    """
    faults = []
    for name in columns:
        if name not in table:
            continue
        cells = table[name]
        values = numbers(cells)
        oldest = _oldest(name)
        if oldest is not None:
            wrong = values[(values < 0) | (values > oldest)]
            faults += [
                f"{path}, row {row}: {name} is {cells[row]}, expected 0 to {oldest:,}"
                for row in wrong.index
            ]
        else:
            _warn_of_codes(path, cells, values)
    raise_faults(faults)


def _oldest(name: str) -> int | None:
    """What a column of ages may hold at most; None for other columns."""
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
    if not words & {"age", "ages"} or words & _DERIVED:
        return None
    units = [many for unit, many in _UNITS.items() if words & {unit, f"{unit}s"}]
    return OLDEST_YEARS * (units[0] if units else 1)


def _warn_of_codes(path: Path, cells: pd.Series, values: pd.Series) -> None:
    coded = cells.str.fullmatch(_CODES) & values.notna()
    others = values[~coded].dropna()
    if not coded.any() or others.empty:
        return
    spread = others.max() - others.min()
    far = coded & ((values < others.min() - spread) | (values > others.max() + spread))
    if far.any():
        row = values.index[far][0]
        log.warning(
            "warning: %s, row %s: %s is %s, far from all others: if it stands for a missing value, "
            "leave the cell empty (%s rows)",
            path,
            row,
            cells.name,
            cells[row],
            int(far.sum()),
        )
