"""Who is in a simulated cohort: grades, hidden numbers, and a table that keeps the numbers hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.phantom.options import PhantomOptions, separations
from mufnet_lightning.phantom.ultrasound import SCANNERS, Scanner

STREAMS = ("latents", "table", "scene", "bmode", "ceus", "boxes")


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
