"""Where an activation map points: how much of it lies in the lesion, how wide it is, what two share.

A map is (H, W), 0 or more. The lesion is taken for the ellipse inscribed in the annotated box.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from mufnet_lightning.evaluation.statistics.checks import (
    EvaluationError,
    Flags,
    Floats,
    as_codes,
    as_labels,
    one_label_each,
)


def lesion_ellipse(height: int, width: int, margin: float = 0.0) -> Flags:
    """Pixels (height, width) inside the ellipse that is inscribed in the box, at the crop's centre.

    >>> lesion_ellipse(4, 4).astype(int).tolist()
    [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]

    Args:
        height, width: of the crop, pixels.
        margin: context around the box on each side, as a share of the box's side.
    """
    if margin < 0:
        raise EvaluationError(f"margin is {margin}, expected 0 or more.")
    y, x = np.ogrid[:height, :width]
    radius = 1 / (1 + 2 * margin)  # of the half side
    return ((x + 0.5) / width * 2 - 1) ** 2 + ((y + 0.5) / height * 2 - 1) ** 2 <= radius**2


def energy_inside(maps: ArrayLike, region: ArrayLike) -> Floats:
    """Share of each map's sum that lies in a region (N,); NaN for a map of zeros only.

    The energy-based pointing game: Wang H et al. Score-CAM. CVPR Workshops 2020:111-119. A map that is
    even everywhere has the region's share of the area.

    >>> energy_inside([[[1.0, 3.0], [0.0, 0.0]]], [[False, True], [True, True]]).tolist()
    [0.75]

    Args:
        maps: (N, H, W).
        region: (H, W), true inside; or (N, H, W), one for each map.
    """
    values = _maps(maps)
    total = values.sum(axis=(1, 2))
    inside = (values * _region(region, values)).sum(axis=(1, 2))
    shares = np.full(len(values), np.nan)
    np.divide(inside, total, out=shares, where=total > 0)
    return shares


def area_above_half(maps: ArrayLike) -> Floats:
    """Share of each map's pixels at or above half of its maximum (N,); NaN for a map of zeros only."""
    values = _maps(maps)
    share = _above_half(values).mean(axis=(1, 2))
    return np.where(values.max(axis=(1, 2)) > 0, share, np.nan)


def hits(maps: ArrayLike, region: ArrayLike) -> Floats:
    """1 where a map's maximum lies in a region, else 0 (N,); NaN for a map of zeros only.

    The pointing game: Zhang J et al. Int J Comput Vis 2018;126:1084-1102. Of equal maxima each counts
    as its share.

    >>> hits([[[1.0, 3.0], [3.0, 0.0]]], [[False, True], [False, False]]).tolist()
    [0.5]

    Args:
        maps: (N, H, W).
        region: (H, W), true inside; or (N, H, W), one for each map.
    """
    values = _maps(maps)
    peaks = values == values.max(axis=(1, 2), keepdims=True)
    inside = (peaks & _region(region, values)).sum(axis=(1, 2)) / peaks.sum(axis=(1, 2))
    return np.where(values.max(axis=(1, 2)) > 0, inside, np.nan)


def overlap(first: ArrayLike, second: ArrayLike) -> dict[str, Floats]:
    """How much two maps of each image share, (N,) each; NaN where it is not defined.

    `iou`: intersection over union of the parts at or above half of the maximum; `correlation`:
    Pearson's, over pixels.

    Args:
        first, second: (N, H, W).
    """
    a, b = _maps(first), _maps(second)
    if a.shape != b.shape:
        raise EvaluationError(f"maps of the shapes {a.shape} and {b.shape} do not lie over each other.")
    both = (a.max(axis=(1, 2)) > 0) & (b.max(axis=(1, 2)) > 0)
    high_a, high_b = _above_half(a), _above_half(b)
    union = (high_a | high_b).sum(axis=(1, 2))
    iou = (high_a & high_b).sum(axis=(1, 2)) / np.maximum(union, 1)
    centred = [m - m.mean(axis=(1, 2), keepdims=True) for m in (a, b)]
    spread = np.sqrt(np.prod([(m**2).sum(axis=(1, 2)) for m in centred], axis=0))
    together = (centred[0] * centred[1]).sum(axis=(1, 2))
    correlation = np.divide(together, spread, out=np.full(len(a), np.nan), where=both & (spread > 0))
    return {"iou": np.where(both, iou, np.nan), "correlation": correlation}


