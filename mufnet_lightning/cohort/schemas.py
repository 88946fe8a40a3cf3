"""What each cell and each row of a cohort's tables may hold.

Cells are text here, and an empty cell is "": so a fault names the cell as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pandera.pandas as pa

from mufnet_lightning.cohort.faults import Report, quoted
from mufnet_lightning.cohort.geometry import LARGEST_SIDE, SMALLEST_SIDE, parse_pane
from mufnet_lightning.vocabulary import MODALITIES, PANES, PATHS

Cells = pd.Series

MEASURES = ("mm_per_pixel", "start_s", "injection_frame")
"""Of clips.csv: numbers that a clip's header may lack."""
LARGEST_MM = 5  # of a pixel
MOST_FRAMES = 10_000_000  # of a clip: days of it
DAY_S = 86_400
PHASES = ("cortical", "medullary")
SOURCES = ("drawn", "interpolated")
NEEDED = {
    "patients.csv": ("patient_id",),
    "clips.csv": ("clip_id", "patient_id", "path"),
    "boxes.csv": ("clip_id", "frame", "x", "y", "width", "height"),
    "pairs.csv": ("patient_id",),
}
OPTIONAL = {
    "patients.csv": ("grade", "label", "center"),
    "clips.csv": (*PANES, "scanner", "exam_id", *MEASURES),
    "boxes.csv": ("pane", "phase", "lesion_id", "box_source"),
    "pairs.csv": (*PATHS, "clip_id", "frame", "phase"),
}
CHOICES = {  # of these columns the file must have at least one
    "pairs.csv": PATHS,
}
CAPITALS = ("pane", "phase", "box_source")  # words that are understood in capitals too
FILLED = pa.Check(lambda cells: cells != "", error="expected some text")


def patients_schema(with_grades: bool) -> pa.DataFrameSchema:
    """patients.csv, a row a patient."""
    rows = [
        pa.Check(
            lambda table: _agree(table["grade"], table["label"]),
            error="grade {grade} and label {label} disagree, expected label 0 for grades 1 and 2, "
            "1 for grades 3 and 4",
        )
    ]
    if with_grades:
        rows.append(
            pa.Check(
                lambda table: (table["grade"] != "") | (table["label"] != ""),
                error="grade and label are empty, expected a grade (1 to 4) or a label (0 or 1)",
            )
        )
    return pa.DataFrameSchema(
        {
            "patient_id": _new_id(),
            "grade": _may_be(lambda c: numbers(c).isin([1, 2, 3, 4]), "expected 1, 2, 3 or 4"),
            "label": _may_be(lambda c: numbers(c).isin([0, 1]), "expected 0 (low) or 1 (high)"),
        },
        checks=rows,
    )


def clips_schema(patients: set[str] | None) -> pa.DataFrameSchema:
    """clips.csv, a row a clip; `patients` are the ids that exist (None: not known)."""
    pane = "expected x,y,width,height in whole pixels of the frame, width and height above 0"
    return pa.DataFrameSchema(
        {
            "clip_id": _new_id(),
            "patient_id": _id_of("patients.csv", patients),
            "path": pa.Column(str, FILLED),
            **{name: _may_be(_is_pane, pane) for name in PANES},
            "mm_per_pixel": _may_be(
                lambda cells: (numbers(cells) > 0) & (numbers(cells) <= LARGEST_MM),
                f"expected millimetres, above 0 and at most {LARGEST_MM}",
            ),
            "start_s": _may_be(
                lambda cells: numbers(cells).abs() <= DAY_S,
                "expected seconds after the injection of contrast",
            ),
            "injection_frame": _may_be(_counts, FRAME, _FEW_FRAMES),
        },
        checks=pa.Check(
            lambda table: (table["start_s"] == "") | (table["injection_frame"] == ""),
            error="start_s and injection_frame are both given, expected one",
        ),
    )


def boxes_schema(clips: set[str] | None) -> pa.DataFrameSchema:
    """boxes.csv, a row an annotated frame; `clips` are the ids that exist (None: not known)."""
    small = pa.Check(
        lambda c: ~(numbers(c) > LARGEST_SIDE), error=f"expected at most {LARGEST_SIDE:,} pixels"
    )
    corner = [
        pa.Check(lambda c: numbers(c) >= 0, error="expected a number of pixels, 0 or more"),
        small,
    ]
    side = [
        pa.Check(lambda c: numbers(c) >= SMALLEST_SIDE, error="expected a positive number of pixels"),
        small,
    ]
    return pa.DataFrameSchema(
        {
            "clip_id": _id_of("clips.csv", clips),
            "frame": pa.Column(str, [pa.Check(_counts, error=FRAME), _FEW_FRAMES]),
            "x": pa.Column(str, corner),
            "y": pa.Column(str, corner),
            "width": pa.Column(str, side),
            "height": pa.Column(str, side),
            "pane": _one_of(MODALITIES),
            "phase": _one_of(PHASES),
            "box_source": _one_of(SOURCES),
        }
    )


