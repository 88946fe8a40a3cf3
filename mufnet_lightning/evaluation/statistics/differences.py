"""The difference of two arms' AUCs: its test, and an interval that excludes 0 where the test does.

Over patients the test is DeLong's z. Over images of patients z finds differences between equal arms in
10% where a class has five; the test is the same difference over the standard error of a jackknife that
leaves one patient out, with Student's t at the smaller class's patients − 1 degrees of freedom
(Satterthwaite's find 7% there). The Wald interval covers too little where the arms differ and one is
near 1, so the limits are those of MOVER, which joins both arms' own intervals, as far as they are
wider, with 0 in or out as the test says. Arms that were scored out of folds, each by a model of its
own, are another question: whether one way to train is better. There z finds differences between
equal arms in 10% and more (docs/coverage.md); the test is the corrected resampled t over the folds'
differences, of three folds or more.

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
    placements,
)
from mufnet_lightning.evaluation.statistics.checks import Codes
from mufnet_lightning.evaluation.statistics.scores import Scores

Limits = tuple[float, float]
CERTAIN = 1e-12
"""A standard error below it is 0, but for rounding."""
UNTESTED = (
    "The estimated variance of the difference is 0, which is no evidence at so few patients: the "
    "difference is not tested."
)
TWO_FOLDS = (
    "Two folds cannot test a difference: they say next to nothing of how much another split would "
    "differ, and their pooled scores are not of one model. More folds or one test cohort would."
)
FEW_FOLDS = "{} folds leave their test {} degrees of freedom: it finds large differences only."


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
        With `freedom` z is a t. Arms that order all images alike have z 0, p 1 and the interval 0 to 0.
        Where the arms' folds are not the same or fewer than three, or a fold lacks a class, z and p are
        NaN, the interval is -1 to 1, and `note` says why. z and p are NaN too where the sample shows no
        variance although the arms differ; the interval is then that of `limits` alone.
    """
    a, b = pair
    apart = [scores.is_out_of_fold(arm) for arm in pair]
    if not any(apart):
        test = compare_aucs(estimate, a, b, level)
        if estimate.method == "obuchowski" and len(scores.patient_names) < len(scores.labels):
            test = _over_patients(scores, test, a, b, level)
    else:
        test = _over_folds(scores, estimate, a, b, level)
    if np.isnan(test.p) or np.isinf(estimate.covariance[a, a]):
        return test
    if test.error < CERTAIN:
        if _alike(scores, a, b):
            return test
        low, high = (-1.0, 1.0) if limits is None else _mover(estimate, a, b, limits)
        return replace(
            test,
            z=np.nan,
            p=np.nan,
            low=max(-1.0, low),
            high=min(1.0, high),
            note=UNTESTED,
            error=np.nan,
        )
    if limits is None:
        return test
    low, high = _mover(estimate, a, b, limits)
    return replace(test, low=_widened(test.low, low, -1), high=-_widened(-test.high, -high, -1))


def _widened(own: float, other: float, least: float) -> float:
    """The lower of two lower limits, but not across 0 where the test's own is above it."""
    if own > 0 >= other:
        return own
    return max(least, min(own, other))


def _alike(scores: Scores, a: int, b: int) -> bool:
    """Whether the arms order the images of both classes alike."""
    first, second = placements(scores.labels, scores.scores[[a, b]])[1]
    return np.array_equal(first, second)


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


def _over_patients(scores: Scores, test: PairedTest, a: int, b: int, level: float) -> PairedTest:
    """The jackknife's t; where it sees no spread, what was said already."""
    (variance_high, high), (variance_low, low) = _left_out(scores, a, b)
    variance = variance_high + variance_low
    if not CERTAIN**2 < variance < np.inf or not CERTAIN < test.error < np.inf:
        return test
    return _student(test, float(np.sqrt(variance)), min(high, low) - 1, level)


def _left_out(scores: Scores, a: int, b: int) -> list[tuple[float, int]]:
    """Of either class: the difference's jackknife variance over its patients, and how many they are."""
    aucs, placed = placements(scores.labels, scores.scores[[a, b]])
    parts = []
    for side in (scores.labels, ~scores.labels):
        inside = scores.codes[side]
        own = np.bincount(inside, minlength=len(scores.patient_names))
        members = own > 0
        count = int(members.sum())
        left = (
            [
                (auc * side.sum() - np.bincount(inside, place[side], len(own))[members])
                / (side.sum() - own[members])
                for auc, place in zip(aucs, placed, strict=True)
            ]
            if count > 1
            else [np.zeros(1), np.zeros(1)]
        )
        gap = left[0] - left[1]
        variance = (count - 1) / count * float(((gap - gap.mean()) ** 2).sum())
        parts.append((variance if count > 1 else np.inf, count))
    return parts


def _student(test: PairedTest, error: float, freedom: float, level: float) -> PairedTest:
    statistic = test.auc_difference / error
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return replace(
        test,
        z=statistic,
        p=float(2 * stdtr(freedom, -abs(statistic))),
        low=max(-1.0, test.auc_difference - half),
        high=min(1.0, test.auc_difference + half),
        freedom=freedom,
        error=error,
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
    if count < 3:
        return untested(TWO_FOLDS)
    spread = float(np.var(differences, ddof=1)) * (1 / count + float(np.mean(shares)))
    error = float(np.sqrt(max(spread, estimate.difference_variance[a, b])))
    if np.isinf(error):
        return untested("The variance of the difference cannot be estimated.")
    if error < CERTAIN and not _alike(scores, a, b):
        return untested(UNTESTED)
    if error < CERTAIN:
        note = "The two arms do not differ on any image."
        return PairedTest(difference, covariance, 0.0, 1.0, 0.0, 0.0, note, count - 1, 0.0)
    note = FEW_FOLDS.format(count, count - 1) if count < 5 else ""
    return _student(untested(note), error, count - 1, level)


def _same_split(first: Codes, second: Codes) -> bool:
    pairs = np.unique(np.stack([first, second]), axis=1)
    alike = pairs.shape[1] == len(np.unique(first)) == len(np.unique(second))
    return bool(alike and min(first.min(), second.min()) >= 0)
