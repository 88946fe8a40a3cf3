"""What a phantom's probe looks at: a kidney with a tumour, moved by breathing, in a sector.

A point is a complex number x + iy, so that to turn and to scale is to multiply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Complexes = NDArray[np.complex64]

FPS = 10.0  # frames a second of every clip


@dataclass(frozen=True)
class Ellipse:
    """Half axes in pixels, tilt in radians."""

    center: complex
    long: float
    short: float
    tilt: float

    def from_disc(self, place: Any) -> Any:
        """Points of the unit disc, carried to the ellipse."""
        stretched = self.long * np.real(place) + 1j * self.short * np.imag(place)
        return self.center + np.exp(1j * self.tilt) * stretched

    def to_disc(self, point: Any) -> Any:
        """The inverse: points where the ellipse is the unit disc."""
        turned = (point - self.center) * np.exp(-1j * self.tilt)
        return turned.real / self.long + 1j * turned.imag / self.short


@dataclass(frozen=True)
class Scene:
    """What both panes show: anatomy in tissue coordinates (pane pixels at rest), and its motion.

    Attributes:
        tumor: the tumour without its lobes.
        outline: (points,) the tumour's edge at rest.
        depth_cm: depth that the pane's height shows.
        turn, shift: (length,) in frame t, tissue q is seen at turn[t] * q + shift[t].
        beams: (samples, lines) where in the pane each sample along each beam lies.
        scan: (pane, pane) line + i sample of each pixel of the pane: the scan conversion.
        inside: (pane, pane) signed depth inside the tumour, pixels.
        masks: (pane, pane) each, 0 to 1; a later one covers those before it.
    """

    tumor: Ellipse
    outline: Complexes
    depth_cm: float
    turn: Complexes
    shift: Complexes
    beams: Complexes
    scan: Complexes
    inside: Floats
    masks: dict[str, Floats]

    @property
    def pane(self) -> int:
        """Side of the square pane, pixels."""
        return len(self.inside)

    @property
    def length(self) -> int:
        """Frames of the clip."""
        return len(self.turn)

    def moved(self, points: Complexes) -> Complexes:
        """Where tissue points are seen in each frame, (length, points)."""
        return self.turn[:, None] * points + self.shift[:, None]


def draw_scene(rng: np.random.Generator, half_angle: float, pane: int, length: int) -> Scene:
    """Draw the anatomy and motion of one clip; knows nothing of label, b or c.

    Args:
        rng: the scene's own random stream.
        half_angle: of the probe's sector, radians.
        pane: side of the pane, pixels.
        length: frames of the clip.
    """
    beams, scan = _sector(half_angle, pane)
    turn, shift = _breathing(rng, pane, length)
    depth_cm = round(rng.uniform(11, 15), 1)
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 180, endpoint=False))
    while True:  # until the whole tumour stays in sight in every frame
        x, y, a, b = pane * rng.normal([0.5, 0.53, 0.33, 0.175], [0.02, 0.02, 0.015, 0.01])
        kidney = Ellipse(complex(x, y), a, b, rng.uniform(-0.45, 0.45))
        center = kidney.from_disc(np.exp(1j * rng.uniform(0, 2 * np.pi)) * rng.uniform(0.85, 1.1))
        long = rng.uniform(0.115, 0.165) * pane
        tumor = Ellipse(center, long, long * rng.uniform(0.82, 1), rng.uniform(0, np.pi))
        lobes = rng.normal(0, 0.025, 4) * np.exp(1j * rng.uniform(0, 2 * np.pi, 4))
        outline = tumor.from_disc(circle * _lobed(circle, lobes))
        seen = sample(two_channels(scan), turn[:, None] * outline + shift[:, None])
        limits = np.array(beams.shape[::-1])
        if (seen > 0.04 * limits).all() and (seen < 0.96 * limits).all():
            break
    place = tumor.to_disc(_grid(pane))
    inside = (1 - np.abs(place) / _lobed(place / (np.abs(place) + 1e-6), lobes)) * tumor.short
    return Scene(
        tumor=tumor,
        outline=outline.astype(np.complex64),
        depth_cm=depth_cm,
        turn=turn,
        shift=shift,
        beams=beams,
        scan=scan,
        inside=inside.astype(np.float32),
        masks=_organs(rng, kidney, pane),
    )


def _grid(pane: int) -> NDArray[np.complex128]:
    """The place of each pixel of a pane."""
    return np.arange(pane) + 1j * np.arange(pane)[:, None]


def _lobed(direction: Any, lobes: NDArray[np.complex128]) -> Any:
    """Radius of a lobulated disc in each direction (unit complex numbers), about 1."""
    return 1 + sum(np.real(lobe * direction**k) for k, lobe in enumerate(lobes, start=2))


def _sector(half: float, pane: int) -> tuple[Complexes, Complexes]:
    """Geometry of a convex probe that fills a pane's height: `beams` and `scan` of a Scene."""
    samples, lines, near = pane, round(0.8 * pane), 0.36 * pane
    apex = complex(pane / 2, 0.015 * pane - near * math.cos(half))
    far = 0.985 * pane - apex.imag
    radii, angles = np.linspace(near, far, samples), np.linspace(-half, half, lines)
    beams = apex + radii[:, None] * 1j * np.exp(-1j * angles)
    ray = (_grid(pane) - apex) / 1j
    line = (1 - np.angle(ray) / half) / 2 * (lines - 1)
    along = (np.abs(ray) - near) / (far - near) * (samples - 1)
    return beams.astype(np.complex64), (line + 1j * along).astype(np.complex64)


