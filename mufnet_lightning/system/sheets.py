"""CSV that a spreadsheet shows and does not run, and that reads back as it was.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula, and a formula can send what
stands in the others somewhere. Text that begins so is written behind a single quote, as OWASP has it
("CSV injection"), and read without it. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_RUN = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_WRITTEN = re.compile(f"'*{_RUN.pattern}")
_READ = re.compile(f"'+{_RUN.pattern}")
_NUMBER = r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s?%?"
_HARMLESS = re.compile(rf"-|{_NUMBER}( \({_NUMBER}( ?to |, |–){_NUMBER}\))?")
"""A number, also with its interval, or a dash for none."""


def is_run(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula.

    >>> is_run("=HYPERLINK(...)"), is_run("-0.012 (-0.1 to 0.08)"), is_run("P-001")
    (True, False, False)
    """
    return bool(_RUN.match(text)) and not _HARMLESS.fullmatch(text)


def shown(text: str) -> str:
    """A cell's text as it is written; `meant` undoes it.

    >>> shown("=1+1"), shown("'=1+1"), shown("-12"), shown("it's")
    ("'=1+1", "''=1+1", '-12', "it's")
    """
    quoted = _WRITTEN.match(text) and not _HARMLESS.fullmatch(text)
    return f"'{text}" if quoted else text


def meant(text: str) -> str:
    """The text of a cell that was read; of one that `shown` did not change, that very text.

    >>> meant("'=1+1"), meant("'tis"), meant("-12")
    ('=1+1', "'tis", '-12')
    """
    return text[1:] if _READ.match(text) else text


def csv_text(table: pd.DataFrame, index: bool = False) -> str:
    """A table as CSV, its text and the names of its columns as they are `shown`; lines end in \\n."""
    written = _each(table.reset_index() if index else table, shown)
    text = str(written.to_csv(index=False, lineterminator="\n"))
    if "\r" in text:  # which Python's writer takes for no end of a line, and its reader does
        text = str(written.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC))
    return text


def as_meant(table: pd.DataFrame) -> pd.DataFrame:
    """A table that was read, its text and the names of its columns as they are `meant`."""
    return _each(table, meant)


def _each(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """With every text changed, and all else as it is; without a copy where no text begins oddly."""
    import pandas as pd

    table = table.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
    for place, dtype in enumerate(table.dtypes):
        if not (
            pd.api.types.is_object_dtype(dtype)
            or isinstance(dtype, pd.StringDtype | pd.CategoricalDtype)
        ):
            continue
        cells = table.iloc[:, place]
        odd = [isinstance(cell, str) and change(cell) != cell for cell in cells]
        if any(odd):
            changed = [change(cell) if isinstance(cell, str) else cell for cell in cells]
            kept = object if isinstance(dtype, pd.CategoricalDtype) else dtype
            table.isetitem(place, pd.array(changed, dtype=kept))  # by place: names may be twice
    return table
