"""DICOM segmentations, and structured reports with regions (TID 1500), as highdicom reads them.

They name the file that they were drawn on by its SOP Instance UID, and its frames from 1. Of their
headers nothing else is used but what a region is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mufnet_lightning.cohort.annotations.annotation import (
    MALFORMED,
    Annotation,
    Extent,
    Reading,
    need,
)
from mufnet_lightning.cohort.annotations.shapes import around_mask, around_points
from mufnet_lightning.cohort.dicom_file import check_inflation, quiet
from mufnet_lightning.system.guards import too_large

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage, Label Map Segmentation Storage."""
REPORTS = (
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
"""SOP classes: Enhanced SR, Comprehensive SR, Comprehensive 3D SR."""
HALF = 0.5
"""Of a segmentation in fractions, from where on a pixel counts."""


def read_segmentations(files: Sequence[Path], reading: Reading) -> None:
    """Read DICOM SEG."""
    for path in files:
        need(path, "highdicom")
        with quiet():
            try:
                from highdicom.seg import segread

                check_inflation(path)
                segmentation = segread(path)
                reading.annotations += _of_segmentation(path, segmentation)
            except Exception as error:  # pydicom and highdicom raise whatever they like
                reading.faults.append(f"{path} cannot be read as DICOM SEG: {_reason(error)}")


def read_reports(files: Sequence[Path], reading: Reading) -> None:
    """Read DICOM SR."""
    for path in files:
        need(path, "highdicom")
        with quiet():
            try:
                from highdicom.sr import srread

                check_inflation(path)
                content: Any = srread(path).content
                groups = [
                    *content.get_planar_roi_measurement_groups(),
                    *content.get_volumetric_roi_measurement_groups(),
                ]
            except Exception as error:
                reading.faults.append(f"{path} cannot be read as DICOM SR: {_reason(error)}")
                continue
            for number, group in enumerate(groups, 1):
                where = f"{path.name} measurement group {number}"
                try:
                    reading.annotations += _of_group(where, group)
                except (*MALFORMED, RuntimeError) as error:
                    reading.malformed(where, "TID 1500", error)


def _of_segmentation(path: Path, segmentation: Any) -> Iterator[Annotation]:
    names = {
        int(number): str(segmentation.get_segment_description(number).segment_label)
        for number in segmentation.segment_numbers
    }
    kind = str(segmentation.SegmentationType)
    size = int(segmentation.Columns), int(segmentation.Rows)
    if reason := too_large(*size):
        raise ValueError(f"{reason}, expected one of a scanner")
    for number, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, 1):
        where = f"{path.name} frame {number}"
        pixels = np.asarray(segmentation.get_stored_frame(number))
        for segment, mask in _masks(segmentation, kind, group, pixels):
            box = around_mask(mask)
            if box is None:
                continue
            uid, frame = _source(where, group)
            yield Annotation(
                where=where,
                source=path.name,
                box=box,
                label=names.get(segment, str(segment)),
                frame=frame,
                counts_from=1,
                size=size,
                uid=uid,
            )


def _masks(
    segmentation: Any, kind: str, group: Any, pixels: np.ndarray
) -> Iterable[tuple[int, np.ndarray]]:
    """Number of each segment on a stored frame, and its pixels."""
    if kind == "LABELMAP":
        return [(int(value), pixels == value) for value in np.unique(pixels) if value != 0]
    item = group if "SegmentIdentificationSequence" in group else None
    if item is None:
        item = segmentation.SharedFunctionalGroupsSequence[0]
    segment = int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    least = HALF * int(segmentation.MaximumFractionalValue) if kind == "FRACTIONAL" else 1
    return [(segment, pixels >= least)]


def _source(where: str, group: Any) -> tuple[str, int | None]:
    """UID of the file that a stored frame was drawn on; number of its frame, from 1, where told."""
    images = [
        image
        for derivation in group.get("DerivationImageSequence", ())
        for image in derivation.get("SourceImageSequence", ())
    ]
    if len(images) != 1:
        raise ValueError(f"{where} names {len(images)} source images, expected one")
    return str(images[0].ReferencedSOPInstanceUID), _one(images[0].get("ReferencedFrameNumber"))


def _of_group(where: str, group: Any) -> Iterator[Annotation]:
    rois = group.roi
    rois = rois if isinstance(rois, list) else [] if rois is None else [rois]
    if not rois:
        raise ValueError("it refers to a segmentation or holds no region; import the DICOM SEG instead")
    finding = group.finding_type
    label = str(finding.meaning) if finding is not None else str(group.tracking_identifier or "")
    for roi in rois:
        if getattr(roi, "ValueType", "") != "SCOORD":
            raise ValueError("its region is in space, expected one on an image (SCOORD)")
        source = roi.ContentSequence[0].ReferencedSOPSequence[0]
        yield Annotation(
            where=where,
            source=where,
            box=_around(str(roi.GraphicType), np.asarray(roi.value, float)),
            label=label,
            frame=_one(source.get("ReferencedFrameNumber")),
            counts_from=1,
            track=str(group.tracking_uid or ""),
            uid=str(source.ReferencedSOPInstanceUID),
        )


def _around(kind: str, points: np.ndarray) -> Extent:
    if kind == "POLYLINE":
        return around_points(points.tolist())
    if kind == "CIRCLE":  # the middle, and a point of the circle
        (x, y), other = points.tolist()
        radius = math.dist((x, y), other)
        return Extent(x - radius, y - radius, 2 * radius, 2 * radius)
    if kind == "ELLIPSE":  # the ends of both axes
        first, second = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
        half = np.hypot(first, second)
        left, top = (points[0] + points[1]) / 2 - half
        return Extent(float(left), float(top), float(2 * half[0]), float(2 * half[1]))
    raise ValueError(f"its region is a {kind}, which has no box")


def _one(frames: Any) -> int | None:
    """The one frame that is meant; None where none is said, as of a file that has only one."""
    if frames is None:
        return None
    numbers = [int(frames)] if isinstance(frames, int | str) else [int(number) for number in frames]
    if len(numbers) != 1:
        raise ValueError(f"it speaks of {len(numbers)} frames at once, expected one")
    return numbers[0]


def _reason(error: Exception) -> str:
    """What our own sentences say; others may quote a header."""
    ours = type(error) is ValueError and "expected one" in str(error)
    return str(error) if ours else f"damaged, or not of that kind ({type(error).__name__})"
