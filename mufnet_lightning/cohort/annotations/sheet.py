"""Frames of each clip with their boxes, as one HTML file to look at before anything is written."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.annotations.placing import Placed
from mufnet_lightning.cohort.clips import count_frames, iter_frames
from mufnet_lightning.cohort.faults import ClipFault
from mufnet_lightning.system.processes import cores, progress_bar

NAME = "boxes_look.html"
"""The file in the cohort folder. Like the clips it shows whole frames, with a scanner's texts."""
WIDEST = 640  # pixels of a picture there
FEW_CLIPS = 60  # of more of them one frame each is shown
MOST_CLIPS = 200  # of more of them not all
DRAWN, FILLED = (255, 210, 0), (0, 200, 255)
STYLE = (
    "body{font-family:sans-serif;margin:2em;background:#222;color:#eee}figure{display:inline-block;"
    "margin:0 1em 1em 0;vertical-align:top}img{display:block;max-width:640px}figcaption{padding:.3em 0}"
    "pre{white-space:pre-wrap}.drawn{color:#ffd200}.filled{color:#00c8ff}"
)


@dataclass(frozen=True)
class Look:
    """What was seen of a clip.

    Attributes:
        width, height: of its frames.
        frames: how many it has; None where only decoding all of it would tell.
        pictures: some annotated frames, by number, no wider than `WIDEST`.
        fault: what is wrong with it, or "".
    """

    width: int = 0
    height: int = 0
    frames: int | None = None
    pictures: Mapping[int, np.ndarray] = field(default_factory=dict)
    fault: str = ""


def look_at(paths: Mapping[str, Path], wanted: Mapping[str, Sequence[int]]) -> dict[str, Look]:
    """Decode clips as far as their last annotated frame, which so is known to be there.

    Args:
        paths: file of each clip, by clip_id.
        wanted: annotated frames, by clip_id, at least one each.
    """

    some = set(list(wanted)[:: max(1, -(-len(wanted) // MOST_CLIPS))])

    def look(clip: str) -> Look:
        frames = sorted(set(wanted[clip]))
        middle = frames[len(frames) // 2]
        shown = {frames[0], middle, frames[-1]} if len(wanted) <= FEW_CLIPS else {middle}
        shown = shown if clip in some else set()
        pictures: dict[int, np.ndarray] = {}
        width = height = 0
        try:
            for number, frame in iter_frames(paths[clip], [*shown, frames[-1]]):
                height, width = frame.shape[:2]
                if number in shown:
                    pictures[number] = _smaller(frame)
            return Look(width, height, count_frames(paths[clip], exact=False), pictures)
        except ClipFault as fault:
            return Look(fault=str(fault))

    looks = {}
    with ThreadPoolExecutor(cores()) as pool, progress_bar("decoding", len(wanted)) as advance:
        for clip, seen in zip(wanted, pool.map(look, wanted), strict=True):
            looks[clip] = seen
            advance()
    return looks


def sheet(title: str, summary: str, boxes: Sequence[Placed], looks: Mapping[str, Look]) -> str:
    """The page.

    Args:
        title: its heading.
        summary: what is printed too.
        boxes: all that would be written.
        looks: of each clip.
    """
    on_frame: dict[tuple[str, int], list[Placed]] = {}
    for box in boxes:
        on_frame.setdefault((box.clip, box.frame), []).append(box)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<pre>{escape(summary)}</pre>",
        '<p>Boxes <span class="drawn">drawn</span>, and <span class="filled">filled in</span>.</p>',
    ]
    some = {clip: look for clip, look in looks.items() if look.pictures}
    if len(some) < len(looks):
        parts.append(f"<p>{len(some):,} of {len(looks):,} clips are shown.</p>")
    for clip, look in some.items():
        parts.append(f"<h2>{escape(clip)}</h2>")
        for frame, picture in look.pictures.items():
            there = on_frame.get((clip, frame), [])
            caption = ", ".join([f"frame {frame}", *sorted({box.label for box in there if box.label})])
            parts.append(
                f'<figure><img alt="" src="data:image/jpeg;base64,{_jpeg(picture, there, look.width)}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
    return "\n".join([*parts, "</body></html>\n"])


def _smaller(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if width <= WIDEST:
        return np.ascontiguousarray(frame)
    size = WIDEST, max(1, round(height * WIDEST / width))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _jpeg(picture: np.ndarray, boxes: Sequence[Placed], width: int) -> str:
    """A picture with its boxes, their lines just outside of them."""
    scale = picture.shape[1] / width
    picture = picture.copy()
    for one in boxes:
        box = one.box
        left, top = round(box.x * scale) - 1, round(box.y * scale) - 1
        right, bottom = round((box.x + box.width) * scale), round((box.y + box.height) * scale)
        cv2.rectangle(picture, (left, top), (right, bottom), DRAWN if one.drawn else FILLED, 1)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return base64.b64encode(encoded.tobytes()).decode()
