"""Frames out of a clip: AVI and MP4 (DICOM: see `dicom`; images that are cropped already: `stills`).

Video is decoded in order from frame 0: seeking is not exact for every codec, and a box on the wrong
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

from mufnet_lightning.cohort.dicom import iter_dicom
from mufnet_lightning.cohort.faults import ClipFault, too_short

VIDEO_ENDINGS = (".avi", ".mp4")
DICOM_ENDINGS = (".dcm", "")  # DICOM media name their files without an ending
CLIP_ENDINGS = VIDEO_ENDINGS + DICOM_ENDINGS


def iter_frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip once, as far as the last wanted frame.

    A frame that a damaged video lost in its middle cannot be noticed from outside; a video that is
    cut off is noticed, even where the decoder fills the last picture up with grey.

    Args:
        path: AVI or MP4, else DICOM (one or many frames).
        wanted: frame numbers from 0, in any order.

    Yields:
        (frame number, height × width × 3 uint8 RGB), in ascending order; the frame may be a view.

    Raises:
        ClipFault: unreadable, cut off, or shorter than a wanted frame; says how many frames can be
            read.
    """
    numbers = sorted(set(wanted))
    if not numbers:
        return
    if numbers[0] < 0:
        raise ValueError(f"frames count from 0, got {numbers[0]}")
    if path.suffix.lower() in VIDEO_ENDINGS:
        yield from _iter_video(path, numbers)
    else:
        yield from iter_dicom(path, numbers)


def _iter_video(path: Path, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    # The environment above came too late if somebody else has imported cv2.
    cv2.utils.logging.setLogLevel(0)
    # An absolute path never looks like one of FFmpeg's protocols ("a:b.avi").
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise ClipFault(path, "cannot be opened as video: damaged, cut off, or another format")
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(numbers)
        for number in range(numbers[-1] + 1):
            grabbed = capture.grab()
            image = None
            if grabbed and number in wanted:
                grabbed, image = capture.retrieve()
            if not grabbed:
                raise ClipFault(path, too_short(number, promised))
            if image is not None:
                yield number, image[..., ::-1]  # BGR, seen as RGB: nothing is copied
        # The last picture of a cut-off file decodes, half of it grey: is there one after it?
        read = numbers[-1] + 1
        if read < promised and not capture.grab():
            raise ClipFault(path, too_short(read, promised) + ", and the last may be incomplete")
    finally:
        capture.release()
