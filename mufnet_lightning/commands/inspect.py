"""`mufnet inspect`: one page to look at before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import option, word
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import Contrast


@dataclass(frozen=True)
class Inspect:
    """Look at a cohort folder or a store before training: findings, and one HTML page with pictures.

    Prints a line a finding. The exit code is 2 where a study would be spoilt.

    The page is for your own eyes: of a cohort's clips it shows whole frames, with whatever a scanner
    wrote into them, and it names patients by their ids.

    Args:
        path: cohort folder, or a store that prepare wrote
        out: file to write
        clips: of how many clips frames are drawn, with panes and boxes
        pairs: of how many patients a pair is on the contact sheet
        root: another folder in which the clips may be, and into which links may lead
        contrast: where it stands of two panes, for clips whose panes are those of the header
        without_frames: show crops alone, and nothing of a frame around them
        without_grades: patients.csv has no grade or label
    """

    path: Annotated[Path, word("COHORT|STORE")]
    out: Annotated[Path, option("FILE")] = Path("inspect.html")
    clips: Annotated[int, option("N")] = 12
    pairs: Annotated[int, option("N")] = 100
    root: Annotated[Path | None, option("DIR", there="folder")] = None
    contrast: Contrast = "tint"
    without_frames: bool = False
    without_grades: bool = False

    def run(self) -> None:
        """Look, write the page, print what was seen.

        Raises:
            InputFault: a study would be spoilt, after the page was written; or there is nothing to see.
        """
        if self.out.is_dir() or not self.out.parent.is_dir():
            raise InputFault(f"--out {self.out}: expected a file in a folder that is there")
        from mufnet_lightning.system.processes import start_early

        start_early(["mufnet_lightning.store.inspection.look"])
        from mufnet_lightning.report.inspection import write_inspection
        from mufnet_lightning.store.inspection.gather import inspect_path

        seen = inspect_path(
            self.path,
            self.clips,
            self.pairs,
            frames=not self.without_frames,
            with_grades=not self.without_grades,
            contrast=self.contrast,
            root=self.root,
        )
        page = write_inspection(seen, self.out)
        for finding in seen.findings:
            print(finding)
        print(f"to look at: {page}")
        faults = seen.of("fault")
        if faults:
            many = f"{len(faults)} of these would" if len(faults) > 1 else "one of these would"
            raise InputFault(f"{many} spoil a study; {page} shows them")
