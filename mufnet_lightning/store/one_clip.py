"""One clip and its boxes as a cohort: the tables of a hospital, for whoever has none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.faults import Report
from mufnet_lightning.cohort.geometry import parse_pane
from mufnet_lightning.cohort.identity import read_id
from mufnet_lightning.cohort.panes import EMPTY, WRITE, WRITE_ONE, tells_nothing
from mufnet_lightning.cohort.read import Cohort, check_cohort
from mufnet_lightning.cohort.schemas import MEASURES
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES, Contrast

_OPTIONS = " and ".join(f"--{name}-pane X,Y,WIDTH,HEIGHT" for name in MODALITIES)
_NO_PANES = "no clips.csv beside it names its panes"
_PARENTS = 2  # folders above the clip's own in which its tables are looked for


@dataclass(frozen=True)
class OneClip:
    """A clip of a patient.

    Attributes:
        clip: AVI, MP4 or DICOM.
        boxes: a table as boxes.csv; `clip_id` may be missing where all rows are this clip's. Without
            it, the boxes.csv beside the clips.csv that names the clip.
        panes: by modality `x,y,width,height` in pixels of the frame; that of that clips.csv where it is
            not given, and where neither says, that of the clip's header.
        patient: id; that of clips.csv, else the clip's file name without its ending.
        contrast: where it stands of two panes of the header.
    """

    clip: Path
    boxes: Path | None = None
    panes: Mapping[str, str] | None = None
    patient: str | None = None
    contrast: Contrast = "tint"

    def cohort(self) -> Cohort:
        """The clip's tables, checked.

        Raises:
            InputFault: with everything that is wrong.
        """
        if not self.clip.is_file():
            raise InputFault(f"--clip {self.clip}: there is no such file")
        listed = self._listed()
        known = listed.row if listed else {}
        panes = {**_panes_of(known), **(self.panes or {})}
        _check_panes(self.clip, panes)
        boxes = self.boxes or (listed.folder / "boxes.csv" if listed else None)
        if boxes is None:
            raise InputFault(
                f"--clip {self.clip} needs --boxes FILE: frame, x, y, width, height of each annotated "
                "frame, as in boxes.csv"
            )
        if not boxes.is_file():
            raise InputFault(f"--boxes {boxes}: there is no such file")
        patient = self.patient or known.get("patient_id") or self.clip.stem
        clip_id = known.get("clip_id") or self.clip.stem
        clip = {"clip_id": clip_id, "patient_id": patient, "path": self.clip.name}
        clip |= {f"{name}_pane": panes.get(name, "") for name in MODALITIES}
        clip |= {name: known[name] for name in (*MEASURES, "modality") if name in known}
        texts: dict[str, pd.DataFrame | None] = {
            "patients.csv": _table({"patient_id": patient}),
            "clips.csv": _table(clip),
            "boxes.csv": _boxes_of(boxes, clip_id, self.clip),
        }
        try:
            cohort = check_cohort(texts, self.clip.parent, with_grades=False, contrast=self.contrast)
        except InputFault as fault:
            raise InputFault([self.worded(one) for one in fault.faults]) from None
        report = Report()
        cohort_id = read_id(listed.folder, report) if listed else None
        report.raise_faults()
        return replace(cohort, id=cohort_id)

    @property
    def patient_is_guessed(self) -> bool:
        """Whether nobody said who the patient is: the clip's name stands in."""
        return self.patient is None and self._listed() is None

    def worded(self, fault: str) -> str:
        """A sentence about the tables as one about the clip and the file of boxes that were given."""
        given = fault.replace("clips.csv row 2:", f"clip {self.clip}:")
        given = given.replace(EMPTY, _NO_PANES).replace(WRITE, f"give {_OPTIONS}")
        given = given.replace(WRITE_ONE, f"give {_OPTIONS.replace(' and ', ' or ')}")
        return given.replace("boxes.csv", str(self.boxes)) if self.boxes else given

    def _listed(self) -> _Listed | None:
        """The row of a clips.csv beside or above the clip that names it."""
        for folder in self.clip.resolve().parents[: _PARENTS + 1]:
            if (folder / "clips.csv").is_file():
                table = read_table(folder / "clips.csv")
                for _, row in table.iterrows() if "path" in table else ():
                    if (folder / row["path"]).resolve() == self.clip.resolve():
                        return _Listed(folder, {str(name): str(cell) for name, cell in row.items()})
        return None


@dataclass(frozen=True)
class _Listed:
    folder: Path
    row: Mapping[str, str]


def _panes_of(row: Mapping[str, str]) -> dict[str, str]:
    """The panes of a row of clips.csv, by modality."""
    return {name: row[f"{name}_pane"] for name in MODALITIES if row.get(f"{name}_pane")}


def _check_panes(clip: Path, panes: Mapping[str, str]) -> None:
    if not panes and tells_nothing(clip):
        raise InputFault(
            f"--clip {clip}: {_NO_PANES}; give {_OPTIONS} (pixels of the frame; one of them if it has "
            "only one)"
        )
    for name, text in panes.items():
        try:
            parse_pane(text)
        except ValueError:
            raise InputFault(
                f"the {MODALITY_NAMES[name]} pane is {text!r}, expected x,y,width,height in whole "
                "pixels of the frame, width and height above 0"
            ) from None


def _boxes_of(file: Path, clip_id: str, clip: Path) -> pd.DataFrame:
    """The boxes of one clip, as text."""
    table = read_table(file)
    if "clip_id" not in table:
        return table.assign(clip_id=clip_id)
    own = table[table["clip_id"] == clip_id]
    if own.empty:
        others = ", ".join(sorted(set(table["clip_id"]))[:3])
        raise InputFault(
            f"{file} has no box of clip {clip_id} ({clip.name}), only of {others}; leave out its "
            "column clip_id if all of them are this clip's"
        )
    return own


def _table(cells: Mapping[str, str]) -> pd.DataFrame:
    """A table of one row, which a file would have in line 2."""
    return pd.DataFrame([cells], index=pd.Index([2], name="row"), dtype=str)
