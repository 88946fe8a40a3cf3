"""What a DICOM header says of a clip's frames.

Only the elements of `ELEMENTS` are read; the others, which name the patient, are skipped in the file.
"""

from __future__ import annotations

import math
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

from mufnet_lightning.cohort.dicom_file import check_claims, read_dicom
from mufnet_lightning.cohort.header import ClipHeader, Region

ELEMENTS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelAspectRatio",
    "SequenceOfUltrasoundRegions",
    "FrameIncrementPointer",
    "FrameTime",
    "FrameTimeVector",
    "RecommendedDisplayFrameRate",
    "CineRate",
    "BurnedInAnnotation",
    "ContrastBolusStartTime",
    "AcquisitionTime",
)
"""Of the two times of day only the difference is kept."""
CENTIMETRES = 3
FRAME_TIME = 0x0018_1063
RATES = ("RecommendedDisplayFrameRate", "CineRate")
"""At which a clip is to be played: mostly, but not always, that of recording."""
DAY_S = 24 * 3600
LONGEST_S = 3600.0  # from injection to a clip; more is another injection's, or a wrong clock's


def dicom_header(path: Path) -> ClipHeader | None:
    """The header of a DICOM clip; None where it cannot be read. Call it within `quiet`."""
    try:
        dataset = read_dicom(path, stop_before_pixels=True, specific_tags=list(ELEMENTS), force=True)
        width, height = int(dataset.Columns), int(dataset.Rows)
        if check_claims(path, dataset):
            return None
    except Exception:  # pydicom raises whatever it likes for damaged files
        return None
    frames = _number(dataset, "NumberOfFrames")
    interval, times, timing = _timing(dataset, int(frames or 1))
    burned_in = {"YES": True, "NO": False}
    return ClipHeader(
        width=width,
        height=height,
        frames=int(frames or 1),
        interval_s=interval,
        times_s=times,
        timing=timing,
        regions=_regions(dataset),
        pixel_aspect=_pixel_aspect(dataset),
        burned_in=burned_in.get(str(_value(dataset, "BurnedInAnnotation")).strip().upper()),
        start_s=_since_injection(dataset),
    )


def _value(dataset: Any, name: str) -> Any:
    """An element's value; None where it is missing or no value of its kind."""
    try:
        return dataset.get(name)
    except Exception:
        return None


def _numbers(value: Any) -> tuple[float, ...]:
    """Finite numbers; empty where one is none."""
    try:
        many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        numbers = tuple(float(one) for one in many)
    except (TypeError, ValueError):
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _number(dataset: Any, name: str) -> float | None:
    numbers = _numbers(_value(dataset, name))
    return numbers[0] if len(numbers) == 1 else None


def _timing(dataset: Any, frames: int) -> tuple[float | None, tuple[float, ...], str]:
    """(seconds between frames, seconds of each frame, what says so)."""
    vector = _numbers(_value(dataset, "FrameTimeVector"))
    steady = _number(dataset, "FrameIncrementPointer") == FRAME_TIME
    whole = len(vector) >= frames > 1 and vector[0] >= 0 and all(step > 0 for step in vector[1:frames])
    frame_time = _number(dataset, "FrameTime")
    if whole and not (steady and frame_time):
        since = [milliseconds / 1000 for milliseconds in accumulate(vector[1:frames], initial=0.0)]
        return None, tuple(since), "Frame Time Vector"
    if frame_time is not None and frame_time > 0:
        return frame_time / 1000, (), "Frame Time"
    for name, spelled in zip(RATES, ("Recommended Display Frame Rate", "Cine Rate"), strict=True):
        rate = _number(dataset, name)
        if rate is not None and rate > 0:
            return 1 / rate, (), spelled
    return None, (), ""


def _pixel_aspect(dataset: Any) -> float:
    """Height by width: the element has the vertical size first."""
    sizes = _numbers(_value(dataset, "PixelAspectRatio"))
    return sizes[0] / sizes[1] if len(sizes) == 2 and min(sizes) > 0 else 1.0


def _since_injection(dataset: Any) -> float | None:
    """Seconds from the start of the bolus to that of the acquisition, also over midnight."""
    start, clip = (_seconds(_value(dataset, n)) for n in ("ContrastBolusStartTime", "AcquisitionTime"))
    if start is None or clip is None:
        return None
    since = (clip - start + DAY_S / 2) % DAY_S - DAY_S / 2
    return since if abs(since) <= LONGEST_S else None


def _seconds(time: Any) -> float | None:
    """Of a time of day, HHMMSS.FFFFFF, at least with its seconds."""
    match = re.fullmatch(r"(\d\d):?(\d\d):?(\d\d(?:\.\d{1,6})?)", str(time).strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def _regions(dataset: Any) -> tuple[Region, ...]:
    """Those that say where they are."""
    items = _value(dataset, "SequenceOfUltrasoundRegions")
    try:
        regions = [_region(item) for item in items or ()]
    except Exception:
        return ()
    return tuple(region for region in regions if region is not None)


def _region(item: Any) -> Region | None:
    edges = [_number(item, f"RegionLocation{edge}") for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if None in edges:
        return None
    x0, y0, x1, y1 = (int(edge) for edge in edges if edge is not None)
    deltas = []
    for axis in "XY":
        delta = _number(item, f"PhysicalDelta{axis}")
        unit = _number(item, f"PhysicalUnits{axis}Direction")
        deltas.append(delta if unit == CENTIMETRES and delta is not None and delta > 0 else None)
    names = ("PixelX0", "PixelY0", "PixelPhysicalValueX", "PixelPhysicalValueY")
    place = [_number(item, f"Reference{name}") for name in names]
    known = [number for number in place if number is not None]
    return Region(
        *(x0, y0, x1, y1),
        spatial_format=int(_number(item, "RegionSpatialFormat") or 0),
        data_type=int(_number(item, "RegionDataType") or 0),
        flags=int(_number(item, "RegionFlags") or 0),
        delta_x_cm=deltas[0],
        delta_y_cm=deltas[1],
        reference=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None,
    )
