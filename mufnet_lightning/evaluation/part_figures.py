"""The figures of one arm's part, from its scores and the report on them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.figures import (
    confusion_figure,
    decision_figure,
    reliability_figure,
    score_figure,
    weight_figure,
)
from mufnet_lightning.evaluation.part import PartReport
from mufnet_lightning.evaluation.results import ArmComparison
from mufnet_lightning.evaluation.risks import RiskReport
from mufnet_lightning.evaluation.roc_figures import roc_figure
from mufnet_lightning.evaluation.statistics.rates import confusion_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import WEIGHT_NAMES


def arm_figures(
    arms: Scores,
    report: PartReport,
    weights: Mapping[str, ArrayLike] | None = None,
    risks: RiskReport | None = None,
) -> dict[str, Figure]:
    """roc, roc_patients, confusion, reliability, scores, decision_curve where there are risks, and
    weights where there are some.

    The ROC curves are those of all arms, the rest is of the first arm.

    Args:
        arms: where the scores are.
        report: what `arm_report` says of them.
        weights: (N,) of each modality, by the name of its column in a predictions table.
        risks: of the first arm's patients; without, reliability is that of their mean scores.
    """
    figures = {}
    counts = {}
    for level, _, comparison in report.levels():
        counted = arms.at(level)
        roc = roc_of(comparison, counted)
        figures["roc" if level == "image" else "roc_patients"] = roc
        threshold = comparison.arms[0].threshold
        if not isinstance(threshold, tuple):
            counts[f"{level}s"] = confusion_of(counted, 0, threshold)
    if counts:
        figures["confusion"] = confusion_figure(counts)
    first = arms.scores[0]
    if risks is not None:
        figures["reliability"] = reliability_figure(risks.labels, {arms.names[0]: risks.risks})
        figures["decision_curve"] = decision_figure(risks.labels, {arms.names[0]: risks.risks})
    elif arms.are_probabilities[0]:
        of_patients = arms.at("patient")
        named = {arms.names[0]: of_patients.scores[0]}
        figures["reliability"] = reliability_figure(of_patients.labels, named, what="score")
    threshold = report.image.arms[0].threshold
    shown = None if isinstance(threshold, tuple) else threshold
    figures["scores"] = score_figure(arms.labels, first, shown)
    if weights:
        named = {WEIGHT_NAMES.get(name, name): values for name, values in weights.items()}
        figures["weights"] = weight_figure(arms.labels, named)
    return figures


def roc_of(comparison: ArmComparison, counted: Scores) -> Figure:
    """ROC curves with the AUCs and intervals that `compare_arms` gives of the same arms.

    Of an arm that these patients chose the legend says so in place of the interval.

    Args:
        comparison: of the arms.
        counted: their scores at the comparison's level, see `Scores.at`.
    """
    return roc_figure(
        counted.labels,
        dict(zip(counted.names, counted.scores, strict=True)),
        {arm.name: (arm.auc, *arm.auc_ci) for arm in comparison.arms},
    )
