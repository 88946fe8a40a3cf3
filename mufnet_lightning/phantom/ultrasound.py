"""What a scanner makes of a scene: the B-mode pane, the contrast pane, and its screen.

A pane is made as a scanner makes it: point scatterers in the tissue, weighted by its echogenicity
or perfusion, moved by breathing, sampled along the beams of a convex probe, smeared by the pulse,
detected, log-compressed, and scan-converted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.phantom.scene import (
    FPS,
    Complexes,
    Floats,
    Scene,
    edge,
    sample,
    smooth_noise,
    two_channels,
)
from mufnet_lightning.phantom.signals import Shown, course, double_line, texture

Pixels = NDArray[np.uint8]

CONTRAST_SECONDS = 100.0  # of the examination that a clip covers, injection at 0
CORTICAL_START, MEDULLARY_START = 15.0, 36.0  # seconds, after EFSUMB's renal phases
GAIN = 3.0  # dB, standard deviation between patients: what the sonographer turned
MOST_GAIN = 6.0  # dB, up or down
# Patches in the tumour: dB, grain of the fine and the coarse ones in pane sizes, balance of power.
BMODE_PATCHES, BMODE_GRAINS, BMODE_BALANCE = 10.0, (0.008, 0.024), 1.2
CEUS_PATCHES, CEUS_GRAINS, CEUS_BALANCE = 13.0, (0.012, 0.036), 0.86
GREY = (1.25, 1.22, 1.18)  # exponents of red, green and blue: dark greys are pressed, a little cold


@dataclass(frozen=True)
class Scanner:
    """A make of scanner (invented): how its screen is laid out and how it renders."""

    name: str
    probe: str
    ceus_left: bool
    half_angle: float  # of the sector, radians
    bmode_range: float  # dynamic range, dB
    ceus_range: float
    gain: float  # dB
    tint: tuple[float, float, float]  # exponents of red, green and blue in the contrast pane
    ink: tuple[int, int, int]  # colour of the texts, BGR


SCANNERS = (
    Scanner("Sonara E9", "C1-6", False, 0.58, 60.0, 42.0, 0.0, (0.85, 1.35, 2.9), (210, 210, 210)),
    Scanner("Aquila 80A", "CA5", True, 0.64, 62.0, 44.0, -2.0, (0.83, 1.3, 3.2), (120, 220, 235)),
    Scanner("Helix LS20", "C5-1", False, 0.54, 58.0, 40.0, 2.0, (0.87, 1.38, 2.7), (225, 200, 150)),
)


def contrast_seconds(length: int, frames: int) -> NDArray[np.float64]:
    """Time since injection of each of the clip's `length` frames, (length,).

    A clip shows the arrival of contrast only as far as its annotated frames leave room for it.
    """
    lead = min(round(length * CORTICAL_START / CONTRAST_SECONDS), length - frames)
    rate = (CONTRAST_SECONDS - CORTICAL_START) / (length - lead)
    return np.asarray(CORTICAL_START + (np.arange(length) - lead) * rate)


def render_bmode(
    rng: np.random.Generator, scene: Scene, scanner: Scanner, b: Shown
) -> Iterator[Pixels]:
    """The B-mode pane of every frame, (pane, pane, 3) BGR; of the hidden numbers it sees b alone.

    With b the tumour's fine texture turns coarse, its sharp margin blurred, its grey darker, as far
    as each kind of signal is chosen.
    """
    pane = scene.pane
    amplitude = 10 ** (_echogenicity(rng, scene, b) / 20)
    planes = [amplitude * _scatterers(rng, pane) for _ in range(2)]
    # Breathing also moves tissue through the plane of the beam, so that speckle comes and goes.
    through = 1.3 * np.sin(2 * np.pi * np.arange(scene.length) / (FPS * rng.uniform(2.5, 4)))
    hiss = _scatterers(rng, 2 * pane) * np.float32(10 ** (-68 / 20))
    gain = _gain(rng, scanner)
    palette = _palette(GREY)
    for frame in range(scene.length):
        tissue = math.cos(through[frame]) * planes[0] + math.sin(through[frame]) * planes[1]
        echo = _along_beams(tissue, scene, frame) + _anywhere(hiss, rng, scene.beams.shape)
        db = _detect(echo, 1.6 * pane / 320, 1.1 * pane / 320)
        yield _display(db, gain, scanner.bmode_range, scene, palette)


def _echogenicity(rng: np.random.Generator, scene: Scene, b: Shown) -> Floats:
    """How strongly each point of the tissue echoes, (pane, pane), dB."""
    pane, masks = scene.pane, scene.masks
    levels = {
        "vessels": -48.0,
        "fat": -24.0,
        "cortex": -36.0,
        "pyramids": -42.0,
        "sinus": -19.0,
        "wall": -27.0,
    }
    db = -33 + 1.2 * smooth_noise(rng, pane, 0.06)
    for name, level in levels.items():
        streaks = smooth_noise(rng, pane, 0.012, stretch=5 if name == "wall" else 1.5)
        db += masks[name] * (level + (4 if name in ("wall", "sinus") else 1.8) * streaks - db)
    db += 9 * masks["interfaces"]
    db -= np.linspace(0, 4, pane)[:, None]  # what the gain over depth does not make up for
    patches = texture(rng, scene.inside, b.texture, BMODE_GRAINS, BMODE_BALANCE)
    level = levels["cortex"] + rng.normal(0, 2) - 4.8 * b.brightness
    tumor = level + BMODE_PATCHES * math.exp(rng.normal(0, 0.2) + 0.04 * b.margin) * patches
    db += edge(scene.inside, 0.007 * pane * math.exp(0.35 * b.margin)) * (tumor - db)
    db += 6 * edge(-b.margin, 0.7) * double_line(scene.inside, 0.008 * pane)
    return db


def render_ceus(
    rng: np.random.Generator,
    scene: Scene,
    scanner: Scanner,
    c: Shown,
    seconds: NDArray[np.float64],
) -> Iterator[Pixels]:
    """The CEUS pane of every frame, (pane, pane, 3) BGR; of the hidden numbers it sees c alone.

    With c the tumour's fine pattern of vessels turns coarse, its enhancement comes and goes faster, its
    dark rim turns bright, and it enhances less, as far as each kind of signal is chosen.
    """
    pane = scene.pane
    arrival = rng.uniform(8, 11)
    # Arrival (s), peak (dB), how fast it rises (s), and loss by the end of the clip (dB).
    courses = {
        "liver": (arrival + 9, -26.0, 4.0, 3.0),
        "vessels": (arrival + 3, -17.0, 2.0, 8.0),
        "fat": (arrival + 4, -34.0, 2.0, 2.0),
        "cortex": (arrival, -12.0, 1.2, 5.0),
        "pyramids": (arrival + 14, -15.0, 4.0, 6.0),
        "sinus": (arrival + 1, -25.0, 2.0, 6.0),
        "wall": (arrival + 5, -32.0, 3.0, 2.0),
        "tumor": (arrival + 0.5, rng.normal(-19, 1.5) - 5.4 * c.brightness, 1.2, 0.0),
    }
    cover = _cover(scene)
    gone = (seconds - CORTICAL_START) / (CONTRAST_SECONDS - CORTICAL_START)  # 0 to 1 where annotated
    waves = 4.5 * course(rng.random(), c.timing, gone)  # dB
    patches = texture(rng, scene.inside, c.texture, CEUS_GRAINS, CEUS_BALANCE)
    still = 1.0 * smooth_noise(rng, pane, 0.03)
    still += 11 * math.tanh(0.7 * c.margin) * double_line(scene.inside - 0.012 * pane, 0.012 * pane)
    still += cover["tumor"] * CEUS_PATCHES * math.exp(rng.normal(0, 0.2)) * patches
    trapped, flowing = _scatterers(rng, pane, 1.0), _scatterers(rng, 2 * pane, 1.0)
    hiss = _scatterers(rng, 2 * pane) * np.float32(10 ** (-46 / 20))
    gain = _gain(rng, scanner)
    palette = _palette(scanner.tint)
    for frame, now in enumerate(seconds):
        db = still.astype(np.float32)
        for name, (arrives, peak, rise, loss) in courses.items():
            level = peak - loss * gone[frame] + (waves[frame] if name == "tumor" else 0)
            db += np.float32(-50 + (level + 50) * edge(now - arrives, rise)) * cover[name]
        bubbles = 0.3 * trapped + 0.95 * _anywhere(flowing, rng, (pane, pane))
        amplitude: NDArray[np.float32] = cv2.exp(db * np.float32(math.log(10) / 20))  # type: ignore[assignment]
        echo = _along_beams((bubbles * amplitude).astype(np.complex64), scene, frame)
        echo += _anywhere(hiss, rng, scene.beams.shape)
        db = _detect(echo, 1.6 * pane / 320, 1.2 * pane / 320)
        yield _display(db, gain, scanner.ceus_range, scene, palette)


def _cover(scene: Scene) -> dict[str, Floats]:
    """The share of each tissue in each pixel, (pane, pane) each; they add up to 1."""
    cover = {"tumor": edge(scene.inside, 0.012 * scene.pane).astype(np.float32)}
    left = 1 - cover["tumor"]
    for name in ("wall", "sinus", "pyramids", "cortex", "fat", "vessels"):
        cover[name] = left * scene.masks[name]
        left = left - cover[name]
    return {**cover, "liver": left}


def _gain(rng: np.random.Generator, scanner: Scanner) -> float:
    """What the scanner and the sonographer make brighter or darker, dB."""
    return scanner.gain + float(np.clip(rng.normal(0, GAIN), -MOST_GAIN, MOST_GAIN))


def _scatterers(rng: np.random.Generator, size: int, shape: float = math.inf) -> Complexes:
    """A (size, size) field of unit power; a small `shape` (gamma) gathers it in a few places."""
    field: Complexes = rng.standard_normal((size, 2 * size), dtype=np.float32).view(np.complex64)
    if shape == math.inf:
        field *= np.float32(math.sqrt(0.5))
    else:
        power = rng.standard_gamma(shape, (size, size), dtype=np.float32)
        field *= np.sqrt(power * np.float32(0.5 / shape))
    return field


def _anywhere(field: Complexes, rng: np.random.Generator, shape: tuple[int, ...]) -> Complexes:
    """A piece of a larger field: fresh noise at the price of a copy."""
    y, x = (rng.integers(0, big - small) for big, small in zip(field.shape, shape, strict=True))
    piece: Complexes = field[y : y + shape[0], x : x + shape[1]]
    return piece


def _along_beams(tissue: Complexes, scene: Scene, frame: int) -> Complexes:
    """What each sample of each beam meets in this frame, (samples, lines)."""
    origin = (scene.beams - scene.shift[frame]) / scene.turn[frame]
    met: Complexes = sample(two_channels(tissue), origin, cv2.BORDER_REFLECT).view(np.complex64)[..., 0]
    return met


def _detect(echo: Complexes, sigma_lines: float, sigma_samples: float) -> Floats:
    """Smear by the pulse, take the envelope, and compress: (samples, lines), dB."""
    smeared = cv2.GaussianBlur(two_channels(echo), (0, 0), sigma_lines, sigmaY=sigma_samples)
    power: Any = cv2.transform(cv2.multiply(smeared, smeared), np.ones((1, 2), np.float32))
    power *= 4 * math.pi * sigma_lines * sigma_samples  # what the pulse takes from white noise
    decibels: Any = cv2.log(power + np.float32(1e-9))
    detected: Floats = decibels * np.float32(10 / math.log(10))
    return detected


def _display(db: Any, gain: float, dynamic_range: float, scene: Scene, palette: Pixels) -> Any:
    """Scan-convert a detected frame and colour it, (pane, pane, 3) BGR."""
    level = np.maximum(db + np.float32(gain + dynamic_range), 0)
    grey = cv2.convertScaleAbs(level, None, 255 / dynamic_range)
    return cv2.applyColorMap(sample(grey, scene.scan), palette)


def _palette(exponents: Sequence[float]) -> Pixels:
    """256 BGR colours, each channel a power (red, green, blue) of the grey level."""
    ramp = np.linspace(0, 1, 256)[:, None] ** np.asarray(exponents)[::-1]
    colours: Pixels = np.round(255 * ramp).astype(np.uint8)[:, None]
    return colours


@dataclass(frozen=True)
class Screen:
    """A scanner's screen: where the panes are (x, y, width, height), and all that never changes."""

    background: Pixels  # (height, width, 3) BGR
    bmode: tuple[int, int, int, int]
    ceus: tuple[int, int, int, int]
    ink: tuple[int, int, int]


