"""Do the scores mean what they say? Brier score, calibration error and the curve behind it.

What is said of risks of patients, with intervals and a test, is in `risk_calibration`.

Brier GW. Verification of forecasts expressed in terms of probability. Mon Weather Rev 1950;78:1-3.
Naeini MP, Cooper GF, Hauskrecht M. Obtaining well calibrated probabilities using Bayesian binning.
AAAI 2015:2901-2907.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mufnet_lightning.evaluation.statistics.checks import (
    EvaluationError,
    Flags,
    Floats,
    as_labels,
    as_scores,
)
from mufnet_lightning.evaluation.statistics.scores import Scores

BINS = 10


@dataclass(frozen=True)
class CalibrationCurve:
    """Images by score, in bins of equal width; empty bins are left out.

    Attributes:
        edges: (bins + 1,) from 0 to 1, of all bins.
        images: (B,) in each bin that has some.
        score: (B,) mean score of a bin's images.
        share: (B,) of the bin's images that are high.
    """

    edges: Floats
    images: NDArray[np.int64]
    score: Floats
    share: Floats


@dataclass(frozen=True)
class Calibration:
    """Of one arm's scores, taken as probabilities: `brier_score` and `calibration_error`."""

    brier: float
    error: float


def calibration_of(scores: Scores, arm: int = 0, bins: int = BINS) -> Calibration | None:
    """Of one arm of scores that are checked already; None where they are no probabilities."""
    if not scores.are_probabilities[arm]:
        return None
    positive, values = scores.labels, scores.scores[arm]
    return Calibration(_brier(positive, values), _error(_curve(positive, values, bins)))


def brier_score(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean squared difference of score and label, both (N,); from 0 (best) to 1.

    >>> round(brier_score([0, 1, 1], [0.1, 0.6, 0.9]), 3)
    0.06

    Raises:
        EvaluationError: a score outside 0 to 1.
    """
    return _brier(*_probabilities(labels, scores))


def calibration_curve(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> CalibrationCurve:
    """Mean score and share of high images in `bins` bins of equal width; 1 belongs to the last bin.

    Raises:
        EvaluationError: a score outside 0 to 1.
    """
    return _curve(*_probabilities(labels, scores), bins)


def _curve(positive: Flags, values: Floats, bins: int) -> CalibrationCurve:
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    score = np.bincount(place, values, minlength=bins)[filled] / images[filled]
    share = np.bincount(place, positive, minlength=bins)[filled] / images[filled]
    return CalibrationCurve(np.linspace(0, 1, bins + 1), images[filled], score, share)


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: the mean over images of |share of high − mean score| of their bin.

    It depends on the bins: `bins` of equal width, ten unless given. Biased upward in small samples.

    >>> round(calibration_error([0, 1, 1, 1], [0.32, 0.38, 0.81, 0.89]), 3)
    0.15
    """
    return _error(calibration_curve(labels, scores, bins))


def _brier(positive: Flags, values: Floats) -> float:
    return float(np.mean((values - positive) ** 2))


def _error(curve: CalibrationCurve) -> float:
    return float(np.average(np.abs(curve.share - curve.score), weights=curve.images))


def _probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[Flags, Floats]:
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    if len(arms) > 1:
        raise EvaluationError(f"this takes the scores of one arm, not of {len(arms)}.")
    if arms.min() < 0 or arms.max() > 1:
        raise EvaluationError("calibration needs probabilities: scores from 0 to 1.")
    return positive, arms[0]
