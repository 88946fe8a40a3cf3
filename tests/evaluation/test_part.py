"""The numbers of one arm's part."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mufnet_lightning.evaluation.part import (
    arm_numbers,
    arm_report,
    paired_numbers,
    part_numbers,
)
from mufnet_lightning.evaluation.part_figures import arm_figures
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import CURVE_METRICS


@pytest.fixture
def part() -> Scores:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(20), 5)
    labels = patients < 8
    logits = labels + rng.normal(size=(2, 20))[:, patients] + rng.normal(size=(2, 100)) - 0.5
    return Scores.of(labels, 1 / (1 + np.exp(-logits)), patients, ["fused", "bmode"])


def test_numbers_are_scikit_learns_over_images_and_over_patients(part: Scores) -> None:
    numbers = part_numbers(part.labels, part.scores[0], part.patients)
    assert set(numbers) == {*CURVE_METRICS, *(f"patient_{name}" for name in CURVE_METRICS)}
    means = [part.scores[0, part.patients == patient].mean() for patient in range(20)]
    for prefix, labels, scores in (
        ("", part.labels, part.scores[0]),
        ("patient_", np.arange(20) < 8, np.array(means)),
    ):
        called = scores > 0.5
        expected = {
            "auc": sk.roc_auc_score(labels, scores),
            "accuracy": sk.accuracy_score(labels, called),
            "sensitivity": sk.recall_score(labels, called),
            "specificity": sk.recall_score(labels, called, pos_label=0),
        }
        for name, value in expected.items():
            assert numbers[f"{prefix}{name}"] == pytest.approx(value)


def test_numbers_are_those_of_the_report_to_the_bit(part: Scores) -> None:
    arm = Scores.of(part.labels, part.scores[0], part.patients)
    numbers = part_numbers(part.labels, part.scores[0], part.patients)
    reported = arm_numbers(arm, arm_report(arm))
    assert {name: reported[name] for name in numbers} == numbers


def test_what_needs_a_class_that_is_not_there_is_left_out() -> None:
    high = part_numbers([1, 1], [0.2, 0.9], ["a", "b"])
    assert set(high) == {"accuracy", "sensitivity", "patient_accuracy", "patient_sensitivity"}
    low = part_numbers([0, 0], [0.2, 0.9], ["a", "b"])
    assert set(low) == {"accuracy", "specificity", "patient_accuracy", "patient_specificity"}


def test_the_order_of_images_and_single_precision_change_nothing(part: Scores) -> None:
    scores = part.scores[0].astype(np.float32)
    order = np.random.default_rng(0).permutation(100)
    shuffled = part_numbers(part.labels[order], scores[order], part.patients[order])
    assert shuffled == pytest.approx(part_numbers(part.labels, scores, part.patients), abs=1e-12)


def test_a_score_that_is_missing_is_refused() -> None:
    with pytest.raises(EvaluationError, match="1 scores are missing"):
        part_numbers([0, 1], [np.nan, 0.5], ["a", "b"])


def test_scores_that_are_no_probabilities_have_no_calibration(part: Scores) -> None:
    logits = Scores.of(part.labels, part.scores * 4 - 2, part.patients, part.names)
    report = arm_report(logits)
    assert "brier" not in arm_numbers(logits, report)
    assert "reliability" not in arm_figures(logits, report)
    assert "brier" in arm_numbers(part, arm_report(part))


def test_the_first_arm_is_tested_against_the_second(part: Scores) -> None:
    report = arm_report(part)
    numbers = paired_numbers(report)
    first, second = (arm_numbers(part, report, arm) for arm in (0, 1))
    for prefix in ("", "patient_"):
        difference = first[f"{prefix}auc"] - second[f"{prefix}auc"]
        assert numbers[f"{prefix}auc_difference"] == pytest.approx(difference)


def test_a_part_has_its_figures(part: Scores) -> None:
    report = arm_report(part)
    weights = {"weight_bmode": part.scores[0], "weight_ceus": 1 - part.scores[0]}
    assert list(arm_figures(part, report, weights)) == [
        *("roc", "roc_patients", "confusion", "reliability", "scores", "weights"),
    ]
    several = arm_report(part, np.where(part.codes % 2, 0.3, 0.7) * np.ones((2, 1)))
    assert "confusion" not in arm_figures(part, several)
    assert "f1" not in arm_numbers(part, several)


def test_a_pair_that_cannot_be_tested_has_no_p_among_the_metrics() -> None:
    labels = np.arange(20) < 10
    folds = np.stack([np.arange(20) % 5, np.full(20, -1)])  # an ensemble beside scores out of folds
    values = np.random.default_rng(0).random((2, 20))
    numbers = paired_numbers(arm_report(Scores(("a", "b"), labels, values, np.arange(20), folds=folds)))
    assert set(numbers) == {"auc_difference", "patient_auc_difference"}
