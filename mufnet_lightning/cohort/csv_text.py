"""The tables of a cohort folder as text: which there are, and their cells as the user wrote them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.faults import TABLES, Report, cut, raise_faults
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.guards import LARGEST_TABLE, read_bytes
from mufnet_lightning.system.sheets import meant

LONGEST_LINE = 1 << 20
MOST_COLUMNS = 4096
MOST_CELLS = 1 << 25
"""Of a table; boxes.csv has ten an annotated frame."""
SAVE_AS = "save it as CSV UTF-8 (comma separated)"
SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


def read_texts(folder: Path, report: Report) -> dict[str, pd.DataFrame | None]:
    """Every table of a cohort folder, cells stripped, indexed by the row's line in its file.

    A table that cannot be read is None, and the report says why. A row with too many or too few
    cells is reported and left out.

    Raises:
        InputFault: the folder is not there, or not with the tables that belong together.
    """
    return {name: _read_text(folder / name, report) for name in _tables_of(folder)}


def read_table(path: Path) -> pd.DataFrame:
    """One table of any name, as text, cells stripped, indexed by the row's line in its file.

    Raises:
        InputFault: it cannot be read, or a row has too many or too few cells.
    """
    report = Report()
    table = _read_text(path, report)
    report.raise_faults()
    assert table is not None  # else the report says why
    return table


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
        for name, rows in (("clips.csv", "a row a clip"), ("boxes.csv", "a row an annotated frame")):
            if name not in present:
                faults.append(_missing(folder, name, rows))
    raise_faults(faults)
    return [name for name in TABLES if name in present]


def _missing(folder: Path, name: str, rows: str) -> str:
    alike = [path.name for path in folder.iterdir() if path.name.lower() == name]
    hint = f" (there is {alike[0]}, expected lower case)" if alike else ""
    return f"{folder} has no {name}{hint}, expected one with {rows}"


class _Unreadable(Exception):
    """A file that is no table: the row where that shows (None: nowhere in particular), the reason."""

    def __init__(self, row: int | None, reason: str) -> None:
        super().__init__(row, reason)
        self.row, self.reason = row, reason


def _read_text(path: Path, report: Report) -> pd.DataFrame | None:
    try:
        header, rows = _split(_decode(path))
    except _Unreadable as fault:
        report.add(path.name, fault.row, fault.reason)
        return None
    return _tabulate(path.name, header, rows, report)


def _decode(path: Path) -> str:
    """The file's text, if it is plain text in UTF-8."""
    try:
        data = read_bytes(path, LARGEST_TABLE)
    except OSError as error:
        raise _Unreadable(None, f"cannot be read: {error.strerror}") from None
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature):
            raise _Unreadable(None, f"is {kind}, {SAVE_AS}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise _Unreadable(row, f"the text is not UTF-8, {SAVE_AS}") from None
    if max(map(len, io.BytesIO(data)), default=0) > LONGEST_LINE:
        raise _Unreadable(None, f"has a line of more than {LONGEST_LINE:,} bytes, expected a table")
    if "\0" in text:
        raise _Unreadable(None, f"is not plain text, {SAVE_AS}")
    return text


def _split(text: str) -> tuple[list[str], dict[int, list[str]]]:
    """The header, and the cells of each row that has any, by its line in the file."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[int, list[str]] = {}
    line, count = 1, 0
    try:
        for cells in lines:
            cells = [meant(cell.strip()) for cell in cells]
            if any(cells):  # Excel writes a row of commas for a row that was cleared
                if len(cells) > MOST_COLUMNS:
                    raise _Unreadable(line, f"has more than {MOST_COLUMNS:,} columns")
                rows[line] = cells
                count += len(cells)
                if count > MOST_CELLS:
                    raise _Unreadable(line, f"is where the table has more than {MOST_CELLS:,} cells")
            line = lines.line_num + 1
    except csv.Error as error:
        raise _Unreadable(line, f"is not readable as CSV: {error}") from None
    if not rows:
        raise _Unreadable(None, "is empty, expected a header and at least one row")
    header = rows.pop(min(rows))
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        mark = "semicolons" if ";" in header[0] else "tabs"
        raise _Unreadable(None, f"has its columns separated by {mark}, {SAVE_AS}")
    return header, rows


def _tabulate(
    name: str, header: list[str], rows: dict[int, list[str]], report: Report
) -> pd.DataFrame | None:
    if not rows:
        report.add(name, None, "has a header and no rows, expected at least one row")
        return None
    counts = Counter(column for column in header if column)
    twice = sorted(column for column, count in counts.items() if count > 1)
    for column in twice:
        report.add(name, None, f"has {counts[column]} columns {cut(column)}, expected one")
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
