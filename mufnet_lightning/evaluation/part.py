"""Everything that is told of one arm's part: numbers for a run's metrics, a report, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.comparison import Level, compare_arms
from mufnet_lightning.evaluation.figures import (
    confusion_figure,
    reliability_figure,
    roc_figure,
    score_figure,
    weight_figure,
)
from mufnet_lightning.evaluation.predictions import MatchedScores
from mufnet_lightning.evaluation.statistics.auc import delong
from mufnet_lightning.evaluation.statistics.calibration import brier_score, calibration_error
from mufnet_lightning.evaluation.statistics.checks import as_labels, as_scores
from mufnet_lightning.evaluation.statistics.rates import confusion, patient_scores
from mufnet_lightning.vocabulary import RATES, THRESHOLD, WEIGHT_NAMES

PREFIXES: dict[Level, str] = {"image": "", "patient": "patient_"}


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
    pooled = patient_scores(labels, scores, patients)
    numbers: dict[str, float] = {}
    for prefix, positive, values in (
        ("", as_labels(labels), as_scores(scores, len(np.asarray(labels)))),
        ("patient_", pooled.labels, pooled.scores),
    ):
        if positive.any() and not positive.all():
            numbers[f"{prefix}auc"] = float(delong(positive, values).aucs[0])
        rates = confusion(positive, values[0], THRESHOLD).rates()
        numbers |= {
            f"{prefix}{name}": rates[name]
            for name in ("accuracy", "sensitivity", "specificity")
            if np.isfinite(rates[name])
        }
    return numbers


def arm_report(arms: MatchedScores, thresholds: ArrayLike = 0.5) -> dict[str, Any]:
    """`compare_arms` at both levels, `{"image": ..., "patient": ...}`, each with its default method."""
    return {
        level: compare_arms(
            arms.names, arms.labels, arms.scores, arms.patients, level, thresholds=thresholds
        )
        for level in PREFIXES
    }


def arm_numbers(arms: MatchedScores, report: Mapping[str, Any], arm: int = 0) -> dict[str, float]:
    """The numbers of one arm as metrics; those of patients begin with `patient_`.

    auc, auc_ci_low, auc_ci_high (95%; Obuchowski over images, DeLong over patients), accuracy,
    sensitivity, specificity, ppv, npv, f1, brier, calibration_error. What is not defined is left out;
    the report says why.

    Args:
        arms: where the scores are.
        report: what `arm_report` says of them.
        arm: which of the arms.
    """
    numbers: dict[str, float | None] = {}
    for level, prefix in PREFIXES.items():
        row = report[level]["arms"][arm]
        numbers[f"{prefix}auc"] = row["auc"]
        numbers[f"{prefix}auc_ci_low"], numbers[f"{prefix}auc_ci_high"] = row["auc_ci"]
        numbers |= {f"{prefix}{rate}": row[rate]["value"] for rate in RATES}
        labels, scores = at_level(arms, level)
        if not isinstance(row["threshold"], list):
            counts = confusion(labels, scores[arm], row["threshold"])
            numbers[f"{prefix}f1"] = counts.rates()["f1"]
        if scores[arm].min() >= 0 and scores[arm].max() <= 1:
            numbers[f"{prefix}brier"] = brier_score(labels, scores[arm])
            numbers[f"{prefix}calibration_error"] = calibration_error(labels, scores[arm])
    return {name: value for name, value in numbers.items() if value is not None and np.isfinite(value)}


def paired_numbers(report: Mapping[str, Any]) -> dict[str, float]:
    """The first paired test as metrics: auc_difference, auc_difference_p, and `patient_...`."""
    numbers: dict[str, float | None] = {}
    for level, prefix in PREFIXES.items():
        test = report[level]["tests"][0]
        numbers[f"{prefix}auc_difference"] = test["auc_difference"]
        numbers[f"{prefix}auc_difference_p"] = test["p"]
    return {name: value for name, value in numbers.items() if value is not None}


def arm_figures(
    arms: MatchedScores, report: Mapping[str, Any], weights: Mapping[str, ArrayLike] | None = None
) -> dict[str, Figure]:
    """roc, roc_patients, confusion, reliability, scores, and weights where there are some.

    The ROC curves are those of all arms, the rest is of the first arm.

    Args:
        arms: where the scores are.
        report: what `arm_report` says of them.
        weights: (N,) of each modality, by the name of its column in a predictions table.
    """
    first = arms.scores[0]
    figures = {}
    counts = {}
    for level, name in (("image", "roc"), ("patient", "roc_patients")):
        labels, scores = at_level(arms, level)
        figures[name] = roc_of(report[level], labels, scores)
        row = report[level]["arms"][0]
        if not isinstance(row["threshold"], list):
            counts[f"{level}s"] = confusion(labels, scores[0], row["threshold"])
    if counts:
        figures["confusion"] = confusion_figure(counts)
    if first.min() >= 0 and first.max() <= 1:
        figures["reliability"] = reliability_figure(arms.labels, {arms.names[0]: first})
    threshold = report["image"]["arms"][0]["threshold"]
    figures["scores"] = score_figure(
        arms.labels, first, None if isinstance(threshold, list) else threshold
    )
    if weights:
        named = {WEIGHT_NAMES.get(name, name): values for name, values in weights.items()}
        figures["weights"] = weight_figure(arms.labels, named)
    return figures


def roc_of(comparison: Mapping[str, Any], labels: ArrayLike, scores: ArrayLike) -> Figure:
    """ROC curves (K, N) with the AUCs and intervals that `compare_arms` found."""
    rows = comparison["arms"]
    return roc_figure(
        labels,
        {row["name"]: values for row, values in zip(rows, np.asarray(scores), strict=True)},
        {row["name"]: (row["auc"], *row["auc_ci"]) for row in rows},
    )


def at_level(arms: MatchedScores, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (U,) and scores (K, U) of the images or of the patients."""
    if level == "image":
        return arms.labels, arms.scores
    pooled = patient_scores(arms.labels, arms.scores, arms.patients)
    return pooled.labels, pooled.scores