def _breathing(rng: np.random.Generator, pane: int, length: int) -> tuple[Complexes, Complexes]:
    """Breaths of 3 to 5 seconds, mostly along the depth, over a slow drift of the probe."""
    time = np.arange(length)
    breath, drift = (
        np.cos(2 * np.pi * (time / (FPS * rng.uniform(*period)) + rng.random()))
        for period in ((3, 5), (12, 20))
    )
    breath = ((1 + breath) / 2) ** 2  # longer at rest, after breathing out, than at the top
    along = complex(rng.normal(0, 0.012), rng.uniform(0.015, 0.04)) * pane
    turn = np.exp((rng.normal(0, 0.008) + 1j * rng.normal(0, 0.015)) * breath)
    middle = complex(pane, pane) / 2
    shift = (breath - 0.5) * along + drift * rng.normal(0, 0.008) * pane + middle * (1 - turn)
    return turn.astype(np.complex64), shift.astype(np.complex64)


def _organs(rng: np.random.Generator, kidney: Ellipse, pane: int) -> dict[str, Floats]:
    """Soft masks of the tissues around the tumour, in the order in which they cover each other."""
    wobble = smooth_noise(rng, pane, 0.05) + 1j * smooth_noise(rng, pane, 0.05)
    points = _grid(pane) + 0.008 * pane * wobble
    center, short = kidney.center, kidney.short
    place = kidney.to_disc(points)
    depth = (1 - np.abs(place)) * short  # inside the kidney, pixels
    middle = Ellipse(center, 0.55 * kidney.long, 0.36 * short, kidney.tilt)
    sinus = (1 - np.abs(middle.to_disc(points))) * 0.36 * short
    around = np.exp(1j * (np.arange(9) + rng.uniform(-0.2, 0.2, 9) + rng.random()) * 2 * np.pi / 9)
    tips = 0.63 * around + 0.08 * around.real
    near = np.min([np.abs(place - tip) for tip in tips], axis=0)
    wall = 0.15 * pane * (1 + 0.06 * smooth_noise(rng, pane, 0.15)) - points.imag
    away = center + pane * np.exp(1j * rng.uniform(1.2, 1.9)) * rng.uniform(0.32, 0.4)
    diaphragm = np.abs(points - away + 0.9j * pane) - 0.9 * pane
    lines = np.exp(-((wall / (0.006 * pane)) ** 2)) + np.exp(-((diaphragm / (0.009 * pane)) ** 2))
    vessels = smooth_noise(rng, pane, 0.022, stretch=1.6) - 1.7
    masks = {
        "vessels": edge(vessels, 0.15),
        "fat": edge(depth + 0.035 * pane, 0.012 * pane),
        "cortex": edge(depth, 0.006 * pane),
        "pyramids": edge((0.17 - near) * short, 0.012 * pane),
        "sinus": edge(sinus, 0.012 * pane),
        "wall": edge(wall, 0.01 * pane),
        "interfaces": np.maximum(np.exp(-((depth / (0.007 * pane)) ** 2)), lines),
    }
    return {name: mask.astype(np.float32) for name, mask in masks.items()}


def edge(depth: Any, softness: float) -> Any:
    """0 outside, 1 inside, half at the edge."""
    return 1 / (1 + np.exp(-np.clip(depth / softness, -30, 30)))


def smooth_noise(rng: np.random.Generator, pane: int, scale: float, stretch: float = 1) -> Floats:
    """A Gaussian field of mean 0 and variance 1, (pane, pane), grain `scale` in pane sizes."""
    white = rng.standard_normal((pane, pane), dtype=np.float32)
    grain: Any = cv2.GaussianBlur(white, (0, 0), scale * pane * stretch, sigmaY=scale * pane)
    field: Floats = (grain - grain.mean()) / grain.std()
    return field


def sample(image: Any, at: Any, border: int = cv2.BORDER_CONSTANT) -> Any:
    """An image, of one channel or several, at the points `at` between its pixels."""
    return cv2.remap(image, two_channels(at), None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore


def two_channels(values: Any) -> Floats:
    """Complex numbers as OpenCV wants them: two float32 channels."""
    values = np.ascontiguousarray(values, np.complex64)
    channels: Floats = values.view(np.float32).reshape(*values.shape, 2)
    return channels
