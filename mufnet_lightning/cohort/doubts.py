"""What is odd about a cohort's tables, but no fault."""

from __future__ import annotations

import pandas as pd

from mufnet_lightning.cohort.alike_ids import alike
from mufnet_lightning.cohort.exams import exam_doubts

CORNERS = 5
"""Different places that boxes must have before they can be taken for two corners."""


def doubts(
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
    odd = alike("patients.csv", "patient_id", patients["patient_id"])
    if clips is not None:
        odd += alike("clips.csv", "clip_id", clips["clip_id"])
        odd += exam_doubts(clips)
    if boxes is not None and _are_corners(boxes):
        odd.append(
            "boxes.csv: in every row width is above x and height above y, as if they were the other "
            "corner; expected the size of the box"
        )
    return *odd, *(
        f"{table}: {len(ids):,} {one if len(ids) == 1 else many} without any {part}, left out: "
        + ", ".join(ids[:5])
        + (", ..." if len(ids) > 5 else "")
        for table, one, many, part, ids in left_out
        if len(ids)
    )


def _are_corners(boxes: pd.DataFrame) -> bool:
    """Whether all boxes could be two corners, x1, y1, x2, y2; boxes with a size hardly ever could."""
    wider = (boxes["width"] > boxes["x"]) & (boxes["height"] > boxes["y"])
    moved = len(boxes[["x", "y"]].drop_duplicates()) >= CORNERS
    return moved and bool(wider.all()) and bool((boxes[["x", "y"]] > 0).all(axis=None))
