"""Arms side by side: Table 2 and the paired tests, as `mufnet compare --format json` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.statistics.auc import (
    AucEstimate,
    auc_estimate,
    compare_aucs,
)
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.intervals import Estimate, finite
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.rates import rates_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import RATES, THRESHOLD, Level, Method

DEFAULT_METHOD: dict[Level, Method] = {"image": "obuchowski", "patient": "delong"}


@dataclass(frozen=True)
class ArmResult:
    """What is said of one arm.

    Attributes:
        name: of the arm.
        images, patients: how many were scored.
        auc: from 0 to 1.
        auc_ci: its interval.
        auc_variance: infinite where it cannot be estimated.
        rates: accuracy, sensitivity, specificity, ppv and npv, by name, each with its interval; the
            value of one that counts nothing is NaN.
        threshold: above it a score was called high; several where images had different ones.
        notes: what is degenerate or not defined, and why.
        auc_bootstrap_ci: the percentile interval of the AUC, where it was asked for.
        over_folds: of a cross-validation, each metric's mean over the folds with its t interval.
    """

    name: str
    images: int
    patients: int
    auc: float
    auc_ci: tuple[float, float]
    auc_variance: float
    rates: Mapping[str, Estimate]
    threshold: float | tuple[float, ...]
    notes: tuple[str, ...]
    auc_bootstrap_ci: tuple[float, float] | None = None
    over_folds: Mapping[str, Estimate] | None = None

    def as_json(self) -> dict[str, object]:
        """An entry of `arms`: the contract's keys, `threshold`, `notes`, and what was asked for."""
        cuts = self.threshold
        entry: dict[str, object] = {
            "name": self.name,
            "images": self.images,
            "patients": self.patients,
            "auc": self.auc,
            "auc_ci": list(self.auc_ci),
            "auc_variance": finite(self.auc_variance),
            **{name: self.rates[name].as_json() for name in RATES},
            "threshold": [*cuts] if isinstance(cuts, tuple) else cuts,
            "notes": list(self.notes),
        }
        if self.auc_bootstrap_ci:
            entry["auc_bootstrap_ci"] = list(self.auc_bootstrap_ci)
        if self.over_folds:
            entry["over_folds"] = {name: mean.as_json() for name, mean in self.over_folds.items()}
        return entry


