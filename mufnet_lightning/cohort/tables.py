"""The tables of a cohort folder: what a hospital has, read and checked.

Every cell is read as text and judged by a schema, so that a fault names the cell as the user wrote
it, with its line in the file. All faults of all tables come out together, in one `InputFault`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast

import numpy as np
import pandas as pd
import pandera.pandas as pa

from mufnet_lightning.cohort.clips import CLIP_ENDINGS, IMAGE_ENDINGS
from mufnet_lightning.cohort.roi import MODALITIES, Box, Pane, box_outward, parse_pane
from mufnet_lightning.errors import InputFault

TABLES = ("patients.csv", "clips.csv", "boxes.csv", "pairs.csv")
PHASES = ("cortical", "medullary")
SHOWN_FAULTS = 50  # more than that is one mistake made many times

COLUMNS = {
    "patients.csv": ("patient_id", "grade", "label", "center"),
    "clips.csv": ("clip_id", "patient_id", "path", "bmode_pane", "ceus_pane", "scanner"),
    "boxes.csv": ("clip_id", "frame", "x", "y", "width", "height", "pane", "phase"),
    "pairs.csv": ("patient_id", "bmode_path", "ceus_path", "clip_id", "frame", "phase"),
}
CHOICES = {  # of these columns the file must have at least one
    "clips.csv": ("bmode_pane", "ceus_pane"),
    "pairs.csv": ("bmode_path", "ceus_path"),
}


@dataclass(frozen=True)
class Cohort:
    """A checked cohort folder. The index of each table is the row's line in its file.

    Attributes:
        folder: where the tables are; the paths inside them start here.
        patients: patient_id, grade and label (Int64, empty without grades), center, and the
            clinical columns as text.
        clips: clip_id, patient_id, path, bmode_pane and ceus_pane (`Pane` or None), scanner.
        boxes: clip_id, frame, x, y, width, height (whole pixels, rounded outward), pane (`bmode` or
            `ceus`, never empty), phase (may be empty).
        pairs: patient_id, bmode_path and ceus_path (one may be empty), clip_id, frame (Int64, may
            be empty), phase. A cohort has either clips and boxes, or pairs; the others are None.
        warnings: one sentence each about what is odd, but no fault.
    """

    folder: Path
    patients: pd.DataFrame
    clips: pd.DataFrame | None = None
    boxes: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()


def read_cohort(folder: Path, with_grades: bool = True) -> Cohort:
    """Read and check patients.csv with either clips.csv and boxes.csv, or pairs.csv.

    Args:
        folder: the cohort folder.
        with_grades: every patient needs a grade or a label; without, both may be absent or empty.

    Raises:
        InputFault: with every fault of every table, a sentence each.
    """
    folder = Path(folder)
    report = Report()
    texts = {name: _read_text(folder / name, report) for name in _tables_of(folder)}
    patients = _check_patients(texts["patients.csv"], with_grades, report)
    clips = boxes = pairs = None
    if "pairs.csv" in texts:
        pairs = _check_pairs(texts["pairs.csv"], patients, folder, report)
    else:
        clips = _check_clips(texts["clips.csv"], patients, folder, report)
        boxes = _check_boxes(texts["boxes.csv"], clips, report)
    report.raise_faults()
    warnings = _warnings(cast(pd.DataFrame, patients), clips, boxes, pairs)
    return Cohort(folder, cast(pd.DataFrame, patients), clips, boxes, pairs, warnings)


def raise_faults(faults: Iterable[str]) -> None:
    """Raise the faults together, if there are any; of a flood only the first ones and its size."""
    messages = list(faults)
    if len(messages) > SHOWN_FAULTS:
        messages[SHOWN_FAULTS:] = [f"... and {len(messages) - SHOWN_FAULTS:,} more faults like these"]
    if messages:
        raise InputFault(messages)


@dataclass
class Report:
    """The faults found so far; they come out by file and row, however they were found."""

    faults: set[tuple[int, int, str]] = field(default_factory=set)
    bad_rows: set[tuple[str, int]] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)  # tables with rows that cannot be told apart

    def add(self, table: str, row: int | None, reason: str) -> None:
        """Note a fault of one row, or of the whole file where `row` is None."""
        where = f"{table} row {row}:" if row else f"{table}"
        self.faults.add((TABLES.index(table), row or 0, f"{where} {reason}"))
        if row:
            self.bad_rows.add((table, row))

    def good_rows(self, table: str, cells: pd.DataFrame) -> pd.DataFrame:
        """The rows without a fault so far: a second look at the others would only make noise."""
        return cells[[(table, row) not in self.bad_rows for row in cells.index]]

    def ids(self, table: str, cells: pd.DataFrame | None, column: str) -> set[str] | None:
        """The ids that a table has; None where that is not known, as some could not be read."""
        if cells is None or table in self.incomplete:
            return None
        return set(cells[column]) - {""}

    def raise_faults(self) -> None:
        """Raise one InputFault with all faults, if there are any."""
        raise_faults(message for _, _, message in sorted(self.faults))


# What a cell may hold. Cells are text here, and an empty cell is "".

Cells = pd.Series


def _cell(test: Callable[[Cells], Cells], expected: str, optional: bool = False) -> pa.Check:
    return pa.Check(
        lambda cells: test(cells) | (cells == "") if optional else test(cells), error=expected
    )


def _row(test: Callable[[pd.DataFrame], Cells], message: str) -> pa.Check:
    """A check across a row; `message` is filled in with the row's cells."""
    return pa.Check(test, error=message)


