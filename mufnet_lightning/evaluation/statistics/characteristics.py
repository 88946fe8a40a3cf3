"""Table 1: the patients of two groups or more side by side, with the test of each difference.

Numbers: Shapiro-Wilk in each group at 0.05. Normal in all: mean ± SD, otherwise median (first and third
quartile). Categories: n (%). Values that are missing are counted in a row of their own, and are in no
test and no percentage. Tests and standardised mean differences: see `group_tests`.

Written with SciPy: the `tableone` package tests normality with D'Agostino's test on the pooled values,
compares groups with Welch's t or Kruskal-Wallis, and corrects a 2 × 2 chi-square for continuity.

Shapiro SS, Wilk MB. An analysis of variance test for normality. Biometrika 1965;52:591-611.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from mufnet_lightning.evaluation.statistics.characteristics_rows import (
    Cell,
    CharacteristicsRow,
    Count,
    MeanSd,
    Quartiles,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.group_tests import GroupTest, category_test, number_test
from mufnet_lightning.evaluation.text import number_text, p_text
from mufnet_lightning.vocabulary import Kind

NORMAL_AT = 0.05
MISSING = "missing"
FEW_CODES = 5  # whole numbers with no more distinct values than this are codes of categories
MOST_GROUPS = 12


_Summaries = Mapping[str, tuple[str, MeanSd | Quartiles | Count | None]]
"""The text and the numbers of one row, by group."""


def characteristics(
    patients: pd.DataFrame,
    by: str,
    variables: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] | None = None,
) -> list[CharacteristicsRow]:
    """Rows of Table 1.

    A number has one row, whose level is None; a category has a row for each level; either has one
    more row, of level `missing`, where values are missing. All rows of a variable carry its test and
    its p, and its standardised mean difference. The groups are the values of `by`, as text.

    >>> table = pd.DataFrame({"label": [0, 0, 0, 1, 1, 1], "sex": list("ffmmmf")})
    >>> [(row.level, row.groups["1"].text, round(row.p, 3)) for row in characteristics(table, "label")]
    [('f', '1 (33.3)', 1.0), ('m', '2 (66.7)', 1.0)]

    Args:
        patients: a row a patient.
        by: the column with the groups, two to twelve.
        variables: which columns, in this order; all others but `patient_id` unless given.
        kinds: `number` or `category` for columns where the rule errs: a column is a number when all
            its values are, unless they are at most five different whole numbers.

    Raises:
        EvaluationError: a column that is not there, fewer than two groups or more than
            twelve, or patients of no group.
    """
    chosen = [name for name in patients.columns if name not in (by, "patient_id")]
    chosen = chosen if variables is None else list(variables)
    absent = [name for name in (by, *chosen, *(kinds or {})) if name not in patients.columns]
    if absent:
        raise EvaluationError(
            f"the table has no column {absent[0]}; it has {', '.join(map(str, patients.columns))}."
        )
    groups = _groups(patients, by)
    rows: list[CharacteristicsRow] = []
    for name in chosen:
        column = _known(patients[name])
        kind = (kinds or {}).get(name) or _kind(column)
        split = {group: column[members] for group, members in groups.items()}
        if kind == "number":
            rows += _number_rows(name, {group: _numbers(name, part) for group, part in split.items()})
        else:
            rows += _category_rows(name, split)
    return rows


def characteristics_frame(rows: Sequence[CharacteristicsRow]) -> pd.DataFrame:
    """The rows as text to print: variable, level, a column a group with its size, test, p, SMD, note.

    What holds for a whole variable is printed in its first row only.
    """
    lines = []
    previous = None
    for row in rows:
        first = row.variable != previous
        previous = row.variable
        line = {"variable": row.variable if first else "", "level": _level(row)}
        line |= {f"{name} (N = {cell.patients})": cell.text for name, cell in row.groups.items()}
        line["test"] = (row.test or "none") if first else ""
        line["p"] = p_text(row.p) if first else ""
        line["SMD"] = number_text(row.smd) if first else ""
        line["note"] = row.note if first else ""
        lines.append(line)
    return pd.DataFrame(lines)


def _groups(patients: pd.DataFrame, by: str) -> dict[str, np.ndarray]:
    """Flags of each group's patients, by the group's name, in the order of its values."""
    ordered = isinstance(patients[by].dtype, pd.CategoricalDtype)
    column = patients[by] if ordered else _known(patients[by])
    unknown = int(column.isna().sum())
    if unknown:
        raise EvaluationError(f"{unknown} patients have no value in {by}, so they are in no group.")
    present = set(column)
    values = [v for v in column.cat.categories if v in present] if ordered else list(present)
    if not ordered:
        try:
            values.sort()
        except TypeError:
            values.sort(key=str)
    if not 2 <= len(values) <= MOST_GROUPS:
        shown = (
            ", ".join(_name(value) for value in values[:5]) if len(values) < 2 else "too many groups"
        )
        raise EvaluationError(
            f"{by} must have two values or more, up to {MOST_GROUPS}, but has {len(values)}: {shown}."
        )
    return {_name(value): (column == value).to_numpy(dtype=bool) for value in values}


def _known(column: pd.Series) -> pd.Series:
    """Empty text is missing too."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column
    text = column.map(lambda value: value.strip() if isinstance(value, str) else value)
    return text.mask(text == "")


