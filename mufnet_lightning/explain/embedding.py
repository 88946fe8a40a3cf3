"""Pictures as addresses that hold them, no larger than a page needs."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from matplotlib.figure import Figure

from mufnet_lightning.evaluation.figures import figure_png

WIDTH = 1400  # pixels, of the widest picture
JPEG_QUALITY = 85


def embedded_figure(figure: Figure) -> str:
    """A figure as a data address."""
    return embedded(figure_png(figure))


def embedded(png: bytes, photograph: bool = False) -> str:
    """A picture as a data address, no wider than needed.

    Args:
        png: the picture.
        photograph: keep it wider, and take JPEG, which is smaller for pictures of pixels.
    """
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    width = WIDTH if photograph else WIDTH // 2
    if pixels.shape[1] > width:
        height = round(pixels.shape[0] * width / pixels.shape[1])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    kind, options = (
        ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if photograph
        else ("png", [cv2.IMWRITE_PNG_COMPRESSION, 9])
    )
    content = cv2.imencode(f".{kind}", pixels, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
