"""`mufnet prepare`: a cohort folder becomes a crop store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import option, word
from mufnet_lightning.vocabulary import Contrast


@dataclass(frozen=True)
class Prepare:
    """Check a cohort, cut its paired crops, write a store. Stopped, it goes on where it was.

    A cohort without a cohort.json is given one: its id tells that the cohort is the same when it grows.

    Args:
        cohort: folder with the tables
        store: folder to write
        margin: context around each box, as a share of its side
        contrast: where it stands of two panes, for clips whose panes are those of the header
        without_grades: patients.csv has no grade or label: a store for `mufnet predict` only
    """

    cohort: Annotated[Path, word("COHORT", there="cohort folder")]
    store: Annotated[Path, word("STORE")]
    margin: Annotated[float, option("SHARE")] = 0.0
    contrast: Contrast = "tint"
    without_grades: bool = False

    def run(self) -> None:
        """Write the store."""
        from mufnet_lightning.store.inputs import made_before, same_inputs
        from mufnet_lightning.system.processes import start_early

        # told without pandas and OpenCV, which take longer to load than this to see
        with_grades = not self.without_grades
        made = made_before(self.cohort, self.store, self.margin, with_grades, self.contrast)
        if made is not None:
            print(same_inputs(self.store, made))
            return
        start_early(["mufnet_lightning.store.cut"])
        from mufnet_lightning.store.prepare import prepare_store

        prepare_store(self.cohort, self.store, self.margin, with_grades, self.contrast)
