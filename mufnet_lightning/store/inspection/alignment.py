"""Whether both panes of a clip show the same tissue at the same place.

B-mode and contrast look unlike, so that their pixels cannot be laid over one another as they are. Two
things can:

The outline. Both panes show one sector, and its edge is where the picture ends. The pixels that are
ever lit in some frames, closed and filled, give the outline of each pane's sector, and the shift at
which the two overlap best (intersection over union) is how far the panes' rectangles in clips.csv are
off. It takes a sector that does not fill its pane, and contrast that lights it.

The tissue. Edges of organs lie at the same place in both panes, whichever side is the brighter: the
shift at which the gradients of the frames' means are most parallel (the sum of |∇a · ∇b|, over its
largest possible value). Of one clip that is off by up to 20 pixels in 320; the mean of the maps of five
patients or more with the same panes is not (docs/input.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.cohort.geometry import Pane

SIDE = 128
"""Pixels, to which each pane is brought."""
PLAY = 24
"""Of these, to each side: shifts that are tried; 19% of the pane."""
FEWEST_FRAMES = 3
LIT = 12
"""Of 255: a pixel that is ever above it shows something."""
FULL, EMPTY = 0.97, 0.3
"""Shares of a pane: an outline that fills it tells nothing, nor does one that covers less."""
ALIKE, BETTER = 0.9, 0.03
"""Intersection over union at the best shift, and how much more it is than at none."""
AGREE = 0.02
"""Of a pane's side: two halves of the frames may differ by it."""
OFF = 0.02
"""Of a pane's side: an offset from which on panes are doubted."""
STEP = 3
STEPS = PLAY // STEP * 2 - 3
FEWEST_POINTS = 2000

Mask = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Offset:
    """How far what the CEUS pane shows lies from where the B-mode pane has it.

    Attributes:
        right, down: shares of the pane's width and height; the table's CEUS pane should begin so much
            farther right and down.
        overlap: of both outlines once they are shifted, intersection over union, 0 to 1.
        before: the same as they are.
    """

    right: float
    down: float
    overlap: float
    before: float

    @property
    def size(self) -> float:
        """Share of the pane's side."""
        return float(np.hypot(self.right, self.down))

    def pixels(self, pane: Pane) -> tuple[int, int]:
        """Right and down in pixels of the frame.

        >>> Offset(0.05, -0.025, 0.98, 0.9).pixels(Pane(0, 0, 320, 320))
        (16, -8)
        """
        return round(self.right * pane.width), round(self.down * pane.height)


@dataclass(frozen=True)
class PaneView:
    """What is kept of one pane in some frames of a clip.

    Attributes:
        frames: (frames, SIDE, SIDE) grey levels.
    """

    frames: NDArray[np.uint8]

    @classmethod
    def of(cls, pixels: list[NDArray[np.uint8]]) -> PaneView:
        """Of the pane's pixels (H, W, 3) in each frame."""
        small = [
            cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in map(_grey, pixels)
        ]
        return cls(np.stack(small).astype(np.uint8))

    def outline(self, half: int | None = None) -> Mask:
        """(SIDE, SIDE) of 0 and 1: what is lit in any frame, or in any of the even or odd ones."""
        frames = self.frames if half is None else self.frames[half::2]
        return _filled((frames.max(axis=0) > LIT).astype(np.uint8))


def outline_offset(bmode: PaneView, ceus: PaneView) -> Offset | None:
    """The offset of two panes by their outlines; None where these do not tell.

    The even and the odd frames must say the same.

    >>> rows, columns = np.mgrid[:160, :200]
    >>> sector = (np.hypot(rows + 60, columns - 100) < 215) & (np.abs(columns - 100) < 0.6 * rows + 30)
    >>> lit = (90 * sector).astype(np.uint8)[..., None].repeat(3, axis=2)
    >>> panes = [lit[:, 20:180], np.roll(lit, (10, 0), (0, 1))[:, 20:180]]
    >>> offset = outline_offset(*(PaneView.of([pane] * 4) for pane in panes))
    >>> round(160 * offset.right), round(160 * offset.down)
    (0, 10)
    """
    if min(len(bmode.frames), len(ceus.frames)) < FEWEST_FRAMES:
        return None
    whole = _best(bmode.outline(), ceus.outline())
    halves = [_best(bmode.outline(half), ceus.outline(half)) for half in (0, 1)]
    if whole is None or any(
        half is None or np.hypot(half.right - whole.right, half.down - whole.down) > AGREE
        for half in halves
    ):
        return None
    return whole


def is_off(offset: Offset) -> bool:
    """Whether the panes' rectangles are to be doubted."""
    return offset.size >= OFF and offset.overlap - offset.before >= BETTER


