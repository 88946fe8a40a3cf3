"""A folder of single frames as one clip: DICOM files of one series, or numbered pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mufnet_lightning.cohort.dicom import frame_place, iter_dicom
from mufnet_lightning.cohort.dicom_file import is_dicom
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS, read_image

ASIDE = ("dicomdir", "thumbs.db", "desktop.ini")
"""Files that systems and DICOM leave in folders, beside hidden ones; in small letters."""


def series_files(folder: Path) -> list[Path]:
    """The frames of a folder in their order.

    DICOM goes by Instance Number, pictures by the last number in their names. Hidden files and a
    DICOMDIR are none.

    Raises:
        ClipFault: it holds none, both kinds, other files, or frames whose order is not known.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> for name in ("f10.png", "f9.png"):
    ...     (folder / name).touch()
    >>> [file.name for file in series_files(folder)]
    ['f9.png', 'f10.png']
    """
    try:
        files = frame_files(folder)
    except OSError as error:
        raise ClipFault(folder, f"cannot be read: {error.strerror}") from None
    if not files:
        raise ClipFault(folder, "is a folder without a file, expected the frames of one clip")
    pictures = [file for file in files if file.suffix.lower() in IMAGE_ENDINGS and not is_dicom(file)]
    if not pictures:
        return _of_one_series(folder, files)
    if len(pictures) < len(files):
        other = next(file for file in files if file not in pictures)
        raise ClipFault(folder, f"holds pictures and {other.name}, expected frames of one kind")
    return _numbered(folder, files)


def frame_files(folder: Path) -> list[Path]:
    """All that is in a folder of frames, by name, but for what systems leave there.

    Raises:
        OSError: it cannot be read.
    """
    return sorted(
        file
        for file in folder.iterdir()
        if not file.name.startswith(".") and file.name.lower() not in ASIDE
    )


def iter_series(folder: Path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Read frames of a folder (see `series_files`); arguments and yields as `iter_dicom` has them.

    Raises:
        ClipFault: as `series_files`, a frame that cannot be read, or too few of them.
    """
    files = series_files(folder)
    if len(files) <= numbers[-1]:
        raise ClipFault(folder, too_short(len(files), len(files)))
    size: tuple[int, ...] = ()
    for number in numbers:
        file = files[number]
        try:
            if file.suffix.lower() in IMAGE_ENDINGS and not is_dicom(file):
                frame = read_image(file)
            else:
                ((_, frame),) = iter_dicom(file, [0])
        except ClipFault as fault:
            raise ClipFault(folder, f"has a frame {file.name} that {fault.reason}") from None
        size = size or frame.shape
        if frame.shape != size:
            height, width = frame.shape[:2]
            raise ClipFault(
                folder,
                f"has a frame {file.name} of {width} × {height} pixels among others of {size[1]} × "
                f"{size[0]}, expected frames of one clip",
            )
        yield number, frame


def _of_one_series(folder: Path, files: Sequence[Path]) -> list[Path]:
    places = {}
    for file in files:
        if file.is_dir():
            raise ClipFault(folder, f"holds a folder {file.name}, expected the frames of one clip")
        try:
            places[file] = frame_place(file)
        except ClipFault as fault:
            if is_dicom(file):
                raise ClipFault(folder, f"has a file {file.name} that {fault.reason}") from None
            raise ClipFault(
                folder,
                f"is a folder with {file.name} in it, expected the frames of one clip, each a picture "
                "or a DICOM file of its own",
            ) from None
    for file, place in places.items():
        if place.frames != 1:
            raise ClipFault(
                folder, f"has a file {file.name} of {place.frames} frames, expected one each"
            )
    series = {place.series for place in places.values()}
    if len(series) > 1:
        raise ClipFault(folder, f"holds {len(series)} DICOM series, expected one: a folder for each")
    numbers = [place.number for place in places.values()]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise ClipFault(
            folder, "has frames without an Instance Number of their own, so their order is not known"
        )
    ordered = sorted(files, key=lambda file: places[file].number or 0)
    steps = {(places[two].number or 0) - (places[one].number or 0) for one, two in pairwise(ordered)}
    if len(steps) > 1:  # a file may be missing, and every frame behind it would be another
        known = sorted(place.number for place in places.values() if place.number is not None)
        gap = next(one for one, two in pairwise(known) if two - one > min(steps))
        raise ClipFault(folder, f"has frames whose Instance Numbers have a gap behind {gap}")
    return ordered


def _numbered(folder: Path, files: Sequence[Path]) -> list[Path]:
    numbers: dict[int, Path] = {}
    around: set[str] = set()
    for file in files:
        runs = re.findall(r"\d+", file.stem)
        if not runs:
            raise ClipFault(
                folder,
                f"has a frame {file.name} without a number in its name, so its order is not known",
            )
        first = numbers.setdefault(int(runs[-1]), file)
        if first != file:
            raise ClipFault(folder, f"has two frames of one number, {first.name} and {file.name}")
        around.add(file.stem[: file.stem.rindex(runs[-1])])
    if len(around) > 1:
        some = ", ".join(sorted(around)[:3])
        raise ClipFault(folder, f"has frames of several names ({some}), expected those of one clip")
    ordered = sorted(numbers)
    for before, after in pairwise(ordered):
        if after != before + 1:  # does a box in frame 5 mean the fifth file, or the one called 5?
            raise ClipFault(
                folder, f"has no frame between {numbers[before].name} and {numbers[after].name}"
            )
    return [numbers[number] for number in ordered]