def numbers(cells: Cells) -> Cells:
    """Text as float64; NaN for what is not a finite number."""
    values = pd.to_numeric(cells, errors="coerce").astype("float64")
    return values.where(np.isfinite(values))


def _whole(cells: Cells) -> Cells:
    return numbers(cells) == np.floor(numbers(cells))


def _is_pane(cells: Cells) -> Cells:
    def fits(text: str) -> bool:
        try:
            parse_pane(text)
        except ValueError:
            return False
        return True

    return cells.map(fits).astype(bool)


FILLED = _cell(lambda cells: cells != "", "expected some text")
PIXELS = "number of pixels"
PANE = "expected x,y,width,height in whole pixels of the frame, width and height above 0"


def patients_schema(with_grades: bool) -> pa.DataFrameSchema:
    """patients.csv, a row a patient."""
    rows = [
        _row(
            lambda table: _low_or_high(table["grade"], table["label"]),
            "grade {grade} and label {label} disagree, expected label 0 for grades 1 and 2, "
            "1 for grades 3 and 4",
        )
    ]
    if with_grades:
        rows.append(
            _row(
                lambda table: (table["grade"] != "") | (table["label"] != ""),
                "grade and label are empty, expected a grade (1 to 4) or a label (0 or 1)",
            )
        )
    return pa.DataFrameSchema(
        {
            "patient_id": pa.Column(str, FILLED, unique=True, report_duplicates="exclude_first"),
            "grade": pa.Column(
                str,
                _cell(lambda c: numbers(c).isin([1, 2, 3, 4]), "expected 1, 2, 3 or 4", True),
            ),
            "label": pa.Column(
                str, _cell(lambda c: numbers(c).isin([0, 1]), "expected 0 (low) or 1 (high)", True)
            ),
        },
        checks=rows,
    )


def clips_schema(patients: set[str] | None) -> pa.DataFrameSchema:
    """clips.csv, a row a clip; `patients` are the ids that exist (None: not known)."""
    return pa.DataFrameSchema(
        {
            "clip_id": pa.Column(str, FILLED, unique=True, report_duplicates="exclude_first"),
            "patient_id": pa.Column(str, [FILLED, *_known(patients, "patients.csv")]),
            "path": pa.Column(str, FILLED),
            "bmode_pane": pa.Column(str, _cell(_is_pane, PANE, optional=True)),
            "ceus_pane": pa.Column(str, _cell(_is_pane, PANE, optional=True)),
        },
        checks=_row(
            lambda table: (table["bmode_pane"] != "") | (table["ceus_pane"] != ""),
            "bmode_pane and ceus_pane are both empty, expected at least one",
        ),
    )


