"""Simulated cohorts whose best possible AUC is known.

Each patient has a label and two hidden numbers, drawn independently once the label is given:
b ~ N(±d_b/2, 1) and c ~ N(±d_c/2, 1), plus for high grades. The B-mode pane is painted from b and
never sees c or the label; the CEUS pane is painted from c and never sees b or the label; whatever
else a clip holds (anatomy, motion, boxes, centre, scanner, gain, noise) is drawn from streams of
its own. So a reader of one pane cannot beat Φ(d/√2), nor a reader of both Φ(√((d_b² + d_c²)/2)).

A pane is made as a scanner makes it: point scatterers in the tissue, weighted by its echogenicity
or perfusion, moved by breathing, sampled along the beams of a convex probe, smeared by the pulse,
detected, log-compressed, and scan-converted. Randomness comes from one seed sequence a patient, so
the files do not depend on how many processes wrote them.
"""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from mufnet_lightning.errors import InputFault

Floats = NDArray[np.float32]
Complexes = NDArray[np.complex64]
Pixels = NDArray[np.uint8]

SMALLEST_PANE = 128  # pixels: below this the tumour is smaller than its own speckle
FPS = 10.0
CONTRAST_SECONDS = 100.0  # of the examination that a clip covers, injection at 0
CORTICAL_START, MEDULLARY_START = 15.0, 36.0  # seconds, after EFSUMB's renal phases
GREY = (1.25, 1.22, 1.18)  # exponents of red, green and blue: dark greys are pressed, a little cold
STREAMS = ("latents", "table", "scene", "bmode", "ceus", "boxes")
CODECS = {"avi": (cv2.CAP_OPENCV_MJPEG, "MJPG"), "mp4": (cv2.CAP_FFMPEG, "mp4v")}


@dataclass(frozen=True)
class PhantomOptions:
    """What to simulate; raises InputFault, with a sentence for each fault, when it makes no sense.

    Attributes:
        patients: number of patients, one clip each; at least 2.
        high_share: share of patients of high grade; both classes need at least one patient.
        frames: annotated frames of each clip.
        clip_length: frames of each clip, twice `frames` when None; at least `frames`.
        pane_size: side of each square pane in pixels, at least 128.
        centers: number of centres, as even as can be.
        auc_bmode: ceiling of the B-mode pane, above 0.5 and at most 0.999.
        auc_ceus: ceiling of the CEUS pane, likewise.
        video_format: "avi" (Motion JPEG) or "mp4" (MPEG-4 part 2).
        seed: not negative; the same options and seed give the same files byte for byte.
    """

    patients: int = 100
    high_share: float = 0.26
    frames: int = 60
    clip_length: int | None = None
    pane_size: int = 320
    centers: int = 2
    auc_bmode: float = 0.838
    auc_ceus: float = 0.845
    video_format: str = "avi"
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            f"a phantom needs at least 2 patients, not {self.patients}": self.patients >= 2,
            f"the share of high grade must lie between 0 and 1, not be {self.high_share}": (
                0 < self.high_share < 1
            ),
            f"a clip needs at least 1 annotated frame, not {self.frames}": self.frames >= 1,
            f"a clip of {self.clip_length} frames cannot hold {self.frames} annotated ones": (
                self.length >= self.frames
            ),
            f"a pane needs at least {SMALLEST_PANE} pixels a side, not {self.pane_size}": (
                self.pane_size >= SMALLEST_PANE
            ),
            f"the number of centres must lie between 1 and the number of patients "
            f"({self.patients}), not be {self.centers}": 1 <= self.centers <= max(2, self.patients),
            f"the video format must be avi or mp4, not {self.video_format}": (
                self.video_format in CODECS
            ),
            f"the seed must not be negative, but is {self.seed}": self.seed >= 0,
        }
        for name, auc in (("B-mode", self.auc_bmode), ("CEUS", self.auc_ceus)):
            sentence = f"the {name} AUC must be above 0.5 and at most 0.999, not {auc}"
            checks[sentence] = 0.5 < auc <= 0.999
        faults = [sentence for sentence, holds in checks.items() if not holds]
        if not faults and not 0 < self.high_patients < self.patients:
            faults = [
                f"a share of {self.high_share} makes {self.high_patients} of {self.patients} "
                "patients high grade, but both classes need at least one"
            ]
        if faults:
            raise InputFault(faults)

    @property
    def length(self) -> int:
        """Frames of each clip."""
        return 2 * self.frames if self.clip_length is None else self.clip_length

    @property
    def high_patients(self) -> int:
        """How many patients are of high grade."""
        return round(self.high_share * self.patients)


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
    Scanner("Aquila 80A", "CA5", True, 0.64, 62.0, 44.0, -0.6, (0.83, 1.3, 3.2), (120, 220, 235)),
    Scanner("Helix LS20", "C5-1", False, 0.54, 58.0, 40.0, 0.6, (0.87, 1.38, 2.7), (225, 200, 150)),
)


