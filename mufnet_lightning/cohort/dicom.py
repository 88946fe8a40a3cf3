"""Frames out of a DICOM clip or still.

They are read one by one, so memory does not grow with the clip. Of a header nothing is read but what
describes its pixels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mufnet_lightning.cohort.faults import ClipFault, too_short

COLOURS = ("Red", "Green", "Blue")
Result = TypeVar("Result")


def iter_dicom(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames of 8-bit ultrasound, uncompressed or of a syntax that pydicom can decode.

    Args:
        path: a DICOM file with one frame or many.
        numbers: frame numbers from 0, ascending, at least one.

    Yields:
        (frame number, height × width × 3 uint8 RGB).

    Raises:
        ClipFault: unreadable, cut off, of another depth, or shorter than the last of `numbers`.
    """
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import iter_pixels

    header = _pixel_header(path)
    promised = int(header.get("NumberOfFrames") or 1)
    if promised <= numbers[-1]:
        raise ClipFault(path, too_short(promised, promised))
    if header.get("BitsStored") != 8:
        raise ClipFault(path, f"has {header.BitsStored}-bit pixels, expected 8-bit ultrasound")
    frames = iter_pixels(path, indices=numbers)  # YBR becomes RGB in here
    for number in numbers:
        try:
            pixels = _quietly(next, frames)
        except Exception:  # pydicom and its plugins raise whatever they like for damaged pixels
            raise ClipFault(path, _undecodable(path, header, promised)) from None
        if header.PhotometricInterpretation == "PALETTE COLOR":
            pixels = _quietly(apply_color_lut, pixels, header)
            pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels
        elif header.PhotometricInterpretation == "MONOCHROME1":  # 0 is white
            pixels = 255 - pixels
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        yield number, np.ascontiguousarray(pixels, dtype=np.uint8)


def _pixel_header(path: Path) -> Any:
    """The elements that describe the pixels, and no others: a header names the patient."""
    from pydicom import dcmread

    palette = [f"{c}PaletteColorLookupTable{part}" for c in COLOURS for part in ("Data", "Descriptor")]
    tags = ["NumberOfFrames", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"]
    try:
        header = _quietly(dcmread, path, stop_before_pixels=True, specific_tags=tags + palette)
        header.PhotometricInterpretation, header.file_meta.TransferSyntaxUID  # noqa: B018 - needed
    except Exception:
        raise ClipFault(path, "cannot be read as DICOM: damaged, or another format") from None
    return header


def _undecodable(path: Path, header: Any, promised: int) -> str:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import iter_pixels

    syntax = header.file_meta.TransferSyntaxUID
    try:
        missing = syntax.is_compressed and not get_decoder(syntax).is_available
    except NotImplementedError:  # how pydicom says that the syntax is none of pixels
        missing = True
    if missing:
        return f"is compressed as {syntax.name}, for which no pydicom decoder is installed"
    read, frames = 0, iter_pixels(path)
    try:
        while read < promised:
            _quietly(next, frames)
            read += 1
    except Exception:
        pass
    return too_short(read, promised)


def _quietly(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call pydicom without its warnings and logs: they may quote a header."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)
