"""Frames out of a clip: a film (see `video`), DICOM (see `dicom`), or a still (see `stills`).

What a file is, its content says: DICOM begins with a mark, and scanners name it as they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mufnet_lightning.cohort.dicom import count_dicom, iter_dicom
from mufnet_lightning.cohort.dicom_file import is_dicom
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.series import iter_series, series_files
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS, read_image
from mufnet_lightning.cohort.video import count_video, iter_video

FILM_ENDINGS = (
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".ts", ".gif", ".webm"),
    *(".asf", ".flv", ".ogv", ".3gp"),
)


def iter_frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip once, as far as the last wanted frame.

    A frame that a damaged video lost in its middle cannot be noticed from outside; a video that is
    cut off is noticed, even where the decoder fills the last picture up with grey (of containers that
    say how many frames they have: AVI, MP4, MOV).

    Args:
        path: DICOM (one or many frames), a film, a still, which is a clip of one frame, or a folder of
            single frames (see `series`).
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
    ending = path.suffix.lower()
    if path.is_dir():
        yield from iter_series(path, numbers)
    elif is_dicom(path):
        yield from iter_dicom(path, numbers)
    elif ending in FILM_ENDINGS:
        yield from iter_video(path, numbers)
    elif ending in IMAGE_ENDINGS:
        if numbers[-1] > 0:
            raise ClipFault(path, too_short(1, 1))
        yield 0, read_image(path)
    else:  # old DICOM lacks the mark, and names without an ending, or that are numbers, are DICOM's
        yield from iter_dicom(path, numbers)


def count_frames(path: Path, exact: bool = True) -> int | None:
    """How many frames a clip has.

    Args:
        path: as of `iter_frames`.
        exact: decode a film to its end; else None where its container does not say.

    Raises:
        ClipFault: unreadable.
    """
    if path.is_dir():
        return len(series_files(path))
    ending = path.suffix.lower()
    if not is_dicom(path):
        if ending in FILM_ENDINGS:
            return count_video(path, exact)
        if ending in IMAGE_ENDINGS:
            return 1
    return count_dicom(path)
