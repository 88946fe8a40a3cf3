"""How much colour two panes have: scanners show contrast in amber, and B-mode in grey.

Worker processes import this module, so it stays light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault
from mufnet_lightning.cohort.geometry import Pane, crop

LIT = 32  # of 255; darker pixels have no colour that compression leaves alone
FEWEST = 64  # lit pixels, to judge a pane by
GREY, TINTED = 0.10, 0.25
"""At most, and at least: the median saturation of the lit pixels of a pane."""


@dataclass(frozen=True)
class TintJob:
    """Frames of a clip, to measure two panes on."""

    path: Path
    frames: tuple[int, ...]
    panes: tuple[Pane, ...]


def tints(job: TintJob) -> tuple[float, ...] | str:
    """The median saturation of each pane's lit pixels (NaN where few are lit), or why none can be read.

    The median: a coloured mark, or letters, on a grey picture make no tint.
    """
    lit: list[list[np.ndarray]] = [[] for _ in job.panes]
    try:
        for _, frame in iter_frames(job.path, job.frames):
            for seen, pane in zip(lit, job.panes, strict=True):
                seen.append(_saturations(crop(frame, pane)))
    except ClipFault as fault:
        return fault.reason
    except ValueError:  # frames of another size than the header says
        return "has frames of another size than its header says"
    return tuple(_median(np.concatenate(seen)) for seen in lit)


def tinted_of(first: float, second: float) -> int | None:
    """Which of two panes is the tinted one beside a grey one; None where nobody can tell."""
    for number, (one, other) in enumerate(((first, second), (second, first))):
        if one >= TINTED and other <= GREY:
            return number
    return None


def described(tint: float) -> str:
    """`grey`, `tinted`, `faintly tinted` or `dark`."""
    if np.isnan(tint):
        return "dark"
    if tint <= GREY:
        return "grey"
    return "tinted" if tint >= TINTED else "faintly tinted"


def _saturations(rgb: np.ndarray) -> np.ndarray:
    """0 to 1, of the lit pixels of (H, W, 3)."""
    high = rgb.max(axis=-1)
    bright = high >= LIT
    high = high[bright].astype(np.float32)
    saturations: np.ndarray = (high - rgb.min(axis=-1)[bright]) / high
    return saturations


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) >= FEWEST else float("nan")