def _kind(column: pd.Series) -> Kind:
    values = column.dropna()
    if pd.api.types.is_bool_dtype(values) or isinstance(values.dtype, pd.CategoricalDtype):
        return "category"
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or not len(numbers):
        return "category"
    distinct = np.unique(numbers.to_numpy(dtype=float))
    codes = len(distinct) <= FEW_CODES and bool((distinct == np.round(distinct)).all())
    return "category" if codes else "number"


def _numbers(name: str, part: pd.Series) -> Floats:
    numbers = pd.to_numeric(part, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    odd = part.notna().to_numpy() & ~np.isfinite(numbers)
    if odd.any():
        raise EvaluationError(f"{name} is to be a number, but {str(part[odd].iloc[0])!r} is none.")
    return numbers


def _number_rows(name: str, split: Mapping[str, Floats]) -> list[CharacteristicsRow]:
    known = {group: values[np.isfinite(values)] for group, values in split.items()}
    normal = all(_is_normal(values) for values in known.values())
    test = number_test(known, normal)
    cells = {group: _number_cell(values, normal) for group, values in known.items()}
    return _rows(name, {None: cells}, _counts(known), _counts(split), test)


def _number_cell(values: Floats, normal: bool) -> tuple[str, MeanSd | Quartiles | None]:
    if not len(values):
        return "none", None
    if normal:
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        return f"{mean:.2f} ± {sd:.2f}", MeanSd(mean, sd)
    q1, median, q3 = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{median:.2f} ({q1:.2f}, {q3:.2f})", Quartiles(median, q1, q3)


def _is_normal(values: Floats) -> bool:
    """Shapiro-Wilk at 0.05; fewer than three values, or equal ones, are not called normal."""
    if len(values) < 3 or np.ptp(values) == 0:
        return False
    return bool(stats.shapiro(values).pvalue >= NORMAL_AT)


def _category_rows(name: str, split: Mapping[str, pd.Series]) -> list[CharacteristicsRow]:
    texts = {group: part.dropna().map(_name) for group, part in split.items()}
    levels = sorted(set().union(*texts.values()), key=_by_number)
    counts = np.array([[int((part == level).sum()) for level in levels] for part in texts.values()])
    test = category_test(counts.reshape(len(texts), len(levels)), tuple(texts))
    cells: dict[str | None, _Summaries] = {
        level: {
            group: _count_cell(int((part == level).sum()), len(part)) for group, part in texts.items()
        }
        for level in levels
    }
    nothing: _Summaries = dict.fromkeys(split, ("none", None))
    return _rows(name, cells or {None: nothing}, _counts(texts), _counts(split), test)


def _count_cell(count: int, n: int) -> tuple[str, Count]:
    if not n:
        return "none", Count(0, None)
    percent = 100 * count / n
    return f"{count} ({percent:.1f})", Count(count, percent)


def _counts(split: Mapping[str, Floats] | Mapping[str, pd.Series]) -> dict[str, int]:
    return {group: len(values) for group, values in split.items()}


def _rows(
    name: str,
    levels: Mapping[str | None, _Summaries],
    known: Mapping[str, int],
    sizes: Mapping[str, int],
    test: GroupTest,
) -> list[CharacteristicsRow]:
    """A row a level, and one for missing values if there are any."""
    absent = {group: size - known[group] for group, size in sizes.items()}
    if any(absent.values()):
        missing = {group: _count_cell(absent[group], size) for group, size in sizes.items()}
        # a category may itself have a level of that name
        levels = {**levels, MISSING if MISSING not in levels else f"{MISSING} (no value)": missing}
    return [
        CharacteristicsRow(
            name,
            level,
            {
                group: Cell(text, summary, known[group], sizes[group])
                for group, (text, summary) in cells.items()
            },
            test.name,
            test.p,
            test.note,
            test.smd,
        )
        for level, cells in levels.items()
    ]


def _name(value: object) -> str:
    """1.0 is the code 1: a column with gaps is read as fractions."""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def _by_number(level: str) -> tuple[bool, float, str]:
    try:
        return False, float(level), level
    except ValueError:
        return True, 0.0, level


def _level(row: CharacteristicsRow) -> str:
    if row.level is not None:
        return f"{row.level}, n (%)"
    kinds = {type(cell.summary) for cell in row.groups.values()}
    return "mean ± SD" if MeanSd in kinds else "median (IQR)" if Quartiles in kinds else ""