def boxes_schema(clips: set[str] | None) -> pa.DataFrameSchema:
    """boxes.csv, a row an annotated frame; `clips` are the ids that exist (None: not known)."""
    corner = _cell(lambda c: numbers(c) >= 0, f"expected a {PIXELS}, 0 or more")
    side = _cell(lambda c: numbers(c) > 0, f"expected a positive {PIXELS}")
    return pa.DataFrameSchema(
        {
            "clip_id": pa.Column(str, [FILLED, *_known(clips, "clips.csv")]),
            "frame": pa.Column(str, _frame(optional=False)),
            "x": pa.Column(str, corner),
            "y": pa.Column(str, corner),
            "width": pa.Column(str, side),
            "height": pa.Column(str, side),
            "pane": pa.Column(str, _cell(lambda c: c.isin(MODALITIES), _words(MODALITIES), True)),
            "phase": pa.Column(str, _cell(lambda c: c.isin(PHASES), _words(PHASES), True)),
        }
    )


def pairs_schema(patients: set[str] | None) -> pa.DataFrameSchema:
    """pairs.csv, a row an already cropped pair; `patients` are the ids that exist."""
    return pa.DataFrameSchema(
        {
            "patient_id": pa.Column(str, [FILLED, *_known(patients, "patients.csv")]),
            "frame": pa.Column(str, _frame(optional=True)),
            "phase": pa.Column(str, _cell(lambda c: c.isin(PHASES), _words(PHASES), True)),
        },
        checks=[
            _row(
                lambda table: (table["bmode_path"] != "") | (table["ceus_path"] != ""),
                "bmode_path and ceus_path are both empty, expected at least one",
            ),
            _row(
                lambda table: (table["bmode_path"] != table["ceus_path"]) | (table["bmode_path"] == ""),
                "bmode_path and ceus_path are both {bmode_path!r}, expected two images",
            ),
        ],
    )


def _frame(optional: bool) -> pa.Check:
    def counts(cells: Cells) -> Cells:
        return _whole(cells) & (numbers(cells) >= 0)

    return _cell(counts, "expected a whole frame number, 0 or more", optional)


def _known(ids: set[str] | None, table: str) -> list[pa.Check]:
    if ids is None:
        return []
    return [_cell(lambda cells: cells.isin(ids), f"expected one that {table} has", optional=True)]


def _words(words: tuple[str, ...]) -> str:
    return f"expected {' or '.join(words)}"


def _low_or_high(grade: Cells, label: Cells) -> Cells:
    """Whether grade and label agree, as far as both are there and make sense."""
    grades, labels = numbers(grade), numbers(label)
    comparable = grades.isin([1, 2, 3, 4]) & labels.isin([0, 1])
    return ~comparable | ((grades >= 3) == (labels == 1))


# From text to tables, each with the checks that go beyond one row.


def _check_patients(
    text: pd.DataFrame | None, with_grades: bool, report: Report
) -> pd.DataFrame | None:
    if text is None:
        return None
    if with_grades and not {"grade", "label"} & set(text.columns):
        report.add("patients.csv", None, "has no column grade, expected grade (1 to 4) or label (0, 1)")
        with_grades = False
    table = _validate("patients.csv", text, patients_schema(with_grades), report)
    if "patient_id" not in table:
        return None
    grade, label = numbers(table["grade"]), numbers(table["label"])
    table["grade"] = _integers(grade)
    table["label"] = _integers(label.where(grade.isna(), (grade >= 3).astype(float)))
    return table


def _check_clips(
    text: pd.DataFrame | None, patients: pd.DataFrame | None, folder: Path, report: Report
) -> pd.DataFrame | None:
    if text is None:
        return None
    table = _validate(
        "clips.csv", text, clips_schema(report.ids("patients.csv", patients, "patient_id")), report
    )
    if not {"clip_id", "patient_id", "path"} <= set(table):
        return None
    _check_paths("clips.csv", table, ["path"], CLIP_ENDINGS, folder, report)
    for modality in MODALITIES:
        panes = [_pane(text) for text in table[f"{modality}_pane"]]
        table[f"{modality}_pane"] = pd.Series(panes, index=table.index, dtype=object)
    for row, bmode, ceus in table[["bmode_pane", "ceus_pane"]].itertuples():
        if not isinstance(bmode, Pane) or not isinstance(ceus, Pane):
            continue
        if bmode.overlaps(ceus):
            report.add("clips.csv", row, f"bmode_pane {bmode} and ceus_pane {ceus} overlap")
        elif not bmode.same_shape(ceus):
            report.add(
                "clips.csv",
                row,
                f"bmode_pane {bmode} and ceus_pane {ceus} differ in shape, expected one ratio of "
                "width to height, as both show the same tissue",
            )
    return table


