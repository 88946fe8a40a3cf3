"""Who is in a simulated cohort: grades, hidden numbers, and a table that keeps the numbers hidden."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.phantom.options import PhantomOptions, separations
from mufnet_lightning.phantom.ultrasound import SCANNERS, Scanner

# In this order for good: the tumours of phantoms on disk are drawn again from them.
STREAMS = ("latents", "table", "scene", "bmode", "ceus", "boxes", "frames", "confound", "duplicates")


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
    frames: int  # that are annotated
    length: int  # of the clip, frames
    tied: bool = False  # the grade decided the centre or the scanner
    duplicate_of: str | None = None  # the patient whose scan it is


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
    for copy, source in _duplicates(label, options).items():
        grade[copy], b[copy], c[copy] = grade[source], b[source], c[source]
    return Latents(label, grade, b, c)


def draw_patients(
    latents: Latents, options: PhantomOptions
) -> tuple[list[Patient], list[dict[str, Any]]]:
    """The patients to render, and their rows of patients.csv (without the tumour's diameter)."""
    rng = stream(options, "table")
    center = rng.permutation(np.arange(options.patients) % options.centers)
    frames, lengths = _frames(latents.label, options)
    tied, tied_center, tied_scanner = _ties(latents.label, options)
    center = np.where(tied_center >= 0, tied_center, center)
    digits = max(3, len(str(options.patients)))
    patients, rows = [], []
    for i in range(options.patients):
        patient_id = f"P{i + 1:0{digits}d}"
        # Two of the three scanners in each centre, so that centre and scanner are not one thing.
        scanner = SCANNERS[(center[i] + rng.integers(0, 2)) % len(SCANNERS)]
        patients.append(
            Patient(
                patient_id,
                f"{patient_id}-1",
                float(latents.b[i]),
                float(latents.c[i]),
                scanner if tied_scanner[i] < 0 else SCANNERS[tied_scanner[i]],
                i,
                frames=int(frames[i]),
                length=int(lengths[i]),
                tied=bool(tied[i]),
            )
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
    for copy, source in _duplicates(latents.label, options).items():
        own = patients[copy].patient_id
        patients[copy] = replace(
            patients[source],
            patient_id=own,
            clip_id=patients[copy].clip_id,
            duplicate_of=patients[source].patient_id,
        )
        rows[copy] = {**rows[source], "patient_id": own}
    return patients, rows


def _frames(
    label: NDArray[np.int64], options: PhantomOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Annotated frames of each clip, and its length; shape (patients,) each."""
    n = options.patients
    mean = np.asarray(options.mean_frames)[label]
    room = np.minimum(options.frames_spread * mean, mean - 1)
    if options.clip_length is not None:
        room = np.minimum(room, options.clip_length - mean)
    place = (2 * np.arange(n) - (n - 1)) / (n - 1)  # -1 to 1, even, so that the mean is exact
    off = np.rint(room * stream(options, "frames").permutation(place)).astype(np.int64)
    frames = mean + off
    lengths = 2 * frames if options.clip_length is None else np.full(n, options.clip_length)
    return frames, lengths


def _ties(
    label: NDArray[np.int64], options: PhantomOptions
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Whom the grade gives a centre or scanner, and which; -1 where it gives none. (patients,) each."""
    rng = stream(options, "confound")
    tied = rng.random(options.patients) < options.confound_strength
    if options.confound is None:
        tied[:] = False
    half = options.centers // 2  # centres of low grades; the others are of high ones
    center = np.where(label == 0, rng.integers(0, max(half, 1), len(label)), 0)
    center = np.where(label == 1, rng.integers(half, options.centers, len(label)), center)
    none = np.full(len(label), -1)
    return (
        tied,
        np.where(tied & (options.confound == "center"), center, none),
        np.where(tied & (options.confound == "scanner"), label, none),
    )


def _duplicates(label: NDArray[np.int64], options: PhantomOptions) -> dict[int, int]:
    """The patient whose scan each duplicate is; both are of one grade, and nobody is there thrice."""
    rng = stream(options, "duplicates")
    pairs: list[tuple[int, int]] = []
    for one in (0, 1):
        members = rng.permutation(np.flatnonzero(label == one)).tolist()
        pairs += zip(members[::2], members[1::2], strict=False)
    chosen = rng.permutation(len(pairs))[: options.duplicates]
    return dict(pairs[i] for i in chosen)
