"""What only the simulation knows, in truth.json; from it, where a phantom's signal lies in each crop.

Nothing that trains may read it: it is to check where a network looks, and what it can reach.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.cohort.geometry import Box, Pane, expand
from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.clips import Clip
from mufnet_lightning.phantom.options import PhantomOptions, ceilings, separations
from mufnet_lightning.phantom.patients import (
    Latents,
    Patient,
    draw_latents,
    draw_patients,
    stream,
)
from mufnet_lightning.phantom.scene import Scene, draw_scene, sample
from mufnet_lightning.phantom.ultrasound import draw_screen

RIM = 0.036  # of the pane's side: the tumour's margin and rim, which show the hidden numbers too
SLIP = 0.15  # of the tumour's side: more than any drawn box is off
TRUTH = "truth.json"
EARLIER = {"frames_spread": 0.0}  # of a truth.json that has no such option; its tumours are the same


class PhantomTruth:
    """The tumours of a phantom cohort, drawn again from its options.

    Args:
        cohort: folder that `mufnet phantom` wrote.

    Raises:
        InputFault: there is no truth.json, or it is not of this version's phantom.
    """

    def __init__(self, cohort: Path) -> None:
        self.cohort = cohort
        self.truth = read_truth(cohort)
        try:
            self._options = PhantomOptions(**{**EARLIER, **self.truth["options"]})
            self._tumors = {row["patient_id"]: row["tumor"] for row in self.truth["patients"]}
        except (KeyError, TypeError):
            raise InputFault(f"{cohort}: {TRUTH} is not as this version writes it") from None
        patients, _ = draw_patients(draw_latents(self._options), self._options)
        self._patients = {p.patient_id: p for p in patients if p.patient_id in self._tumors}
        self._scene_of = lru_cache(maxsize=4)(self._draw_again)  # images come patient by patient

    def signal(self, row: Any, margin: float, size: int) -> NDArray[np.bool_]:
        """Pixels (size, size) of a crop that show the tumour, its margin and rim.

        Nothing else in the B-mode pane depends on b, nor in the CEUS pane on c; the region is the same
        for both.

        Args:
            row: of the store's manifest (`patient_id`, `frame`, `box_...`).
            margin: of the store.
            size: side that the crop is resized to.

        Raises:
            InputFault: the truth knows no such patient, or no such frame, or has the tumour elsewhere.
        """
        if row.patient_id not in self._patients:
            raise InputFault(f"{self.cohort}: {TRUTH} has no patient {row.patient_id}")
        patient = self._patients[row.patient_id]
        scene = self._scene_of(patient)
        if not 0 <= row.frame < scene.length:
            raise InputFault(f"{self.cohort}: the clip of {row.patient_id} has no frame {row.frame}")
        screen = draw_screen(patient.scanner, scene.depth_cm, scene.pane)
        x, y, width, height = getattr(screen, str(row.box_pane))
        drawn = Box(int(row.box_x), int(row.box_y), int(row.box_width), int(row.box_height))
        frame = int(row.frame)
        edge = scene.moved(scene.outline)[frame] + complex(x, y)
        sides = np.array([edge.real.min(), edge.imag.min(), edge.real.max(), edge.imag.max()])
        slips = np.abs(sides - [drawn.x, drawn.y, drawn.right, drawn.bottom])
        if (slips > SLIP * np.tile(sides[2:] - sides[:2], 2) + 1).any():
            raise InputFault(
                f"{self.cohort}: the box of {row.patient_id} in frame {frame} is not around the "
                "tumour; the store is of another phantom"
            )
        seen = expand(drawn, margin, Pane(x, y, width, height))
        across, down = (
            start + (np.arange(size) + 0.5) * side / size - 0.5
            for start, side in ((seen.x - x, seen.width), (seen.y - y, seen.height))
        )
        at = across + 1j * down[:, None]  # pixels of the pane, as seen in this frame
        tissue = (at - scene.shift[frame]) / scene.turn[frame]
        inside = sample(scene.inside, tissue, cv2.BORDER_REPLICATE)
        return np.asarray(inside > -RIM * scene.pane)

    def _draw_again(self, patient: Patient) -> Scene:
        options = self._options
        rng = stream(options, "scene", patient.index)
        scene = draw_scene(rng, patient.scanner.half_angle, options.pane_size, patient.length)
        tumor = scene.tumor
        place = [tumor.center.real, tumor.center.imag, tumor.long, tumor.short, tumor.tilt]
        if not np.allclose(place, self._tumors[patient.patient_id], atol=0.011):
            raise InputFault(
                f"{self.cohort}: the tumour of {patient.patient_id} is another one when drawn again; "
                "another version of mufnet wrote this phantom"
            )
        return scene


def read_truth(cohort: Path) -> dict[str, Any]:
    """What truth.json says: options, d, ceilings, patients (with label, b, c).

    Raises:
        InputFault: there is none.
    """
    try:
        return dict(json.loads((cohort / TRUTH).read_text(encoding="utf-8")))
    except OSError:
        raise InputFault(f"{cohort}: no {TRUTH}; only a phantom has one") from None
    except (ValueError, TypeError):
        raise InputFault(f"{cohort}: {TRUTH} is not JSON") from None


def write_truth(
    folder: Path,
    patients: Sequence[Patient],
    latents: Latents,
    clips: Sequence[Clip],
    options: PhantomOptions,
) -> None:
    """Write options, ceilings and the hidden numbers of each patient into a phantom's folder."""
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
                "frames": patient.frames,
                "tumor": clips[i].tumor,
                "tied": patient.tied,
                "duplicate_of": patient.duplicate_of,
            }
            for i, patient in enumerate(patients)
        ],
    }
    (folder / TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8", newline="\n")