def _check_boxes(
    text: pd.DataFrame | None, clips: pd.DataFrame | None, report: Report
) -> pd.DataFrame | None:
    if text is None:
        return None
    for column in {"pane", "phase"} & set(text.columns):
        text[column] = text[column].str.lower()
    table = _validate(
        "boxes.csv", text, boxes_schema(report.ids("clips.csv", clips, "clip_id")), report
    )
    if clips is None or not set(COLUMNS["boxes.csv"]) <= set(table):
        return None
    table = report.good_rows("boxes.csv", table)
    sides = ["x", "y", "width", "height"]
    table = table.assign(
        frame=_integers(numbers(table["frame"])), **{side: numbers(table[side]) for side in sides}
    )
    _place_on_panes(table, clips, report)
    seen: dict[tuple[str, int, str], int] = {}
    for row, clip, frame, pane in table[["clip_id", "frame", "pane"]].itertuples():
        first = seen.setdefault((clip, frame, pane), row)
        if pane and first != row:
            report.add(
                "boxes.csv",
                row,
                f"clip {_quoted(clip)} frame {frame} has its {pane} box in row {first} already, "
                "expected one box a frame and pane",
            )
    return table.astype(dict.fromkeys(sides, "int64"))


def _place_on_panes(boxes: pd.DataFrame, clips: pd.DataFrame, report: Report) -> None:
    """Round the boxes outward, and find or check the pane on which each was drawn; in place."""
    panes_of = {
        clip: {name: pane for name, pane in zip(MODALITIES, panes, strict=True) if pane is not None}
        for _, clip, *panes in clips[["clip_id", "bmode_pane", "ceus_pane"]][::-1].itertuples()
    }  # reversed: of a clip_id given twice, which is a fault, the first counts
    placed: list[tuple[int, int, int, int, str]] = []
    for row, clip, x, y, width, height, drawn_on in boxes[
        ["clip_id", "x", "y", "width", "height", "pane"]
    ].itertuples():
        box = box_outward(x, y, width, height)
        pane = drawn_on
        panes = panes_of.get(clip, {})
        if panes and all(isinstance(pane, Pane) for pane in panes.values()):  # else: a fault there
            reason, pane = _place(box, panes, drawn_on)
            if reason:
                report.add("boxes.csv", row, reason)
        placed.append((box.x, box.y, box.width, box.height, pane))
    columns = ["x", "y", "width", "height", "pane"]
    boxes[columns] = pd.DataFrame(placed, index=boxes.index, columns=columns)


def _place(box: Box, panes: Mapping[str, Pane], drawn_on: str) -> tuple[str, str]:
    """(what is wrong, or "", the box's pane, or "")."""
    if not drawn_on:
        for name, pane in panes.items():
            if pane.contains(box):
                return "", name
        given = " or ".join(f"{name}_pane {pane}" for name, pane in panes.items())
        return f"the box {box} does not lie inside {given} of its clip", ""
    if drawn_on not in panes:
        return f"pane is {drawn_on}, but clips.csv gives no {drawn_on}_pane for this clip", ""
    if not panes[drawn_on].contains(box):
        return f"the box {box} reaches outside its {drawn_on}_pane {panes[drawn_on]}", ""
    return "", drawn_on


def _check_pairs(
    text: pd.DataFrame | None, patients: pd.DataFrame | None, folder: Path, report: Report
) -> pd.DataFrame | None:
    if text is None:
        return None
    if "phase" in text:
        text["phase"] = text["phase"].str.lower()
    table = _validate(
        "pairs.csv", text, pairs_schema(report.ids("patients.csv", patients, "patient_id")), report
    )
    if "patient_id" not in table:
        return None
    _check_paths("pairs.csv", table, ["bmode_path", "ceus_path"], IMAGE_ENDINGS, folder, report)
    seen: dict[tuple[str, str], int] = {}
    for row, bmode, ceus in table[["bmode_path", "ceus_path"]].itertuples():
        first = seen.setdefault((bmode, ceus), row)
        if first != row and (bmode or ceus):
            report.add("pairs.csv", row, f"the same images are in row {first} already")
    return table.assign(frame=_integers(numbers(table["frame"])))