def inside(view: PaneView, box: tuple[float, float, float, float]) -> float | None:
    """The share of a box that lies inside a pane's outline; None where there is none to speak of.

    Args:
        view: of the pane.
        box: left, top, right and bottom as shares of the pane's width and height.
    """
    outline = view.outline()
    if outline.mean() < EMPTY:
        return None
    left, top, right, bottom = (round(side * SIDE) for side in box)
    part = outline[top : max(bottom, top + 1), left : max(right, left + 1)]
    return float(part.mean()) if part.size else None


def tissue_map(bmode: PaneView, ceus: PaneView) -> Floats | None:
    """How parallel the edges in both panes are at each shift, (STEPS, STEPS); None without frames.

    Rows are shifts down, columns shifts to the right, `STEP` of `SIDE` pixels apart.
    """
    if min(len(bmode.frames), len(ceus.frames)) < FEWEST_FRAMES:
        return None
    edges = [_edges(view) for view in (bmode, ceus)]
    shifts = range(-(STEPS // 2) * STEP, STEPS // 2 * STEP + 1, STEP)
    return np.array(
        [[_parallel(*edges[0], *edges[1], right, down) for right in shifts] for down in shifts]
    )


def tissue_offset(maps: list[Floats]) -> Offset:
    """The offset at which the mean of several clips' maps is highest."""
    mean = np.mean(maps, axis=0)
    down, right = np.unravel_index(int(mean.argmax()), mean.shape)
    middle = STEPS // 2
    share = STEP / SIDE
    return Offset(
        (int(right) - middle) * share,
        (int(down) - middle) * share,
        float(mean.max()),
        float(mean[middle, middle]),
    )


def _grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.uint8)


def _filled(lit: Mask) -> Mask:
    """The largest connected part, without holes."""
    closed = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    count, label, numbers, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return np.zeros_like(lit)
    largest = 1 + int(np.argmax(numbers[1:, cv2.CC_STAT_AREA]))
    edges, _ = cv2.findContours(
        (label == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    filled = np.zeros_like(lit)
    cv2.drawContours(filled, edges, -1, 1, -1)
    return filled


def _best(bmode: Mask, ceus: Mask) -> Offset | None:
    """The shift at which two outlines overlap best, over the part that both panes show."""
    if any(not EMPTY <= outline.mean() <= FULL for outline in (bmode, ceus)):
        return None
    size = (2 * SIDE, 2 * SIDE)
    one, other, all_of = (np.fft.rfft2(mask, size) for mask in (bmode, ceus, np.ones_like(bmode)))
    both, first, second = (
        np.roll(np.fft.irfft2(product, size), (PLAY, PLAY), (0, 1))[: 2 * PLAY + 1, : 2 * PLAY + 1]
        for product in (one.conj() * other, one.conj() * all_of, all_of.conj() * other)
    )
    overlap = both / np.maximum(first + second - both, 1)
    down, right = np.unravel_index(int(overlap.argmax()), overlap.shape)
    if overlap[down, right] < ALIKE:
        return None
    return Offset(
        (int(right) - PLAY) / SIDE,
        (int(down) - PLAY) / SIDE,
        float(overlap[down, right]),
        float(overlap[PLAY, PLAY]),
    )


def _edges(view: PaneView) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The gradient of the frames' mean, to the right and down, and where it is of tissue."""
    mean = cv2.GaussianBlur(view.frames.mean(axis=0).astype(np.float32), (0, 0), 2)
    within = cv2.erode(view.outline(), np.ones((7, 7), np.uint8), borderValue=0)
    right, down = (cv2.Sobel(mean, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    return right.astype(np.float32), down.astype(np.float32), within > 0


def _parallel(
    right: NDArray[np.float32],
    down: NDArray[np.float32],
    within: NDArray[np.bool_],
    its_right: NDArray[np.float32],
    its_down: NDArray[np.float32],
    its_within: NDArray[np.bool_],
    to_right: int,
    to_down: int,
) -> float:
    """The sum of |∇a · ∇b| over its largest value, the second picture read so far right and down."""
    one, other = zip(*(_overlapping(shift) for shift in (to_down, to_right)), strict=True)
    where = within[one] & its_within[other]
    if where.sum() < FEWEST_POINTS:
        return 0.0
    a = np.stack([right[one][where], down[one][where]])
    b = np.stack([its_right[other][where], its_down[other][where]])
    most = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float(np.abs((a * b).sum(axis=0)).sum()) / most if most else 0.0


def _overlapping(shift: int) -> tuple[slice, slice]:
    """Along one axis: where the first picture has what the second has `shift` pixels on."""
    return slice(max(0, -shift), min(SIDE, SIDE - shift)), slice(max(0, shift), min(SIDE, SIDE + shift))
