"""Still images: crops that somebody cut already."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.cohort.faults import ClipFault

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_image(path: Path) -> np.ndarray:
    """A still image as height × width × 3 uint8 RGB.

    Raises:
        ClipFault: it cannot be decoded.
    """
    try:
        image = decoded(path.read_bytes())
    except OSError:
        image = None
    if image is None:
        raise ClipFault(path, "cannot be decoded, expected a whole image file")
    return image


def decoded(content: bytes) -> np.ndarray | None:
    """An image file's content as height × width × 3 uint8 RGB; None where it cannot be decoded."""
    cv2.utils.logging.setLogLevel(0)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