def _check_paths(
    name: str,
    table: pd.DataFrame,
    columns: list[str],
    endings: tuple[str, ...],
    folder: Path,
    report: Report,
) -> None:
    """Every path leads to a file inside the folder, and no file belongs to two patients."""
    root = folder.resolve()
    owners: dict[Path, tuple[str, int]] = {}
    for column in columns:
        for row, patient, path in table[["patient_id", column]].itertuples():
            if not path:
                continue
            if problem := _path_problem(root, path, endings):
                report.add(name, row, f"{column} {_quoted(path)} {problem}")
                continue
            owner, first = owners.setdefault((root / path).resolve(), (patient, row))
            if owner != patient:
                report.add(
                    name,
                    row,
                    f"{column} {_quoted(path)} of patient {_quoted(patient)} is used in row "
                    f"{first} for patient {_quoted(owner)} already",
                )


def _path_problem(root: Path, path: str, endings: tuple[str, ...]) -> str:
    if "\\" in path:
        return "has a backslash, expected folders separated by /"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        return "is absolute, expected a path relative to the cohort folder"
    if ".." in PurePosixPath(path).parts:
        return "climbs with .., expected a path inside the cohort folder"
    file = root / path
    try:
        if not file.resolve().is_relative_to(root):
            return "is a link that leads out of the cohort folder"
        if not file.exists():
            return "does not exist"
        if file.is_dir():
            return "is a folder, expected a file"
    except OSError as error:  # a name too long, a loop of links
        return f"cannot be read: {error.strerror}"
    if file.suffix.lower() not in endings:
        known = ", ".join(ending for ending in endings if ending)
        return f"has an ending that is not supported, expected one of {known}"
    return ""


def _warnings(
    patients: pd.DataFrame,
    clips: pd.DataFrame | None,
    boxes: pd.DataFrame | None,
    pairs: pd.DataFrame | None,
) -> tuple[str, ...]:
    """Tables of a hospital list excluded patients and clips too: said, and left out."""
    used, what = (pairs, "pair") if pairs is not None else (clips, "clip")
    found = []
    if used is not None:
        without = patients.loc[~patients["patient_id"].isin(used["patient_id"]), "patient_id"]
        found.append(("patients.csv", "patient", "patients", what, without))
    if clips is not None and boxes is not None:
        without = clips.loc[~clips["clip_id"].isin(boxes["clip_id"]), "clip_id"]
        found.append(("clips.csv", "clip", "clips", "box", without))
    return tuple(
        f"{table}: {len(ids):,} {one if len(ids) == 1 else many} without any {part}, left out: "
        + ", ".join(ids[:5])
        + (", ..." if len(ids) > 5 else "")
        for table, one, many, part, ids in found
        if len(ids)
    )


# From a file to cells of text.


def _tables_of(folder: Path) -> list[str]:
    """Which tables the folder should have, judged by those that it has."""
    if not folder.is_dir():
        raise InputFault(f"there is no cohort folder {folder}")
    present = {name for name in TABLES if (folder / name).exists()}
    faults = []
    if "patients.csv" not in present:
        faults.append(_missing(folder, "patients.csv", "a row a patient"))
    if "pairs.csv" in present:
        for name in sorted({"clips.csv", "boxes.csv"} & present):
            faults.append(
                f"{folder} has both pairs.csv and {name}, expected either pairs.csv or clips.csv "
                "and boxes.csv"
            )
    elif not {"clips.csv", "boxes.csv"} & present:
        faults.append(
            f"{folder} has no clips, expected clips.csv and boxes.csv, or pairs.csv for images "
            "that are cropped already"
        )
    else:
        for name, rows in (
            ("clips.csv", "a row a clip"),
            ("boxes.csv", "a row an annotated frame"),
        ):
            if name not in present:
                faults.append(_missing(folder, name, rows))
    raise_faults(faults)
    return [name for name in TABLES if name in present]


def _missing(folder: Path, name: str, rows: str) -> str:
    alike = [path.name for path in folder.iterdir() if path.name.lower() == name]
    hint = f" (there is {alike[0]}, expected lower case)" if alike else ""
    return f"{folder} has no {name}{hint}, expected one with {rows}"


SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
SAVE_AS = "save it as CSV UTF-8 (comma separated)"


