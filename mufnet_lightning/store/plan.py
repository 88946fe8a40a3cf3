"""What a store will hold, and the jobs that cut it: decided before any clip is decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from mufnet_lightning.cohort.exams import matched, partners
from mufnet_lightning.cohort.geometry import Box, Pane
from mufnet_lightning.cohort.read import Cohort
from mufnet_lightning.store.cut import ClipJob, Cut, ImageJob
from mufnet_lightning.store.inputs import CUT_RULES
from mufnet_lightning.store.measured import boxes_to_cut, measures
from mufnet_lightning.vocabulary import MODALITIES

PARTS = "parts"
_IMAGES_PER_JOB = 64  # images that are cropped already, in one job

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        rows: of the store's manifest.
        jobs: what worker processes do, each in a folder of its own.
        crops: by a path of the manifest, the file of a job that will be there.
    """

    rows: list[Row]
    jobs: list[ClipJob] | list[ImageJob]
    crops: Mapping[str, Path]


def plan_crops(
    tables: Cohort, margin: float, partial: Path, digests: Mapping[str, str] | None = None
) -> Plan:
    """The rows of a store's manifest, and the jobs that write its crops into the folder `partial`.

    Args:
        tables: checked.
        margin: context on each side of a box, as a share of its side.
        partial: folder in which the store is made.
        digests: of every file that the tables name. The folder of a job is called after all that
            decides its crops, so that a later call with other tables finds what is the same; without
            digests, by its number.
    """
    folders = _Folders(partial / PARTS, digests)
    if tables.pairs is not None:
        return _plan_images(tables, folders)
    return _plan_clips(tables, margin, folders)


@dataclass
class _Folders:
    """Names for the folders of jobs."""

    parts: Path
    digests: Mapping[str, str] | None
    named: set[str] = field(default_factory=set)

    def named_by(self, paths: Sequence[str], *cuts: object) -> Path:
        number = len(self.named)
        name = f"{number:06d}"
        if self.digests is not None:
            made_of = [CUT_RULES, [self.digests[path] for path in paths], cuts]
            name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]
            if name in self.named:  # a clip that is listed twice
                name += f"-{number:06d}"
        self.named.add(name)
        return self.parts / name


@dataclass(frozen=True)
class _Drawn:
    """The boxes of a lesion in a frame of a clip, one or one a pane; (line in boxes.csv, row) each."""

    clip: Row
    boxes: list[tuple[int, Row]]

    @property
    def first(self) -> Row:
        return self.boxes[0][1]


def _plan_clips(tables: Cohort, margin: float, folders: _Folders) -> Plan:
    """The manifest's rows (patients' order, clips' order, frame), and a job for each clip."""
    assert tables.clips is not None
    assert tables.boxes is not None
    boxes = _by(tables.boxes.sort_values(["frame", "pane"], kind="stable"), "clip_id")
    partner = partners(tables.clips)
    clips: dict[str, tuple[int, Row]] = {}
    in_order: list[tuple[Row, str]] = []
    for patient, line, clip in _by_patient(tables.patients, tables.clips):
        if clip["clip_id"] in boxes:  # of others a warning has been given
            clips[clip["clip_id"]] = line, clip
            in_order.append((patient, clip["clip_id"]))
    drawn = {
        clip_id: [_Drawn(clip, of_lesion) for of_lesion in _by_lesion(boxes[clip_id])]
        for clip_id, (_, clip) in clips.items()
    }
    rows: list[Row] = []
    cuts: dict[str, list[tuple[Cut, dict[str, str]]]] = {clip_id: [] for clip_id in clips}
    done: set[str] = set()
    for patient, clip_id in in_order:
        other = partner.get(clip_id, "")
        if clip_id in done:
            continue
        done |= {clip_id, other}
        for views in _pairs(drawn[clip_id], drawn.get(other, [])):
            panes = [name for view in views for name in _panes(view.clip)]
            row = _manifest_row(len(rows), patient, panes) | _of_boxes(views, tables)
            rows.append(row)
            for view in views:
                of_clip = cuts[view.clip["clip_id"]]
                cut = _cut(view, margin, len(of_clip), tables)
                of_clip.append((cut, {row[f"{name}_path"]: cut.crops[name] for name in cut.crops}))
    jobs: list[ClipJob] = []
    crops: dict[str, Path] = {}
    for clip_id, (line, clip) in clips.items():
        wanted = [cut for cut, _ in cuts[clip_id]]
        panes_of = _panes(clip)
        made_of = [(cut.frame, {name: str(box) for name, box in cut.boxes.items()}) for cut in wanted]
        folder = folders.named_by(
            [clip["path"]], {name: str(pane) for name, pane in panes_of.items()}, made_of
        )
        jobs.append(
            ClipJob(
                where=f"clips.csv row {line}: {_seen(tables, clip['path'], clip['clip_id'])}",
                clip_id=clip_id,
                source=tables.file(clip["path"]),
                panes=panes_of,
                cuts=tuple(wanted),
                folder=folder,
            )
        )
        for _, names in cuts[clip_id]:
            crops |= {path: folder / name for path, name in names.items()}
    return Plan(rows, jobs, crops)


