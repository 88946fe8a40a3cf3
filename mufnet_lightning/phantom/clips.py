"""One patient's clip: rendered, encoded, and its annotated frames with a box around the tumour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.phantom.options import CODECS, PhantomOptions
from mufnet_lightning.phantom.patients import Patient, stream
from mufnet_lightning.phantom.scene import FPS, Scene, draw_scene
from mufnet_lightning.phantom.signals import Shown
from mufnet_lightning.phantom.ultrasound import (
    CORTICAL_START,
    MEDULLARY_START,
    Screen,
    compose,
    contrast_seconds,
    draw_screen,
    render_bmode,
    render_ceus,
)


@dataclass(frozen=True)
class Clip:
    """What the tables and the truth say of a clip on disk."""

    row: dict[str, Any]  # of clips.csv
    boxes: list[dict[str, Any]]  # rows of boxes.csv
    diameter_cm: float
    tumor: list[float]  # x, y, long and short half axis in pane pixels at rest, tilt in radians


def write_clip(folder: Path, patient: Patient, options: PhantomOptions) -> Clip:
    """Render and encode one patient's clip.

    Raises:
        OSError: the video could not be written in full.
    """
    rng = partial(stream, options, patient=patient.index)
    scanner, seconds = patient.scanner, contrast_seconds(patient.length, patient.frames)
    scene = draw_scene(rng("scene"), scanner.half_angle, options.pane_size, patient.length)
    screen = draw_screen(scanner, scene.depth_cm, options.pane_size)
    backend, codec = CODECS[options.video_format]
    path = Path("clips") / f"{patient.clip_id}.{options.video_format}"
    size = (screen.background.shape[1], screen.background.shape[0])
    video = cv2.VideoWriter(str(folder / path), backend, cv2.VideoWriter.fourcc(*codec), FPS, size)
    bmode = render_bmode(rng("bmode"), scene, scanner, Shown.of(patient.b, options.bmode_signal))
    ceus_shown = Shown.of(patient.c, options.ceus_signal)
    ceus = render_ceus(rng("ceus"), scene, scanner, ceus_shown, seconds)
    for frame, panes in enumerate(zip(bmode, ceus, strict=True)):
        video.write(compose(screen, *panes, frame, seconds))
    video.release()
    written = cv2.VideoCapture(str(folder / path))
    if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != patient.length:
        raise OSError(f"{path} could not be written in full (disk full, or no {codec} encoder?)")
    row = {
        "clip_id": patient.clip_id,
        "patient_id": patient.patient_id,
        "path": path.as_posix(),
        "bmode_pane": ",".join(map(str, screen.bmode)),
        "ceus_pane": ",".join(map(str, screen.ceus)),
        "scanner": scanner.name,
    }
    boxes = draw_boxes(rng("boxes"), scene, screen, seconds, patient.frames)
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
