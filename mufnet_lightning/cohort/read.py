"""The tables of a cohort folder: what a hospital has, read and checked.

Every cell is read as text and judged by a schema, so that a fault names the cell as the user wrote
it, with its line in the file. All faults of all tables come out together, in one `InputFault`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.clip_headers import ClipHeaders, check_views, with_headers
from mufnet_lightning.cohort.csv_text import read_texts
from mufnet_lightning.cohort.doubts import doubts
from mufnet_lightning.cohort.exams import check_exams, check_lesions
from mufnet_lightning.cohort.faults import Report, quoted
from mufnet_lightning.cohort.geometry import Box, Pane, box_outward, parse_pane
from mufnet_lightning.cohort.identity import read_id
from mufnet_lightning.cohort.paths import check_paths, located
from mufnet_lightning.cohort.schemas import (
    MEASURES,
    MOST_FRAMES,
    Cells,
    boxes_schema,
    clips_schema,
    numbers,
    pairs_schema,
    patients_schema,
    validate,
)
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import MODALITIES, PANES, PATHS, Contrast


@dataclass(frozen=True)
class Cohort:
    """A checked cohort folder. The index of each table is the row's line in its file.

    Attributes:
        folder: where the tables are.
        patients: patient_id, grade and label (Int64, empty without grades), center, and the
            clinical columns as text.
        clips: clip_id, patient_id, path, bmode_pane and ceus_pane (`Pane` or None; of the header where
            the table has none), scanner, exam_id (see `exams`); mm_per_pixel, start_s, injection_frame
            (NaN where empty).
        boxes: clip_id, frame, x, y, width, height (whole pixels, rounded outward), pane (`bmode` or
            `ceus`, never empty), phase, lesion_id and box_source (may be empty).
        pairs: patient_id, bmode_path and ceus_path (one may be empty), clip_id, frame (Int64, may
            be empty), phase. A cohort has either clips and boxes, or pairs; the others are None.
        id: what names the cohort (see `identity`); None where the folder has none yet.
        warnings: one sentence each about what is odd, but no fault.
        headers: of the clips, with what was read from them and what is odd there.
        root: where paths in the tables start, before `folder`; None: in `folder` alone.
        mark: of the key that made pseudonyms of its ids (see `pseudonyms`); empty where they are ids.
    """

    folder: Path
    patients: pd.DataFrame
    clips: pd.DataFrame | None = None
    boxes: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    id: str | None = None
    warnings: tuple[str, ...] = ()
    headers: ClipHeaders = field(default_factory=ClipHeaders)
    root: Path | None = None
    mark: str = ""

    def named(self, cohort_id: str | None) -> str | None:
        """What a store notes of the cohort: under pseudonyms, its id with the mark of their key.

        For ids that another key made, or none, say nothing of the same patients.
        """
        return f"{cohort_id or ''}#{self.mark}" if self.mark else cohort_id

    def file(self, path: str) -> Path:
        """The file, or folder of frames, that a table names."""
        return located(_roots(self.folder, self.root), path)


def read_cohort(
    folder: Path,
    with_grades: bool = True,
    contrast: Contrast = "tint",
    root: Path | None = None,
) -> Cohort:
    """Read and check patients.csv with either clips.csv and boxes.csv, or pairs.csv.

    The headers of clips are read too. Where many clips have no panes in the table, worker processes
    look for the contrast, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        folder: the cohort folder.
        with_grades: every patient needs a grade or a label; without, both may be absent or empty.
        contrast: where it stands of the two panes that a header names, for clips without panes in the
            table.
        root: another folder in which the files may be, and into which links may lead.

    Raises:
        InputFault: with every fault of every table, a sentence each.
    """
    folder = Path(folder)
    report = Report()
    if root is not None and not Path(root).is_dir():
        raise InputFault(f"--root {root}: there is no such folder")
    return check_cohort(read_texts(folder, report), folder, with_grades, report, contrast, root)


def check_cohort(
    texts: Mapping[str, pd.DataFrame | None],
    folder: Path,
    with_grades: bool = True,
    report: Report | None = None,
    contrast: Contrast = "tint",
    root: Path | None = None,
) -> Cohort:
    """Check the tables of a cohort, wherever their text is from.

    Args:
        texts: by the name of the table, cells as text, indexed by row; patients.csv with either
            clips.csv and boxes.csv, or pairs.csv. None for one that could not be read.
        folder: where the paths in the tables start.
        with_grades: see `read_cohort`.
        report: with what was wrong already.
        contrast, root: see `read_cohort`.

    Raises:
        InputFault: with every fault of every table, a sentence each.
    """
    report = report or Report()
    tables = checked_tables(texts, folder, with_grades, report, contrast, root)
    cohort_id = read_id(folder, report)
    report.raise_faults()
    patients, clips, boxes, pairs, headers = tables
    assert patients is not None  # a table that could not be read is a fault
    warnings = doubts(patients, clips, boxes, pairs)
    return Cohort(folder, patients, clips, boxes, pairs, cohort_id, warnings, headers, root)


Tables = tuple[
    pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None, ClipHeaders
]


def checked_tables(
    texts: Mapping[str, pd.DataFrame | None],
    folder: Path,
    with_grades: bool,
    report: Report,
    contrast: Contrast = "tint",
    root: Path | None = None,
) -> Tables:
    """Patients, clips, boxes, pairs and headers as `Cohort` has them, with rows that are wrong.

    The faults go to the report. None for a table that is not there or cannot be read.
    """
    roots = _roots(folder, root)
    patients = _check_patients(texts["patients.csv"], with_grades, report)
    clips = boxes = pairs = None
    headers = ClipHeaders()
    if "pairs.csv" in texts:
        pairs = _check_pairs(texts["pairs.csv"], patients, roots, report)
    else:
        clips = _check_clips(texts["clips.csv"], patients, roots, report)
        if clips is not None:
            clips, headers = with_headers(clips, texts, roots, contrast, report)
            check_exams(clips, report)
        boxes = _check_boxes(texts["boxes.csv"], clips, report)
        if clips is not None and boxes is not None:
            check_lesions(boxes, clips, report)
            check_views(boxes, clips, headers, report)
    return patients, clips, boxes, pairs, headers


def _roots(folder: Path, root: Path | None) -> tuple[Path, ...]:
    return (folder,) if root is None else (root, folder)


def _check_patients(
    text: pd.DataFrame | None, with_grades: bool, report: Report
) -> pd.DataFrame | None:
    if with_grades and text is not None and not {"grade", "label"} & set(text.columns):
        report.add("patients.csv", None, "has no column grade, expected grade (1 to 4) or label (0, 1)")
        with_grades = False
    table = validate("patients.csv", text, patients_schema(with_grades), report)
    if table is None:
        return None
    grade, label = numbers(table["grade"]), numbers(table["label"])
    table["grade"] = _integers(grade)
    table["label"] = _integers(label.where(grade.isna(), (grade >= 3).astype(float)))
    return table


def _check_clips(
    text: pd.DataFrame | None,
    patients: pd.DataFrame | None,
    roots: Sequence[Path],
    report: Report,
) -> pd.DataFrame | None:
    known = report.ids("patients.csv", patients, "patient_id")
    table = validate("clips.csv", text, clips_schema(known), report)
    if table is None:
        return None
    check_paths("clips.csv", table, ["path"], None, roots, report)
    for name in MEASURES:
        table[name] = numbers(table[name])
    for modality in MODALITIES:
        panes = [_pane(text) for text in table[f"{modality}_pane"]]
        table[f"{modality}_pane"] = pd.Series(panes, index=table.index, dtype=object)
    for first, second in combinations(PANES, 2):
        for row, one, other in table[[first, second]].itertuples():
            if not isinstance(one, Pane) or not isinstance(other, Pane):
                continue
            if one.overlaps(other):
                report.add("clips.csv", row, f"{first} {one} and {second} {other} overlap")
            elif not one.same_shape(other):
                report.add(
                    "clips.csv",
                    row,
                    f"{first} {one} and {second} {other} differ in shape, expected one ratio of "
                    "width to height, as both show the same tissue",
                )
    return table


def _check_boxes(
    text: pd.DataFrame | None, clips: pd.DataFrame | None, report: Report
) -> pd.DataFrame | None:
    known = report.ids("clips.csv", clips, "clip_id")
    table = validate("boxes.csv", text, boxes_schema(known), report)
    if table is None or clips is None:
        return None
    table = report.good_rows("boxes.csv", table)
    sides = ["x", "y", "width", "height"]
    table = table.assign(
        frame=_integers(numbers(table["frame"])), **{side: numbers(table[side]) for side in sides}
    )
    _check_units(table, report)
    _place_on_panes(table, clips, report)
    seen: dict[tuple[str, int, str, str], int] = {}
    for row, clip, frame, pane, lesion in table[["clip_id", "frame", "pane", "lesion_id"]].itertuples():
        first = seen.setdefault((clip, frame, pane, lesion), row)
        if pane and first != row:
            report.add(
                "boxes.csv",
                row,
                f"clip {quoted(clip)} frame {frame} has its {pane} box in row {first} already, "
                "expected one box a frame and pane, or a lesion_id for each tumour",
            )
    return table.astype(dict.fromkeys(sides, "int64"))


def _check_units(boxes: pd.DataFrame, report: Report) -> None:
    """Boxes in shares of the frame would be cut as single pixels."""
    sides = boxes[["x", "y", "width", "height"]]
    if len(boxes) and bool((sides <= 1).all(axis=None)) and bool((sides % 1 != 0).any(axis=None)):
        report.add(
            "boxes.csv",
            None,
            "has boxes in shares of the frame (0 to 1), expected pixels: multiply x and width by the "
            "width of the frame, y and height by its height",
        )


def _place_on_panes(boxes: pd.DataFrame, clips: pd.DataFrame, report: Report) -> None:
    """Round the boxes outward, and find or check the pane on which each was drawn; in place."""
    panes_of: dict[str, dict[str, Pane]] = {
        clip: {name: pane for name, pane in zip(MODALITIES, panes, strict=True) if pane is not None}
        for _, clip, *panes in clips[["clip_id", *PANES]][::-1].itertuples()
    }  # reversed: of a clip_id given twice, which is a fault, the first counts
    placed: list[tuple[int, int, int, int, str]] = []
    for row, clip, x, y, width, height, drawn_on in boxes[
        ["clip_id", "x", "y", "width", "height", "pane"]
    ].itertuples():
        box = box_outward(x, y, width, height)
        pane = drawn_on
        panes = panes_of.get(clip, {})
        if panes and all(isinstance(pane, Pane) for pane in panes.values()):  # else: a fault there
            reason, pane = _place(box, panes, drawn_on)
            if reason:
                report.add("boxes.csv", row, reason)
        placed.append((box.x, box.y, box.width, box.height, pane))
    columns = ["x", "y", "width", "height", "pane"]
    boxes[columns] = pd.DataFrame(placed, index=boxes.index, columns=columns)


def _place(box: Box, panes: Mapping[str, Pane], drawn_on: str) -> tuple[str, str]:
    """(what is wrong, or "", the box's pane, or "")."""
    if not drawn_on:
        for name, pane in panes.items():
            if pane.contains(box):
                return "", name
        given = " or ".join(f"{name}_pane {pane}" for name, pane in panes.items())
        return f"the box {box} does not lie inside {given} of its clip", ""
    if drawn_on not in panes:
        return f"pane is {drawn_on}, but clips.csv gives no {drawn_on}_pane for this clip", ""
    if not panes[drawn_on].contains(box):
        return f"the box {box} reaches outside its {drawn_on}_pane {panes[drawn_on]}", ""
    return "", drawn_on


def _check_pairs(
    text: pd.DataFrame | None,
    patients: pd.DataFrame | None,
    roots: Sequence[Path],
    report: Report,
) -> pd.DataFrame | None:
    known = report.ids("patients.csv", patients, "patient_id")
    table = validate("pairs.csv", text, pairs_schema(known), report)
    if table is None:
        return None
    check_paths("pairs.csv", table, list(PATHS), IMAGE_ENDINGS, roots, report)
    seen: dict[tuple[str, ...], int] = {}
    for row, *images in table[list(PATHS)].itertuples():
        first = seen.setdefault(tuple(images), row)
        if first != row and any(images):
            report.add("pairs.csv", row, f"the same images are in row {first} already")
    return table.assign(frame=_integers(numbers(table["frame"])))


def _pane(text: str) -> Pane | str | None:
    """The pane, None where the cell is empty, the text itself where it is no pane."""
    try:
        return parse_pane(text) if text else None
    except ValueError:
        return text


def _integers(values: Cells) -> Cells:
    """Float64 as nullable Int64; what is no frame's number becomes empty (it has a fault already)."""
    whole = (values == np.floor(values)) & (values.abs() < MOST_FRAMES)
    return values.where(whole).astype("Int64")
