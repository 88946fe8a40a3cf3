"""`mufnet characteristics`: Table 1."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, several, word
from mufnet_lightning.vocabulary import Kind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Characteristics:
    """Describe the patients of two groups or more: Table 1.

    Ids, names, dates, and text of which most patients have a value of their own are never printed;
    which columns were left out is told.

    Args:
        patients: a row a patient
        by: the groups, two to twelve; grade means 1 and 2 against 3 and 4
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
        from mufnet_lightning.study.table_one import table_one

        kinds: dict[str, Kind] = dict.fromkeys(self.categories, "category")
        kinds |= dict.fromkeys(self.numbers, "number")
        table = table_one(self.patients, self.by, self.variables or None, kinds)
        print(table.printed(self.format))
        if self.format != "table" and table.left_out:
            log.warning("%s", table.note())
