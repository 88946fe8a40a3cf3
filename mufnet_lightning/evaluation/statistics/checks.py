"""What every statistic asks of its arrays: labels of two classes, finite scores, known patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mufnet_lightning.errors import InputFault

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.intp]


class EvaluationError(InputFault, ValueError):
    """Scores, labels or tables that no number can be computed from; the message says why."""


def as_labels(labels: ArrayLike) -> Flags:
    """Labels as flags (N,), true for the positive (high) class.

    Raises:
        EvaluationError: not one-dimensional, empty, or something other than 0 and 1.
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise EvaluationError(f"labels need one dimension, not the shape {values.shape}.")
    if not len(values):
        raise EvaluationError("there are no images to evaluate.")
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise EvaluationError("labels must be 0 (low) or 1 (high).") from None
    flags = np.asarray(numbers == 1)
    odd = np.flatnonzero(~flags & (numbers != 0))
    if len(odd):
        raise EvaluationError(
            f"labels must be 0 (low) or 1 (high); image {odd[0]} has {values[odd[0]]}."
        )
    return flags


def as_scores(scores: ArrayLike, images: int) -> Floats:
    """Scores as (K, N); one arm may come as (N,).

    Raises:
        EvaluationError: another shape, or a score that is missing or infinite.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise EvaluationError("scores must be numbers.") from None
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or not len(values) or values.shape[1] != images:
        raise EvaluationError(
            f"scores need the shape ({images},) or (arms, {images}), not {np.shape(scores)}."
        )
    faulty = np.argwhere(~np.isfinite(values))
    if len(faulty):
        arm, image = faulty[0]
        raise EvaluationError(
            f"{len(faulty)} scores are missing or infinite, the first of them that of image {image} "
            f"in arm {arm}."
        )
    return values


def as_codes(patients: ArrayLike, images: int) -> tuple[Codes, NDArray[np.generic]]:
    """Patients as whole numbers from 0 in their order of appearance (N,), and their names (P,).

    Raises:
        EvaluationError: not one patient for each image, or an image without a patient.
    """
    values = np.asarray(patients)
    if values.shape != (images,):
        raise EvaluationError(f"patients need the shape ({images},), not {values.shape}.")
    codes, names = pd.factorize(values)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        raise EvaluationError(
            f"{len(unknown)} images have no patient, the first is image {unknown[0]}."
        )
    return codes.astype(np.intp, copy=False), np.asarray(names)


def require_both_classes(labels: Flags) -> None:
    """Raise an `EvaluationError` unless there is an image of either class."""
    if labels.all() or not labels.any():
        name = "high" if labels.all() else "low"
        raise EvaluationError(
            f"an AUC needs both classes, but all {len(labels)} images are of the {name} class."
        )


def one_label_each(labels: Flags, codes: Codes, names: NDArray[np.generic]) -> Flags:
    """The label of each patient (P,).

    Raises:
        EvaluationError: a patient's images have two labels.
    """
    high = np.bincount(codes, weights=labels, minlength=len(names))
    total = np.bincount(codes, minlength=len(names))
    mixed = np.flatnonzero((high > 0) & (high < total))
    if len(mixed):
        raise EvaluationError(
            f"{_count(len(mixed), 'patient has', 'patients have')} images of both classes, "
            f"for example {names[mixed[0]]}."
        )
    return high > 0


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
