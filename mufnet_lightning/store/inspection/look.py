"""What worker processes note of clips and of pictures that are looked at.

They import this module, so it stays light: OpenCV and NumPy, pydicom when a clip needs it. Nothing of a
clip stays on the disk but some crops in the folder that the caller throws away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.geometry import Box, Pane, crop
from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.store.cut import ClipJob, Cut, panes_outside, write_png
from mufnet_lightning.store.inspection.alignment import (
    Offset,
    PaneView,
    inside,
    outline_offset,
    tissue_map,
)
from mufnet_lightning.store.looks import look
from mufnet_lightning.store.notes import CropNote
from mufnet_lightning.store.sums import file_sum
from mufnet_lightning.store.twins import fingerprint
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES

OF_A_CLIP = 6
"""Annotated frames of a clip whose crops are compared and shown."""
FRAME_WIDTH = 760
"""Pixels, of a frame on the page."""
QUALITY = 82
LINES = {"bmode": (255, 210, 90), "ceus": (90, 200, 255)}  # BGR
BOX = (80, 255, 80)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class CropLook:
    """Of one crop.

    Attributes:
        note: how it looks.
        width, height: pixels.
        compared: whether it has a fingerprint, to be held against other patients'.
        picture: where its pixels can be read; None where they are not kept.
    """

    note: CropNote
    width: int
    height: int
    compared: bool
    picture: Path | None = None


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with its panes and boxes drawn in: whatever else a scanner wrote into it is there too.

    Attributes:
        frame: number, from 0.
        jpeg: the picture.
    """

    frame: int
    jpeg: bytes


@dataclass(frozen=True)
class ClipAlignment:
    """Whether both panes of a clip show the same place, see `alignment`.

    Attributes:
        offset: by the outlines; None where they do not tell.
        tissue: the map of the tissue's edges; None where there are too few frames.
        inside: by modality the share of the boxes that lies inside the sector.
        grid: both panes' middle frame under one grid, as JPEG.
    """

    offset: Offset | None = None
    tissue: NDArray[np.float64] | None = None
    inside: Mapping[str, float] = field(default_factory=dict)
    grid: bytes = b""


@dataclass(frozen=True)
class ClipLook:
    """Of one clip.

    Attributes:
        crops: of its annotated frames, as far as they could be read.
        sum: SHA-256 of the file.
        frames: drawn, where they are wanted.
        alignment: of its panes, where it has both.
        faults: a sentence each.
        frame_behind: whether its last box lies on the frame behind its last.
    """

    crops: Sequence[CropLook] = ()
    sum: str = ""
    frames: Sequence[DrawnFrame] = ()
    alignment: ClipAlignment = ClipAlignment()
    faults: Sequence[str] = ()
    frame_behind: bool = False


@dataclass(frozen=True)
class ClipToLook:
    """A clip that is to be looked at.

    Attributes:
        clip: its cuts; crops that are kept go where these say.
        draw: frames that are to be drawn, 0 for none.
    """

    clip: ClipJob
    draw: int


@dataclass(frozen=True)
class StillsToLook:
    """Pictures that are crops already: (where it is named, file name of the crop, file) each."""

    images: tuple[tuple[str, str, Path], ...]


@dataclass(frozen=True)
class StillsLook:
    """Of some pictures: a look of each that can be read, its SHA-256 by its crop's name, the faults."""

    crops: Sequence[CropLook]
    sums: Mapping[str, str]
    faults: Sequence[str]


def look_at_clip(job: ClipToLook) -> ClipLook:
    """Decode a clip once and note what its crops look like, and how its panes lie."""
    clip = job.clip
    cuts: dict[int, list[Cut]] = {}
    for cut in clip.cuts:
        cuts.setdefault(cut.frame, []).append(cut)
    numbers = sorted(cuts)
    chosen = _evenly(numbers, OF_A_CLIP)
    drawn = _evenly(numbers, job.draw)
    looks: list[CropLook] = []
    frames: list[DrawnFrame] = []
    kept: dict[str, list[Pixels]] = {name: [] for name in clip.panes}
    boxes: list[Cut] = []
    faults: list[str] = []
    behind = False
    try:
        for number, frame in iter_frames(clip.source, numbers):
            if outside := panes_outside(clip, frame):
                return ClipLook(faults=outside)
            for cut in cuts[number]:
                looks += _crops(cut, clip.folder, frame, number in chosen)
                if number in drawn:
                    frames.append(DrawnFrame(number, _jpeg(draw_boxes(frame, clip.panes, cut.boxes))))
            if number in chosen:
                boxes += cuts[number]
                for name, pane in clip.panes.items():
                    kept[name].append(crop(frame, pane))
                    kept[name][-1] = kept[name][-1].copy()
    except ClipFault as fault:
        last = max(clip.cuts, key=lambda cut: cut.frame)
        behind = numbers[0] > 0 and fault.reason == too_short(last.frame, last.frame)
        asked = ", counted from 0; does the table count from 1?" if behind else ""
        faults = [
            f"{clip.where} {fault.reason} (boxes.csv row {last.row} needs frame {last.frame}{asked})"
        ]
    return ClipLook(
        looks, _sum(clip.source), frames, _alignment(clip.panes, kept, boxes), faults, behind
    )


