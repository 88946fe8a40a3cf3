"""The faults of a cohort folder, gathered from all its tables and reported in one go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:  # processes that cut crops need no tables
    import pandas as pd

TABLES = ("patients.csv", "clips.csv", "boxes.csv", "pairs.csv")
SHOWN_FAULTS = 50  # more than that is one mistake made many times


class ClipFault(InputFault):
    """A clip or image that cannot give what is wanted of it.

    Attributes:
        reason: the message without the file, e.g. "has 18 frames that can be read, ...".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


def too_short(read: int, promised: int) -> str:
    """The reason of a clip that gave `read` frames of those that its header promises."""
    frames = f"has {read} frames that can be read" if read != 1 else "has 1 frame that can be read"
    return f"{frames}, though its header says {promised}" if promised > read else frames


@dataclass
class Report:
    """The faults so far; they come out by file and row, in whatever order they were added."""

    faults: set[tuple[int, int, str]] = field(default_factory=set)
    bad_rows: set[tuple[str, int]] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)  # tables with rows that cannot be read

    def add(self, table: str, row: int | None, reason: str) -> None:
        """Note a fault of one row, or of the whole file where `row` is None."""
        where = f"{table} row {row}:" if row else f"{table}"
        order = TABLES.index(table) if table in TABLES else len(TABLES)
        self.faults.add((order, row or 0, f"{where} {reason}"))
        if row:
            self.bad_rows.add((table, row))

    def good_rows(self, table: str, cells: pd.DataFrame) -> pd.DataFrame:
        """The rows without a fault so far: a second look at the others would only make noise."""
        bad = [row for row in cells.index if (table, row) in self.bad_rows]
        return cells.drop(index=bad)

    def ids(self, table: str, cells: pd.DataFrame | None, column: str) -> set[str] | None:
        """The ids that a table has; None where that is not known, as some could not be read."""
        if cells is None or table in self.incomplete:
            return None
        return set(cells[column]) - {""}

    def raise_faults(self) -> None:
        """Raise one `InputFault` with all faults, if there are any."""
        raise_faults(message for _, _, message in sorted(self.faults))


def raise_faults(faults: Iterable[str]) -> None:
    """Raise the faults together, if there are any; of a flood only the first ones and its size."""
    messages = list(faults)
    if len(messages) > SHOWN_FAULTS:
        messages[SHOWN_FAULTS:] = [f"... and {len(messages) - SHOWN_FAULTS:,} more faults like these"]
    if messages:
        raise InputFault(messages)


def quoted(text: str) -> str:
    """A cell's text in a message, cut where it is long."""
    return repr(cut(text))


def cut(text: str) -> str:
    """A text in a message, cut where it is long."""
    return text if len(text) <= 60 else f"{text[:57]}..."
