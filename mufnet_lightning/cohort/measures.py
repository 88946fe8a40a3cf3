"""The size of a clip's pixels and the times of its frames: the table's word, else the header's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.regions import scale_of


def mm_per_pixel(
    clip: Mapping[str, Any], pane: Pane, header: ClipHeader | None
) -> tuple[float, float] | None:
    """Width and height in mm of a pixel of a pane; None where nobody says.

    The `mm_per_pixel` of clips.csv is the width; where pixels are not square, the header says how much
    higher they are.
    """
    given = clip.get("mm_per_pixel")
    if given is not None and not pd.isna(given):
        return float(given), float(given) * (header.pixel_aspect if header else 1.0)
    scale = scale_of(pane, header) if header else None
    return None if scale is None else (10 * scale.x_cm, 10 * scale.y_cm)


def since_injection_s(clip: Mapping[str, Any], frame: int, header: ClipHeader | None) -> float | None:
    """Seconds from the injection of contrast to a frame; None where nobody says.

    By `start_s` or `injection_frame` of clips.csv, else by the header's times of day.
    """
    time = header.time_s(frame) if header else None
    if time is None and frame == 0:
        time = 0.0
    if header is None and time is None:
        return None
    injection = clip.get("injection_frame")
    if injection is not None and not pd.isna(injection):
        injected = header.time_s(int(injection)) if header else None
        return None if time is None or injected is None else time - injected
    start = clip.get("start_s")
    if start is None or pd.isna(start):
        start = header.start_s if header else None
    return None if start is None or time is None else float(start) + time
