"""The panes among a header's regions, and the scale of a pane: pure geometry.

The last column and row of a region belong to it (PS3.3 C.8.5.5.1.1). Some scanners write the first
column behind it instead; at the picture's edge, and between two panes, that is seen and put right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mufnet_lightning.cohort.geometry import Box, Pane, box_outward
from mufnet_lightning.cohort.header import ClipHeader, Region

PLANE, TISSUE = 1, 1
PLAY = 4
"""Pixels by which a pane in a table may miss a region and still be it."""
FULL_SCREEN = 0.95  # share of the picture's width and of its height
INSIDE = 0.9  # share of a pane that has to lie in the region that tells its scale
SAME_VIEW = 0.02
"""Share of a pane's width or height by which two panes that show one section may differ, in cm."""


@dataclass(frozen=True)
class Scale:
    """Where the pixels of a pane are, in centimetres.

    Attributes:
        x_cm, y_cm: width and height of a pixel.
        origin: in cm, of the frame's top left corner; None where the header gives no reference.
    """

    x_cm: float
    y_cm: float
    origin: tuple[float, float] | None = None


def tissue_panes(header: ClipHeader) -> tuple[Pane, ...]:
    """Where the header has pictures of tissue, from the left and from the top, each place once.

    Left out are ECG, bars, spectra and M-mode, regions that reach outside the picture (by more than
    the one pixel that is a way of counting), and those of the whole screen that hold others.

    >>> left, right = Region(0, 0, 319, 479, 1, 1), Region(320, 0, 640, 479, 1, 1)
    >>> ecg, screen = Region(0, 400, 639, 479, 4, 10), Region(0, 0, 639, 479, 1, 1)
    >>> tissue_panes(ClipHeader(640, 480, regions=(screen, right, left, ecg)))
    (Pane(x=0, y=0, width=320, height=480), Pane(x=320, y=0, width=320, height=480))
    """
    shown = (visible(region, header) for region in header.regions if is_tissue(region))
    panes = sorted({pane for pane in shown if pane is not None}, key=lambda pane: (pane.x, pane.y))
    inner = [pane for pane in panes if not _only_holds(pane, panes, header)]
    if len(inner) == 2:
        inner = [*_apart(*inner)]
    return tuple(inner)


def is_tissue(region: Region) -> bool:
    """Whether it is a 2D picture of tissue."""
    return region.spatial_format == PLANE and region.data_type == TISSUE


def visible(region: Region, header: ClipHeader) -> Pane | None:
    """A region as a pane inside the picture; None where it reaches outside, or is empty."""
    x0, y0, right, bottom = region.x0, region.y0, region.x1 + 1, region.y1 + 1
    if min(x0, y0) < -1 or right > header.width + 1 or bottom > header.height + 1:
        return None
    x0, y0 = max(x0, 0), max(y0, 0)
    right, bottom = min(right, header.width), min(bottom, header.height)
    if right - x0 < 2 or bottom - y0 < 2:
        return None
    return Pane(x0, y0, right - x0, bottom - y0)


def near(one: Pane, other: Pane) -> bool:
    """Whether two panes are one, up to `PLAY` on each side."""
    sides = (
        (one.x, other.x),
        (one.y, other.y),
        (one.right, other.right),
        (one.bottom, other.bottom),
    )
    return all(abs(a - b) <= PLAY for a, b in sides)


def beside(one: Pane, other: Pane) -> bool:
    """Whether two panes stand side by side, rather than one above the other."""
    return one.right <= other.x or other.right <= one.x


def scale_of(pane: Pane, header: ClipHeader) -> Scale | None:
    """The scale of the smallest region of tissue that a pane lies in; None where none says it."""
    scales = []
    for region in header.regions:
        shown = visible(region, header) if is_tissue(region) else None
        if shown is None or region.delta_x_cm is None or region.delta_y_cm is None:
            continue
        if _common(pane, shown) >= INSIDE * pane.width * pane.height:
            scales.append((shown.width * shown.height, region, region.delta_x_cm, region.delta_y_cm))
    if not scales:
        return None
    _, region, x_cm, y_cm = min(scales, key=lambda one: one[0])
    if region.reference is None:
        return Scale(x_cm, y_cm)
    column, row, x, y = region.reference
    # a number of a pixel is its middle
    return Scale(
        x_cm, y_cm, (x - (region.x0 + column + 0.5) * x_cm, y - (region.y0 + row + 0.5) * y_cm)
    )


