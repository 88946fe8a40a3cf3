"""Intervals of one AUC that hold at the sizes that users have: 5 patients of high and 15 of low grade.

Over independent units (patients, or images where each is taken for one) two published intervals are
drawn together, in log odds. DeLong's variance on the logit scale uses the spread of the sample, which
at few patients is often 0 by chance; Newcombe's score limits use the AUC and the numbers of patients
alone, and are right only where both classes spread alike. Newcombe's weigh 1 / (1 + e), where e is how
many patients of the smaller class are ranked wrong, min(m, n) · min(AUC, 1 − AUC): all at an AUC of 1,
next to nothing in large samples. Over images of patients: the jackknife that leaves one patient out, on
the logit scale, with Student's t at Satterthwaite's degrees of freedom; where few images are ranked
wrong it knows too few patients who differ, so there Newcombe's limits of as many patients weigh
1 / (1 + (e / 0.1)²). Simulated: docs/coverage.md.

Pepe MS. The Statistical Evaluation of Medical Tests for Classification and Prediction. Oxford 2003,
section 5.2.
Newcombe RG. Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
Part 2: asymptotic methods and evaluation. Stat Med 2006;25:559-573, method 5.
Perme MP, Manevski D. Confidence intervals for the Mann-Whitney test. Stat Methods Med Res
2019;28:3755-3768.
Arvesen JN. Jackknifing U-statistics. Ann Math Stat 1969;40:2076-2100.
Satterthwaite FE. An approximate distribution of estimates of variance components. Biometrics Bull
1946;2:110-114.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri, stdtrit

from mufnet_lightning.evaluation.statistics.auc import (
    AucEstimate,
    auc_estimate,
    placements,
    wald_interval,
)
from mufnet_lightning.evaluation.statistics.checks import (
    EvaluationError,
    Flags,
    Floats,
    require_both_classes,
)
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import IntervalRule, Method

OUT_OF_FOLD = 1.4
"""How much more a pooled out-of-fold AUC varies than DeLong's variance says: the folds' models differ,
and so do the scales of their scores. From simulated studies with models fitted in each fold anew."""
FEW_WRONG = 0.1
"""Patients ranked wrong at which Newcombe's limits and the jackknife over images weigh the same; found
by simulation."""


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None, level: float = 0.95
) -> tuple[float, float]:
    """The interval of an AUC that is printed everywhere.

    >>> low, high = auc_interval([0] * 15 + [1] * 5, range(20))  # perfect, of twenty patients
    >>> round(low, 2), high
    (0.75, 1.0)

    Args:
        labels: (N,) of 0 and 1; the images of a patient share one.
        scores: (N,) of one arm; higher means more likely high. Only their order counts.
        patients: (N,), the patient of each image; without, the scores are independent: one a patient.
        level: coverage, between 0 and 1.

    Returns:
        Lower and upper limit, within 0 and 1; (0, 1) where a class has a single patient.

    Raises:
        EvaluationError: one class only, scores of several arms, or arrays that do not fit each other.
    """
    checked = Scores.of(labels, scores, patients)
    if len(checked.names) > 1:
        raise EvaluationError(f"this takes the scores of one arm, not of {len(checked.names)}.")
    return auc_limits(checked, level=level)


def auc_limits(
    scores: Scores,
    arm: int = 0,
    level: float = 0.95,
    *,
    method: Method = "obuchowski",
    rule: IntervalRule = "small-sample",
    estimate: AucEstimate | None = None,
) -> tuple[float, float]:
    """`auc_interval` of one arm of scores that are checked already.

    Args:
        scores: of the arms; where the arm's are pooled out of folds, the variance is `OUT_OF_FOLD`
            times as large.
        arm: which of them.
        level: coverage, between 0 and 1.
        method: `delong` takes each image for independent; `obuchowski` the patients.
        rule: `plain` gives pROC's symmetric interval, which covers too little at few patients.
        estimate: of the very scores and method, where it is there already; for `plain` alone.
    """
    require_both_classes(scores.labels)
    if rule == "plain":
        return wald_interval(estimate or auc_estimate(scores, method), arm, level)
    inflation = OUT_OF_FOLD if scores.is_out_of_fold(arm) else 1.0
    positive = scores.labels
    aucs, placed = placements(positive, scores.scores[[arm]])
    if method == "obuchowski" and len(scores.patient_names) < len(positive):
        spread = _jackknife(positive, placed[0], float(aucs[0]), scores, inflation)
        if spread is None:
            return 0.0, 1.0
        over, within = spread.limits(level), _independent(positive, placed[0], inflation, level)
        return min(over[0], within[0]), max(over[1], within[1])
    return _independent(positive, placed[0], inflation, level)


def _independent(positive: Flags, place: Floats, inflation: float, level: float) -> tuple[float, float]:
    """As if every image were a patient of its own."""
    high, low = int(positive.sum()), int((~positive).sum())
    if min(high, low) < 2:
        return 0.0, 1.0
    variance = place[positive].var(ddof=1) / high + place[~positive].var(ddof=1) / low
    auc = float(place[positive].sum() / high)
    return independent_limits(auc, inflation * variance, high, low, level)


def newcombe_interval(auc: float, high: int, low: int, level: float = 0.95) -> tuple[float, float]:
    """Score limits of an AUC from the numbers of patients alone (Newcombe 2006, method 5).

    >>> [round(limit, 4) for limit in newcombe_interval(0.75, 5, 15)]
    [0.4522, 0.9095]

    Args:
        auc: from 0 to 1.
        high, low: how many patients of each class.
        level: coverage, between 0 and 1.
    """
    z, mean = float(ndtri((1 + level) / 2)), (high + low) / 2 - 1

    def off(truth: float) -> float:
        spread = 1 + mean * (1 - truth) / (2 - truth) + mean * truth / (1 + truth)
        return float(abs(auc - truth) - z * np.sqrt(truth * (1 - truth) * spread / (high * low)))

    tiny = 1e-12
    below = 0.0 if auc <= tiny else float(brentq(off, 0.0, min(auc, 1 - tiny), xtol=1e-12))
    above = 1.0 if auc >= 1 - tiny else float(brentq(off, max(auc, tiny), 1.0, xtol=1e-12))
    return below, above


def independent_limits(
    auc: float, variance: float, high: int, low: int, level: float = 0.95
) -> tuple[float, float]:
    """`auc_interval` of independent scores, from their AUC and DeLong's variance of it.

    Args:
        auc: from 0 to 1.
        variance: of it; 0 where the sample shows none.
        high, low: how many scores of each class, two at least.
        level: coverage, between 0 and 1.
    """
    auc = float(auc)
    certain = auc in (0, 1) or variance <= 0
    centre = 0.0 if certain else float(logit(auc))
    inner = 0.0 if certain else float(variance / (auc * (1 - auc)) ** 2)
    return _Spread(auc, centre, inner, np.inf, high, low, False).limits(level)


@dataclass(frozen=True)
class _Spread:
    """An AUC, its variance on the logit scale, and what is behind it.

    Attributes:
        auc: from 0 to 1.
        centre: its log odds.
        variance: of them; 0 where the sample shows none.
        freedom: Satterthwaite's degrees of freedom, infinite for the normal distribution.
        high, low: patients (or independent images) of each class.
        clustered: whether images of patients are behind it: Newcombe's limits then weigh less.
    """

    auc: float
    centre: float
    variance: float
    freedom: float
    high: int
    low: int
    clustered: bool

    def limits(self, level: float) -> tuple[float, float]:
        newcombe = newcombe_interval(self.auc, self.high, self.low, level)
        if self.variance <= 0 or self.auc in (0, 1):
            return newcombe
        tail = (1 + level) / 2
        quantile = ndtri(tail) if np.isinf(self.freedom) else stdtrit(self.freedom, tail)
        half = float(quantile) * np.sqrt(self.variance)
        own = np.array([self.centre - half, self.centre + half])
        wrong = min(self.high, self.low) * min(self.auc, 1 - self.auc)
        weight = 1 / (1 + ((wrong / FEW_WRONG) ** 2 if self.clustered else wrong))
        low, high = expit((1 - weight) * own + weight * logit(np.clip(newcombe, 1e-12, 1 - 1e-12)))
        return min(float(low), self.auc), max(float(high), self.auc)


def _jackknife(
    positive: Flags, place: Floats, auc: float, scores: Scores, inflation: float
) -> _Spread | None:
    """Leave one patient out; the AUCs are kept half as far off 0 and 1 as that of all patients is."""
    images = {True: int(positive.sum()), False: int((~positive).sum())}
    off = min(auc, 1 - auc) / 2

    parts = []
    for side in (True, False):
        own = np.bincount(scores.codes[positive == side], minlength=len(scores.patient_names))
        total = np.bincount(
            scores.codes[positive == side], place[positive == side], len(scores.patient_names)
        )
        members = own > 0
        count = int(members.sum())
        if count < 2:
            return None
        left = (auc * images[side] - total[members]) / (images[side] - own[members])
        pseudo = logit(np.clip(left, off, 1 - off)) if off else np.zeros(count)
        variance = (count - 1) / count * float(((pseudo - pseudo.mean()) ** 2).sum())
        parts.append((variance, count))
    (first, high), (second, low) = parts
    total_variance = first + second
    freedom = (
        total_variance**2 / (first**2 / (high - 1) + second**2 / (low - 1))
        if total_variance
        else np.inf
    )
    centre = float(logit(auc)) if off else 0.0
    return _Spread(auc, centre, inflation * total_variance, float(freedom), high, low, True)
