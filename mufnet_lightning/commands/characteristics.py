"""`mufnet characteristics`: Table 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, several, word
from mufnet_lightning.vocabulary import Kind


@dataclass(frozen=True)
class Characteristics:
    """Describe the patients of two groups: Table 1.

    Args:
        patients: a row a patient
        by: the two groups; grade means 1 and 2 against 3 and 4
        variables: columns to describe; all but ids and outcome unless given
        categories: columns that are codes, not numbers
        numbers: columns that are numbers, not codes
        format: what is printed
    """

    patients: Annotated[Path, word("PATIENTS.csv", there="file")]
    by: Annotated[str, option("COLUMN")]
    variables: Annotated[tuple[str, ...], several("A,B,...")] = ()
    categories: Annotated[tuple[str, ...], several("A,...")] = ()
    numbers: Annotated[tuple[str, ...], several("A,...")] = ()
    format: Literal["table", "csv", "json"] = "table"

    def run(self) -> None:
        """Print it."""
        from mufnet_lightning.study.table_one import printed, table_one

        kinds: dict[str, Kind] = dict.fromkeys(self.categories, "category")
        kinds |= dict.fromkeys(self.numbers, "number")
        rows = table_one(self.patients, self.by, self.variables or None, kinds)
        print(printed(rows, self.format))