def view_difference(one: Pane, of_one: Scale, other: Pane, of_other: Scale) -> float:
    """By how much of the smaller side two panes show different places; 0 where they show one section.

    Sizes in cm are compared, and where both say where they are, their edges.
    """
    differences = []
    for axis in (0, 1):
        (start, length), (other_start, other_length) = (
            _extent(one, of_one, axis),
            _extent(other, of_other, axis),
        )
        apart = [length - other_length]
        if of_one.origin is not None and of_other.origin is not None:
            apart = [other_start - start, other_start + other_length - start - length]
        differences += [abs(side) / min(length, other_length) for side in apart]
    return max(differences)


def carry_in_space(box: Box, source: Scale, target: Scale) -> Box:
    """The smallest box that holds, at the scale `target`, what `box` shows at the scale `source`.

    Raises:
        ValueError: one of them does not say where its pixels are.
    """
    (left, right), (top, bottom) = _carried(box, source, target)
    return box_outward(left, top, right - left, bottom - top)


def shown_on_both(pane: Pane, scale: Scale, other: Pane, of_other: Scale) -> Pane | None:
    """The part of a pane, in whole pixels, that the other pane shows too; None where there is none."""
    (left, right), (top, bottom) = _carried(other, of_other, scale)
    x0, y0 = max(math.ceil(round(left, 6)), pane.x), max(math.ceil(round(top, 6)), pane.y)
    x1, y1 = (
        min(math.floor(round(right, 6)), pane.right),
        min(math.floor(round(bottom, 6)), pane.bottom),
    )
    return Pane(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _carried(box: Box, source: Scale, target: Scale) -> list[list[float]]:
    """(left, right) and (top, bottom) of a box at another scale, in fractions of pixels."""
    if source.origin is None or target.origin is None:
        raise ValueError("a scale without its place")
    axes = (
        (source.origin[0] - target.origin[0], source.x_cm, target.x_cm, (box.x, box.right)),
        (source.origin[1] - target.origin[1], source.y_cm, target.y_cm, (box.y, box.bottom)),
    )
    return [[(apart + side * step) / other for side in sides] for apart, step, other, sides in axes]


def _extent(pane: Pane, scale: Scale, axis: int) -> tuple[float, float]:
    """(start, length) in cm, the start from the frame's corner where no place is known."""
    origin = scale.origin[axis] if scale.origin is not None else 0.0
    if axis == 0:
        return origin + pane.x * scale.x_cm, pane.width * scale.x_cm
    return origin + pane.y * scale.y_cm, pane.height * scale.y_cm


def _common(one: Box, other: Box) -> int:
    wide = min(one.right, other.right) - max(one.x, other.x)
    high = min(one.bottom, other.bottom) - max(one.y, other.y)
    return max(wide, 0) * max(high, 0)


def _only_holds(pane: Pane, panes: list[Pane], header: ClipHeader) -> bool:
    """Whether a pane is no picture of its own: one of the whole screen, or one around several."""
    held = [other for other in panes if other != pane and pane.contains(other)]
    full = pane.width >= FULL_SCREEN * header.width and pane.height >= FULL_SCREEN * header.height
    return len(held) > 1 or (full and bool(held))


def _apart(one: Pane, other: Pane) -> tuple[Pane, Pane]:
    """Two panes that share one column or row, which is the second's: without it in the first."""
    if one.right - other.x == 1 and one.width > 2 and one.x < other.x:
        return Pane(one.x, one.y, one.width - 1, one.height), other
    if one.bottom - other.y == 1 and one.height > 2 and one.y < other.y:
        return Pane(one.x, one.y, one.width, one.height - 1), other
    return one, other
