"""What is said of one arm's part: numbers for a run's metrics, and a report."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.results import ArmComparison
from mufnet_lightning.evaluation.statistics.auc import auc_estimate
from mufnet_lightning.evaluation.statistics.calibration import calibration_of
from mufnet_lightning.evaluation.statistics.rates import confusion_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import CURVE_METRICS, PREFIXES, THRESHOLD, Level


@dataclass(frozen=True)
class PartReport:
    """What is said of a part, over images and over patients, each with its default method.

    Attributes:
        image, patient: of each level.
    """

    image: ArmComparison
    patient: ArmComparison

    def at(self, level: Level) -> ArmComparison:
        """One of the two."""
        return self.image if level == "image" else self.patient

    def as_json(self) -> dict[str, object]:
        """`{"image": ..., "patient": ...}`, as `evaluation/PART.json` has it.

        Of an arm whose epoch these patients chose intervals and what tests say are None, and a note
        says why.
        """
        return {level: comparison.as_json() for level, _, comparison in self.levels()}

    def levels(self) -> Iterator[tuple[Level, str, ArmComparison]]:
        """Each level, what the names of its numbers begin with, and what is said at it."""
        for level, prefix in PREFIXES.items():
            yield level, prefix, self.at(level)


def part_numbers(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> dict[str, float]:
    """The numbers of one arm's part: auc, accuracy, sensitivity, specificity, and `patient_...`.

    >>> part_numbers([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], ["a", "b", "c", "c"])["specificity"]
    0.5

    Args:
        labels: (N,) of 0 and 1; the images of a patient share one.
        scores: (N,), probabilities of high grade; one above 0.5 calls the image high.
        patients: (N,), the patient of each image. `patient_...` is of the mean scores of each
            patient's images.

    Returns:
        By name. What needs images of a class that is not there is left out.

    Raises:
        EvaluationError: a score is missing or infinite, a patient has two labels, or the arrays do
            not fit each other.
    """
    images = Scores.of(labels, scores, patients)
    numbers: dict[str, float] = {}
    for level, prefix in PREFIXES.items():
        counted = images.at(level)
        values = confusion_of(counted, threshold=THRESHOLD).rates()
        if counted.labels.any() and not counted.labels.all():
            values["auc"] = float(auc_estimate(counted, "delong").aucs[0])
        numbers |= {
            f"{prefix}{name}": values[name]
            for name in CURVE_METRICS
            if np.isfinite(values.get(name, np.nan))
        }
    return numbers


def arm_report(
    arms: Scores, thresholds: ArrayLike = THRESHOLD, *, chosen: Collection[str] = ()
) -> PartReport:
    """`compare_arms` at both levels.

    Args:
        arms, thresholds, chosen: see `compare_arms`.

    Raises:
        EvaluationError: one class only, or thresholds that do not fit.
    """
    return PartReport(
        compare_arms(arms, "image", thresholds=thresholds, chosen=chosen),
        compare_arms(arms, "patient", thresholds=thresholds, chosen=chosen),
    )


def arm_numbers(arms: Scores, report: PartReport, arm: int = 0) -> dict[str, float]:
    """The numbers of one arm as metrics; those of patients begin with `patient_`.

    auc, auc_ci_low, auc_ci_high (95%, see `auc_limits`), accuracy,
    sensitivity, specificity, ppv, npv, f1, brier, calibration_error. What is not defined is left out;
    the report says why. A part that chose the epoch has no interval.

    Args:
        arms: where the scores are.
        report: what `arm_report` says of them.
        arm: which of the arms.
    """
    numbers: dict[str, float] = {}
    for level, prefix, comparison in report.levels():
        result, counted = comparison.arms[arm], arms.at(level)
        low, high = result.auc_ci
        values = {"auc": result.auc, "auc_ci_low": low, "auc_ci_high": high}
        values |= {name: rate.value for name, rate in result.rates.items()}
        if not isinstance(result.threshold, tuple):
            values["f1"] = confusion_of(counted, arm, result.threshold).rates()["f1"]
        calibration = calibration_of(counted, arm)
        if calibration:
            values |= {"brier": calibration.brier, "calibration_error": calibration.error}
        numbers |= {f"{prefix}{name}": value for name, value in values.items() if np.isfinite(value)}
    return numbers


def paired_numbers(report: PartReport) -> dict[str, float]:
    """The first paired test as metrics: auc_difference, auc_difference_p, and `patient_...`.

    A part that chose the epoch has no p, nor has a pair that could not be tested.
    """
    numbers: dict[str, float] = {}
    for _, prefix, comparison in report.levels():
        test = comparison.tests[0]
        numbers[f"{prefix}auc_difference"] = test.auc_difference
        if np.isfinite(test.p):
            numbers[f"{prefix}auc_difference_p"] = test.p
    return numbers
