"""`mufnet prepare`: a cohort folder becomes a crop store."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mufnet_lightning.commands.options import option, several, word
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.guards import is_loop
from mufnet_lightning.vocabulary import Contrast

if TYPE_CHECKING:
    from mufnet_lightning.cohort.pseudonyms import Pseudonyms

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepare:
    """Check a cohort, cut its paired crops, write a store. Stopped, it goes on where it was.

    A cohort without a cohort.json is given one: its id tells that the cohort is the same when it grows.

    Args:
        cohort: folder with the tables
        store: folder to write
        margin: context around each box, as a share of its side
        contrast: where it stands of two panes, for clips whose panes are those of the header
        root: another folder in which the clips may be, and into which links may lead
        pseudonymize: key that makes pseudonyms of all ids, made where it is not there; keep it apart
            from the store
        columns: with --pseudonymize, the columns of patients.csv that the store keeps (center and
            scanner too)
        without_grades: patients.csv has no grade or label: a store for `mufnet predict` only
    """

    cohort: Annotated[Path, word("COHORT", there="cohort folder")]
    store: Annotated[Path, word("STORE")]
    margin: Annotated[float, option("SHARE")] = 0.0
    contrast: Contrast = "tint"
    root: Annotated[Path | None, option("DIR", there="folder")] = None
    pseudonymize: Annotated[Path | None, option("KEYFILE")] = None
    columns: Annotated[tuple[str, ...], several("NAMES")] = ()
    without_grades: bool = False

    def __post_init__(self) -> None:
        if self.columns and self.pseudonymize is None:
            raise InputFault("--columns goes with --pseudonymize: without it no column is in a store")
        for place in (self.store, self.pseudonymize):
            if place is not None and is_loop(place):
                raise InputFault(f"{place} is a link that leads to itself")

    def run(self) -> None:
        """Write the store."""
        from mufnet_lightning.store.inputs import made_before, same_inputs
        from mufnet_lightning.system.processes import start_early

        pseudonyms = self._pseudonyms()
        graded = not self.without_grades
        # told without pandas and OpenCV, which take longer to load than this to see
        asked = self.margin, graded, self.contrast, self.root, pseudonyms
        made = made_before(self.cohort, self.store, *asked)
        if made is not None:
            print(same_inputs(self.store, made))
            return
        start_early(["mufnet_lightning.store.cut"])
        from mufnet_lightning.store.prepare import prepare_store

        prepare_store(self.cohort, self.store, *asked)

    def _pseudonyms(self) -> Pseudonyms | None:
        """With their key, which is made where it is not there, and never in the store."""
        if self.pseudonymize is None:
            return None
        from mufnet_lightning.cohort.pseudonyms import Pseudonyms

        key = self.pseudonymize
        if key.resolve().is_relative_to(self.store.resolve()):
            raise InputFault(f"--pseudonymize {key}: the key lies in the store, expected it elsewhere")
        is_new = not key.exists()
        pseudonyms = Pseudonyms.read(key, self.columns, make=True)
        if is_new:
            log.info("%s is the key to the pseudonyms: without it nobody can tell who is who", key)
        return pseudonyms