def look_at_stills(job: StillsToLook) -> StillsLook:
    """Read pictures and note what they look like."""
    looks, sums, faults = [], {}, []
    for where, name, file in job.images:
        try:
            pixels = read_image(file)
        except ClipFault as fault:
            faults.append(f"{where} {fault.reason}")
        else:
            height, width = pixels.shape[:2]
            looks.append(CropLook(CropNote.of(name, pixels), width, height, True, file))
            sums[name] = _sum(file)
    return StillsLook(looks, sums, faults)


def draw_boxes(frame: Pixels, panes: Mapping[str, Pane], boxes: Mapping[str, Box]) -> Pixels:
    """A frame (H, W, 3), RGB, no wider than a page wants it, with panes and boxes outlined and named.

    Args:
        frame: whole.
        panes: by modality.
        boxes: the same tissue's box in each.
    """
    scale = min(1.0, FRAME_WIDTH / frame.shape[1])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    shown = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), size, interpolation=cv2.INTER_AREA)
    for name, pane in panes.items():
        _outline(shown, pane, scale, LINES[name])
        at = (round(pane.x * scale) + 4, round(pane.y * scale) + 14)
        cv2.putText(shown, MODALITY_NAMES[name], at, 0, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(shown, MODALITY_NAMES[name], at, 0, 0.45, LINES[name], 1, cv2.LINE_AA)
    for box in boxes.values():
        _outline(shown, box, scale, BOX)
    return shown[..., ::-1].astype(np.uint8)


def under_a_grid(panes: Sequence[Pixels], boxes: Sequence[Box | None]) -> Pixels:
    """Two panes side by side, each under the same grid and with its box, (H, W, 3) RGB.

    Args:
        panes: pixels of each.
        boxes: in pixels of its pane.
    """
    side, shown = FRAME_WIDTH // 2 - 4, []
    for pixels, box in zip(panes, boxes, strict=True):
        height = round(pixels.shape[0] * side / pixels.shape[1])
        picture = cv2.resize(pixels, (side, height), interpolation=cv2.INTER_AREA)
        for part in range(1, 8):
            colour = (255, 255, 255) if part == 4 else (120, 120, 120)
            x, y = part * side // 8, part * height // 8
            cv2.line(picture, (x, 0), (x, height), colour, 1)
            cv2.line(picture, (0, y), (side, y), colour, 1)
        if box is not None:
            _outline(picture, box, side / pixels.shape[1], BOX)
        shown.append(picture)
    height = min(len(picture) for picture in shown)
    gap = np.full((height, 8, 3), 255, np.uint8)
    return np.hstack([shown[0][:height], gap, shown[1][:height]]).astype(np.uint8)


def _crops(cut: Cut, folder: Path, frame: Pixels, compared: bool) -> list[CropLook]:
    """Looks of one frame's crops; those that are compared or odd are kept."""
    looks = []
    for modality, box in cut.boxes.items():
        pixels, path = crop(frame, box), folder / cut.crops[modality]
        word = look(pixels)
        kept = compared or bool(word)
        if kept:
            write_png(path, pixels)
        code = fingerprint(pixels) if compared else 0
        looks.append(
            CropLook(
                CropNote(path.name, word, code), box.width, box.height, compared, path if kept else None
            )
        )
    return looks


def _alignment(
    panes: Mapping[str, Pane], kept: Mapping[str, list[Pixels]], cuts: Sequence[Cut]
) -> ClipAlignment:
    if len(panes) < len(MODALITIES) or not all(kept.values()):
        return ClipAlignment()
    views = {name: PaneView.of(pixels) for name, pixels in kept.items()}
    within = {}
    for name, pane in panes.items():
        shares = [inside(views[name], _shares(cut.boxes[name], pane)) for cut in cuts]
        known = [share for share in shares if share is not None]
        if known:
            within[name] = float(np.mean(known))
    bmode, ceus = (views[name] for name in MODALITIES)
    middle = len(kept["bmode"]) // 2
    boxes = [_inside_pane(cuts[middle].boxes[name], panes[name]) for name in MODALITIES]
    grid = under_a_grid([kept[name][middle] for name in MODALITIES], boxes)
    return ClipAlignment(outline_offset(bmode, ceus), tissue_map(bmode, ceus), within, _jpeg(grid))


def _inside_pane(box: Box, pane: Pane) -> Box:
    return Box(box.x - pane.x, box.y - pane.y, box.width, box.height)


def _shares(box: Box, pane: Pane) -> tuple[float, float, float, float]:
    """Left, top, right and bottom as shares of the pane."""
    own = _inside_pane(box, pane)
    return (
        own.x / pane.width,
        own.y / pane.height,
        own.right / pane.width,
        own.bottom / pane.height,
    )


def _evenly(numbers: Sequence[int], most: int) -> set[int]:
    """At most so many of some numbers, the first and the last among them."""
    places = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
    return {numbers[place] for place in places.tolist()}


def _outline(on: NDArray[Any], box: Box, scale: float, colour: tuple[int, int, int]) -> None:
    corner, other = (
        (round(x * scale), round(y * scale)) for x, y in ((box.x, box.y), (box.right, box.bottom))
    )
    cv2.rectangle(on, corner, (other[0] - 1, other[1] - 1), colour, 1)


def _jpeg(rgb: Pixels) -> bytes:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _sum(path: Path) -> str:
    """Of a clip or picture; empty where it cannot be read, which is a fault of its frames."""
    try:
        return file_sum(path)
    except OSError:
        return ""
