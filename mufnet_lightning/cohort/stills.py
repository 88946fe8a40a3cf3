"""Still images: crops that somebody cut already."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from mufnet_lightning.system.guards import LARGEST_PICTURE, LARGEST_STILL, read_bytes, too_large

# for what Pillow does not look at; OpenCV reads it when it is imported
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_PICTURE))

import cv2
import numpy as np

from mufnet_lightning.cohort.faults import ClipFault

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BEGINS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", *TIFF)
"""Of the formats: OpenCV knows others, in which a small file can claim any size."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


HALF = 1 << 15


def read_image(path: Path) -> np.ndarray:
    """A still image as height × width × 3 uint8 RGB.

    Raises:
        ClipFault: it cannot be decoded, has several pages, or more than 8 bits of which nobody knows
            how many count.
    """
    try:
        content = read_bytes(path, LARGEST_STILL)
        image = decoded(content)
    except OSError as error:
        raise ClipFault(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ClipFault(path, str(error)) from None
    if image is None:
        raise ClipFault(path, "cannot be decoded, expected a whole image file")
    if content[:4] in TIFF and (pages := cv2.imcount(str(path))) > 1:
        raise ClipFault(path, f"has {pages} pages, expected one picture")
    return image


def check_size(content: bytes) -> None:
    """Refuse a picture that claims to be larger than any scanner's, before a pixel is decoded.

    Raises:
        ValueError: the message says how large it claims to be.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, of pictures as large
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
    except Image.DecompressionBombError as error:  # its own limit, higher than ours
        pixels = re.search(r"\d+", str(error))
        many = f"{int(pixels[0]):,}" if pixels else "too many"
        raise ValueError(f"has {many} pixels, expected at most {LARGEST_PICTURE:,} in all") from None
    except Exception:  # none of these, or damaged: OpenCV says which, and has its own limit
        return
    if reason := too_large(width, height):
        raise ValueError(reason)


def decoded(content: bytes) -> np.ndarray | None:
    """An image file's content as height × width × 3 uint8 RGB; None where it cannot be decoded.

    Of 16 bits the upper 8 are taken where the picture uses them all.

    Raises:
        ValueError: it has more than 8 bits and may use fewer than all of them, or does not say which
            is white: nobody can tell how bright it is; or it is larger than any picture of a scanner.
    """
    if not content.startswith(_BEGINS):
        return None
    check_size(content)
    cv2.utils.logging.setLogLevel(0)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:
        return None
    if image is None:
        return None
    if image.dtype != np.uint8:
        if image.dtype != np.uint16 or image.max() < HALF:
            raise ValueError(
                f"has pixels of {8 * image.dtype.itemsize} bits, of which it does not use all: "
                "expected 8 bits, or 16 from black to white"
            )
        image = (image.astype(np.uint16) >> 8).astype(np.uint8)
        if content[:4] in TIFF and _is_negative(content):  # OpenCV heeds it of 8 bits alone
            image = 255 - image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_negative(content: bytes) -> bool:
    """Whether 0 is white in a TIFF."""
    from PIL import Image, TiffImagePlugin

    try:
        with Image.open(io.BytesIO(content), formats=("TIFF",)) as picture:
            assert isinstance(picture, TiffImagePlugin.TiffImageFile)
            return bool(picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    except Exception:  # Pillow raises whatever it likes
        raise ValueError("has pixels of 16 bits and does not say which are white") from None
