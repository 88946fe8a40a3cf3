"""The parts of a store that is being made: a folder for each job, and what became of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mufnet_lightning.store.cut import ClipJob, ImageJob
from mufnet_lightning.store.notes import CropNote, read_notes
from mufnet_lightning.store.plan import Plan
from mufnet_lightning.store.seal import CROPS, sha256
from mufnet_lightning.system.write_points import write_point
from mufnet_lightning.vocabulary import PATHS


def readable(jobs: Sequence[ClipJob | ImageJob], unread: Collection[Path]) -> list[ClipJob | ImageJob]:
    """What is left of the jobs without the files, or folders of frames, that cannot be read."""
    left: list[ClipJob | ImageJob] = []
    for job in jobs:
        if isinstance(job, ImageJob):
            left.append(replace(job, images=tuple(one for one in job.images if one[1] not in unread)))
        elif job.source not in unread:
            left.append(job)
    return left


def is_finished(job: ClipJob | ImageJob) -> bool:
    """Whether its part is written and its crops are as they were cut: a power cut may lose them."""
    if not job.finished.is_file():
        return False
    try:
        notes = read_notes(job.finished)
        return all(sha256((job.folder / note.name).read_bytes()) == note.sum for note in notes)
    except (ValueError, OSError):  # of an earlier version, or damaged
        return False


def notes_of(plan: Plan) -> dict[str, CropNote]:
    """The notes of all jobs that are finished, by the names that the crops will have in the store."""
    notes = {
        job.folder / note.name: note
        for job in plan.jobs
        if job.finished.is_file()
        for note in read_notes(job.finished)
    }
    names = {file: Path(path).name for path, file in plan.crops.items()}
    return {names[file]: replace(note, name=names[file]) for file, note in notes.items()}


def place_crops(plan: Plan, rows: Sequence[Mapping[str, object]], store: Path) -> None:
    """Give the crops of some rows their places in a store.

    They are linked where the disk can, so that whoever is stopped here has lost nothing.

    Raises:
        OSError: they cannot be written.
    """
    write_point("folder", store / CROPS)
    (store / CROPS).mkdir()
    for path in (str(row[column]) for row in rows for column in PATHS if row[column]):
        write_point("link", store / path)
        try:
            os.link(plan.crops[path], store / path)
        except OSError:  # a disk without links
            shutil.copyfile(plan.crops[path], store / path)
