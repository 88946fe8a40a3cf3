"""How a hidden number shows in a pane: by kinds of signal, of which a phantom's options choose some.

No kind but brightness moves the mean grey of a tumour or its spread: texture has the same power at
whatever grain, a margin's bright line has a dark one beside it, and the timing of the bolus starts
anywhere in its course, so that one frame says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.phantom.scene import Floats, smooth_noise

KINDS = {
    "bmode": ("texture", "margin", "brightness"),
    "ceus": ("texture", "timing", "margin", "brightness"),
}
LIFT = 0.11  # standard deviations of the patches, at their own power
STEEP = 1.0  # how soon fine patches give way to coarse ones


@dataclass(frozen=True)
class Shown:
    """A hidden number as the tissue shows it, -3 to 3, by each kind; a kind that is not chosen is at 0.

    >>> shown = Shown.of(1.0, ["texture"])
    >>> round(shown.texture, 3), shown.margin
    (0.965, 0.0)
    """

    texture: float = 0.0
    timing: float = 0.0
    margin: float = 0.0
    brightness: float = 0.0

    @classmethod
    def of(cls, latent: float, kinds: Collection[str]) -> Shown:
        """b or c, saturated: monotone, and never beyond what tissue looks like."""
        return cls(**dict.fromkeys(kinds, 3 * math.tanh(latent / 3)))


def texture(
    rng: np.random.Generator, inside: Floats, shown: float, grains: tuple[float, float], balance: float
) -> Floats:
    """Patches of mean about 0 and variance 1 in the tumour, (pane, pane): fine ones give way to coarse.

    Args:
        rng: it draws the same, whatever is shown.
        inside: (pane, pane) above 0 where the tumour is.
        shown: -3 (all fine) to 3 (all coarse).
        grains: of the fine and of the coarse patches, in pane sizes.
        balance: power of the fine patches; what the pulse takes from them, given back.
    """
    tumor = inside > 0
    fine, coarse = (_standard(smooth_noise(rng, len(inside), grain), tumor) for grain in grains)
    angle = (1 + math.tanh(STEEP * shown)) * math.pi / 4
    field: Floats = np.float32(balance * math.cos(angle)) * fine + np.float32(math.sin(angle)) * coarse
    # What the pulse blurs in decibels comes out brighter than its mean.
    return field - np.float32(LIFT * (balance * math.cos(angle)) ** 2)


def _standard(field: Floats, where: NDArray[np.bool_]) -> Floats:
    """Of mean 0 and variance 1 there: so few patches fit into a tumour that both differ by chance."""
    part = field[where]
    even: Floats = (field - part.mean()) / part.std()
    return even


def course(start: float, shown: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """How the tumour's enhancement comes and goes about its mean, -1 to 1, same shape as `share`.

    The more is shown, the sooner it comes and goes. As it starts anywhere, its distribution at any one
    moment is the same for all: only moments beside each other tell how fast it is.

    Args:
        start: where in its course the tumour is when the annotated part begins, 0 to 1, drawn evenly.
        shown: -3 to 3.
        share: of the annotated part that has gone by.
    """
    rounds = 0.8 * math.exp(0.3 * shown)
    return np.cos(2 * np.pi * (start + rounds * share))


def double_line(inside: Any, width: float) -> Any:
    """A bright line outside an edge and a dark one inside it, -1 to 1; their mean is 0."""
    place = inside / width
    return -place * np.exp(0.5 - place**2 / 2)
