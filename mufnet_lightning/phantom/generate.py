"""Simulated cohorts whose best possible AUC is known.

Each patient has a label and two hidden numbers, drawn independently once the label is given:
b ~ N(±d_b/2, 1) and c ~ N(±d_c/2, 1), plus for high grades. The B-mode pane is painted from b and
never sees c or the label; the CEUS pane is painted from c and never sees b or the label; whatever
else a clip holds (anatomy, motion, boxes, centre, scanner, gain, noise) is drawn from streams of
its own. So a reader of one pane cannot beat Φ(d/√2), nor a reader of both Φ(√((d_b² + d_c²)/2)).

Randomness comes from one seed sequence a patient, so the files do not depend on how many processes
wrote them. `scene` draws what is looked at, `ultrasound` what a scanner shows of it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.scene import FPS, Scene, draw_scene
from mufnet_lightning.phantom.ultrasound import (
    CORTICAL_START,
    MEDULLARY_START,
    SCANNERS,
    Scanner,
    Screen,
    compose,
    contrast_seconds,
    draw_screen,
    render_bmode,
    render_ceus,
)
from mufnet_lightning.system.processes import in_processes

SMALLEST_PANE = 128  # pixels: below this the tumour is smaller than its own speckle
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


@dataclass(frozen=True)
class Clip:
    """What the tables and the truth say of a clip on disk."""

    row: dict[str, Any]  # of clips.csv
    boxes: list[dict[str, Any]]  # rows of boxes.csv
    diameter_cm: float
    tumor: list[float]  # x, y, long and short half axis in pane pixels at rest, tilt in radians


def write_phantom(out: Path, options: PhantomOptions) -> None:
    """Write a simulated cohort folder (DESIGN §3 and §5): tables, video clips and truth.json.

    The folder appears complete or not at all. Worker processes are spawned, so a script that calls
    this needs `if __name__ == "__main__":`.

    Args:
        out: folder to write; must not exist, or be empty.
        options: what to simulate.

    Raises:
        InputFault: `out` exists and is not an empty folder, or nothing can be written there.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputFault(f"{out} exists already; give a folder that does not")
    latents = draw_latents(options)
    patients, table = draw_patients(latents, options)
    with _folder_in_the_making(out) as folder:
        render: Any = partial(write_clip, folder, options=options)
        clips: Any = in_processes(render, patients, "clips")
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


def stream(options: PhantomOptions, purpose: str, patient: int = 0) -> np.random.Generator:
    """A random stream of its own for each purpose and patient, so that no draw shifts another."""
    key = (STREAMS.index(purpose), patient)
    return np.random.default_rng(np.random.SeedSequence(options.seed, spawn_key=key))


def draw_latents(options: PhantomOptions) -> Latents:
    """Labels in random order, a grade within each (1 or 2, 3 or 4), and b and c given the label.

    Pure: the same options give the same arrays, each of shape (patients,).
    """
    rng = stream(options, "latents")
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
    rng = stream(options, "table")
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


def write_clip(folder: Path, patient: Patient, options: PhantomOptions) -> Clip:
    """Render and encode one patient's clip.

    Raises:
        OSError: the video could not be written in full.
    """
    rng = partial(stream, options, patient=patient.index)
    scanner, seconds = patient.scanner, contrast_seconds(options.length, options.frames)
    scene = draw_scene(rng("scene"), scanner.half_angle, options.pane_size, options.length)
    screen = draw_screen(scanner, scene.depth_cm, options.pane_size)
    backend, codec = CODECS[options.video_format]
    path = Path("clips") / f"{patient.clip_id}.{options.video_format}"
    size = (screen.background.shape[1], screen.background.shape[0])
    video = cv2.VideoWriter(str(folder / path), backend, cv2.VideoWriter.fourcc(*codec), FPS, size)
    bmode = render_bmode(rng("bmode"), scene, scanner, patient.b)
    ceus = render_ceus(rng("ceus"), scene, scanner, patient.c, seconds)
    for frame, panes in enumerate(zip(bmode, ceus, strict=True)):
        video.write(compose(screen, *panes, frame, seconds))
    video.release()
    written = cv2.VideoCapture(str(folder / path))
    if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != options.length:
        raise OSError(f"{path} could not be written in full (disk full, or no {codec} encoder?)")
    row = {
        "clip_id": patient.clip_id,
        "patient_id": patient.patient_id,
        "path": path.as_posix(),
        "bmode_pane": ",".join(map(str, screen.bmode)),
        "ceus_pane": ",".join(map(str, screen.ceus)),
        "scanner": scanner.name,
    }
    boxes = draw_boxes(rng("boxes"), scene, screen, seconds, options.frames)
    tumor = scene.tumor
    place = (tumor.center.real, tumor.center.imag, tumor.long, tumor.short, tumor.tilt)
    return Clip(
        row=row,
        boxes=[{"clip_id": patient.clip_id, **box} for box in boxes],
        diameter_cm=round(2 * tumor.long / options.pane_size * scene.depth_cm, 1),
        tumor=[round(float(value), 2) for value in place],
    )


def draw_boxes(
    rng: np.random.Generator,
    scene: Scene,
    screen: Screen,
    seconds: NDArray[np.float64],
    frames: int,
) -> list[dict[str, Any]]:
    """Rows of boxes.csv (without the clip): frames spread over both phases, boxes on the CEUS pane.

    Each side is a few percent of the tumour's size off, as a hand is.
    """
    cortical = np.flatnonzero((seconds >= CORTICAL_START) & (seconds < MEDULLARY_START))
    medullary = np.flatnonzero(seconds >= MEDULLARY_START)
    wanted = round(frames * rng.uniform(0.35, 0.5))
    early = int(np.clip(wanted, frames - len(medullary), len(cortical)))
    edges = scene.moved(scene.outline)
    rows = []
    for phase, among, count in (
        ("cortical", cortical, early),
        ("medullary", medullary, frames - early),
    ):
        for frame in among[((np.arange(count) + 0.5) * len(among) / max(count, 1)).astype(int)]:
            x, y = edges[frame].real, edges[frame].imag
            sides = np.array([x.min(), y.min(), x.max(), y.max()])
            slips = rng.normal(0, 0.025, 4) * np.tile(sides[2:] - sides[:2], 2)
            x0, y0, x1, y1 = np.clip(np.round(sides + slips), 0, scene.pane).astype(int).tolist()
            rows.append(
                {
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


def _write_tables(folder: Path, table: Sequence[Mapping[str, Any]], clips: Sequence[Clip]) -> None:
    tables = {
        "patients": [
            {**row, "tumor_diameter_cm": clip.diameter_cm}
            for row, clip in zip(table, clips, strict=True)
        ],
        "clips": [clip.row for clip in clips],
        "boxes": [box for clip in clips for box in clip.boxes],
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
    clips: Sequence[Clip],
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
                "tumor": clips[i].tumor,
            }
            for i, patient in enumerate(patients)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
