"""`mufnet import`: boxes of other programs become a cohort's boxes.csv."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, several, word
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import MODALITIES, Contrast, Modality

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Import:
    """Show the boxes that another program exported on a cohort's clips; with --write, write boxes.csv.

    Reads CVAT, COCO, YOLO, LabelMe, VIA, masks in PNG and NIfTI, DICOM SEG and SR. Without --write
    nothing is written but a page of pictures, boxes_look.html in the cohort folder: look at it first.

    Args:
        annotations: file, or folder of files of one format
        cohort: folder with clips.csv
        format: cvat, coco, yolo, labelme, via, mask (PNG), nifti, dicom-seg or dicom-sr; told by the
            content unless given
        labels: those of the tumour, where there are others
        label_attribute: attribute that holds the label, where there are several (VIA)
        pane: on which all boxes were drawn; told by their place unless given
        pane_labels: the label of the boxes on each pane, as ceus=LABEL,bmode=LABEL
        clip: clip_id of all annotations, where they do not name it
        frames_from: how names of single pictures are made, as '{clip}_{frame}.png'
        first_frame: what frames count from, 0 or 1, where the format does not say
        root: another folder in which the clips may be, and into which links may lead
        contrast: where it stands of two panes, for clips whose panes are those of the header
        interpolate: fill the frames between two key frames of a track
        most_gap: key frames further apart than that are left as they are
        write: write boxes.csv
        replace: also where there is one already
    """

    annotations: Annotated[Path, word("ANNOTATIONS")]
    cohort: Annotated[Path, word("COHORT", there="cohort folder")]
    format: (
        Literal["cvat", "coco", "yolo", "labelme", "via", "mask", "nifti", "dicom-seg", "dicom-sr"]
        | None
    ) = None
    labels: Annotated[tuple[str, ...], several("A,B,...")] = ()
    label_attribute: Annotated[str | None, option("NAME")] = None
    pane: Modality | None = None
    pane_labels: Annotated[tuple[str, ...], several("PANE=LABEL,...")] = ()
    clip: Annotated[str | None, option("ID")] = None
    frames_from: Annotated[str | None, option("PATTERN")] = None
    first_frame: Literal[0, 1] | None = None
    root: Annotated[Path | None, option("DIR", there="folder")] = None
    contrast: Contrast = "tint"
    interpolate: bool = False
    most_gap: Annotated[int, option("N")] = 10
    write: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        faults = []
        for given in self.pane_labels:
            pane, equals, label = given.partition("=")
            if pane not in MODALITIES or not equals or not label:
                faults.append(f"--pane-labels has {given!r}, expected ceus=LABEL or bmode=LABEL")
        labels = [given.partition("=")[2] for given in self.pane_labels]
        if len(set(labels)) < len(labels):
            faults.append("--pane-labels names one label for two panes")
        if self.pane and self.pane_labels:
            faults.append("--pane and --pane-labels both tell the pane, expected one of them")
        if self.most_gap < 2:
            faults.append(f"--most-gap is {self.most_gap}, expected 2 or more")
        if self.replace and not self.write:
            faults.append("--replace says what --write may do, expected both")
        if faults:
            raise InputFault(faults)

    def run(self) -> None:
        """Print what was read, write the page of pictures, and boxes.csv where that is asked for."""
        from mufnet_lightning.cohort.annotations.importing import check_free, plan_import
        from mufnet_lightning.cohort.annotations.placing import Choices

        if self.write:
            check_free(self.cohort, self.replace)
        panes: dict[Modality, str] = {
            pane: given.partition("=")[2]
            for given in self.pane_labels
            for pane in MODALITIES
            if given.startswith(f"{pane}=")
        }
        choices = Choices(
            labels=self.labels,
            pane_labels={label: pane for pane, label in panes.items()},
            pane=self.pane,
            clip=self.clip,
            first_frame=self.first_frame,
            frames_from=self.frames_from,
            root=self.root,
            contrast=self.contrast,
            interpolate=self.interpolate,
            most_gap=self.most_gap,
        )
        plan = plan_import(self.annotations, self.cohort, choices, self.format, self.label_attribute)
        print(plan.summary())
        for warning in plan.warnings:
            log.warning("warning: %s", warning)
        print(f"\nlook at {plan.show()}")
        if self.write:
            print(f"wrote {plan.write(self.replace)}")
        else:
            print("boxes.csv is not written; --write does it")
