"""Frames out of a clip (AVI, MP4, DICOM) or a still image.

Video is decoded in order from frame 0: seeking is not exact for every codec, and a box on the wrong
frame shows other tissue. DICOM frames are read one by one, so memory does not grow with the clip.
Of a DICOM header nothing is read but what describes its pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# A damaged file makes FFmpeg print lines of its own; the user gets one clear message from us
# instead.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from mufnet_lightning.errors import InputFault

VIDEO_ENDINGS = (".avi", ".mp4")
DICOM_ENDINGS = (".dcm", "")  # DICOM media name their files without an ending
CLIP_ENDINGS = VIDEO_ENDINGS + DICOM_ENDINGS
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
COLOURS = ("Red", "Green", "Blue")


class ClipFault(InputFault):
    """A clip or image that cannot give what is wanted of it.

    Attributes:
        reason: the message without the file, e.g. "has 18 frames that can be read, ...".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


def iter_frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip once, as far as the last wanted frame.

    A frame that a damaged video lost in its middle cannot be noticed from outside; a video that is
    cut off is noticed, even where the decoder fills the last picture up with grey.

    Args:
        path: AVI or MP4, else DICOM (one or many frames).
        wanted: frame numbers from 0, in any order.

    Yields:
        (frame number, height × width × 3 uint8 RGB), in ascending order.

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
        yield from _iter_dicom(path, numbers)


def read_image(path: Path) -> np.ndarray:
    """A still image as height × width × 3 uint8 RGB.

    Raises:
        ClipFault: it cannot be decoded.
    """
    cv2.utils.logging.setLogLevel(0)
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise ClipFault(path, "cannot be decoded, expected a whole image file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
                raise ClipFault(path, _too_short(number, promised))
            if image is not None:
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        # The last picture of a cut-off file decodes, half of it grey: is there one after it?
        read = numbers[-1] + 1
        if read < promised and not capture.grab():
            raise ClipFault(path, _too_short(read, promised) + ", and the last may be incomplete")
    finally:
        capture.release()


def _too_short(read: int, promised: int) -> str:
    frames = f"has {read} frames that can be read" if read != 1 else "has 1 frame that can be read"
    return f"{frames}, though its header says {promised}" if promised > read else frames


def _iter_dicom(path: Path, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    from pydicom.pixels import iter_pixels
    from pydicom.pixels.processing import apply_color_lut

    header = _pixel_header(path)
    promised = int(header.get("NumberOfFrames") or 1)
    if promised <= numbers[-1]:
        raise ClipFault(path, _too_short(promised, promised))
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
    from pydicom.pixels import get_decoder, iter_pixels

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
    return _too_short(read, promised)


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call pydicom without its warnings and logs: they may quote a header."""
    import logging
    import warnings

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)
