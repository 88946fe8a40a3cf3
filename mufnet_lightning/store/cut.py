"""The crops out of a clip's frames, as jobs that worker processes do.

Worker processes import this module, so it stays light: OpenCV and NumPy, pydicom when a clip needs
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.geometry import Box, Pane, crop
from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.store.notes import CropNote, write_notes
from mufnet_lightning.store.seal import sha256
from mufnet_lightning.system.files import write_part
from mufnet_lightning.system.write_points import write_point

NOTES = "notes"


class CropUnwritten(OSError):
    """A crop could not be written; what cannot be read is a fault of its clip."""


@dataclass(frozen=True)
class Cut:
    """What is wanted of one annotated frame: for each modality a box, and the name of a crop file."""

    frame: int
    row: int  # of boxes.csv
    boxes: dict[str, Box]
    crops: dict[str, str]


@dataclass(frozen=True)
class ClipJob:
    """All cuts of one clip.

    Attributes:
        where: "clips.csv row 2: clips/a.avi", to start a message with.
        clip_id: of clips.csv.
        source: of the frames.
        panes: by modality.
        cuts: what is wanted.
        folder: of the crops, the job's own.
    """

    where: str
    clip_id: str
    source: Path
    panes: dict[str, Pane]
    cuts: tuple[Cut, ...]
    folder: Path

    @property
    def finished(self) -> Path:
        """Written when all crops are, with a note of each; then the clip is not decoded again."""
        return self.folder / NOTES


@dataclass(frozen=True)
class ImageJob:
    """Images that are crops already: (where, source, crop file to write) each; else see `ClipJob`."""

    images: tuple[tuple[str, Path, Path], ...]
    folder: Path

    @property
    def finished(self) -> Path:
        """See `ClipJob`."""
        return self.folder / NOTES


def cut_clip(job: ClipJob) -> list[str]:
    """Write every crop of a clip as lossless PNG, then mark the clip as finished.

    Returns:
        The clip's faults, each one sentence; empty when all went well.

    Raises:
        CropUnwritten: the crops cannot be written.
    """
    cuts: dict[int, list[Cut]] = {}
    for cut in job.cuts:
        cuts.setdefault(cut.frame, []).append(cut)
    notes: list[CropNote] = []
    _make(job.folder)
    try:
        for number, frame in iter_frames(job.source, list(cuts)):
            outside = panes_outside(job, frame)
            if outside:
                return outside
            for cut in cuts[number]:
                for modality, box in cut.boxes.items():
                    pixels = crop(frame, box)
                    digest = write_png(job.folder / cut.crops[modality], pixels)
                    notes.append(CropNote.of(cut.crops[modality], pixels, digest))
    except ClipFault as fault:
        last = max(job.cuts, key=lambda cut: cut.frame)
        needs = f"boxes.csv row {last.row} needs frame {last.frame}"
        if min(cuts) > 0 and fault.reason == too_short(last.frame, last.frame):
            needs += ", counted from 0; does the table count from 1?"
        return [f"{job.where} {fault.reason} ({needs})"]
    except CropUnwritten:
        raise
    except Exception as error:
        return [_unexpected(job.where, error)]
    _finish(job, notes)
    return []


def copy_images(job: ImageJob) -> list[str]:
    """Write images as lossless PNG, pixels only, then mark the job as finished.

    Returns:
        The images' faults, each one sentence; empty when all went well.

    Raises:
        CropUnwritten: the crops cannot be written.
    """
    faults, notes = [], []
    _make(job.folder)
    for where, source, target in job.images:
        try:
            pixels = read_image(source)
        except ClipFault as fault:
            faults.append(f"{where} {fault.reason}")
        except Exception as error:
            faults.append(_unexpected(where, error))
        else:
            digest = write_png(target, pixels)
            notes.append(CropNote.of(target.name, pixels, digest))
    if not faults:
        _finish(job, notes)
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


def lost_job(job: ClipJob | ImageJob) -> list[str]:
    """The fault of a job that no worker survived."""
    wheres = [job.where] if isinstance(job, ClipJob) else [where for where, _, _ in job.images]
    more = f" (or one of the {len(wheres) - 1} images after it)" if len(wheres) > 1 else ""
    return [
        f"{wheres[0]}{more}: the process that read it was ended from outside, twice: does it take more "
        "memory than there is, or crash the decoder?"
    ]


def _unexpected(where: str, error: Exception) -> str:
    """What a decoder raised that none should; its text may quote a header, so it is left out."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{where} cannot be read: {reason or type(error).__name__}"


def _make(folder: Path) -> None:
    with _writing(folder):
        write_point("folder", folder)
        folder.mkdir(parents=True, exist_ok=True)


def _finish(job: ClipJob | ImageJob, notes: list[CropNote]) -> None:
    with _writing(job.finished):
        write_notes(job.finished, notes)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CropUnwritten(error.errno, error.strerror, str(path)) from error


def write_png(path: Path, rgb: np.ndarray) -> str:
    """Write a picture (H, W, 3), RGB, without loss.

    Returns:
        The SHA-256 of the file, 64 hexadecimal digits.

    Raises:
        CropUnwritten: it cannot be written.
    """
    # Encoded in memory: cv2.imwrite would hide why a write fails.
    bgr = np.ascontiguousarray(rgb[..., ::-1])  # a copy of rows where `rgb` is BGR seen as RGB
    content = cv2.imencode(".png", bgr)[1].tobytes()
    with _writing(path):
        write_part(path, content)
    return sha256(content)
