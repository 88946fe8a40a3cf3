"""A box on one pane, and the same tissue on the other: pure geometry in whole pixels.

A dual-pane frame shows one section of tissue twice, as B-mode and as CEUS. A box that was drawn on
one pane is carried to the other by the panes' offset. All coordinates are pixels of the whole
frame, counted from its top left corner; a box covers columns x to x + width − 1 and rows y to y +
height − 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LARGEST_SIDE = 1 << 20
"""Of a frame, in pixels; a box or a pane beyond is a mistake, and not a number to reckon with."""
SMALLEST_SIDE = 1e-6
"""Of a box, in pixels."""
SHAPE_TOLERANCE = 0.05  # panes are outlined by hand: their aspect ratios may differ by this share


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; width and height are positive."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"a {type(self).__name__.lower()} of {self.width} × {self.height} pixels")

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    @property
    def right(self) -> int:
        """The first column right of the rectangle."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below the rectangle."""
        return self.y + self.height

    def contains(self, other: Box) -> bool:
        """Whether no pixel of `other` lies outside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def overlaps(self, other: Box) -> bool:
        """Whether at least one pixel is shared."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )


@dataclass(frozen=True)
class Pane(Box):
    """The part of a frame that shows one modality."""

    __str__ = Box.__str__

    def same_shape(self, other: Pane) -> bool:
        """Whether the aspect ratios agree, up to what outlining by hand does to them."""
        ratio = (self.width * other.height) / (self.height * other.width)
        return abs(math.log(ratio)) <= math.log1p(SHAPE_TOLERANCE)


def parse_pane(text: str) -> Pane:
    """A pane from `x,y,width,height` in whole pixels, as clips.csv has it.

    Raises:
        ValueError: not four whole numbers, a corner left of or above the frame, or an empty pane.

    >>> parse_pane("0,8,64,48")
    Pane(x=0, y=8, width=64, height=48)
    """
    x, y, width, height = (int(part) for part in text.split(","))
    if x < 0 or y < 0 or max(x, y, width, height) > LARGEST_SIDE:
        raise ValueError(f"the pane {text} starts or ends outside of any frame")
    return Pane(x, y, width, height)


def box_outward(x: float, y: float, width: float, height: float) -> Box:
    """The smallest box of whole pixels that holds a box given in fractions of pixels.

    A millionth of a pixel (`SMALLEST_SIDE`) is forgiven, so that 0.1 + 0.2 does not cost a column.

    >>> box_outward(10.2, 5.0, 20.0, 7.5)
    Box(x=10, y=5, width=21, height=8)
    """
    left, top = math.floor(round(x, 6)), math.floor(round(y, 6))
    right, bottom = math.ceil(round(x + width, 6)), math.ceil(round(y + height, 6))
    return Box(left, top, right - left, bottom - top)


def carry(box: Box, source: Pane, target: Pane) -> Box:
    """The box on `target` that shows the tissue which `box` shows on `source`.

    Panes of one size: the box moves by the panes' offset and keeps its size. Panes of different
    size show the same tissue at different scales: position and size are scaled in proportion, then
    rounded outward to whole pixels. A box inside the source lands inside the target.

    >>> ceus, bmode = Pane(80, 8, 64, 48), Pane(0, 8, 32, 24)
    >>> carry(Box(90, 14, 20, 16), ceus, bmode)
    Box(x=5, y=11, width=10, height=8)
    """
    left, right = _along(box.x, box.right, source.x, source.width, target.x, target.width)
    top, bottom = _along(box.y, box.bottom, source.y, source.height, target.y, target.height)
    return Box(left, top, right - left, bottom - top)


def expand(box: Box, margin: float, pane: Pane) -> Box:
    """The box with context around it, clipped to its pane.

    Expand on the pane where the box was drawn and carry the result: then clipping at a pane's edge
    cuts both crops alike, and both still show the same tissue.

    Args:
        margin: context on each side, as a share of the box's width (left, right) and height (top,
            bottom), to the nearest pixel; at least 0.

    >>> expand(Box(90, 14, 20, 16), 0.5, Pane(80, 8, 64, 48))
    Box(x=80, y=8, width=40, height=30)
    """
    beside, above = round(margin * box.width), round(margin * box.height)
    left, top = max(box.x - beside, pane.x), max(box.y - above, pane.y)
    right, bottom = min(box.right + beside, pane.right), min(box.bottom + above, pane.bottom)
    return Box(left, top, right - left, bottom - top)


def crop(frame: np.ndarray, box: Box) -> np.ndarray:
    """The box's pixels, a view of `frame` (height × width × channels).

    Raises:
        ValueError: the box reaches outside the frame.

    >>> crop(np.zeros((64, 160, 3), np.uint8), Box(90, 14, 20, 16)).shape
    (16, 20, 3)
    """
    height, width = frame.shape[:2]
    if not Box(0, 0, width, height).contains(box):
        raise ValueError(f"the box {box} reaches outside a frame of {width} × {height} pixels")
    return frame[box.y : box.bottom, box.x : box.right]


def _along(
    start: int, stop: int, source: int, source_size: int, target: int, target_size: int
) -> tuple[int, int]:
    """One axis of `carry`, in integers: floor of the start, ceiling of the stop."""
    carried_start = (start - source) * target_size // source_size
    carried_stop = -(-(stop - source) * target_size // source_size)
    return target + carried_start, target + carried_stop
