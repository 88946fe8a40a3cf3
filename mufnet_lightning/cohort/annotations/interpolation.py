"""Frames between two key frames of a track, filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from mufnet_lightning.cohort.annotations.annotation import Extent
from mufnet_lightning.cohort.annotations.placing import Placed
from mufnet_lightning.cohort.geometry import box_outward


def drawn_only(boxes: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """The boxes of key frames, and a sentence about those that a program had filled in."""
    drawn = [box for box in boxes if box.drawn]
    left = len(boxes) - len(drawn)
    notes = []
    if left:
        notes.append(
            f"{left:,} boxes that the program filled in around key frames are left out; --interpolate "
            "takes those between two key frames"
        )
    return drawn, notes


def interpolate(boxes: Sequence[Placed], most_gap: int) -> tuple[list[Placed], list[str]]:
    """Fill the frames between each two neighbouring key frames of a clip, pane, label and track.

    Where the annotations hold such a frame already, as CVAT exports it, that box is taken. One behind
    the last key frame lies between none, and is left out: it is the last box, repeated.

    Args:
        boxes: of any clips.
        most_gap: key frames further apart than this many frames stay as they are.

    Returns:
        All boxes, and a sentence each about what was not filled in.
    """
    tracks: dict[tuple[str, str, str, str], list[Placed]] = {}
    for box in boxes:
        tracks.setdefault((box.clip, box.pane, box.label, box.track), []).append(box)
    filled: list[Placed] = []
    wide = taken = 0
    for track in tracks.values():
        keys = sorted((box for box in track if box.drawn), key=lambda box: box.frame)
        exported = {box.frame: box for box in track if not box.drawn}
        filled += keys
        for before, after in pairwise(keys):
            if after.frame - before.frame > most_gap:
                wide += 1
                continue
            for box in _between(before, after):
                own = exported.get(box.frame)
                taken += own is not None
                filled.append(own or box)
    notes = []
    if wide:
        notes.append(
            f"{wide:,} times two key frames are more than {most_gap} frames apart, and nothing is "
            "filled in between them (--most-gap)"
        )
    left = sum(not box.drawn for box in boxes) - taken
    if left:
        notes.append(
            f"{left:,} boxes that the program filled in lie between no two such key frames, left out"
        )
    return filled, notes


def _between(before: Placed, after: Placed) -> Iterator[Placed]:
    """The boxes of the frames between two, each edge moving evenly, rounded outward."""
    for frame in range(before.frame + 1, after.frame):
        share = (frame - before.frame) / (after.frame - before.frame)
        first, last = before.box, after.box
        x, y, right, bottom = (
            one + share * (other - one)
            for one, other in (
                (first.x, last.x),
                (first.y, last.y),
                (first.x + first.width, last.x + last.width),
                (first.y + first.height, last.y + last.height),
            )
        )
        box = box_outward(x, y, right - x, bottom - y)
        yield Placed(
            where=f"between {before.where} and {after.where}",
            clip=before.clip,
            frame=frame,
            box=Extent(box.x, box.y, box.width, box.height),
            label=before.label,
            pane=before.pane,
            track=before.track,
            drawn=False,
        )
