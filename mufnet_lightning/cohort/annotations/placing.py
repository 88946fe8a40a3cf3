"""From what a file says to frames of clips: names matched, frames counted from 0, boxes in pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from mufnet_lightning.cohort.annotations.annotation import Annotation, Extent
from mufnet_lightning.cohort.annotations.names import ClipNames, NamePattern
from mufnet_lightning.cohort.clips import count_frames
from mufnet_lightning.cohort.dicom import instance_uid
from mufnet_lightning.cohort.dicom_file import is_dicom
from mufnet_lightning.cohort.faults import ClipFault, quoted
from mufnet_lightning.cohort.series import series_files
from mufnet_lightning.cohort.video import frame_rate
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import Contrast, Modality

ROUNDED = 0.05
"""Pixels that rounding of shares may move an edge by, for it to be put on the whole pixel again."""
STOPPED = 0.0005
"""Seconds: half of the last digit of the times at which a film was stopped."""


@dataclass(frozen=True)
class Choices:
    """What the user says of the annotations.

    Attributes:
        labels: those that count; all unless given.
        pane_labels: the pane that each label was drawn on.
        pane: the pane that all boxes were drawn on.
        clip: the clip that all of them belong to.
        first_frame: what frames count from, where the format does not say.
        frames_from: how names of pictures are made.
        interpolate: whether frames between key frames are filled.
        most_gap: how far apart two key frames may be for that.
        root, contrast: of the cohort, see `read_cohort`.
    """

    labels: Sequence[str] = ()
    pane_labels: Mapping[str, Modality] = field(default_factory=dict)
    pane: Modality | None = None
    clip: str | None = None
    first_frame: Literal[0, 1] | None = None
    frames_from: str | None = None
    interpolate: bool = False
    most_gap: int = 10
    root: Path | None = None
    contrast: Contrast = "tint"


@dataclass(frozen=True, slots=True)
class Placed:
    """A box on a frame of a clip.

    Attributes:
        where: its place in the annotations, for messages.
        clip: clip_id.
        frame: from 0.
        box: in pixels of the whole frame.
        label: its class.
        pane: that it was drawn on; "" where nobody says.
        track: what is the same object on several frames.
        drawn: False where it was filled in between key frames.
    """

    where: str
    clip: str
    frame: int
    box: Extent
    label: str
    pane: str = ""
    track: str = ""
    drawn: bool = True


class Frames:
    """Finds the frame of each annotation; what cannot be placed is a fault, said once for a name.

    Args:
        paths: file of each clip, by clip_id.
        named: path in clips.csv of each clip, by clip_id.
        choices: the user's.
    """

    def __init__(self, paths: Mapping[str, Path], named: Mapping[str, str], choices: Choices) -> None:
        self.paths, self.choices = paths, choices
        self.names = ClipNames(named)
        self.pattern = NamePattern.of(choices.frames_from) if choices.frames_from else None
        self.faults: dict[str, None] = {}  # in their order, each once
        self.notes: Counter[str] = Counter()
        self._places: dict[str, int] = {}  # of DICOM files in a folder of frames, by their UIDs
        self.undefined: dict[int, str] = {}
        self.clip_of = cache(self._clip_of)
        self.frames_of = cache(count_frames)
        self.rate_of = cache(frame_rate)
        if choices.clip is not None and choices.clip not in paths:
            raise InputFault(f"--clip is {quoted(choices.clip)}, expected a clip_id that clips.csv has")
        if self.pattern and not self.pattern.has_clip and choices.clip is None:
            raise InputFault(
                f"--frames-from {self.pattern.text} does not tell the clip, expected {{clip}} in it, "
                "or --clip with the clip_id of all pictures"
            )

    def place(self, annotation: Annotation) -> tuple[str, int] | None:
        """Clip and frame; None, and a fault, where they cannot be told."""
        try:
            clip, number = self.clip_of(annotation.uid, annotation.source)
            return clip, self._frame(annotation, clip, number)
        except LookupError as error:
            self.faults[str(error.args[0])] = None
        except ClipFault as fault:
            self.faults[str(fault)] = None
        return None

    def finish(self) -> list[str]:
        """All faults; among them what frames count from, where nobody says."""
        if self.undefined:
            least, most = min(self.undefined), max(self.undefined)
            self.faults[
                f"frames are numbered from {least} ({self.undefined[least]}) to {most}, "
                "and nothing says what they count from; give --first-frame 0 or --first-frame 1"
            ] = None
        return list(self.faults)

    def _clip_of(self, uid: str, source: str) -> tuple[str, int | None]:
        if uid:
            clips = self._instances.get(uid, [])
            if self.choices.clip is not None and (not clips or self.choices.clip in clips):
                return self.choices.clip, None  # a clip that was made of the DICOM file, say
            if len(clips) != 1:
                what = f"is of the clips {', '.join(clips)}" if clips else "no clip of clips.csv has"
                raise LookupError(f"{source}: was drawn on a DICOM file whose UID {what}")
            if self.choices.clip is not None:
                raise LookupError(f"{source}: was drawn on the clip {clips[0]}, not on --clip")
            return clips[0], self._places.get(uid)
        if self.choices.clip is not None and self.pattern is None:
            return self.choices.clip, None
        number = None
        name = source
        try:
            if self.pattern is not None:
                name, number = self.pattern.split(source)
                if self.choices.clip is not None:
                    return self.choices.clip, number
            return self.names.match(name), number
        except LookupError as error:
            shown = quoted(source) if name in ("", source) else f"{quoted(source)}: {quoted(name)}"
            hint = (
                "; if it is a picture of one frame, say how names are made: --frames-from "
                "'{clip}_{frame}'"
                if self.pattern is None
                else ""
            )
            raise LookupError(f"{shown} {error}{hint}") from None

    @cached_property
    def _instances(self) -> Mapping[str, list[str]]:
        clips: dict[str, list[str]] = {}
        for clip, path in self.paths.items():
            if path.is_dir():
                for number, frame in enumerate(series_files(path)):
                    uid = instance_uid(frame) if is_dicom(frame) else ""
                    if uid:
                        clips.setdefault(uid, []).append(clip)
                        self._places[uid] = number
            elif is_dicom(path):
                clips.setdefault(instance_uid(path), []).append(clip)
        return clips

    def _frame(self, annotation: Annotation, clip: str, number: int | None) -> int:
        path = self.paths[clip]
        if annotation.uid in self._places and number is not None:
            return number
        if annotation.frames is not None and (has := self.frames_of(path)) != annotation.frames:
            raise LookupError(
                f"{annotation.source} has {annotation.frames} frames, but its clip {clip} has {has}: "
                "expected one for each, or nobody knows which is which"
            )
        if annotation.seconds is not None:
            return self._frame_at(annotation.seconds, clip, path)
        if annotation.frame is not None and self.pattern and self.pattern.has_frame:
            raise LookupError(
                f"{annotation.where} has a frame number of its own, expected --frames-from without "
                "{frame}"
            )
        own = number if annotation.frame is None else annotation.frame
        if own is None:
            if self.frames_of(path, False) != 1:
                raise LookupError(
                    f"{quoted(annotation.source)} is the clip {clip}, which has more than one frame, "
                    "and nothing says which; name pictures of single frames by --frames-from"
                )
            self.notes["of clips that have only one"] += 1
            return 0
        first = annotation.counts_from if annotation.frame is not None else None
        if first is None:
            first = self.choices.first_frame
            if first is None:
                self.undefined.setdefault(own, annotation.source)
                return own
        elif self.choices.first_frame not in (None, first):
            raise LookupError(
                f"--first-frame is {self.choices.first_frame}, but this format counts frames from "
                f"{first} by definition"
            )
        defined = annotation.frame is not None and annotation.counts_from is not None
        by = "the format defines" if defined else "--first-frame says"
        self.notes[f"by their number, counted from {first} as {by}"] += 1
        if own < first:
            raise LookupError(f"{annotation.where}: frame {own}, though frames count from {first}")
        return own - first

    def _frame_at(self, seconds: float, clip: str, path: Path) -> int:
        rate = 0.0 if is_dicom(path) else self.rate_of(path)
        if not rate > 0:
            raise LookupError(
                f"the clip {clip} does not say how many frames a second it has, so that a time cannot "
                "be made a frame"
            )
        self.notes["from times in seconds, by the frame rate of the clip"] += 1
        return math.floor(rate * (seconds + STOPPED) + 1e-6)


def in_pixels(annotation: Annotation, width: int, height: int) -> tuple[Extent, float]:
    """The box in pixels inside its frame, and by how much it reached outside.

    Args:
        annotation: whose box it is.
        width, height: of the frame.

    Raises:
        ValueError: it reaches a pixel or more outside, or has no area.
    """
    box, digits = annotation.box, annotation.digits
    edges = [(box.x, box.x + box.width, width), (box.y, box.y + box.height, height)]
    placed: list[tuple[float, float]] = []
    outside = 0.0
    for low, high, side in edges:
        if digits is not None:
            low, high = (_whole(share * side, 0.75 * 10.0**-digits * side) for share in (low, high))
        beyond = max(0 - low, high - side, 0.0)
        if beyond >= 1:
            shown = Extent(*(round(value, 2) for value in (box.x, box.y, box.width, box.height)))
            raise ValueError(
                f"the box {shown.x},{shown.y},{shown.width},{shown.height} reaches outside its frame "
                f"of {width} × {height} pixels"
            )
        outside = max(outside, beyond)
        low, high = max(low, 0.0), min(high, float(side))
        if high - low <= 0:
            raise ValueError("the box has no area")
        placed.append((low, high))
    (left, right), (top, bottom) = placed
    return Extent(left, top, right - left, bottom - top), outside


def _whole(value: float, rounding: float) -> float:
    """An edge that lay on a whole pixel before its share was rounded lies there again."""
    near = round(value)
    return float(near) if abs(value - near) <= rounding + 1e-9 <= ROUNDED else value
