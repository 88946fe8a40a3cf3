"""Do the scores mean what they say? Brier score, calibration error and the curve behind it.

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


def brier_score(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean squared difference of score and label, both (N,); from 0 (best) to 1.

    Raises:
        EvaluationError: a score outside 0 to 1.
    """
    positive, values = _probabilities(labels, scores)
    return float(np.mean((values - positive) ** 2))


def calibration_curve(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> CalibrationCurve:
    """Mean score and share of high images in `bins` bins of equal width; 1 belongs to the last bin.

    Raises:
        EvaluationError: a score outside 0 to 1.
    """
    positive, values = _probabilities(labels, scores)
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    score = np.bincount(place, values, minlength=bins)[filled] / images[filled]
    share = np.bincount(place, positive, minlength=bins)[filled] / images[filled]
    return CalibrationCurve(np.linspace(0, 1, bins + 1), images[filled], score, share)


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: the mean over images of |share of high − mean score| of their bin.

    It depends on the bins: `bins` of equal width, ten unless told. Biased upward in small samples.
    """
    curve = calibration_curve(labels, scores, bins)
    return float(np.average(np.abs(curve.share - curve.score), weights=curve.images))


def _probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[Flags, Floats]:
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    if len(arms) > 1:
        raise EvaluationError(f"this takes the scores of one arm, not of {len(arms)}.")
    if arms.min() < 0 or arms.max() > 1:
        raise EvaluationError("calibration needs probabilities: scores from 0 to 1.")
    return positive, arms[0]