@dataclass(frozen=True)
class GroupedMean:
    """A number by grade, patient by patient.

    Attributes:
        patients: of low and of high grade that have a value.
        means: of the patients' means, low and high; NaN where no patient has one.
        intervals: of the means, t over patients; None for fewer than two patients.
        difference: high minus low, None where one is missing.
        interval: of the difference (Welch).
        p: Welch's t over patients, two-sided; None for fewer than two patients in a grade.
        missing: images without a value.
    """

    patients: tuple[int, int]
    means: tuple[float, float]
    intervals: tuple[tuple[float, float] | None, tuple[float, float] | None]
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    missing: int


def by_grade(
    values: ArrayLike, labels: ArrayLike, patients: ArrayLike, level: float = 0.95
) -> GroupedMean:
    """Compare a number of each image between the grades, with the patient as the unit.

    >>> grades = by_grade([0.2, 0.4, 0.5, 0.8, 0.6], [0, 0, 0, 1, 1], ["a", "a", "b", "c", "d"])
    >>> grades.patients, [round(mean, 3) for mean in grades.means], f"{grades.difference:.3f}"
    ((2, 2), [0.4, 0.7], '0.300')

    Args:
        values: (N,); NaN is missing.
        labels: (N,) of 0 and 1; a patient's images share one.
        patients: (N,), the patient of each image.
        level: coverage of the intervals.
    """
    numbers = np.asarray(values, np.float64)
    positive = as_labels(labels)
    codes, names = as_codes(patients, len(positive))
    label = one_label_each(positive, codes, names)
    known = np.isfinite(numbers)
    count = np.bincount(codes[known], minlength=len(names))
    total = np.bincount(codes[known], numbers[known], minlength=len(names))
    low, high = (total[(count > 0) & side] / count[(count > 0) & side] for side in (~label, label))
    means = tuple(float(g.mean()) if len(g) else float("nan") for g in (low, high))
    with _numbers_may_hardly_differ():
        test = stats.ttest_ind(high, low, equal_var=False) if min(len(low), len(high)) > 1 else None
    bounds = test.confidence_interval(level) if test is not None else None
    return GroupedMean(
        (len(low), len(high)),
        (means[0], means[1]),
        (_t_interval(low, level), _t_interval(high, level)),
        means[1] - means[0] if len(low) and len(high) else None,
        (float(bounds.low), float(bounds.high)) if bounds is not None else None,
        float(test.pvalue) if test is not None and np.isfinite(test.pvalue) else None,
        int((~known).sum()),
    )


@dataclass(frozen=True)
class PatientMean:
    """A number over all patients.

    Attributes:
        patients: that have a value.
        value: the mean of the patients' means; NaN where there is none.
        interval: t over patients; None for fewer than two.
        p: of Student's t over patients that the mean is 0, two-sided; None for fewer than two
            patients, or where all are alike.
    """

    patients: int
    value: float
    interval: tuple[float, float] | None
    p: float | None


def over_patients(values: ArrayLike, patients: ArrayLike, level: float = 0.95) -> PatientMean:
    """The mean of a number of each image, with the patient as the unit.

    >>> round(over_patients([0.2, 0.4, 0.6], ["a", "a", "b"]).value, 3)
    0.45

    Args:
        values: (N,); NaN is missing.
        patients: (N,), the patient of each image.
        level: coverage of the interval.
    """
    means = pd.Series(np.asarray(values, np.float64)).groupby(np.asarray(patients)).mean().dropna()
    with _numbers_may_hardly_differ():
        p = stats.ttest_1samp(means, 0).pvalue if len(means) > 1 and means.std() > 0 else None
    value = float(means.mean()) if len(means) else float("nan")
    interval = _t_interval(np.asarray(means, np.float64), level)
    return PatientMean(len(means), value, interval, None if p is None else float(p))


def _numbers_may_hardly_differ() -> AbstractContextManager[object]:
    """As those of even maps: no fault, and SciPy's warning says nothing to a reader."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)


def _t_interval(values: Floats, level: float) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _maps(maps: ArrayLike) -> Floats:
    values = np.asarray(maps, np.float64)
    if values.ndim != 3 or not values.size:
        raise EvaluationError(f"maps need the shape (images, height, width), not {values.shape}.")
    if not np.isfinite(values).all() or values.min() < 0:
        raise EvaluationError("maps must be finite, and 0 or more.")
    return values


def _region(region: ArrayLike, maps: Floats) -> Flags:
    flags = np.asarray(region, bool)
    if flags.shape not in (maps.shape, maps.shape[1:]):
        raise EvaluationError(
            f"a region of the shape {flags.shape} does not fit maps of {maps.shape[1:]}."
        )
    return flags


def _above_half(maps: Floats) -> Flags:
    return np.asarray(maps >= maps.max(axis=(1, 2), keepdims=True) / 2)