def draw_screen(scanner: Scanner, depth_cm: float, pane: int) -> Screen:
    """Lay out the panes, texts, rulers and grey bars; nothing here knows the patient."""
    unit = pane / 320
    # Video codecs work in blocks of 16 pixels: no block may hold something of both panes.
    left, top = _blocks(38 * unit), _blocks(44 * unit)
    right = _blocks(left + pane + 30 * unit)
    height, width = _blocks(top + pane + 34 * unit), _blocks(right + pane + 38 * unit)
    starts = (right, left) if scanner.ceus_left else (left, right)
    bmode, ceus = ((start, top, pane, pane) for start in starts)
    screen = Screen(np.zeros((height, width, 3), np.uint8), bmode, ceus, scanner.ink)
    image, ink, row = screen.background, scanner.ink, 18 * unit
    _write(image, f"{scanner.name}   {scanner.probe}   Renal", left, row, ink, unit)
    _write(image, "MI 0.08  TIs 0.1", width - 130 * unit, row, ink, unit)
    for name, (x, *_), span, tint in (
        ("B", bmode, scanner.bmode_range, GREY),
        ("CEUS", ceus, scanner.ceus_range, scanner.tint),
    ):
        text = f"{name}   DR {span:.0f}   {depth_cm:.1f} cm"
        _write(image, text, x, top - 8 * unit, ink, unit)
        bar: Any = cv2.resize(_palette(tint)[::-1], (round(7 * unit), pane // 3))
        at = right + pane + round(12 * unit) if x == right else left - round(19 * unit)
        image[top : top + bar.shape[0], at : at + bar.shape[1]] = bar
        ruler = x + pane + 1 if x == right else x - 2
        for cm in range(int(depth_cm) + 1):
            y = top + round(pane * (0.015 + 0.97 * cm / depth_cm))
            tick = round((8 if cm % 5 == 0 else 4) * unit) * (1 if x == right else -1)
            cv2.line(image, (ruler, y), (ruler + tick, y), ink, 1)
    return screen


def _blocks(pixels: float) -> int:
    return math.ceil(pixels / 16) * 16


def _write(on: Pixels, text: str, x: float, y: float, ink: tuple[int, int, int], unit: float) -> None:
    at, font = (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(on, text, at, font, 0.4 * unit, ink, 1, cv2.LINE_AA)


def compose(
    screen: Screen, bmode: Pixels, ceus: Pixels, frame: int, seconds: NDArray[np.float64]
) -> Pixels:
    """One frame of the video, (height, width, 3) BGR: both panes and the counters under them."""
    image = screen.background.copy()
    for (x, y, width, height), pane in ((screen.bmode, bmode), (screen.ceus, ceus)):
        image[y : y + height, x : x + width] = pane
    left, top, size = min(screen.bmode[0], screen.ceus[0]), *screen.bmode[1:3]
    unit, (minutes, rest) = size / 320, divmod(float(seconds[frame]), 60)
    counter = f"{frame + 1:03d}/{len(seconds):03d}   T {minutes:02.0f}:{rest:04.1f}"
    _write(image, counter, left, top + size + 20 * unit, screen.ink, unit)
    return image
