"""Frames out of a film, in whatever container and codec FFmpeg knows.

A film is decoded in order from frame 0: seeking is not exact for every codec, and a box on the wrong
frame shows other tissue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

# A damaged file makes FFmpeg print lines of its own; the user gets one clear message from us
# instead.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.system.guards import LARGEST_FILM, check_regular, too_large

COUNTED = (".avi", ".mp4", ".m4v", ".mov")
"""Containers that say how many frames they have; of others FFmpeg takes a guess."""


def open_film(path: Path) -> cv2.VideoCapture:
    """FFmpeg's hand on a film; stored frames that are to be shown turned are turned, as players do.

    Raises:
        OSError: it is no plain file: FFmpeg would wait for a named pipe.
        ValueError: its frames are larger than any scanner's; the message says how large.
    """
    check_regular(path)
    # The environment above came too late if somebody else has imported cv2.
    cv2.utils.logging.setLogLevel(0)
    # An absolute path never looks like one of FFmpeg's protocols ("a:b.avi").
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    if capture.isOpened():
        sides = (int(capture.get(s)) for s in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if reason := too_large(*sides):
            capture.release()
            raise ValueError(reason)
    return capture


def _opened(path: Path, named: Path) -> cv2.VideoCapture:
    """The same, with every reason against it as a `ClipFault`."""
    try:
        capture = open_film(path)
    except OSError as error:
        raise ClipFault(named, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ClipFault(named, str(error)) from None
    if not capture.isOpened():
        raise ClipFault(named, "cannot be opened as video: damaged, cut off, or another format")
    return capture


def iter_video(
    path: Path, numbers: Sequence[int], named: Path | None = None, promised: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a film as far as the last wanted frame.

    Args:
        path: of the film.
        numbers: frame numbers from 0, ascending, at least one.
        named: the file that a fault names; the film itself unless given.
        promised: how many frames there should be, where somebody else says so.

    Yields:
        (frame number, height × width × 3 uint8 RGB); the frame is a view.

    Raises:
        ClipFault: unreadable, cut off, or shorter than the last of `numbers`.
    """
    named = named or path
    capture = _opened(path, named)
    try:
        if promised is None:
            counted = path.suffix.lower() in COUNTED
            promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if counted else 0
        wanted = set(numbers)
        for number in range(numbers[-1] + 1):
            grabbed = capture.grab()
            image = None
            if grabbed and number in wanted:
                grabbed, image = capture.retrieve()
            if not grabbed:
                raise ClipFault(named, too_short(number, promised))
            if image is not None:
                yield number, image[..., ::-1]  # BGR, seen as RGB: nothing is copied
        # The last picture of a cut-off file decodes, half of it grey: is there one after it?
        read = numbers[-1] + 1
        if read < promised and not capture.grab():
            raise ClipFault(named, too_short(read, promised) + ", and the last may be incomplete")
    finally:
        capture.release()


def count_video(path: Path, exact: bool = True) -> int | None:
    """How many frames a film has.

    Args:
        path: of the film.
        exact: decode it to its end; else what its container says, None where that is a guess.

    Raises:
        ClipFault: unreadable.
    """
    capture = _opened(path, path)
    try:
        if not exact:
            counted = path.suffix.lower() in COUNTED
            return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if counted else None
        count = 0
        pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        while capture.grab():
            count += 1
            if count * pixels > LARGEST_FILM:
                raise ClipFault(path, f"has more than {LARGEST_FILM:,} pixels in all its frames")
        return count
    finally:
        capture.release()


def frame_rate(path: Path) -> float:
    """Frames a second, as a film's container says; 0 where it does not say."""
    try:
        capture = open_film(path)
    except (OSError, ValueError):
        return 0.0
    try:
        return float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    finally:
        capture.release()