def pairs_schema(patients: set[str] | None) -> pa.DataFrameSchema:
    """pairs.csv, a row an already cropped pair; `patients` are the ids that exist (None: not known)."""
    return pa.DataFrameSchema(
        {
            "patient_id": _id_of("patients.csv", patients),
            "frame": _may_be(_counts, FRAME, _FEW_FRAMES),
            "phase": _one_of(PHASES),
        },
        checks=[
            pa.Check(
                lambda table: (table[list(PATHS)] != "").any(axis=1),
                error=f"{_all(PATHS)} empty, expected at least one",
            ),
            pa.Check(
                lambda table: (table["bmode_path"] != table["ceus_path"]) | (table["bmode_path"] == ""),
                error="bmode_path and ceus_path are both {bmode_path!r}, expected two images",
            ),
        ],
    )


def validate(
    name: str, table: pd.DataFrame | None, schema: pa.DataFrameSchema, report: Report
) -> pd.DataFrame | None:
    """Judge a table's text by its schema; all faults go to the report, row by row.

    Returns:
        The table with every known column: optional ones that the file lacks are there, and empty.
        None where there is no text, or where a needed column is missing.
    """
    if table is None:
        return None
    known = NEEDED[name] + OPTIONAL[name]
    for column in table.columns:
        plain = column.lower().replace(" ", "_")
        if plain in known and plain not in table.columns:
            report.add(name, None, f"has a column {quoted(column)}, expected {plain}")
            table = table.rename(columns={column: plain})
    choices = CHOICES.get(name, ())
    if choices and not set(choices) & set(table.columns):
        report.add(name, None, f"has no column {choices[0]} or {choices[1]}, expected at least one")
        schema.checks = []  # else every row would repeat it
    table = table.assign(**{column: "" for column in OPTIONAL[name] if column not in table})
    for column in set(CAPITALS) & set(OPTIONAL[name]):
        table[column] = table[column].str.lower()
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        _word(name, table, errors.failure_cases, report)
    return table if set(NEEDED[name]) <= set(table) else None


def numbers(cells: Cells) -> Cells:
    """Text as float64; NaN for what is not a finite number."""
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    return values.where(np.isfinite(values))


def _word(name: str, table: pd.DataFrame, failures: pd.DataFrame, report: Report) -> None:
    """pandera's failure cases as sentences."""
    for failure in failures.to_dict("records"):
        column, check = failure["column"], str(failure["check"])
        if check == "column_in_dataframe":
            report.add(name, None, f"has no column {failure['failure_case']}, which is needed")
            continue
        row = int(failure["index"])
        if failure["schema_context"] == "DataFrameSchema":
            report.add(name, row, check.format_map({str(k): v for k, v in table.loc[row].items()}))
        elif check == "field_uniqueness":
            value = failure["failure_case"]
            if value:
                first = table.index[table[column] == value][0]
                report.add(name, row, f"{column} {quoted(value)} is in row {first} already")
        else:
            report.add(name, row, f"{column} is {_shown(failure['failure_case'])}, {check}")


def _shown(cell: str) -> str:
    """A cell in a message: numbers bare, text quoted, nothing as "empty"."""
    if cell == "":
        return "empty"
    return cell if np.isfinite(pd.to_numeric(cell, errors="coerce")) else quoted(cell)


# What a column may hold; a message is filled in with its row's cells.

FRAME = "expected a whole frame number, 0 or more"


_FEW_FRAMES = pa.Check(
    lambda cells: ~(numbers(cells) >= MOST_FRAMES), error=f"expected less than {MOST_FRAMES:,} frames"
)


def _may_be(test: Callable[[Cells], Cells], expected: str, *more: pa.Check) -> pa.Column:
    """A column whose cells pass the test or are empty, and pass `more`."""
    check = pa.Check(lambda cells: test(cells) | (cells == ""), error=expected)
    return pa.Column(str, [check, *more])


def _one_of(words: tuple[str, ...]) -> pa.Column:
    return _may_be(lambda cells: cells.isin(words), f"expected {' or '.join(words)}")


def _new_id() -> pa.Column:
    return pa.Column(str, FILLED, unique=True, report_duplicates="exclude_first")


def _id_of(table: str, ids: set[str] | None) -> pa.Column:
    column = pa.Column(str, FILLED)
    if ids is not None:
        known = ids | {""}  # an empty cell has its fault already
        column.checks += [
            pa.Check(lambda cells: cells.isin(known), error=f"expected one that {table} has")
        ]
    return column


def _counts(cells: Cells) -> Cells:
    values = numbers(cells)
    whole: Cells = values == np.floor(values)
    return whole & (values >= 0)


def _is_pane(cells: Cells) -> Cells:
    def fits(text: str) -> bool:
        try:
            parse_pane(text)
        except ValueError:
            return False
        return True

    return cells.map(fits).astype(bool)


def _agree(grade: Cells, label: Cells) -> Cells:
    """Whether grade and label agree, as far as both are there and make sense."""
    grades, labels = numbers(grade), numbers(label)
    comparable = grades.isin([1, 2, 3, 4]) & labels.isin([0, 1])
    return ~comparable | ((grades >= 3) == (labels == 1))


def _all(columns: tuple[str, ...]) -> str:
    """`a and b are both`, or `a, b and c are all`."""
    return f"{', '.join(columns[:-1])} and {columns[-1]} are {'both' if len(columns) == 2 else 'all'}"
