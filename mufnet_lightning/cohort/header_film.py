"""What a film's container says of its frames, as FFmpeg hands it on."""

from __future__ import annotations

from pathlib import Path

import cv2

from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.video import COUNTED, open_film

FILM_RATE = "the film's rate"
SLOWEST, FASTEST = 0.2, 500.0  # frames a second; beyond, it is a container's tick and no rate


def film_header(path: Path) -> ClipHeader | None:
    """The header of a film; None where it cannot be opened."""
    try:
        capture = open_film(path)
    except (OSError, ValueError):  # decoding says why
        return None
    try:
        if not capture.isOpened():
            return None
        turned = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
        aspect = high / wide if wide > 0 and high > 0 else 1.0  # 0: not known
        rate = capture.get(cv2.CAP_PROP_FPS)
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        timed = SLOWEST <= rate <= FASTEST
        return ClipHeader(
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            frames=frames if path.suffix.lower() in COUNTED and frames > 0 else None,
            interval_s=1 / rate if timed else None,
            timing=FILM_RATE if timed else "",
            pixel_aspect=1 / aspect if turned in (90, 270) else aspect,
            rotation=turned,
        )
    finally:
        capture.release()