def _read_text(path: Path, report: Report) -> pd.DataFrame | None:
    """A CSV's cells as text, stripped, indexed by line; None, and a fault, where that fails."""

    def fault(row: int | None, reason: str) -> None:
        report.add(path.name, row, reason)

    try:
        data = path.read_bytes()
    except OSError as error:
        fault(None, f"cannot be read: {error.strerror}")
        return None
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature):
            fault(None, f"is {kind}, {SAVE_AS}")
            return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault(data[: error.start].count(b"\n") + 1, f"the text is not UTF-8, {SAVE_AS}")
        return None
    if "\0" in text:
        fault(None, f"is not plain text, {SAVE_AS}")
        return None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    rows: dict[int, list[str]] = {}
    line = 1
    try:
        for cells in lines:
            cells = [cell.strip() for cell in cells]
            if any(cells) and header is None:
                header = cells
            elif any(cells):  # Excel writes a row of commas for a row that was cleared
                rows[line] = cells
            line = lines.line_num + 1
    except csv.Error as error:
        fault(line, f"is not readable as CSV: {error}")
        return None
    if header is None:
        fault(None, "is empty, expected a header and at least one row")
        return None
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        mark = "semicolons" if ";" in header[0] else "tabs"
        fault(None, f"has its columns separated by {mark}, {SAVE_AS}")
        return None
    return _tabulate(path.name, header, rows, report)


def _tabulate(
    name: str, header: list[str], rows: dict[int, list[str]], report: Report
) -> pd.DataFrame | None:
    if not rows:
        report.add(name, None, "has a header and no rows, expected at least one row")
        return None
    twice = sorted({column for column in header if column and header.count(column) > 1})
    for column in twice:
        report.add(name, None, f"has {header.count(column)} columns {column}, expected one")
    hint = ' (a pane is quoted: "0,0,320,240")' if any("_pane" in column for column in header) else ""
    ragged = {row for row, cells in rows.items() if len(cells) != len(header)}
    if ragged:
        report.incomplete.add(name)
    for row in ragged:
        count = f"{len(rows[row])} cell{'s' * (len(rows[row]) != 1)}"
        report.add(name, row, f"has {count}, the header has {len(header)}{hint}")
    if twice or len(ragged) == len(rows):
        return None
    whole = {row: cells for row, cells in rows.items() if row not in ragged}
    table = pd.DataFrame(
        list(whole.values()), index=pd.Index(list(whole), name="row"), columns=header, dtype=str
    )
    return table.drop(columns=[""], errors="ignore")


def _validate(
    name: str, table: pd.DataFrame, schema: pa.DataFrameSchema, report: Report
) -> pd.DataFrame:
    """Judge the text by its schema; all faults go to the report, row by row.

    Returns:
        The table with every known column: optional ones that the file lacks are there, and empty.
    """
    for column in table.columns:
        plain = column.lower().replace(" ", "_")
        if plain in COLUMNS[name] and plain not in table.columns:
            report.add(name, None, f"has a column {_quoted(column)}, expected {plain}")
            table = table.rename(columns={column: plain})
    choices = CHOICES.get(name, ())
    if choices and not set(choices) & set(table.columns):
        report.add(name, None, f"has no column {choices[0]} or {choices[1]}, expected at least one")
        schema.checks = []  # else every row would repeat it
    needed = NEEDED[name]
    for column in COLUMNS[name]:
        if column not in table.columns and column not in needed:
            table = table.assign(**{column: ""})
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        _word(name, table, errors.failure_cases, report)
    return table.copy()


NEEDED = {
    "patients.csv": ("patient_id",),
    "clips.csv": ("clip_id", "patient_id", "path"),
    "boxes.csv": ("clip_id", "frame", "x", "y", "width", "height"),
    "pairs.csv": ("patient_id",),
}


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
                report.add(name, row, f"{column} {_quoted(value)} is in row {first} already")
        else:
            report.add(name, row, f"{column} is {_shown(failure['failure_case'])}, {check}")


def _shown(cell: str) -> str:
    """A cell in a message: numbers bare, text quoted, nothing as "empty"."""
    if cell == "":
        return "empty"
    return cell if np.isfinite(pd.to_numeric(cell, errors="coerce")) else _quoted(cell)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _integers(values: Cells) -> Cells:
    """Float64 as nullable Int64; what is no whole number becomes empty (it has a fault already)."""
    return values.where(values == np.floor(values)).astype("Int64")


def _pane(text: str) -> Pane | str | None:
    """The pane, None where the cell is empty, the text itself where it is no pane."""
    try:
        return parse_pane(text) if text else None
    except ValueError:
        return text
