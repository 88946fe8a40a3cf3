"""Do two arms call more patients, or images, rightly? With the patient as the unit.

A patient's count is how many images one arm calls rightly less how many the other does. Where the arms
are alike, it is as likely above 0 as below: the test turns the signs of whole patients, in every way
where there are few, and is exact at any size. With one image a patient it is McNemar's exact test.

Fisher RA. The Design of Experiments. Oliver & Boyd 1935, section 21.
McNemar Q. Note on the sampling error of the difference between correlated proportions or percentages.
Psychometrika 1947;12:153-157.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test

from mufnet_lightning.evaluation.statistics.checks import Flags, Floats
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import PAIRED_RATES

RESAMPLES = 9999
"""Ways to turn signs that are drawn where there are more; up to that many, all are taken."""
AT_ONCE = 1_000_000
"""Turned signs that are in memory together."""


@dataclass(frozen=True)
class RateDifference:
    """Of one rate of two arms.

    Attributes:
        difference: a's rate less b's; NaN where nothing is counted.
        p: two-sided; 1 where no patient differs, NaN where nothing is counted.
        better, worse: patients whom a calls rightly more, and less, often than b.
    """

    difference: float
    p: float
    better: int
    worse: int


def rate_differences(
    scores: Scores, pair: tuple[int, int], thresholds: tuple[Floats, Floats]
) -> Mapping[str, RateDifference]:
    """Paired tests of accuracy, sensitivity and specificity of two arms.

    >>> arms = [[0.1, 0.4, 0.3, 0.6, 0.7, 0.9], [0.5, 0.6, 0.7, 0.2, 0.7, 0.6]]
    >>> scores = Scores.of([0, 0, 0, 1, 1, 1], arms)
    >>> tests = rate_differences(scores, (0, 1), (np.full(6, 0.5), np.full(6, 0.5)))
    >>> round(tests["specificity"].difference, 3), tests["specificity"].p
    (0.667, 0.5)

    Args:
        scores: of the arms, images or patients.
        pair: which of the arms, a and b.
        thresholds: (N,) of a's and of b's scores; a score above its threshold is called high.
    """
    right = [
        (scores.scores[arm] > cut) == scores.labels for arm, cut in zip(pair, thresholds, strict=True)
    ]
    gains = right[0].astype(np.float64) - right[1]
    within = {
        "accuracy": np.ones(len(gains), bool),
        "sensitivity": scores.labels,
        "specificity": ~scores.labels,
    }
    return {name: _difference(scores, gains, within[name]) for name in PAIRED_RATES}


def _difference(scores: Scores, gains: Floats, within: Flags) -> RateDifference:
    if not within.any():
        return RateDifference(float("nan"), float("nan"), 0, 0)
    counts = np.bincount(scores.codes[within], gains[within], minlength=len(scores.patient_names))
    differing = counts[counts != 0]
    better, worse = int((differing > 0).sum()), int((differing < 0).sum())
    p = 1.0
    if len(differing) > 1:  # a single patient may as well differ the other way
        p = float(
            permutation_test(
                (differing, np.zeros(len(differing))),
                lambda x, y, axis: np.sum(x - y, axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=RESAMPLES,
                batch=max(1, AT_ONCE // len(differing)),
                rng=np.random.default_rng(0),
            ).pvalue
        )
    return RateDifference(float(gains[within].mean()), min(1.0, p), better, worse)
