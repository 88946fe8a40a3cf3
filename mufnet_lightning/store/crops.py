"""The crops of a store, read as they were written or not at all."""

from __future__ import annotations

import cv2
import numpy as np

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.seal import MAKE_AGAIN, StoreSums


def read_crop(sums: StoreSums, path: str) -> np.ndarray:
    """A crop (H, W, 3) uint8, RGB.

    Args:
        sums: of the store.
        path: in the store.

    Raises:
        InputFault: it cannot be read, or is not as it was written.
    """
    content = np.frombuffer(sums.content(path), np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if pixels is None:
        raise InputFault(
            f"the crop store {sums.root} is damaged: {path} cannot be read as a picture; {MAKE_AGAIN}"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
