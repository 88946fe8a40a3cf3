"""What a store will hold, and the jobs that cut it: decided before any clip is decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from mufnet_lightning.cohort.geometry import Box, Pane, carry, expand
from mufnet_lightning.cohort.read import Cohort
from mufnet_lightning.store.cut import ClipJob, Cut, ImageJob
from mufnet_lightning.vocabulary import MODALITIES

IMAGES_PER_JOB = 64  # images that are cropped already, in one job


def plan_crops(
    tables: Cohort, margin: float, partial: Path
) -> tuple[list[dict[str, Any]], list[ClipJob] | list[ImageJob]]:
    """The rows of a store's manifest, and the jobs that write its crops into the folder `partial`."""
    if tables.pairs is not None:
        return _plan_images(tables, partial)
    return _plan_clips(tables, margin, partial)


def _plan_clips(
    tables: Cohort, margin: float, partial: Path
) -> tuple[list[dict[str, Any]], list[ClipJob]]:
    """The manifest's rows (patients' order, clips' order, frame), and a job for each clip."""
    assert tables.clips is not None
    assert tables.boxes is not None
    boxes = _by(tables.boxes.sort_values(["frame", "pane"], kind="stable"), "clip_id")
    rows: list[dict[str, Any]] = []
    jobs: list[ClipJob] = []
    for patient, line, clip in _by_patient(tables.patients, tables.clips):
        if clip["clip_id"] not in boxes:
            continue  # a warning has said so
        given = {name: clip[f"{name}_pane"] for name in MODALITIES}
        panes: dict[str, Pane] = {name: pane for name, pane in given.items() if pane is not None}
        cuts = []
        for of_frame in _by_frame(boxes[clip["clip_id"]]):
            line_of_box, row = of_frame[0]
            drawn = {box["pane"]: _box(box) for _, box in of_frame}
            manifest_row = _manifest_row(len(rows), patient, panes)
            manifest_row |= {
                "clip_id": clip["clip_id"],
                "frame": row["frame"],
                "phase": next((box["phase"] for _, box in of_frame if box["phase"]), ""),
                "box_x": row["x"],
                "box_y": row["y"],
                "box_width": row["width"],
                "box_height": row["height"],
                "box_pane": row["pane"],
                "box_source": _source(box["source"] for _, box in of_frame),
            }
            rows.append(manifest_row)
            cuts.append(
                Cut(
                    frame=row["frame"],
                    row=line_of_box,
                    boxes=_wanted(drawn, row["pane"], panes, margin),
                    crops={name: partial / manifest_row[f"{name}_path"] for name in panes},
                )
            )
        jobs.append(
            ClipJob(
                where=f"clips.csv row {line}: {clip['path']}",
                source=tables.folder / clip["path"],
                panes=panes,
                cuts=tuple(cuts),
                finished=partial / "parts" / f"{len(jobs):06d}.csv",
            )
        )
    return rows, jobs


def _by_frame(
    boxes: list[tuple[int, dict[str, Any]]],
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The boxes of each frame, one or one a pane: those of both panes are one pair."""
    for _, of_frame in groupby(boxes, key=lambda box: box[1]["frame"]):
        yield list(of_frame)


def _source(sources: Iterable[str]) -> str:
    """Of a pair whose boxes on both panes are not of one kind, that of the one that nobody drew."""
    return max(sources, key=lambda source: (source == "interpolated", source))


def _box(row: dict[str, Any]) -> Box:
    return Box(row["x"], row["y"], row["width"], row["height"])


def _wanted(drawn: dict[str, Box], first: str, panes: dict[str, Pane], margin: float) -> dict[str, Box]:
    """What is cut of each pane: its own box if one was drawn there, else the first, carried over."""
    wanted = {}
    for name, pane in panes.items():
        source = name if name in drawn else first
        wide = expand(drawn[source], margin, panes[source])
        wanted[name] = carry(wide, panes[source], pane)
    return wanted


def _plan_images(tables: Cohort, partial: Path) -> tuple[list[dict[str, Any]], list[ImageJob]]:
    """The manifest's rows (patients' order, then pairs.csv's), and jobs of some images each."""
    assert tables.pairs is not None
    rows: list[dict[str, Any]] = []
    images: list[tuple[str, Path, Path]] = []
    for patient, line, pair in _by_patient(tables.patients, tables.pairs):
        given = [name for name in MODALITIES if pair[f"{name}_path"]]
        row = _manifest_row(len(rows), patient, given)
        row |= {name: pair[name] for name in ("clip_id", "frame", "phase")}
        rows.append(row)
        for name in given:
            path = pair[f"{name}_path"]
            where = f"pairs.csv row {line}: {path}"
            images.append((where, tables.folder / path, partial / row[f"{name}_path"]))
    parts = [images[i : i + IMAGES_PER_JOB] for i in range(0, len(images), IMAGES_PER_JOB)]
    return rows, [
        ImageJob(tuple(part), partial / "parts" / f"{number:06d}.csv")
        for number, part in enumerate(parts)
    ]


def _manifest_row(number: int, patient: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """What every row has; file names come from the number, as an id may hold any character."""
    pair_id = f"p{number:06d}"
    row = {"pair_id": pair_id} | {
        name: patient[name] for name in ("patient_id", "center", "grade", "label")
    }
    for name in MODALITIES:
        row[f"{name}_path"] = f"crops/{pair_id}_{name}.png" if name in given else ""
    return row


def _by_patient(
    patients: pd.DataFrame, table: pd.DataFrame
) -> Iterator[tuple[dict[str, Any], int, dict[str, Any]]]:
    """(patient, line in the file, row) of a table, in the order of patients.csv."""
    rows = _by(table, "patient_id")
    for patient_id, [(_, patient)] in _by(patients, "patient_id").items():
        for line, row in rows.get(patient_id, []):
            yield patient, line, row


def _by(table: pd.DataFrame, column: str) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """A table's rows as (line in the file, cells), by the value of one column, in their order."""
    grouped: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        grouped.setdefault(row[column], []).append((line, {str(k): v for k, v in row.items()}))
    return grouped
