"""The difference of two arms' AUCs: its test, and an interval that excludes 0 where the test does.

On one set of models the test is DeLong's (or Obuchowski's) z. Its Wald interval covers too little
where the arms differ and one is near 1, so the limits are those of MOVER, which joins both arms' own
intervals, as far as they are wider, with 0 in or out as the test says. Arms that were scored out of
folds, each fold by a model of its own, are another question: whether one way to train is better. There
z finds differences between equal arms in 10% and more (docs/coverage.md); the test is the corrected
resampled t over the folds' differences.

Zou GY, Donner A. Construction of confidence limits about effect measures. Stat Med 2008;27:1693-1702.
Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 2003;52:239-281.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import stdtr, stdtrit

from mufnet_lightning.evaluation.statistics.auc import (
    AucEstimate,
    PairedTest,
    auc_estimate,
    compare_aucs,
)
from mufnet_lightning.evaluation.statistics.checks import Codes
from mufnet_lightning.evaluation.statistics.scores import Scores

Limits = tuple[float, float]


def auc_difference(
    scores: Scores,
    estimate: AucEstimate,
    pair: tuple[int, int],
    limits: tuple[Limits, Limits] | None,
    level: float = 0.95,
) -> PairedTest:
    """Test of equal AUCs of two arms, with the interval of their difference.

    >>> arms = [[0.1, 0.4, 0.3, 0.2, 0.7, 0.9], [0.5, 0.4, 0.3, 0.2, 0.7, 0.6]]
    >>> scores = Scores.of([0, 0, 0, 1, 1, 1], arms)
    >>> estimate = auc_estimate(scores, "delong")
    >>> test = auc_difference(scores, estimate, (0, 1), ((0.3, 1.0), (0.2, 0.9)))
    >>> f"{test.auc_difference:.3f} ({test.low:.3f}, {test.high:.3f}), p {test.p:.3f}"
    '0.111 (-0.197, 0.419), p 0.480'

    Args:
        scores: of the arms.
        estimate: of these scores.
        pair: which of the arms, a and b.
        limits: of a's and of b's AUC, see `auc_limits`; without, the interval is the test's alone.
        level: coverage of the interval, between 0 and 1.

    Returns:
        `statistic` is z, or with `freedom` a t over folds. Where the arms' folds are not the same, or
        a fold lacks a class, z and p are NaN, the interval is -1 to 1, and `note` says why.
    """
    a, b = pair
    apart = [scores.is_out_of_fold(arm) for arm in pair]
    if not any(apart):
        test = compare_aucs(estimate, a, b, level)
    else:
        test = _over_folds(scores, estimate, a, b, level)
    if limits is None or np.isnan(test.p) or np.isinf(estimate.covariance[a, a]):
        return test
    low, high = _mover(estimate, a, b, limits)
    return replace(test, low=_widened(test.low, low, -1), high=-_widened(-test.high, -high, -1))


def _widened(own: float, other: float, least: float) -> float:
    """The lower of two lower limits, but not across 0 where the test's own is above it."""
    if own > 0 >= other:
        return own
    return max(least, min(own, other))


def _mover(estimate: AucEstimate, a: int, b: int, limits: tuple[Limits, Limits]) -> Limits:
    first, second = (float(estimate.aucs[arm]) for arm in (a, b))
    spread = estimate.covariance[a, a] * estimate.covariance[b, b]
    shared = float(estimate.covariance[a, b] / np.sqrt(spread)) if spread > 0 else 0.0

    def half(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 - 2 * shared * one * other + other**2)))

    (low_a, high_a), (low_b, high_b) = limits
    difference = first - second
    return (
        difference - half(first - low_a, high_b - second),
        difference + half(high_a - first, second - low_b),
    )


def _over_folds(scores: Scores, estimate: AucEstimate, a: int, b: int, level: float) -> PairedTest:
    """The corrected resampled t; its standard error is never below that of z."""
    difference = float(estimate.aucs[a] - estimate.aucs[b])
    covariance = float(estimate.covariance[a, b])

    def untested(why: str) -> PairedTest:
        return PairedTest(difference, covariance, np.nan, np.nan, -1.0, 1.0, why)

    assert scores.folds is not None
    folds = [scores.folds[arm] for arm in (a, b)]
    if not _same_split(*folds):
        return untested("The arms were not scored by the same folds: their difference is not tested.")
    names = np.unique(folds[0])
    differences, shares = [], []
    for fold in names:
        here = folds[0] == fold
        if scores.labels[here].all() or not scores.labels[here].any():
            return untested(f"Fold {fold} tests one class only: no test over folds is possible.")
        inside = scores.subset(here)
        aucs = auc_estimate(inside, "delong").aucs
        differences.append(aucs[a] - aucs[b])
        tested = len(inside.patient_names)
        shares.append(tested / (len(scores.patient_names) - tested))
    count = len(names)
    spread = float(np.var(differences, ddof=1)) * (1 / count + float(np.mean(shares)))
    error = float(np.sqrt(max(spread, estimate.difference_variance[a, b])))
    if np.isinf(error):
        return untested("The variance of the difference cannot be estimated.")
    statistic = difference / error if error else 0.0
    half = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return PairedTest(
        difference,
        covariance,
        statistic,
        float(2 * stdtr(count - 1, -abs(statistic))),
        max(-1.0, difference - half),
        min(1.0, difference + half),
        "" if error else "The two arms do not differ on any image.",
        freedom=count - 1,
        error=error,
    )


def _same_split(first: Codes, second: Codes) -> bool:
    pairs = np.unique(np.stack([first, second]), axis=1)
    alike = pairs.shape[1] == len(np.unique(first)) == len(np.unique(second))
    return bool(alike and min(first.min(), second.min()) >= 0)
