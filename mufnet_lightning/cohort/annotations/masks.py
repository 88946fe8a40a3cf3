"""Masks: a PNG a picture, or a NIfTI file a clip. A value other than 0 is a label, and has one box.

A NIfTI file's first axis is x (columns), its second y (rows), its third the frame, from 0, as ITK-SNAP,
3D Slicer and SimpleITK write a film: what the file says of a patient's axes is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.annotations.annotation import Annotation, Reading, need
from mufnet_lightning.cohort.annotations.shapes import around_mask
from mufnet_lightning.cohort.stills import check_size
from mufnet_lightning.system.guards import LARGEST_STILL, check_regular, read_bytes

LARGEST_MASK = 1 << 28
"""Values of a NIfTI file; they are held at once."""
MOST_VALUES = 20
"""More of them are a picture, or a mask that was saved with loss."""


def read_pictures(files: Sequence[Path], reading: Reading) -> None:
    """Read masks in PNG; colours are labels too, as #RRGGBB."""
    cv2.utils.logging.setLogLevel(0)
    for path in files:
        try:
            content = read_bytes(path, LARGEST_STILL)
            check_size(content)
        except OSError as error:
            reading.faults.append(f"{path} cannot be read: {error.strerror}")
            continue
        except ValueError as error:
            reading.faults.append(f"{path} {error}")
            continue
        try:
            pixels = np.frombuffer(content, np.uint8)
            image = cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED) if content else None
        except cv2.error:
            image = None
        if image is None:
            reading.faults.append(f"{path} cannot be decoded, expected a whole PNG")
            continue
        values = _values(image)
        height, width = values.shape
        for value in _labels(path, values, reading):
            box = around_mask(values == value)
            assert box is not None  # the value is there
            label = str(value) if image.ndim == 2 or value < 256 else f"#{value - 256:06x}"
            reading.annotations.append(
                Annotation(
                    f"{path.name} value {label}", path.as_posix(), box, label, size=(width, height)
                )
            )


def read_nifti(files: Sequence[Path], reading: Reading) -> None:
    """Read masks in NIfTI."""
    for path in files:
        need(path, "nibabel")
        values = _volume(path, reading)
        if values is None:
            continue
        width, height, frames = values.shape
        for value in _labels(path, values, reading):
            pixels = values == value
            for frame in np.flatnonzero(pixels.any(axis=(0, 1))):
                box = around_mask(pixels[:, :, frame].T)
                assert box is not None  # as above
                reading.annotations.append(
                    Annotation(
                        where=f"{path.name} value {value} frame {frame}",
                        source=path.as_posix().removesuffix(".gz"),
                        box=box,
                        label=str(value),
                        frame=int(frame),
                        counts_from=0,
                        size=(width, height),
                        frames=frames,
                    )
                )


def _volume(path: Path, reading: Reading) -> np.ndarray | None:
    """A NIfTI file's values, x × y × frame, whole numbers."""
    import nibabel

    try:
        check_regular(path)
        proxy = nibabel.load(path).dataobj  # type: ignore[attr-defined]
        if not 0 < math.prod(proxy.shape) <= LARGEST_MASK:
            reading.faults.append(
                f"{path} claims {math.prod(proxy.shape):,} values, expected at most {LARGEST_MASK:,}"
            )
            return None
        values = np.asanyarray(proxy)
    except Exception as error:  # nibabel raises whatever its readers do
        reading.faults.append(f"{path} cannot be read as NIfTI: {type(error).__name__}")
        return None
    shape = values.shape
    if len(shape) > 3:  # axes of one: x, y, 1, frames
        shape = (*shape[:2], *(side for side in shape[2:] if side != 1))
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3:
        reading.faults.append(f"{path} has the axes {values.shape}, expected x, y and frame")
        return None
    values = values.reshape(shape)
    whole: np.ndarray = values.astype(np.int64)
    if not np.array_equal(whole, values):
        reading.faults.append(f"{path} has values that are no whole numbers, expected a mask")
        return None
    return whole


def _values(image: np.ndarray) -> np.ndarray:
    """A number a pixel: grey as it is, another colour as 256 + RRGGBB, transparent 0."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 2:
        return np.where(image[..., 1] == 0, 0, image[..., 0])
    blue, green, red = (image[..., channel].astype(np.int64) for channel in range(3))
    grey = (blue == green) & (green == red)
    values = np.where(grey, red, 256 + (red << 16) + (green << 8) + blue)
    return np.where(image[..., 3] == 0, 0, values) if image.shape[2] == 4 else values


def _labels(path: Path, values: np.ndarray, reading: Reading) -> list[int]:
    """The values of the tumours; none, and a fault, where it is no mask."""
    labels = [int(value) for value in np.unique(values) if value != 0]
    if len(labels) > MOST_VALUES:
        reading.faults.append(
            f"{path} has {len(labels)} values beside 0, expected a mask with one for each tumour"
        )
        return []
    if not labels:
        reading.left_out["empty mask"] += 1
    return labels
