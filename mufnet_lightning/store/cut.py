"""The crops out of a clip's frames, as jobs that worker processes do.

Worker processes import this module, so it stays light: OpenCV and NumPy, pydicom when a clip needs
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.geometry import Box, Pane, crop
from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.store.notes import CropNote, write_notes


@dataclass(frozen=True)
class Cut:
    """What is wanted of one annotated frame: for each modality a box and the crop file to write."""

    frame: int
    row: int  # of boxes.csv
    boxes: dict[str, Box]
    crops: dict[str, Path]


@dataclass(frozen=True)
class ClipJob:
    """All cuts of one clip."""

    where: str  # "clips.csv row 2: clips/a.avi", to start a message with
    source: Path
    panes: dict[str, Pane]
    cuts: tuple[Cut, ...]
    finished: Path  # written when all crops are, with a note of each; then it is not decoded again


@dataclass(frozen=True)
class ImageJob:
    """Images that are crops already: (where, source, crop file to write) each."""

    images: tuple[tuple[str, Path, Path], ...]
    finished: Path


def cut_clip(job: ClipJob) -> list[str]:
    """Write every crop of a clip as lossless PNG, then mark the clip as finished.

    Returns:
        The clip's faults, each one sentence; empty when all went well.

    Raises:
        OSError: the crops cannot be written.
    """
    cuts: dict[int, list[Cut]] = {}
    for cut in job.cuts:
        cuts.setdefault(cut.frame, []).append(cut)
    notes: list[CropNote] = []
    try:
        for number, frame in iter_frames(job.source, list(cuts)):
            outside = panes_outside(job, frame)
            if outside:
                return outside
            for cut in cuts[number]:
                for modality, box in cut.boxes.items():
                    pixels = crop(frame, box)
                    notes.append(CropNote.of(cut.crops[modality].name, pixels))
                    write_png(cut.crops[modality], pixels)
    except ClipFault as fault:
        last = max(job.cuts, key=lambda cut: cut.frame)
        needs = f"boxes.csv row {last.row} needs frame {last.frame}"
        if min(cuts) > 0 and fault.reason == too_short(last.frame, last.frame):
            needs += ", counted from 0; does the table count from 1?"
        return [f"{job.where} {fault.reason} ({needs})"]
    write_notes(job.finished, notes)
    return []


def copy_images(job: ImageJob) -> list[str]:
    """Write images as lossless PNG, pixels only, then mark the job as finished.

    Returns:
        The images' faults, each one sentence; empty when all went well.

    Raises:
        OSError: the crops cannot be written.
    """
    faults, notes = [], []
    for where, source, target in job.images:
        try:
            pixels = read_image(source)
        except ClipFault as fault:
            faults.append(f"{where} {fault.reason}")
        else:
            notes.append(CropNote.of(target.name, pixels))
            write_png(target, pixels)
    if not faults:
        write_notes(job.finished, notes)
    return faults


def panes_outside(job: ClipJob, frame: np.ndarray) -> list[str]:
    """A sentence for each pane of a clip that reaches outside its frames (H, W, 3)."""
    height, width = frame.shape[:2]
    return [
        f"{job.where} has frames of {width} × {height} pixels, its {modality}_pane {pane} reaches "
        "outside them"
        for modality, pane in job.panes.items()
        if not Box(0, 0, width, height).contains(pane)
    ]


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a picture (H, W, 3), RGB, without loss.

    Raises:
        OSError: it cannot be written.
    """
    # Encoded in memory: cv2.imwrite would hide why a write fails.
    bgr = np.ascontiguousarray(rgb[..., ::-1])  # a copy of rows where `rgb` is BGR seen as RGB
    path.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
