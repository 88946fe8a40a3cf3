"""The upright box around any shape that can be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mufnet_lightning.cohort.annotations.annotation import Extent


def around_points(points: Iterable[Sequence[float]]) -> Extent:
    """Around points (x, y): corners in any order, a polygon, a line.

    >>> around_points([(30, 8), (10, 5)])
    Extent(x=10.0, y=5.0, width=20.0, height=3.0)
    """
    pairs = [(float(point[0]), float(point[1])) for point in points]
    if not pairs:
        raise ValueError("a shape without points")
    left, top = min(x for x, _ in pairs), min(y for _, y in pairs)
    return Extent(left, top, max(x for x, _ in pairs) - left, max(y for _, y in pairs) - top)


def around_flat(numbers: Sequence[float]) -> Extent:
    """The same for x, y, x, y, ..."""
    if len(numbers) % 2:
        raise ValueError("an odd number of coordinates")
    return around_points(list(zip(numbers[::2], numbers[1::2], strict=True)))


def around_ellipse(
    x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0
) -> Extent:
    """Around an ellipse, turned about its centre.

    >>> around_ellipse(50, 40, 20, 10, 90)
    Extent(x=40.0, y=20.0, width=20.0, height=40.0)
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width = round(math.hypot(radius_x * cos, radius_y * sin), 9)
    half_height = round(math.hypot(radius_x * sin, radius_y * cos), 9)
    return Extent(x - half_width, y - half_height, 2 * half_width, 2 * half_height)


def around_turned(box: Extent, degrees: float) -> Extent:
    """Around a rectangle that was turned about its centre.

    >>> around_turned(Extent(10, 10, 40, 20), 90)
    Extent(x=20.0, y=0.0, width=20.0, height=40.0)
    """
    if degrees % 360 == 0:
        return box
    cos = abs(math.cos(math.radians(degrees)))
    sin = abs(math.sin(math.radians(degrees)))
    width = round(box.width * cos + box.height * sin, 9)
    height = round(box.width * sin + box.height * cos, 9)
    middle_x, middle_y = box.x + box.width / 2, box.y + box.height / 2
    return Extent(middle_x - width / 2, middle_y - height / 2, width, height)


def around_mask(mask: np.ndarray) -> Extent | None:
    """Around the pixels that are set; None where none is.

    Args:
        mask: rows × columns, bool.

    >>> mask = np.zeros((48, 64), bool)
    >>> mask[5:9, 10:30] = True
    >>> around_mask(mask)
    Extent(x=10, y=5, width=20, height=4)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    left, top = int(columns[0]), int(rows[0])
    return Extent(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def mask_of_runs(runs: Sequence[int], width: int, height: int) -> np.ndarray:
    """A mask from the lengths of its runs, row by row, the first of pixels that are not set.

    >>> mask_of_runs([2, 2, 4], 4, 2).astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 0, 0]]
    """
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise ValueError(f"runs of {sum(runs)} pixels in a mask of {width} × {height}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(height, width)