@dataclass(frozen=True)
class Latents:
    """What decides a cohort: an array of each, in the patients' order."""

    label: NDArray[np.int64]
    grade: NDArray[np.int64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]


@dataclass(frozen=True)
class Patient:
    """One patient and the only things that the patient's clip depends on, besides the options."""

    patient_id: str
    clip_id: str
    b: float
    c: float
    scanner: Scanner
    index: int  # of the patient's own random streams


def write_phantom(out: Path, options: PhantomOptions, *, workers: int | None = None) -> None:
    """Write a simulated cohort folder (DESIGN §3 and §5): tables, video clips and truth.json.

    The folder appears complete or not at all.

    Args:
        out: folder to write; must not exist, or be empty.
        options: what to simulate.
        workers: processes that render; one for each core that this process may use when None.

    Raises:
        InputFault: `out` exists and is not an empty folder, or nothing can be written there.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputFault(f"{out} exists already; give a folder that does not")
    latents = draw_latents(options)
    with _folder_in_the_making(out) as folder:
        patients, table = draw_patients(latents, options)
        clips = _render_all(folder, patients, options, workers)
        _write_tables(folder, table, clips)
        _write_truth(folder, patients, latents, clips, options)
    best = ceilings(options)
    print(
        f"wrote {options.patients} patients ({options.high_patients} high), "
        f"{options.patients * options.frames} annotated frames to {out}; ceilings: "
        f"B-mode {best['bmode']:.3f}, CEUS {best['ceus']:.3f}, fused {best['fused']:.3f}"
    )


def separations(options: PhantomOptions) -> dict[str, float]:
    """The distance d between the classes, in standard deviations, of each arm: d = √2 Φ⁻¹(AUC)."""
    d_b, d_c = (
        math.sqrt(2) * NormalDist().inv_cdf(auc) for auc in (options.auc_bmode, options.auc_ceus)
    )
    return {"bmode": d_b, "ceus": d_c, "fused": math.hypot(d_b, d_c)}


def ceilings(options: PhantomOptions) -> dict[str, float]:
    """The highest AUC, over patients, that any reader of each arm can expect: Φ(d/√2)."""
    return {arm: NormalDist().cdf(d / math.sqrt(2)) for arm, d in separations(options).items()}


def _rng(options: PhantomOptions, purpose: str, patient: int = 0) -> np.random.Generator:
    """A random stream of its own for each purpose and patient, so that no draw shifts another."""
    key = (STREAMS.index(purpose), patient)
    return np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=key))


def draw_latents(options: PhantomOptions) -> Latents:
    """Labels in random order, a grade within each (1 or 2, 3 or 4), and b and c given the label.

    Pure: the same options give the same arrays, each of shape (patients,).
    """
    rng = _rng(options, "latents")
    label = rng.permutation((np.arange(options.patients) < options.high_patients).astype(np.int64))
    grade = 1 + 2 * label + rng.integers(0, 2, options.patients)
    d = separations(options)
    b = rng.standard_normal(options.patients) + (label - 0.5) * d["bmode"]
    c = rng.standard_normal(options.patients) + (label - 0.5) * d["ceus"]
    return Latents(label, grade, b, c)


def draw_patients(
    latents: Latents, options: PhantomOptions
) -> tuple[list[Patient], list[dict[str, Any]]]:
    """The patients to render, and their rows of patients.csv (without the tumour's diameter)."""
    rng = _rng(options, "table")
    center = rng.permutation(np.arange(options.patients) % options.centers)
    digits = max(3, len(str(options.patients)))
    patients, rows = [], []
    for i in range(options.patients):
        patient_id = f"P{i + 1:0{digits}d}"
        # Two of the three scanners in each centre, so that centre and scanner are not one thing.
        scanner = SCANNERS[(center[i] + rng.integers(0, 2)) % len(SCANNERS)]
        patients.append(
            Patient(patient_id, f"{patient_id}-1", float(latents.b[i]), float(latents.c[i]), scanner, i)
        )
        male = rng.random() < 0.64
        rows.append(
            {
                "patient_id": patient_id,
                "grade": int(latents.grade[i]),
                "center": f"center_{center[i] + 1}",
                "sex": "male" if male else "female",
                "age": int(np.clip(rng.normal(58, 12), 22, 88)),
                "symptoms": "yes" if rng.random() < 0.28 else "no",
                "surgery": "partial" if rng.random() < 0.58 else "radical",
                "hemoglobin_g_l": round(rng.normal(141 if male else 129, 15)),
                "platelets_10e9_l": round(rng.lognormal(5.4, 0.26)),
                "alkaline_phosphatase_u_l": round(rng.lognormal(4.35, 0.28)),
            }
        )
    return patients, rows


@contextmanager
def _folder_in_the_making(out: Path) -> Iterator[Path]:
    """A sibling of `out` to write into: it takes that name in the end, or is removed."""
    folder = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        (folder / "clips").mkdir(parents=True)
    except OSError as error:
        raise InputFault(f"{out} cannot be written: {error.strerror}") from error
    try:
        yield folder
        os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _render_all(
    folder: Path, patients: Sequence[Patient], options: PhantomOptions, workers: int | None
) -> list[dict[str, Any]]:
    """Every patient's clip on disk; returns what `write_clip` returns, in the patients' order."""
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        # Starting processes costs about as much as rendering this many frames.
        workers = min(cores or 1, 1 + len(patients) * options.length // 100)
    clips: dict[str, dict[str, Any]] = {}
    render = partial(write_clip, folder, options=options)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("clips", total=len(patients))
        for clip in _in_processes(render, patients, min(workers, len(patients))):
            clips[clip["clip_id"]] = clip
            progress.advance(bar)
    return [clips[patient.clip_id] for patient in patients]


def _in_processes(
    render: partial[dict[str, Any]], patients: Sequence[Patient], workers: int
) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(render, patients)
        return
    # spawn: a forked child would inherit the locks of whatever threads its parent runs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(render, patient) for patient in patients]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # nobody may write on while we clean up


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends its workers
    cv2.setNumThreads(1)


def write_clip(folder: Path, patient: Patient, options: PhantomOptions) -> dict[str, Any]:
    """Render and encode one patient's clip.

    Returns:
        clip_id, patient_id, path, both panes and the scanner (a row of clips.csv), with `boxes`
        (rows of boxes.csv), `diameter_cm`, and `tumor` (as in Scene).

    Raises:
        OSError: the video could not be written in full.
    """
    scene = draw_scene(patient, options)
    screen = draw_screen(patient.scanner, scene.depth_cm, options)
    backend, codec = CODECS[options.video_format]
    path = Path("clips") / f"{patient.clip_id}.{options.video_format}"
    size = (screen.background.shape[1], screen.background.shape[0])
    video = cv2.VideoWriter(str(folder / path), backend, cv2.VideoWriter.fourcc(*codec), FPS, size)
    panes = zip(
        render_bmode(patient, scene, options), render_ceus(patient, scene, options), strict=True
    )
    for frame, (bmode, ceus) in enumerate(panes):
        video.write(compose(screen, frame, bmode, ceus, options))
    video.release()
    written = cv2.VideoCapture(str(folder / path))
    if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != options.length:
        raise OSError(f"{path} could not be written in full (disk full, or no {codec} encoder?)")
    return {
        "clip_id": patient.clip_id,
        "patient_id": patient.patient_id,
        "path": path.as_posix(),
        "bmode_pane": ",".join(map(str, screen.bmode)),
        "ceus_pane": ",".join(map(str, screen.ceus)),
        "scanner": patient.scanner.name,
        "boxes": draw_boxes(patient, scene, screen, options),
        "diameter_cm": round(2 * scene.tumor[2] / options.pane_size * scene.depth_cm, 1),
        "tumor": [round(float(value), 2) for value in scene.tumor],
    }


@dataclass(frozen=True)
class Scene:
    """What both panes show: anatomy in tissue coordinates (pane pixels at rest), and its motion.

    A point is a complex number x + iy, so that to turn and to scale is to multiply.

    Attributes:
        tumor: x, y, long and short half axis, tilt in radians.
        outline: (points,) the tumour's edge at rest.
        depth_cm: depth that the pane's height shows.
        turn, shift: (length,) in frame t, tissue q is seen at turn[t] * q + shift[t].
        beams: (samples, lines) where in the pane each sample along each beam lies.
        scan: (pane, pane, 2) line and sample of each pixel of the pane: the scan conversion.
        inside: (pane, pane) signed depth inside the tumour, pixels.
        masks: (pane, pane) each, 0 to 1; a later one covers those before it.
    """

    tumor: tuple[float, float, float, float, float]
    outline: Complexes
    depth_cm: float
    turn: Complexes
    shift: Complexes
    beams: Complexes
    scan: Floats
    inside: Floats
    masks: dict[str, Floats]

    def moved(self, points: Complexes) -> Complexes:
        """Where tissue points are seen in each frame, (length, points)."""
        return self.turn[:, None] * points + self.shift[:, None]


def draw_scene(patient: Patient, options: PhantomOptions) -> Scene:
    """Draw a patient's anatomy and motion; knows nothing of label, b or c."""
    rng, pane = _rng(options, "scene", patient.index), options.pane_size
    beams, scan = _sector(patient.scanner, pane)
    turn, shift = _breathing(rng, options)
    depth_cm = round(rng.uniform(11, 15), 1)
    edge = np.exp(1j * np.linspace(0, 2 * np.pi, 180, endpoint=False))
    while True:  # until the whole tumour stays in sight in every frame
        x, y, a, b = pane * rng.normal([0.5, 0.53, 0.33, 0.175], [0.02, 0.02, 0.015, 0.01])
        kidney = (complex(x, y), a, b, rng.uniform(-0.45, 0.45))
        place = np.exp(1j * rng.uniform(0, 2 * np.pi)) * rng.uniform(0.85, 1.1)
        center = _from_ellipse(place, *kidney)
        long = rng.uniform(0.115, 0.165) * pane
        axes = (center, long, long * rng.uniform(0.82, 1), rng.uniform(0, np.pi))
        lobes = rng.normal(0, 0.025, 4) * np.exp(1j * rng.uniform(0, 2 * np.pi, 4))
        outline = _from_ellipse(edge * _lobed(edge, lobes), *axes)
        path = (turn[:, None] * outline + shift[:, None]).astype(np.complex64)
        seen = _sample(scan, path)
        limits = np.array(beams.shape[::-1])
        if (seen > 0.04 * limits).all() and (seen < 0.96 * limits).all():
            break
    place = _to_ellipse(_grid(pane), *axes)
    inside = (1 - np.abs(place) / _lobed(place / (np.abs(place) + 1e-6), lobes)) * axes[2]
    return Scene(
        tumor=(center.real, center.imag, *axes[1:]),
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


def _from_ellipse(place: Any, center: complex, long: float, short: float, tilt: float) -> Any:
    """Points of the unit disc, carried to an ellipse."""
    return center + np.exp(1j * tilt) * (long * np.real(place) + 1j * short * np.imag(place))


def _to_ellipse(point: Any, center: complex, long: float, short: float, tilt: float) -> Any:
    """The inverse: points where the ellipse is the unit disc."""
    turned = (point - center) * np.exp(-1j * tilt)
    return turned.real / long + 1j * turned.imag / short


def _lobed(direction: Any, lobes: NDArray[np.complex128]) -> Any:
    """Radius of a lobulated disc in each direction (unit complex numbers), about 1."""
    return 1 + sum(np.real(lobe * direction**k) for k, lobe in enumerate(lobes, start=2))


def _sector(scanner: Scanner, pane: int) -> tuple[Complexes, Floats]:
    """Geometry of a convex probe that fills a pane's height: `beams` and `scan` of a Scene."""
    samples, lines, half = pane, round(0.8 * pane), scanner.half_angle
    near = 0.36 * pane
    apex = complex(pane / 2, 0.015 * pane - near * math.cos(half))
    far = 0.985 * pane - apex.imag
    radii, angles = np.linspace(near, far, samples), np.linspace(-half, half, lines)
    beams = apex + radii[:, None] * 1j * np.exp(-1j * angles)
    ray = (_grid(pane) - apex) / 1j
    line = (1 - np.angle(ray) / half) / 2 * (lines - 1)
    sample = (np.abs(ray) - near) / (far - near) * (samples - 1)
    return beams.astype(np.complex64), np.stack([line, sample], axis=-1).astype(np.float32)


def _breathing(rng: np.random.Generator, options: PhantomOptions) -> tuple[Complexes, Complexes]:
    """Breaths of 3 to 5 seconds, mostly along the depth, over a slow drift of the probe."""
    time, pane = np.arange(options.length), options.pane_size
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


def _organs(
    rng: np.random.Generator, kidney: tuple[complex, float, float, float], pane: int
) -> dict[str, Floats]:
    """Soft masks of the tissues around the tumour, in the order in which they cover each other."""
    wobble = _smooth_noise(rng, pane, 0.05) + 1j * _smooth_noise(rng, pane, 0.05)
    points = _grid(pane) + 0.008 * pane * wobble
    center, long, short, tilt = kidney
    place = _to_ellipse(points, *kidney)
    depth = (1 - np.abs(place)) * short  # inside the kidney, pixels
    sinus = (1 - np.abs(_to_ellipse(points, center, 0.55 * long, 0.36 * short, tilt))) * 0.36 * short
    around = np.exp(1j * (np.arange(9) + rng.uniform(-0.2, 0.2, 9) + rng.random()) * 2 * np.pi / 9)
    tips = 0.63 * around + 0.08 * around.real
    near = np.min([np.abs(place - tip) for tip in tips], axis=0)
    wall = 0.15 * pane * (1 + 0.06 * _smooth_noise(rng, pane, 0.15)) - points.imag
    away = center + pane * np.exp(1j * rng.uniform(1.2, 1.9)) * rng.uniform(0.32, 0.4)
    diaphragm = np.abs(points - away + 0.9j * pane) - 0.9 * pane
    lines = np.exp(-((wall / (0.006 * pane)) ** 2)) + np.exp(-((diaphragm / (0.009 * pane)) ** 2))
    vessels = _smooth_noise(rng, pane, 0.022, stretch=1.6) - 1.7
    masks = {
        "vessels": _edge(vessels, 0.15),
        "fat": _edge(depth + 0.035 * pane, 0.012 * pane),
        "cortex": _edge(depth, 0.006 * pane),
        "pyramids": _edge((0.17 - near) * short, 0.012 * pane),
        "sinus": _edge(sinus, 0.012 * pane),
        "wall": _edge(wall, 0.01 * pane),
        "interfaces": np.maximum(np.exp(-((depth / (0.007 * pane)) ** 2)), lines),
    }
    return {name: mask.astype(np.float32) for name, mask in masks.items()}


def _edge(depth: Any, softness: float) -> Any:
    """0 outside, 1 inside, half at the edge."""
    return 1 / (1 + np.exp(-np.clip(depth / softness, -30, 30)))


def _smooth_noise(rng: np.random.Generator, pane: int, scale: float, stretch: float = 1) -> Floats:
    """A Gaussian field of mean 0 and variance 1, (pane, pane), grain `scale` in pane sizes."""
    white = rng.standard_normal((pane, pane), dtype=np.float32)
    field: Any = cv2.GaussianBlur(white, (0, 0), scale * pane * stretch, sigmaY=scale * pane)
    return (field - field.mean()) / field.std()


def _saturated(latent: float) -> float:
    """b or c as the tissue shows it: monotone, and never beyond what tissue looks like."""
    return 3 * math.tanh(latent / 3)


def render_bmode(patient: Patient, scene: Scene, options: PhantomOptions) -> Iterator[Pixels]:
    """The B-mode pane of every frame; of the hidden numbers it sees b alone.

    With b the tumour turns from brighter than cortex, even and sharply bounded, to darker,
    patchy and blurred at its margin.
    """
    rng, pane = _rng(options, "bmode", patient.index), options.pane_size
    s, masks = _saturated(patient.b), scene.masks
    levels = {
        "vessels": -48.0,
        "fat": -24.0,
        "cortex": -36.0,
        "pyramids": -42.0,
        "sinus": -19.0,
        "wall": -27.0,
    }
    db = -33 + 1.2 * _smooth_noise(rng, pane, 0.06)
    for name, level in levels.items():
        streaks = _smooth_noise(rng, pane, 0.012, stretch=5 if name == "wall" else 1.5)
        db += masks[name] * (level + (4 if name in ("wall", "sinus") else 1.8) * streaks - db)
    db += 9 * masks["interfaces"]
    db -= np.linspace(0, 4, pane)[:, None]  # what the gain over depth does not make up for
    patches = _smooth_noise(rng, pane, 0.02)
    tumor = levels["cortex"] - 4.8 * s + 1.6 * math.exp(0.5 * s) * patches
    db += _edge(scene.inside, 0.008 * pane * math.exp(0.45 * s)) * (tumor - db)
    db += 6 * _edge(-s, 1.0) * np.exp(-((scene.inside / (0.006 * pane)) ** 2))
    grainy = _edge(scene.inside, 0.02 * pane) * _edge(1.5 * s, 1.0)
    even, sparse = np.sqrt(1 - grainy), np.sqrt(grainy)
    amplitude = 10 ** (db / 20)
    planes = [
        _complex(amplitude * (even * _scatterers(rng, pane) + sparse * _scatterers(rng, pane, 0.06)))
        for _ in range(2)
    ]
    # Breathing also moves tissue through the plane of the beam, so that speckle comes and goes.
    through = 1.3 * np.sin(2 * np.pi * np.arange(options.length) / (FPS * rng.uniform(2.5, 4)))
    hiss = _scatterers(rng, 2 * pane) * np.float32(10 ** (-68 / 20))
    gain = patient.scanner.gain + rng.normal(0, 0.4)
    palette = _palette(GREY)
    for frame in range(options.length):
        tissue = math.cos(through[frame]) * planes[0] + math.sin(through[frame]) * planes[1]
        echo = _along_beams(tissue, scene, frame) + _anywhere(hiss, rng, scene.beams.shape)
        db = _detect(echo, 1.6 * pane / 320, 1.1 * pane / 320)
        yield _display(db, gain, patient.scanner.bmode_range, scene, palette)


def render_ceus(patient: Patient, scene: Scene, options: PhantomOptions) -> Iterator[Pixels]:
    """The CEUS pane of every frame; of the hidden numbers it sees c alone.

    With c the tumour enhances less than cortex and washes out sooner, its bubbles leave patches
    empty, and a rim is left around it: in the cortical as well as the medullary phase.
    """
    rng, pane = _rng(options, "ceus", patient.index), options.pane_size
    s, masks = _saturated(patient.c), scene.masks
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
        "tumor": (arrival + 0.5, -15.0 - 5.4 * s, 1.2, 5.0 + 0.8 * s),
    }
    cover = {"tumor": _edge(scene.inside, 0.012 * pane).astype(np.float32)}
    left = 1 - cover["tumor"]
    for name in ("wall", "sinus", "pyramids", "cortex", "fat", "vessels"):
        cover[name] = left * masks[name]
        left = left - cover[name]
    cover["liver"] = left
    patches = -np.abs(_smooth_noise(rng, pane, 0.03)) + 0.8
    rim = np.exp(-((scene.inside / (0.014 * pane)) ** 2)) * 4 * _edge(0.9 * s, 1.0)
    still = 1.0 * _smooth_noise(rng, pane, 0.03) + rim
    still += cover["tumor"] * 2.2 * math.exp(0.45 * s) * patches
    trapped, flowing = _scatterers(rng, pane, 0.2), _scatterers(rng, 2 * pane, 0.2)
    hiss = _scatterers(rng, 2 * pane) * np.float32(10 ** (-46 / 20))
    gain = patient.scanner.gain + rng.normal(0, 0.4)
    palette = _palette(patient.scanner.tint)
    for frame, seconds in enumerate(contrast_seconds(options)):
        db = still.astype(np.float32)
        for name, (arrives, peak, rise, loss) in courses.items():
            level = peak - loss * (seconds - CORTICAL_START) / (CONTRAST_SECONDS - CORTICAL_START)
            db += np.float32(-50 + (level + 50) * _edge(seconds - arrives, rise)) * cover[name]
        bubbles = 0.3 * trapped + 0.95 * _anywhere(flowing, rng, (pane, pane))
        echo = _along_beams(bubbles * cv2.exp(db * np.float32(math.log(10) / 20)), scene, frame)
        echo += _anywhere(hiss, rng, scene.beams.shape)
        db = _detect(echo, 1.9 * pane / 320, 1.5 * pane / 320)
        yield _display(db, gain, patient.scanner.ceus_range, scene, palette)


def _scatterers(rng: np.random.Generator, size: int, shape: float = math.inf) -> Complexes:
    """A (size, size) field of unit power; a small `shape` (gamma) gathers it in a few places."""
    field = rng.standard_normal((size, 2 * size), dtype=np.float32).view(np.complex64)
    if shape == math.inf:
        return field * np.float32(math.sqrt(0.5))
    power = rng.standard_gamma(shape, (size, size), dtype=np.float32)
    return field * np.sqrt(power * np.float32(0.5 / shape))


def _anywhere(field: Complexes, rng: np.random.Generator, shape: tuple[int, ...]) -> Complexes:
    """A piece of a larger field: fresh noise at the price of a copy."""
    y, x = (rng.integers(0, big - small) for big, small in zip(field.shape, shape, strict=True))
    return field[y : y + shape[0], x : x + shape[1]]


def _along_beams(tissue: Complexes, scene: Scene, frame: int) -> Complexes:
    """What each sample of each beam meets in this frame, (samples, lines)."""
    origin = (scene.beams - scene.shift[frame]) / scene.turn[frame]
    return _sample(_two_channels(tissue), origin, cv2.BORDER_REFLECT).view(np.complex64)[..., 0]


def _sample(image: Any, at: Any, border: int = cv2.BORDER_CONSTANT) -> Any:
    """An image, or several channels of it, at the points `at` between its pixels."""
    points = _two_channels(_complex(at)) if np.iscomplexobj(at) else at
    return cv2.remap(image, points, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore


def _complex(values: Any) -> Complexes:
    return np.ascontiguousarray(values, dtype=np.complex64)


def _two_channels(values: Complexes) -> Floats:
    """Complex numbers as OpenCV wants them: two float32 channels."""
    return np.ascontiguousarray(values).view(np.float32).reshape(*values.shape, 2)


def _detect(echo: Complexes, sigma_lines: float, sigma_samples: float) -> Floats:
    """Smear by the pulse, take the envelope, and compress: (samples, lines), dB."""
    smeared = cv2.GaussianBlur(_two_channels(echo), (0, 0), sigma_lines, sigmaY=sigma_samples)
    power: Any = cv2.transform(cv2.multiply(smeared, smeared), np.ones((1, 2), np.float32))
    power *= 4 * math.pi * sigma_lines * sigma_samples  # what the pulse takes from white noise
    decibels: Any = cv2.log(power + np.float32(1e-9))
    return decibels * np.float32(10 / math.log(10))


def _display(db: Any, gain: float, dynamic_range: float, scene: Scene, palette: Pixels) -> Any:
    """Scan-convert a detected frame and colour it, (pane, pane, 3) BGR."""
    level = np.maximum(db + np.float32(gain + dynamic_range), 0)
    grey = cv2.convertScaleAbs(level, None, 255 / dynamic_range)
    return cv2.applyColorMap(_sample(grey, scene.scan), palette)


def _palette(exponents: Sequence[float]) -> Pixels:
    """256 BGR colours, each channel a power (red, green, blue) of the grey level."""
    ramp = np.linspace(0, 1, 256)[:, None] ** np.asarray(exponents)[::-1]
    return np.round(255 * ramp).astype(np.uint8)[:, None]


def contrast_seconds(options: PhantomOptions) -> NDArray[np.float64]:
    """Time since injection of each frame, (length,).

    A clip shows the arrival of contrast only as far as its annotated frames leave room for it.
    """
    length = options.length
    lead = min(round(length * CORTICAL_START / CONTRAST_SECONDS), length - options.frames)
    rate = (CONTRAST_SECONDS - CORTICAL_START) / (length - lead)
    return np.asarray(CORTICAL_START + (np.arange(length) - lead) * rate)


@dataclass(frozen=True)
class Screen:
    """A scanner's screen: where the panes are (x, y, width, height), and all that never changes."""

    background: Pixels  # (height, width, 3) BGR
    bmode: tuple[int, int, int, int]
    ceus: tuple[int, int, int, int]
    ink: tuple[int, int, int]


def draw_screen(scanner: Scanner, depth_cm: float, options: PhantomOptions) -> Screen:
    """Lay out the panes, texts, rulers and grey bars; nothing here knows the patient."""
    pane, unit = options.pane_size, options.pane_size / 320
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


def compose(screen: Screen, frame: int, bmode: Pixels, ceus: Pixels, options: PhantomOptions) -> Pixels:
    """One frame of the video, (height, width, 3) BGR: both panes and the counters under them."""
    image, unit = screen.background.copy(), options.pane_size / 320
    for (x, y, width, height), pane in ((screen.bmode, bmode), (screen.ceus, ceus)):
        image[y : y + height, x : x + width] = pane
    minutes, seconds = divmod(float(contrast_seconds(options)[frame]), 60)
    below = screen.bmode[1] + options.pane_size + 20 * unit
    left = min(screen.bmode[0], screen.ceus[0])
    counter = f"{frame + 1:03d}/{options.length:03d}   T {minutes:02.0f}:{seconds:04.1f}"
    _write(image, counter, left, below, screen.ink, unit)
    return image


def draw_boxes(
    patient: Patient, scene: Scene, screen: Screen, options: PhantomOptions
) -> list[dict[str, Any]]:
    """Rows of boxes.csv: frames spread over both phases, boxes on the CEUS pane.

    Each side is a few percent of the tumour's size off, as a hand is.
    """
    rng, pane = _rng(options, "boxes", patient.index), options.pane_size
    seconds = contrast_seconds(options)
    cortical = np.flatnonzero((seconds >= CORTICAL_START) & (seconds < MEDULLARY_START))
    medullary = np.flatnonzero(seconds >= MEDULLARY_START)
    wanted = round(options.frames * rng.uniform(0.35, 0.5))
    early = int(np.clip(wanted, options.frames - len(medullary), len(cortical)))
    edges = scene.moved(scene.outline)
    rows = []
    for phase, among, count in (
        ("cortical", cortical, early),
        ("medullary", medullary, options.frames - early),
    ):
        for frame in among[((np.arange(count) + 0.5) * len(among) / max(count, 1)).astype(int)]:
            x, y = edges[frame].real, edges[frame].imag
            sides = np.array([x.min(), y.min(), x.max(), y.max()])
            slips = rng.normal(0, 0.025, 4) * np.tile(sides[2:] - sides[:2], 2)
            x0, y0, x1, y1 = np.clip(np.round(sides + slips), 0, pane).astype(int).tolist()
            rows.append(
                {
                    "clip_id": patient.clip_id,
                    "frame": int(frame),
                    "x": screen.ceus[0] + x0,
                    "y": screen.ceus[1] + y0,
                    "width": x1 - x0,
                    "height": y1 - y0,
                    "pane": "ceus",
                    "phase": phase,
                }
            )
    return rows


def _write_tables(
    folder: Path, table: Sequence[Mapping[str, Any]], clips: Sequence[Mapping[str, Any]]
) -> None:
    diameters = {clip["patient_id"]: clip["diameter_cm"] for clip in clips}
    hidden = ("boxes", "diameter_cm", "tumor")
    tables = {
        "patients": [{**row, "tumor_diameter_cm": diameters[row["patient_id"]]} for row in table],
        "clips": [{k: v for k, v in clip.items() if k not in hidden} for clip in clips],
        "boxes": [box for clip in clips for box in clip["boxes"]],
    }
    for name, rows in tables.items():
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _write_truth(
    folder: Path,
    patients: Sequence[Patient],
    latents: Latents,
    clips: Sequence[Mapping[str, Any]],
    options: PhantomOptions,
) -> None:
    """What nothing that trains may read."""
    truth = {
        "options": asdict(options),
        "d": separations(options),
        "ceilings": ceilings(options),
        "patients": [
            {
                "patient_id": patient.patient_id,
                "label": int(latents.label[i]),
                "grade": int(latents.grade[i]),
                "b": patient.b,
                "c": patient.c,
                "tumor": clips[i]["tumor"],
            }
            for i, patient in enumerate(patients)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