@dataclass(frozen=True)
class PairResult:
    """The test of two arms' AUCs.

    Attributes:
        a, b: the arms' names.
        auc_difference: a's AUC minus b's.
        auc_difference_ci: its interval.
        covariance: of the two AUCs; infinite where it cannot be estimated.
        z, p: of the test, see `compare_aucs`.
        p_holm: Holm's, over all pairs.
        notes: what is degenerate, and why.
    """

    a: str
    b: str
    auc_difference: float
    auc_difference_ci: tuple[float, float]
    covariance: float
    z: float
    p: float
    p_holm: float
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """An entry of `tests`: the contract's keys, `auc_difference_ci`, `p_holm` and `notes`."""
        return {
            "a": self.a,
            "b": self.b,
            "auc_difference": self.auc_difference,
            "auc_difference_ci": list(self.auc_difference_ci),
            "covariance": finite(self.covariance),
            "z": finite(self.z),
            "p": self.p,
            "p_holm": self.p_holm,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ArmComparison:
    """K arms on the same images.

    Attributes:
        arms: (K,), in the order of the scores.
        tests: of each pair of them.
        level: what the numbers are over.
        method: of the AUCs' variance.
        confidence: coverage of all intervals.
    """

    arms: tuple[ArmResult, ...]
    tests: tuple[PairResult, ...]
    level: Level
    method: Method
    confidence: float

    def as_json(self) -> dict[str, object]:
        """`arms`, `tests`, `level`, `method`, `confidence`; what is undefined or infinite is None."""
        return {
            "arms": [arm.as_json() for arm in self.arms],
            "tests": [test.as_json() for test in self.tests],
            "level": self.level,
            "method": self.method,
            "confidence": self.confidence,
        }


def compare_arms(
    scores: Scores,
    level: Level = "image",
    method: Method | None = None,
    thresholds: ArrayLike = THRESHOLD,
    confidence: float = 0.95,
) -> ArmComparison:
    """AUC, rates and paired tests of K arms on the same images.

    The intervals of accuracy to npv are Wilson's: plain at patient level, with the design effect of the
    patients at image level, whatever the method of the AUC.

    >>> labels, patients = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "c", "d"]
    >>> arms = [[0.1, 0.4, 0.3, 0.2, 0.7, 0.9], [0.5, 0.4, 0.3, 0.2, 0.7, 0.6]]
    >>> result = compare_arms(Scores.of(labels, arms, patients, ["fused", "ceus"]))
    >>> [(arm.name, round(arm.auc, 3), arm.rates["sensitivity"].value) for arm in result.arms]
    [('fused', 0.778, 0.6666666666666666), ('ceus', 0.667, 0.6666666666666666)]
    >>> result.method, round(result.tests[0].p, 3)
    ('obuchowski', 0.289)

    Args:
        scores: of the arms.
        level: `patient` takes the mean score of each patient's images.
        method: of the AUC's variance; obuchowski at image level and delong at patient level
            unless given. DeLong at image level takes correlated images for independent ones.
        thresholds: for all arms, (K,) one for each, or (K, N) one for each score, alike on a
            patient's images; a score above it is called high.
        confidence: coverage of all intervals, between 0 and 1.

    Raises:
        EvaluationError: one class only, or thresholds that do not fit.
    """
    cuts = np.asarray(thresholds, np.float64)
    cuts = cuts[:, None] if cuts.ndim == 1 else cuts
    arms, images = scores.scores.shape
    if cuts.shape not in ((), (arms, 1), (arms, images)):
        raise EvaluationError(
            f"thresholds of the shape {np.shape(thresholds)} do not fit {arms} arms of {images} images."
        )
    cuts = np.broadcast_to(cuts, scores.scores.shape)
    if level == "patient":
        cuts = scores.over_patients(cuts)
    method = method or DEFAULT_METHOD[level]
    counted = scores.at(level)
    estimate = auc_estimate(counted, method)
    rows = []
    for arm, name in enumerate(scores.names):
        rates = rates_of(counted, arm, cuts[arm], confidence)
        notes = [
            estimate.notes[arm],
            *(f"{rate}: {value.note}" for rate, value in rates.items() if value.note),
        ]
        rows.append(
            ArmResult(
                name,
                images,
                len(scores.patient_names),
                float(estimate.aucs[arm]),
                auc_limits(counted, arm, confidence, method=method),
                float(estimate.covariance[arm, arm]),
                rates,
                _threshold(cuts[arm]),
                tuple(note for note in notes if note),
            )
        )
    tests = _tests(scores.names, estimate, confidence)
    return ArmComparison(tuple(rows), tests, level, method, confidence)


def _threshold(cuts: Floats) -> float | tuple[float, ...]:
    distinct = np.unique(cuts.round(12)).tolist()
    return float(distinct[0]) if len(distinct) == 1 else tuple(distinct)


def _tests(names: tuple[str, ...], estimate: AucEstimate, confidence: float) -> tuple[PairResult, ...]:
    pairs = list(combinations(range(len(names)), 2))
    tests = [compare_aucs(estimate, a, b, confidence) for a, b in pairs]
    adjusted = holm([test.p for test in tests])
    return tuple(
        PairResult(
            names[a],
            names[b],
            test.auc_difference,
            (test.low, test.high),
            test.covariance,
            test.z,
            test.p,
            float(p),
            (test.note,) if test.note else (),
        )
        for (a, b), test, p in zip(pairs, tests, adjusted, strict=True)
    )
