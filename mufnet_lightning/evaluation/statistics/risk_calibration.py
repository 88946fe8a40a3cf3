"""Do risks of patients come true? Intercept, slope, curve and a test, for few patients.

Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.
Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW. Calibration: the Achilles heel of
predictive analytics. BMC Med 2019;17:230.
Davison AC, Hinkley DV. Bootstrap methods and their application. Cambridge 1997, chapter 4 (the test).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from mufnet_lightning.evaluation.statistics.checks import (
    EvaluationError,
    Flags,
    Floats,
    as_labels,
    as_scores,
)
from mufnet_lightning.evaluation.statistics.firth import FLAT, intercept_estimate, slope_estimate
from mufnet_lightning.evaluation.statistics.intervals import Estimate, finite, wilson

DRAWS = 9_999
"""Sets of labels that the test draws from the risks."""
MOST_BINS = 10
_CERTAIN = 1e-6  # nearest to 0 and 1 that a risk is taken for
_AT_ONCE = 1_000  # sets of labels in memory


@dataclass(frozen=True)
class RiskCalibration:
    """What came of the risks of P patients.

    Attributes:
        patients, high: how many, and how many of them are of high grade.
        brier: mean squared difference of risk and label.
        brier_skill: 1 for risks that are all right; 0 for risks that say no more than the share of
            these patients who are high; below 0 they say less.
        intercept: calibration in the large: by how much the logits of the risks are too low (slope
            held at 1); 0 where risks are right.
        slope: below 1 the risks are too far apart, above 1 not far enough.
        p: of `calibration_test`; NaN where it is not given.
        note: why slope and test are not given, if they are not.
    """

    patients: int
    high: int
    brier: float
    brier_skill: float
    intercept: Estimate
    slope: Estimate
    p: float
    note: str = ""

    def without_test(self, reason: str) -> RiskCalibration:
        """The same without slope and test, where they would mislead; `reason` is a sentence."""
        return replace(self, slope=Estimate(np.nan, np.nan, np.nan, reason), p=np.nan, note=reason)

    def as_json(self) -> dict[str, object]:
        """As strict JSON has it."""
        return {
            "patients": self.patients,
            "high": self.high,
            "brier": self.brier,
            "brier_skill": self.brier_skill,
            "intercept": self.intercept.as_json(),
            "slope": {
                "value": finite(self.slope.value),
                "ci": [finite(limit) for limit in self.slope.limits],
            },
            "p": finite(self.p),
            "note": self.note,
        }

    def numbers(self) -> dict[str, float]:
        """By the names of metrics; what is not defined is left out."""
        values = {"brier": self.brier, "brier_skill": self.brier_skill, "calibration_p": self.p}
        for name, estimate in (("intercept", self.intercept), ("slope", self.slope)):
            values[f"calibration_{name}"] = estimate.value
            values[f"calibration_{name}_ci_low"] = estimate.low
            values[f"calibration_{name}_ci_high"] = estimate.high
        return {name: value for name, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True)
class RiskCurve:
    """Patients by risk, in B bins of about as many patients each.

    Attributes:
        patients: (B,) in each bin.
        risk: (B,), their mean risk.
        share: (B,), of them who are high.
        low, high: (B,), Wilson's limits of that share.
    """

    patients: NDArray[np.int64]
    risk: Floats
    share: Floats
    low: Floats
    high: Floats


def risk_calibration(labels: ArrayLike, risks: ArrayLike, level: float = 0.95) -> RiskCalibration:
    """Hold the risks of patients against what they turned out to be.

    The interval of the slope is that of Firth's profile likelihood (see `firth`), which holds at twenty
    patients where plain likelihood's does not; that of the intercept is plain likelihood's, which does.
    docs/risk.md has their coverage.

    >>> held = risk_calibration([0, 0, 0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9])
    >>> round(held.brier, 3), round(held.brier_skill, 2), held.slope.low < 1 < held.slope.high
    (0.12, 0.52, True)

    Args:
        labels: (P,) of 0 and 1, of patients.
        risks: (P,), probabilities.
        level: of the intervals.

    Raises:
        EvaluationError: a risk outside 0 to 1, or one class only.
    """
    positive, values = checked_risks(labels, risks)
    if positive.all() or not positive.any():
        raise EvaluationError("calibration needs patients of both classes.")
    logits = _logits(values)
    share = float(positive.mean())
    brier = float(np.mean((values - positive) ** 2))
    return RiskCalibration(
        len(values),
        int(positive.sum()),
        brier,
        1 - brier / (share * (1 - share)),
        intercept_estimate(logits, positive, level),
        slope_estimate(logits, positive, level),
        calibration_test(positive, values),
    )


def calibration_test(labels: ArrayLike, risks: ArrayLike, draws: int = DRAWS, seed: int = 0) -> float:
    """The p-value of the risks being right: Cox's score test of intercept 0 and slope 1.

    Its reference distribution is exact: labels are drawn from the risks themselves, so in patients
    whose risks are right it is below 0.05 in at most 5%, however few they are. With few patients it
    finds large faults only: a large p-value does not show that risks are right.

    Args:
        labels: (P,) of 0 and 1.
        risks: (P,), probabilities.
        draws: sets of labels.
        seed: of the draws; the same gives the same p-value.

    Raises:
        EvaluationError: a risk outside 0 to 1.
    """
    positive, values = checked_risks(labels, risks)
    logits = _logits(values)
    statistic = _ScoreTest(logits, values)
    reached = statistic(positive[None])[0] - 1e-9  # rounding makes no difference of equals
    rng, as_large = np.random.default_rng(seed), 0
    for start in range(0, draws, _AT_ONCE):
        drawn = rng.random((min(_AT_ONCE, draws - start), len(values))) < values
        as_large += int(np.sum(statistic(drawn) >= reached))
    return (1 + as_large) / (1 + draws)


def risk_curve(
    labels: ArrayLike, risks: ArrayLike, bins: int | None = None, level: float = 0.95
) -> RiskCurve:
    """Mean risk and share of high patients in bins, each with Wilson's interval.

    Args:
        labels: (P,) of 0 and 1.
        risks: (P,), probabilities; those that are alike stay in one bin.
        bins: how many; the square root of P unless given, ten at most.
        level: of the intervals.

    Raises:
        EvaluationError: a risk outside 0 to 1.
    """
    positive, values = checked_risks(labels, risks)
    wanted = bins or min(MOST_BINS, max(1, int(np.sqrt(len(values)))))
    edges = np.unique(np.quantile(values, np.arange(1, wanted) / wanted))
    place = np.searchsorted(edges, values, side="left")
    patients = np.bincount(place, minlength=len(edges) + 1)
    filled = patients > 0
    high = np.bincount(place, positive, minlength=len(patients))[filled]
    risk = np.bincount(place, values, minlength=len(patients))[filled] / patients[filled]
    limits = [wilson(*counts, level) for counts in zip(high, patients[filled], strict=True)]
    return RiskCurve(
        patients[filled],
        risk,
        high / patients[filled],
        np.array([one.low for one in limits]),
        np.array([one.high for one in limits]),
    )


def checked_risks(labels: ArrayLike, risks: ArrayLike) -> tuple[Flags, Floats]:
    """Labels as flags and risks as numbers, both (P,).

    Raises:
        EvaluationError: a risk is missing or outside 0 to 1, or there are several arms.
    """
    positive = as_labels(labels)
    arms = as_scores(risks, len(positive))
    if len(arms) > 1:
        raise EvaluationError(f"this takes the risks of one arm, not of {len(arms)}.")
    if arms.min() < 0 or arms.max() > 1:
        raise EvaluationError("risks are probabilities: from 0 to 1.")
    return positive, arms[0]


class _ScoreTest:
    """Of intercept 0 and slope 1, on sets of labels (S, P)."""

    def __init__(self, logits: Floats, risks: Floats) -> None:
        weight = np.clip(risks * (1 - risks), _CERTAIN * (1 - _CERTAIN), None)
        centred = logits - np.average(logits, weights=weight)
        columns = [np.ones_like(logits)] + [centred] * bool(np.ptp(logits) > FLAT)
        # orthogonal in the information, so that the statistic is a sum of squares
        self.columns = np.stack([one / np.sqrt(weight @ one**2) for one in columns], axis=1)
        self.risks = risks

    def __call__(self, labels: Flags) -> Floats:
        statistic: Floats = (((labels - self.risks) @ self.columns) ** 2).sum(axis=1)
        return statistic


def _logits(risks: Floats) -> Floats:
    values: Floats = logit(np.clip(risks, _CERTAIN, 1 - _CERTAIN))
    return values