def _seen(tables: Cohort, path: str, otherwise: str) -> str:
    """What a message calls a file: names of files are often those of people."""
    return otherwise if tables.mark else path


def _panes(clip: Row) -> dict[str, Pane]:
    given = {name: clip[f"{name}_pane"] for name in MODALITIES}
    return {name: pane for name, pane in given.items() if pane is not None}


def _by_lesion(boxes: list[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    """The boxes of each lesion in each frame: those of both panes are one pair."""
    for _, of_frame in groupby(boxes, key=lambda box: box[1]["frame"]):
        of_lesion: dict[str, list[tuple[int, Row]]] = {}
        for box in of_frame:
            of_lesion.setdefault(box[1]["lesion_id"], []).append(box)
        yield from of_lesion.values()


def _pairs(own: list[_Drawn], its: list[_Drawn]) -> Iterator[tuple[_Drawn, ...]]:
    """What makes a row: a frame of a clip, or one of each clip of an exam, the one to name first."""
    if not its:
        yield from ((one,) for one in own)
        return
    own_lesions, its_lesions = _lesions(own), _lesions(its)
    for lesion in dict.fromkeys([*own_lesions, *its_lesions]):
        here, there = own_lesions.get(lesion, []), its_lesions.get(lesion, [])
        if not (here and there):
            yield from ((one,) for one in here or there)
            continue
        # named by the clip with more frames: each of them is in one row alone
        by_contrast = len(here) == len(there) and "ceus" in _panes(there[0].clip)
        swapped = len(there) > len(here) or by_contrast
        for one, other in matched(_numbered(here), _numbered(there)):
            yield (other, one) if swapped else (one, other)


def _lesions(drawn: list[_Drawn]) -> dict[str, list[_Drawn]]:
    of: dict[str, list[_Drawn]] = {}
    for one in drawn:
        of.setdefault(one.first["lesion_id"], []).append(one)
    return of


def _numbered(drawn: list[_Drawn]) -> list[tuple[int, _Drawn]]:
    return [(one.first["frame"], one) for one in drawn]


def _of_boxes(views: Sequence[_Drawn], tables: Cohort) -> Row:
    """What a row says of the boxes, and of the partner's frame."""
    first, *others = (view.first for view in views)
    clip = views[0].clip
    phases = (box["phase"] for view in views for _, box in view.boxes)
    return {
        "clip_id": first["clip_id"],
        "frame": first["frame"],
        "phase": next((phase for phase in phases if phase), ""),
        "box_x": first["x"],
        "box_y": first["y"],
        "box_width": first["width"],
        "box_height": first["height"],
        "box_pane": first["pane"],
        "lesion_id": first["lesion_id"],
        "partner_clip_id": others[0]["clip_id"] if others else "",
        "partner_frame": others[0]["frame"] if others else None,
        "box_source": _source(box["box_source"] for view in views for _, box in view.boxes),
        **measures(first, clip, _panes(clip), tables.headers.of.get(clip["clip_id"])),
    }


def _cut(view: _Drawn, margin: float, number: int, tables: Cohort) -> Cut:
    drawn = {row["pane"]: _box(row) for _, row in view.boxes}
    panes = _panes(view.clip)
    views = tables.headers.views.get(view.clip["clip_id"])
    boxes = boxes_to_cut(drawn, view.first["pane"], panes, margin, views)
    crops = {name: f"{number:06d}_{name}.png" for name in panes}
    return Cut(view.first["frame"], view.boxes[0][0], boxes, crops)


def _source(sources: Iterable[str]) -> str:
    """Of a pair whose boxes are not of one kind, that of the one that nobody drew."""
    return max(sources, key=lambda source: (source == "interpolated", source))


def _box(row: Row) -> Box:
    return Box(row["x"], row["y"], row["width"], row["height"])


def _plan_images(tables: Cohort, folders: _Folders) -> Plan:
    """The manifest's rows (patients' order, then pairs.csv's), and jobs of some images each."""
    assert tables.pairs is not None
    rows: list[Row] = []
    images: dict[str, list[tuple[str, str, str]]] = {}
    for patient, line, pair in _by_patient(tables.patients, tables.pairs):
        given = [name for name in MODALITIES if pair[f"{name}_path"]]
        row = _manifest_row(len(rows), patient, given)
        row |= {name: pair[name] for name in ("clip_id", "frame", "phase")}
        rows.append(row)
        for name in given:
            path = pair[f"{name}_path"]
            where = f"pairs.csv row {line}: {_seen(tables, path, f'its {name} image')}"
            images.setdefault(row["patient_id"], []).append((where, path, row[f"{name}_path"]))
    # where nothing is taken up again, one that cannot be read takes no other one with it
    at_once = 1 if folders.digests is None else _IMAGES_PER_JOB
    jobs: list[ImageJob] = []
    crops: dict[str, Path] = {}
    for own in images.values():
        for start in range(0, len(own), at_once):
            part = own[start : start + at_once]
            folder = folders.named_by([path for _, path, _ in part])
            files = [folder / f"{number:06d}.png" for number in range(len(part))]
            crops |= {target: file for (_, _, target), file in zip(part, files, strict=True)}
            sources = [(where, tables.file(path)) for where, path, _ in part]
            jobs.append(
                ImageJob(
                    tuple((*source, file) for source, file in zip(sources, files, strict=True)), folder
                )
            )
    return Plan(rows, jobs, crops)


def _manifest_row(number: int, patient: Row, given: Collection[str]) -> Row:
    """What every row has; file names come from the number, as an id may hold any character."""
    pair_id = f"p{number:06d}"
    row = {"pair_id": pair_id} | {
        name: patient[name] for name in ("patient_id", "center", "grade", "label")
    }
    for name in MODALITIES:
        row[f"{name}_path"] = f"crops/{pair_id}_{name}.png" if name in given else ""
    return row | {"box_source": "", "lesion_id": "", "partner_clip_id": "", "partner_frame": None}


def _by_patient(patients: pd.DataFrame, table: pd.DataFrame) -> Iterator[tuple[Row, int, Row]]:
    """(patient, line in the file, row) of a table, in the order of patients.csv."""
    rows = _by(table, "patient_id")
    for patient_id, [(_, patient)] in _by(patients, "patient_id").items():
        for line, row in rows.get(patient_id, []):
            yield patient, line, row


def _by(table: pd.DataFrame, column: str) -> dict[str, list[tuple[int, Row]]]:
    """A table's rows as (line in the file, cells), by the value of one column, in their order."""
    grouped: dict[str, list[tuple[int, Row]]] = {}
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        grouped.setdefault(row[column], []).append((line, {str(k): v for k, v in row.items()}))
    return grouped
