"""What is drawn for a training pair: one geometry for both panes, noise apart for each.

The two crops show the same tissue, so whatever moves one moves the other; their noise comes from two
acquisitions, so it is drawn twice. Every draw follows from the seed that the sampler gave, whichever
process makes it and wherever it is carried out: `transforms` does it on the CPU with OpenCV,
`device_augmentation` on a batch with PyTorch, from the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.errors import check_least, check_share

Floats = NDArray[np.float32]
ELASTIC_SD = 0.02
"""Of the side: standard deviation of an elastic displacement, along each axis."""
ELASTIC_SIGMA = 0.08
"""Of the side: how smooth a deformation is."""
CELLS_PER_SIGMA = 2
"""Nodes of the displacement's grid; between them it is linear, off by some 3% of its SD."""
SPECKLE = (0.8, 1.2)
NOISE_SD = (0.01, 0.04)
GAMMA = (0.8, 1.25)
BANK_UNIT = 24
"""Levels of an SD in the bank of Gaussian noise: 8 bits hold 5 SD."""
SPECKLE_UNIT = 160
"""Levels of a factor of 1 in the bank of speckle."""


@dataclass(frozen=True)
class Augmentation:
    """Strength of each transform; a probability of 0 switches it off.

    Args:
        flip: probability of a mirror image, for each of both axes.
        affine: probability of a rotation (within `rotate` degrees), a scaling of each axis (within a
            share `scale` of 1) and a shift (within a share `shift` of the side), all drawn evenly.
        elastic: probability of a smooth random deformation of some 2% of the side.
        noise: probability of additive Gaussian noise, standard deviation 1 to 4% of full scale.
        speckle: probability of multiplicative noise a pixel, factor within 0.8 to 1.2.
        gamma: probability of x ↦ x^γ, γ within 0.8 to 1.25.
    """

    flip: float = 0.5
    affine: float = 0.7
    rotate: float = 20.0
    scale: float = 0.1
    shift: float = 0.05
    elastic: float = 0.2
    noise: float = 0.3
    speckle: float = 0.3
    gamma: float = 0.3

    def __post_init__(self) -> None:
        for name in ("flip", "affine", "elastic", "noise", "speckle", "gamma"):
            check_share(f"data.augmentation.{name}", getattr(self, name))
        for name in ("scale", "shift"):
            check_share(f"data.augmentation.{name}", getattr(self, name), one=False)
        check_least("data.augmentation.rotate", self.rotate, 0)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where each pixel of the result is taken from.

    The result at x (pixels, (column, row)) is the crop at `matrix @ (x + d(x), 1)`, d the displacement.

    Attributes:
        matrix: (2, 3), from the result to the crop: flips, rotation, scaling and shift, inverted.
        displacement: (nodes, nodes, 2) of (column, row), pixels, at the nodes of `grid_of`; None where
            there is none.
        mirror: whether columns and whether rows are mirrored, where nothing else is done; else None.
    """

    matrix: Floats
    displacement: Floats | None
    mirror: tuple[bool, bool] | None = None


@dataclass(frozen=True)
class PaneNoise:
    """What changes the brightness of one crop; in this order.

    Attributes:
        gamma: exponent; 1 where there is none.
        speckle: (row, column) in the bank of speckle where the crop's factors begin; None without.
        noise: the same of Gaussian noise.
        noise_sd: of it, on the scale of 0 to 1.
    """

    gamma: float
    speckle: tuple[int, int] | None
    noise: tuple[int, int] | None
    noise_sd: float


@dataclass(frozen=True)
class Grid:
    """Nodes of a displacement over an image, one beyond each side.

    Attributes:
        cell: pixels between two nodes.
        nodes: along a side; the first lies half a cell before the image.
        kernel: (K,) of the Gaussian that smooths white noise at the nodes.
        gain: what makes the SD of such smoothed noise 1.
        places: (nodes, nodes, 2), (column, row) of each node in the image, pixels.
    """

    cell: int
    nodes: int
    places: Floats
    kernel: Floats
    gain: float


@cache
def grid_of(size: int) -> Grid:
    """The grid of images of `size` × `size` pixels."""
    cell = max(1, round(ELASTIC_SIGMA * size / CELLS_PER_SIGMA))
    sigma = ELASTIC_SIGMA * size / cell
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma).astype(np.float32)[:, 0]
    nodes = -(-size // cell) + 2
    along = (np.arange(nodes, dtype=np.float32) - 0.5) * cell - 0.5
    places = np.stack(np.meshgrid(along, along), axis=-1)
    return Grid(cell, nodes, places, kernel, float(1 / np.square(kernel).sum()))


def draw_geometry(augmentation: Augmentation, size: int, draws: np.random.Generator) -> Geometry:
    """The geometry of a pair of crops of `size` × `size` pixels."""
    a = augmentation
    chances = draws.random(4).tolist()
    angle, sx, sy, dx, dy = draws.uniform(-1, 1, 5).tolist()
    columns, rows = (-1.0 if chance < a.flip else 1.0 for chance in chances[:2])
    cosine, sine, shift = 1.0, 0.0, (0.0, 0.0)
    mirror = None if chances[2] < a.affine or chances[3] < a.elastic else (columns < 0, rows < 0)
    if chances[2] < a.affine:
        turn = math.radians(a.rotate * angle)
        cosine, sine = math.cos(turn), math.sin(turn)
        columns, rows = columns / (1 + a.scale * sx), rows / (1 + a.scale * sy)
        shift = a.shift * size * dx, a.shift * size * dy
    # the inverse of: mirrored, scaled, turned about the middle, shifted
    back = ((columns * cosine, -columns * sine), (rows * sine, rows * cosine))
    middle = (size - 1) / 2
    x, y = middle + shift[0], middle + shift[1]
    matrix = np.array([(p, q, middle - p * x - q * y) for p, q in back], np.float32)
    displacement = None
    if chances[3] < a.elastic:
        grid = grid_of(size)
        white = draws.standard_normal((grid.nodes + len(grid.kernel) - 1,) * 2 + (2,), np.float32)
        inside = slice(len(grid.kernel) // 2, len(grid.kernel) // 2 + grid.nodes)
        smooth = cv2.sepFilter2D(white, -1, grid.kernel, grid.kernel)[inside, inside]
        displacement = smooth * np.float32(grid.gain * ELASTIC_SD * size)
    return Geometry(matrix, displacement, mirror)


def draw_noise(augmentation: Augmentation, size: int, draws: np.random.Generator) -> PaneNoise:
    """The noise of one crop of `size` × `size` pixels."""
    a = augmentation
    chances, (gamma, sd) = draws.random(3), draws.random(2)
    places = draws.integers(0, size, (2, 2))
    (speckle_row, speckle_column), (noise_row, noise_column) = places.tolist()
    return PaneNoise(
        float(GAMMA[0] + (GAMMA[1] - GAMMA[0]) * gamma) if chances[0] < a.gamma else 1.0,
        (speckle_row, speckle_column) if chances[1] < a.speckle else None,
        (noise_row, noise_column) if chances[2] < a.noise else None,
        float(NOISE_SD[0] + (NOISE_SD[1] - NOISE_SD[0]) * sd),
    )


def pair_draws(seed: int, places: int) -> tuple[np.random.Generator, list[np.random.Generator]]:
    """The streams of a pair: of its geometry, and of the noise of each of its crops."""
    # not [seed, 0], which NumPy takes for seed alone
    noise = [np.random.default_rng([seed, place + 1]) for place in range(places)]
    return np.random.default_rng(seed), noise


@cache
def speckle_bank(size: int, channels: int) -> NDArray[np.uint8]:
    """Factors in units of 1 / `SPECKLE_UNIT`, (2 size, 2 size, channels), alike in all channels.

    They are even within `SPECKLE`, and always the same: a crop's factors are those from a place on that
    was drawn.
    """
    low, high = (round(SPECKLE_UNIT * factor) for factor in SPECKLE)
    side = 2 * size
    factors = np.random.default_rng(1).integers(low, high, (side, side, 1), np.uint8, endpoint=True)
    return np.ascontiguousarray(np.repeat(factors, channels, axis=2))


@cache
def noise_bank(size: int, channels: int) -> NDArray[np.uint8]:
    """Gaussian noise, 128 and `BANK_UNIT` to an SD, (2 size, 2 size, channels); always the same.

    Of a crop of one channel it is that of the first of three.
    """
    side = 2 * size
    normal = np.random.default_rng(2).standard_normal((side, side, 3), np.float32)
    noise = np.clip(np.rint(128 + BANK_UNIT * normal), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(noise[..., :channels])
