"""The tables of a cohort folder: what a hospital has, read and checked.

Every cell is read as text and judged by a schema, so that a fault names the cell as the user wrote
it, with its line in the file. All faults of all tables come out together, in one `InputFault`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.alike_ids import alike
from mufnet_lightning.cohort.csv_text import read_texts
from mufnet_lightning.cohort.faults import Report, quoted
from mufnet_lightning.cohort.geometry import Box, Pane, box_outward, parse_pane
from mufnet_lightning.cohort.identity import read_id
from mufnet_lightning.cohort.paths import check_paths
from mufnet_lightning.cohort.schemas import (
    Cells,
    boxes_schema,
    clips_schema,
    numbers,
    pairs_schema,
    patients_schema,
    validate,
)
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS
from mufnet_lightning.vocabulary import MODALITIES, PANES, PATHS

CORNERS = 5
"""Different places that boxes must have before they can be taken for two corners."""


@dataclass(frozen=True)
class Cohort:
    """A checked cohort folder. The index of each table is the row's line in its file.

    Attributes:
        folder: where the tables are; the paths inside them start here.
        patients: patient_id, grade and label (Int64, empty without grades), center, and the
            clinical columns as text.
        clips: clip_id, patient_id, path, bmode_pane and ceus_pane (`Pane` or None), scanner.
        boxes: clip_id, frame, x, y, width, height (whole pixels, rounded outward), pane (`bmode` or
            `ceus`, never empty), phase and source (may be empty).
        pairs: patient_id, bmode_path and ceus_path (one may be empty), clip_id, frame (Int64, may
            be empty), phase. A cohort has either clips and boxes, or pairs; the others are None.
        id: what names the cohort (see `identity`); None where the folder has none yet.
        warnings: one sentence each about what is odd, but no fault.
    """

    folder: Path
    patients: pd.DataFrame
    clips: pd.DataFrame | None = None
    boxes: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    id: str | None = None
    warnings: tuple[str, ...] = ()


def read_cohort(folder: Path, with_grades: bool = True) -> Cohort:
    """Read and check patients.csv with either clips.csv and boxes.csv, or pairs.csv.

    Args:
        folder: the cohort folder.
        with_grades: every patient needs a grade or a label; without, both may be absent or empty.

    Raises:
        InputFault: with every fault of every table, a sentence each.
    """
    folder = Path(folder)
    report = Report()
    return check_cohort(read_texts(folder, report), folder, with_grades, report)


def check_cohort(
    texts: Mapping[str, pd.DataFrame | None],
    folder: Path,
    with_grades: bool = True,
    report: Report | None = None,
) -> Cohort:
    """Check the tables of a cohort, wherever their text is from.

    Args:
        texts: by the name of the table, cells as text, indexed by row; patients.csv with either
            clips.csv and boxes.csv, or pairs.csv. None for one that could not be read.
        folder: where the paths in the tables start.
        with_grades: see `read_cohort`.
        report: with what was wrong already.

    Raises:
        InputFault: with every fault of every table, a sentence each.
    """
    report = report or Report()
    patients = _check_patients(texts["patients.csv"], with_grades, report)
    clips = boxes = pairs = None
    if "pairs.csv" in texts:
        pairs = _check_pairs(texts["pairs.csv"], patients, folder, report)
    else:
        clips = _check_clips(texts["clips.csv"], patients, folder, report)
        boxes = _check_boxes(texts["boxes.csv"], clips, report)
    cohort_id = read_id(folder, report)
    report.raise_faults()
    assert patients is not None  # a table that could not be read is a fault
    warnings = _warnings(patients, clips, boxes, pairs)
    return Cohort(folder, patients, clips, boxes, pairs, cohort_id, warnings)


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
    text: pd.DataFrame | None, patients: pd.DataFrame | None, folder: Path, report: Report
) -> pd.DataFrame | None:
    known = report.ids("patients.csv", patients, "patient_id")
    table = validate("clips.csv", text, clips_schema(known), report)
    if table is None:
        return None
    check_paths("clips.csv", table, ["path"], None, folder, report)
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
    seen: dict[tuple[str, int, str], int] = {}
    for row, clip, frame, pane in table[["clip_id", "frame", "pane"]].itertuples():
        first = seen.setdefault((clip, frame, pane), row)
        if pane and first != row:
            report.add(
                "boxes.csv",
                row,
                f"clip {quoted(clip)} frame {frame} has its {pane} box in row {first} already, "
                "expected one box a frame and pane",
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


def _are_corners(boxes: pd.DataFrame) -> bool:
    """Whether all boxes could be two corners, x1, y1, x2, y2; boxes with a size hardly ever could."""
    wider = (boxes["width"] > boxes["x"]) & (boxes["height"] > boxes["y"])
    moved = len(boxes[["x", "y"]].drop_duplicates()) >= CORNERS
    return moved and bool(wider.all()) and bool((boxes[["x", "y"]] > 0).all(axis=None))


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
    text: pd.DataFrame | None, patients: pd.DataFrame | None, folder: Path, report: Report
) -> pd.DataFrame | None:
    known = report.ids("patients.csv", patients, "patient_id")
    table = validate("pairs.csv", text, pairs_schema(known), report)
    if table is None:
        return None
    check_paths("pairs.csv", table, list(PATHS), IMAGE_ENDINGS, folder, report)
    seen: dict[tuple[str, ...], int] = {}
    for row, *images in table[list(PATHS)].itertuples():
        first = seen.setdefault(tuple(images), row)
        if first != row and any(images):
            report.add("pairs.csv", row, f"the same images are in row {first} already")
    return table.assign(frame=_integers(numbers(table["frame"])))


def _warnings(
    patients: pd.DataFrame,
    clips: pd.DataFrame | None,
    boxes: pd.DataFrame | None,
    pairs: pd.DataFrame | None,
) -> tuple[str, ...]:
    """Tables of a hospital list excluded patients and clips too: said, and left out."""
    used, what = (pairs, "pair") if pairs is not None else (clips, "clip")
    left_out = []
    if used is not None:
        without = patients.loc[~patients["patient_id"].isin(used["patient_id"]), "patient_id"]
        left_out.append(("patients.csv", "patient", "patients", what, without))
    if clips is not None and boxes is not None:
        without = clips.loc[~clips["clip_id"].isin(boxes["clip_id"]), "clip_id"]
        left_out.append(("clips.csv", "clip", "clips", "box", without))
    doubts = alike("patients.csv", "patient_id", patients["patient_id"])
    if clips is not None:
        doubts += alike("clips.csv", "clip_id", clips["clip_id"])
    if boxes is not None and _are_corners(boxes):
        doubts.append(
            "boxes.csv: in every row width is above x and height above y, as if they were the other "
            "corner; expected the size of the box"
        )
    return *doubts, *(
        f"{table}: {len(ids):,} {one if len(ids) == 1 else many} without any {part}, left out: "
        + ", ".join(ids[:5])
        + (", ..." if len(ids) > 5 else "")
        for table, one, many, part, ids in left_out
        if len(ids)
    )


def _pane(text: str) -> Pane | str | None:
    """The pane, None where the cell is empty, the text itself where it is no pane."""
    try:
        return parse_pane(text) if text else None
    except ValueError:
        return text


def _integers(values: Cells) -> Cells:
    """Float64 as nullable Int64; what is no whole number becomes empty (it has a fault already)."""
    return values.where(values == np.floor(values)).astype("Int64")
