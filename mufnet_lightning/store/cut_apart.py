"""A store of what can be cut of a cohort: to grade whom one can, and to name the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from mufnet_lightning.cohort.read import Cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.cut import ClipJob, ImageJob, copy_images, cut_clip, lost_job
from mufnet_lightning.store.finish import finish_store
from mufnet_lightning.store.known_looks import keep_fingerprints
from mufnet_lightning.store.looks import judgement, keep_odd
from mufnet_lightning.store.parts import notes_of, place_crops
from mufnet_lightning.store.plan import plan_crops
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.system.processes import in_processes
from mufnet_lightning.vocabulary import MODALITIES, PATHS

log = logging.getLogger(__name__)
NAMELESS = "its clip or picture cannot be read, as the log of the call says"


@dataclass(frozen=True)
class LeftOut:
    """Pairs that are not in a store, or cannot be graded.

    Attributes:
        patient: id.
        pairs: how many of the patient's pairs; 0 where it is not known how many there would be.
        reason: a sentence without the patient.
    """

    patient: str
    pairs: int
    reason: str

    def __str__(self) -> str:
        many = f" ({self.pairs} image{'s' * (self.pairs != 1)})" if self.pairs else ""
        return f"patient {self.patient}{many}: {self.reason}"


def cut_apart(tables: Cohort, margin: float, folder: Path) -> tuple[CropStore, list[LeftOut]]:
    """Cut every clip and copy every image that can be read; a clip that cannot is left out whole.

    Args:
        tables: checked, with grades or without.
        margin: context on each side of a box, as a share of its side.
        folder: to make the store in.

    Returns:
        The store, and who is not in it, or not with all pairs.

    Raises:
        InputFault: nothing can be read; with every reason.
    """
    left_out = _without_pairs(tables)
    plan = plan_crops(tables, margin, folder)
    rows, jobs = plan.rows, plan.jobs
    work: Callable[[Any], list[str]] = copy_images if tables.pairs is not None else cut_clip
    without: Callable[[Any], list[str]] = lost_job
    # starting processes for one clip takes longer than the clip
    faults = [work(jobs[0])] if len(jobs) == 1 else in_processes(work, jobs, "cutting", without)
    notes = notes_of(plan)
    sums = {name: note.sum for name, note in notes.items()}
    odd = {name: note.looks for name, note in notes.items() if note.looks}
    warnings, mostly = judgement(odd, [Path(row[name]).name for row in rows for name in PATHS])
    for warning in (*warnings, *mostly):
        log.warning("warning: %s", warning)
    lost: dict[Path, str] = {}
    every: list[ClipJob | ImageJob] = list(jobs)
    for job, of_job in zip(every, faults, strict=True):
        of_crops = _lost(job, of_job)
        if tables.mark:  # what a fault says of files, which are often called as people
            for reason in sorted(set(of_crops.values())):
                log.warning("%s", reason)
            of_crops = dict.fromkeys(of_crops, NAMELESS)
        lost |= of_crops
    kept = []
    for row in rows:
        crops = [plan.crops[row[f"{name}_path"]] for name in MODALITIES if row[f"{name}_path"]]
        reasons = [lost[crop] for crop in crops if crop in lost]
        if reasons:
            left_out.append(LeftOut(str(row["patient_id"]), 1, reasons[0]))
        else:
            kept.append(row)
    together = _together(left_out)
    if not kept:
        raise InputFault([str(one) for one in together] or f"{tables.folder}: no pair in it")
    place_crops(plan, kept, folder)
    keep_odd(folder, odd)
    keep_fingerprints(folder, {name: note.fingerprint for name, note in notes.items()})
    placed = {Path(str(row[name])).name for row in kept for name in PATHS if row[name]}
    finish_store(
        folder,
        kept,
        {name: digest for name, digest in sums.items() if name in placed},
        digest=uuid4().hex * 2,
        cohort=tables.named(tables.id),
        margin=margin,
        with_grades=False,
    )
    return CropStore.open(folder), together


def _lost(job: ClipJob | ImageJob, faults: Sequence[str]) -> dict[Path, str]:
    """The crop files that a job did not write, with the reason."""
    if not faults:
        return {}
    if isinstance(job, ClipJob):
        return {job.folder / name: faults[0] for cut in job.cuts for name in cut.crops.values()}
    reasons = {}
    for where, _, target in job.images:
        own = [fault for fault in faults if fault.startswith((f"{where} ", f"{where}:"))]
        if own or not target.is_file():  # its worker was lost with another image
            reasons[target] = (own or faults)[0]
    return reasons


def _without_pairs(tables: Cohort) -> list[LeftOut]:
    """Patients of whom no pair is planned."""
    if tables.pairs is not None:
        with_any, what = set(tables.pairs["patient_id"]), "pairs.csv has no pair"
    else:
        assert tables.clips is not None
        assert tables.boxes is not None
        boxed = tables.clips["clip_id"].isin(tables.boxes["clip_id"])
        with_any, what = set(tables.clips.loc[boxed, "patient_id"]), "no clip with a box"
    every = dict.fromkeys(str(patient) for patient in tables.patients["patient_id"])
    return [
        LeftOut(patient, 0, f"{what} of this patient") for patient in every if patient not in with_any
    ]


def _together(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    """One for each patient and reason."""
    counts: dict[tuple[str, str], int] = {}
    for one in left_out:
        key = one.patient, one.reason
        counts[key] = counts.get(key, 0) + one.pairs
    return [LeftOut(patient, pairs, reason) for (patient, reason), pairs in counts.items()]
