"""Rows of Table 1: what is said of a variable in each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MeanSd:
    """Of a number that is normal in every group."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Quartiles:
    """Of a number that is not."""

    median: float
    q1: float
    q3: float


@dataclass(frozen=True)
class Count:
    """Of a category's level, or of missing values.

    Attributes:
        count: of the group's patients.
        percent: of those with a value; of missing values, of all patients of the group. None where
            there are none to count.
    """

    count: int
    percent: float | None


@dataclass(frozen=True)
class Cell:
    """One group's cell of a row.

    Attributes:
        text: to print.
        summary: the numbers behind it; None where the group has no values.
        n: patients of the group with a value.
        patients: of the group.
    """

    text: str
    summary: MeanSd | Quartiles | Count | None
    n: int
    patients: int

    def as_json(self) -> dict[str, object]:
        """`text`, `n`, the numbers by their names, `patients`."""
        numbers = asdict(self.summary) if self.summary else {}
        return {"text": self.text, "n": self.n, **numbers, "patients": self.patients}


@dataclass(frozen=True)
class CharacteristicsRow:
    """A row of Table 1.

    Attributes:
        variable: the column's name.
        level: of a category; `missing` for values that are; None for a number.
        groups: a cell for each group, by its name.
        test, p: of the whole variable; None where it cannot be tested.
        note: why it cannot, or what must be known of p and `smd`.
        smd: standardised mean difference of the whole variable, 0 or more; of more than two groups the
            largest of any two. None where it is not defined.
    """

    variable: str
    level: str | None
    groups: Mapping[str, Cell]
    test: str | None
    p: float | None
    note: str
    smd: float | None = None

    def as_json(self) -> dict[str, object]:
        """The contract's keys, `note`, and `smd`."""
        return {
            "variable": self.variable,
            "level": self.level,
            "groups": {group: cell.as_json() for group, cell in self.groups.items()},
            "test": self.test,
            "p": self.p,
            "note": self.note,
            "smd": self.smd,
        }
