"""All crops and clips of a cohort or a store, seen by worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.read import Cohort
from mufnet_lightning.store.cut import ClipJob
from mufnet_lightning.store.inspection.findings import ShownClip
from mufnet_lightning.store.inspection.look import (
    ClipLook,
    ClipToLook,
    CropLook,
    StillsToLook,
    look_at_clip,
    look_at_stills,
)
from mufnet_lightning.store.inspection.panes import PanedClip, boxes_apart
from mufnet_lightning.store.plan import plan_crops
from mufnet_lightning.store.seal import CROPS
from mufnet_lightning.store.store import COLUMNS, CropStore
from mufnet_lightning.system.processes import in_processes
from mufnet_lightning.vocabulary import MODALITIES, PATHS

FRAMES_DRAWN = 3
"""Of a clip: the first, the middle and the last annotated one."""
STILLS_PER_JOB = 64

Image = tuple[str, str, Path]
"""Where a picture is named, the file name of its crop, and the file."""


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Attributes:
        manifest: a row a pair, as a store's.
        crops: by the file name of each crop that could be read.
        faults: a sentence each.
        owners: the patient of each file that a table names.
        sums: SHA-256 of each such file that could be read.
        scanners: by clip.
        clips: by id, what was seen of each.
        shown: those with frames drawn.
        paned: those with two panes.
        pane_areas: pixels of a pane of each, the larger of both.
    """

    manifest: pd.DataFrame
    crops: Mapping[str, CropLook]
    faults: Sequence[str]
    owners: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, str] = field(default_factory=dict)
    scanners: Mapping[str, str] = field(default_factory=dict)
    clips: Mapping[str, ClipLook] = field(default_factory=dict)
    shown: Sequence[ShownClip] = ()
    paned: Sequence[PanedClip] = ()
    pane_areas: Mapping[str, int] = field(default_factory=dict)

    @property
    def readable(self) -> pd.DataFrame:
        """The pairs of which at least one crop could be read."""
        read = [
            any(file_name(row[column]) in self.crops for column in PATHS)
            for row in self.manifest[[*PATHS]].to_dict("records")
        ]
        return self.manifest[np.array(read, bool)]


def seen_in_store(store: CropStore) -> Seen:
    """Every crop of a store."""
    manifest = store.manifest
    images = [
        (f"{store.root / 'manifest.csv'} pair {pair}:", file_name(path), store.root / path)
        for column in PATHS
        for pair, path in zip(manifest["pair_id"], manifest[column], strict=True)
        if path
    ]
    crops, sums, faults = _stills(images)
    for name, digest in sums.items():
        if fault := store.sums.fault(f"{CROPS}/{name}", digest):
            del crops[name]
            faults.append(fault)
    return Seen(manifest, crops, faults)


def seen_in_cohort(cohort: Cohort, scratch: Path, draw: int) -> Seen:
    """Every crop that a store of a cohort would have; some of each clip are kept.

    Args:
        cohort: as far as it can be read.
        scratch: an empty folder, for the crops that are kept; it must live as long as these are used.
        draw: of how many clips frames are drawn.
    """
    crops = scratch / "crops"
    crops.mkdir()
    plan = plan_crops(cohort, 0.0, scratch)
    names = {file: file_name(path) for path, file in plan.crops.items()}
    manifest = pd.DataFrame(plan.rows, columns=[*COLUMNS]).astype(COLUMNS)
    if cohort.pairs is not None:
        images = [
            (where, names[crop], source)
            for job in plan.jobs
            if not isinstance(job, ClipJob)
            for where, source, crop in job.images
        ]
        return _seen_pairs(cohort, manifest, images)
    jobs = [_named(job, names, crops) for job in plan.jobs if isinstance(job, ClipJob)]
    return _seen_clips(cohort, manifest, jobs, draw)


def _named(job: ClipJob, names: Mapping[Path, str], crops: Path) -> ClipJob:
    """A job whose crops have the names that they would have in a store, in one folder."""
    cuts = [
        replace(cut, crops={modality: names[job.folder / name] for modality, name in cut.crops.items()})
        for cut in job.cuts
    ]
    return replace(job, cuts=tuple(cuts), folder=crops)


def file_name(path: str) -> str:
    """Of a crop, by its path in a store."""
    return path.rpartition("/")[2]


def _seen_pairs(
    cohort: Cohort, manifest: pd.DataFrame, images: Sequence[tuple[str, str, Path]]
) -> Seen:
    assert cohort.pairs is not None
    crops, sums, faults = _stills(images)
    patient_of = {
        file_name(path): patient
        for column in PATHS
        for path, patient in zip(manifest[column], manifest["patient_id"], strict=True)
        if path
    }
    paths = {cohort.file(path): path for column in PATHS for path in cohort.pairs[column] if path}
    named = {name: paths[source] for _, name, source in images}
    return Seen(
        manifest,
        crops,
        faults,
        owners={file: patient_of[name] for name, file in named.items()},
        sums={named[name]: digest for name, digest in sums.items()},
    )


def _seen_clips(cohort: Cohort, manifest: pd.DataFrame, jobs: Sequence[ClipJob], draw: int) -> Seen:
    assert cohort.clips is not None
    assert cohort.boxes is not None
    by_clip = {str(row["clip_id"]): row for row in cohort.clips.to_dict("records")}
    rows = [by_clip[job.clip_id] for job in jobs]
    chosen = set(np.linspace(0, len(jobs) - 1, min(draw, len(jobs))).round().astype(int).tolist())
    looks = in_processes(
        look_at_clip,
        [ClipToLook(job, FRAMES_DRAWN if number in chosen else 0) for number, job in enumerate(jobs)],
        "looking at clips",
    )
    boxes = dict(list(cohort.boxes.groupby("clip_id")))
    shown, paned = [], []
    for row, job, look in zip(rows, jobs, looks, strict=True):
        patient, clip = str(row["patient_id"]), str(row["clip_id"])
        if look.frames:
            shown.append(ShownClip(patient, clip, look.frames, look.alignment.grid))
        if len(job.panes) == len(MODALITIES):
            apart = boxes_apart(boxes[clip], job.panes)
            paned.append(PanedClip(patient, clip, job.panes, look.alignment, apart))
    ids = [str(row["clip_id"]) for row in rows]
    return Seen(
        manifest,
        {crop.note.name: crop for look in looks for crop in look.crops},
        [fault for look in looks for fault in look.faults],
        {str(row["path"]): str(row["patient_id"]) for row in rows},
        {str(row["path"]): look.sum for row, look in zip(rows, looks, strict=True) if look.sum},
        {str(row["clip_id"]): str(row["scanner"]) for row in rows if row["scanner"]},
        dict(zip(ids, looks, strict=True)),
        shown,
        paned,
        {
            clip: max(pane.width * pane.height for pane in job.panes.values())
            for clip, job in zip(ids, jobs, strict=True)
        },
    )


def _stills(images: Sequence[Image]) -> tuple[dict[str, CropLook], dict[str, str], list[str]]:
    """Looks and SHA-256 by the crops' names, and the faults."""
    parts = [images[start : start + STILLS_PER_JOB] for start in range(0, len(images), STILLS_PER_JOB)]
    jobs = [StillsToLook(tuple(part)) for part in parts]
    looks = in_processes(look_at_stills, jobs, "looking at pictures")
    return (
        {crop.note.name: crop for look in looks for crop in look.crops},
        {name: digest for look in looks for name, digest in look.sums.items()},
        [fault for look in looks for fault in look.faults],
    )
