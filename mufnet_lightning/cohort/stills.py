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
    cv2.utils.logging.setLogLevel(0)
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise ClipFault(path, "cannot be decoded, expected a whole image file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
