"""AUCs of any number of arms with their whole covariance, and the paired test between two of them.

The AUC of an arm is the mean over all pairs of a positive and a negative image of ψ = 1, ½ or 0, as
the positive image's score is above, equal to or below the negative's. The placement of a positive
image is its share of negatives below, that of a negative image its share of positives above, ties
counting half; the AUC is the mean of either. All that follows is computed from placements, which
take one sort of the pooled scores: O(N log N) time and O(N) memory for each arm.

DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach. Biometrics 1988;44:837-845.
Sun X, Xu W. Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver
operating characteristic curves. IEEE Signal Processing Letters 2014;21:1389-1393.
Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtr, ndtri

from mufnet_lightning.evaluation.statistics.checks import (
    Codes,
    Flags,
    Floats,
    as_codes,
    as_labels,
    as_scores,
    require_both_classes,
)
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import Method


@dataclass(frozen=True)
class AucEstimate:
    """AUCs of K arms on the same images.

    Attributes:
        aucs: (K,), each from 0 to 1.
        covariance: (K, K) of the AUCs; infinite throughout where one class has a single image
            (DeLong) or a single patient (Obuchowski), from which no variance can be estimated.
        difference_variance: (K, K), of auc[a] − auc[b], computed from the placements' differences:
            exactly 0 for arms that order the images alike, and without the cancellation of
            covariance[a, a] + covariance[b, b] − 2 covariance[a, b].
        method: how the covariance was estimated.
        images, positives: how many images, and how many of them are of the positive class.
        clusters: how many independent units the method assumes: patients, or images for DeLong.
        notes: (K,) sentences on what is degenerate about an arm; empty where nothing is.
    """

    aucs: Floats
    covariance: Floats
    difference_variance: Floats
    method: Method
    images: int
    positives: int
    clusters: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PairedTest:
    """Two arms on the same images: H0 is that their AUCs are equal.

    Attributes:
        auc_difference: auc[a] − auc[b].
        covariance: of the two AUCs.
        z: auc_difference over its standard error; 0 where the variance is infinite,
            ±infinity where it is 0 and the AUCs differ, NaN where no test can be made.
        p: two-sided; of the normal distribution, or of Student's where there is a `freedom`.
        low, high: interval of the difference, within −1 and 1.
        note: what is degenerate, if anything.
        freedom: degrees of freedom of Student's distribution; None for the normal.
        error: the standard error; NaN where no test can be made.
    """

    auc_difference: float
    covariance: float
    z: float
    p: float
    low: float
    high: float
    note: str
    freedom: float | None = None
    error: float = float("nan")


def auc_estimate(scores: Scores, method: Method) -> AucEstimate:
    """`delong` or `obuchowski` of scores that are checked already.

    Raises:
        EvaluationError: only one class.
    """
    require_both_classes(scores.labels)
    if method == "delong":
        return _delong(scores.labels, scores.scores)
    return _obuchowski(scores.labels, scores.scores, scores.codes, len(scores.patient_names))


def delong(labels: ArrayLike, scores: ArrayLike) -> AucEstimate:
    """AUCs and covariance for independent images (DeLong 1988, with one sort as in Sun & Xu 2014).

    >>> delong([0, 0, 1, 1], [[0.1, 0.4, 0.3, 0.9], [0.2, 0.8, 0.5, 0.6]]).aucs.tolist()
    [0.75, 0.5]

    Args:
        labels: (N,) of 0 and 1; 1 is the positive class.
        scores: (N,) of one arm or (K, N) of several; higher means more likely positive. Any finite
            numbers: only their order counts.

    Raises:
        EvaluationError: only one class, or arrays that do not fit each other.
    """
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    require_both_classes(positive)
    return _delong(positive, arms)


def _delong(positive: Flags, arms: Floats) -> AucEstimate:
    m, n = int(positive.sum()), int((~positive).sum())
    aucs, placed = placements(positive, arms)
    high = (placed[:, positive] - aucs[:, None]) / m
    low = (placed[:, ~positive] - aucs[:, None]) / n
    factors = (_correction(m), _correction(n), 0.0)
    return _estimate(aucs, high, low, factors, "delong", positive, len(positive))


def obuchowski(labels: ArrayLike, scores: ArrayLike, clusters: ArrayLike) -> AucEstimate:
    """AUCs and covariance for images that are correlated inside a patient (Obuchowski 1997).

    Images of different patients are independent; nothing is assumed about those of one patient, who
    may have images of either class or of both. With one image a patient this is DeLong's estimate:
    the small-sample factors I10/(I10 − 1) and I01/(I01 − 1) then are DeLong's own m/(m − 1) and
    n/(n − 1).

    >>> labels, patients = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "c", "d"]
    >>> estimate = obuchowski(labels, [0.1, 0.4, 0.3, 0.2, 0.7, 0.9], patients)
    >>> estimate.aucs.round(3).tolist(), estimate.clusters
    ([0.778], 4)

    Args:
        labels: (N,) of 0 and 1; 1 is the positive class.
        scores: (N,) or (K, N); higher means more likely positive.
        clusters: (N,), the patient of each image: numbers or text.

    Raises:
        EvaluationError: only one class, or arrays that do not fit each other.
    """
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    codes, names = as_codes(clusters, len(positive))
    require_both_classes(positive)
    return _obuchowski(positive, arms, codes, len(names))


def _obuchowski(positive: Flags, arms: Floats, codes: Codes, clusters: int) -> AucEstimate:
    aucs, placed = placements(positive, arms)
    placed -= aucs[:, None]
    sums = []
    for chosen in (positive, ~positive):
        inside = codes[chosen]
        rows = [np.bincount(inside, values[chosen], minlength=clusters) for values in placed]
        sums.append(np.stack(rows) / chosen.sum())
    with_high, with_low = (len(np.unique(codes[chosen])) for chosen in (positive, ~positive))
    factors = (_correction(with_high), _correction(with_low), _correction(clusters))
    return _estimate(aucs, sums[0], sums[1], factors, "obuchowski", positive, clusters)


def wald_interval(
    estimate: AucEstimate, arm: int = 0, level: float = 0.95, scale: Literal["auc", "logit"] = "auc"
) -> tuple[float, float]:
    """Wald interval of one AUC; pROC's. It covers too little at few patients: see `auc_intervals`.

    >>> estimate = delong([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.2, 0.7, 0.9])
    >>> low, high = wald_interval(estimate)
    >>> f"{estimate.aucs[0]:.3f} ({low:.3f}, {high:.3f})"
    '0.778 (0.291, 1.000)'

    Args:
        arm: which of the K arms.
        level: coverage, between 0 and 1.
        scale: `auc` gives the symmetric interval within 0 and 1, as in pROC; `logit` is symmetric in
            the log odds and never reaches 0 or 1 (Pepe MS. The Statistical Evaluation of Medical
            Tests for Classification and Prediction. Oxford 2003, section 5.2).

    Returns:
        Lower and upper limit. (0, 1) where the variance is infinite; the AUC twice where it is 0.
    """
    auc, variance = float(estimate.aucs[arm]), float(estimate.covariance[arm, arm])
    if np.isinf(variance):
        return 0.0, 1.0
    half = float(ndtri((1 + level) / 2) * np.sqrt(variance))
    if scale == "logit" and 0 < auc < 1:
        centre, half = logit(auc), half / (auc * (1 - auc))
        return float(expit(centre - half)), float(expit(centre + half))
    return max(0.0, auc - half), min(1.0, auc + half)


def compare_aucs(estimate: AucEstimate, a: int, b: int, level: float = 0.95) -> PairedTest:
    """Test of equal AUCs of arms `a` and `b`, z = (auc[a] − auc[b]) / standard error.

    Degenerate variances give what their limit says, with a note: arms that order the images alike
    have z 0 and p 1; so has a variance that cannot be estimated; AUCs that differ with variance 0
    have z ±infinity and p 0.

    >>> arms = [[0.1, 0.4, 0.3, 0.2, 0.7, 0.9], [0.5, 0.4, 0.3, 0.2, 0.7, 0.6]]
    >>> test = compare_aucs(delong([0, 0, 0, 1, 1, 1], arms), 0, 1)
    >>> f"{test.auc_difference:.3f}, p {test.p:.3f}"
    '0.111, p 0.480'

    Args:
        estimate: of `delong` or `obuchowski`.
        a, b: which of its arms.
        level: coverage of the interval, between 0 and 1.
    """
    difference = float(estimate.aucs[a] - estimate.aucs[b])
    variance = float(estimate.difference_variance[a, b])
    note = ""
    if np.isinf(variance):
        z, low, high = 0.0, -1.0, 1.0
        note = "The variance of the difference cannot be estimated, so nothing can be said of it."
    elif variance == 0:
        z = float(np.sign(difference)) * np.inf if difference else 0.0
        low = high = difference
        note = (
            "The estimated variance of the difference is 0; p 0 follows from the formula, and is no "
            "measure of the evidence."
            if difference
            else "The two arms do not differ on any image."
        )
    else:
        z = difference / np.sqrt(variance)
        half = float(ndtri((1 + level) / 2)) * np.sqrt(variance)
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
    p = float(2 * ndtr(-abs(z)))
    return PairedTest(
        difference,
        float(estimate.covariance[a, b]),
        float(z),
        p,
        float(low),
        float(high),
        note,
        error=float(np.sqrt(variance)),
    )


def placements(positive: Flags, arms: Floats) -> tuple[Floats, Floats]:
    """AUCs (K,) and placements (K, N) of K arms, labels (N,) and scores (K, N); an arm at a time."""
    m, n = int(positive.sum()), int((~positive).sum())
    aucs = np.empty(len(arms))
    placed = np.empty(arms.shape)
    for arm, scores in enumerate(arms):
        order = np.argsort(scores)
        ordered, is_high = scores[order], positive[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
        sizes = np.diff(starts, append=len(ordered))
        high = np.add.reduceat(is_high, starts, dtype=np.int64)
        low = sizes - high
        low_below = np.cumsum(low) - low / 2  # ties count half
        high_above = m - np.cumsum(high) + high / 2
        aucs[arm] = (high * low_below).sum() / m / n  # the sum is of whole halves: exact
        placed[arm, order] = np.where(
            is_high, np.repeat(low_below / n, sizes), np.repeat(high_above / m, sizes)
        )
    return aucs, placed


def _estimate(
    aucs: Floats,
    high: Floats,
    low: Floats,
    factors: tuple[float, float, float],
    method: Method,
    positive: Flags,
    clusters: int,
) -> AucEstimate:
    """From deviations of the positive and the negative side, (K, units), and small-sample factors."""

    def form(high: Floats, low: Floats) -> Floats:
        variance = factors[0] * high @ high.T + factors[1] * low @ low.T
        if factors[2]:
            cross = high @ low.T
            variance = variance + factors[2] * (cross + cross.T)
        return variance

    arms = len(aucs)
    known = bool(np.isfinite(factors).all())
    covariance = form(high, low) if known else np.full((arms, arms), np.inf)
    difference = np.zeros((arms, arms))
    for a, b in combinations(range(arms), 2):
        if known:
            variance = form(high[[a]] - high[[b]], low[[a]] - low[[b]])[0, 0]
        else:
            alike = np.array_equal(high[a], high[b]) and np.array_equal(low[a], low[b])
            variance = 0.0 if alike and aucs[a] == aucs[b] else np.inf
        difference[a, b] = difference[b, a] = variance
    variances = np.diag(covariance)
    unit = "image" if method == "delong" else "patient"
    notes = tuple(_note(auc, variance, unit) for auc, variance in zip(aucs, variances, strict=True))
    return AucEstimate(
        aucs, covariance, difference, method, len(positive), int(positive.sum()), clusters, notes
    )


def _correction(units: int) -> float:
    return units / (units - 1) if units > 1 else float("inf")


def _note(auc: float, variance: float, unit: str) -> str:
    if np.isinf(variance):
        return f"A class has a single {unit}: no variance can be estimated, the interval is 0 to 1."
    if variance > 0:
        return ""
    if auc in (0, 1):
        return (
            "The scores separate the classes perfectly: the estimated variance is 0, and an interval "
            "without width is no proof of certainty."
        )
    return "The placements do not vary within a class (tied scores): the estimated variance is 0."
