"""Planned sizes: what a study can find out."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from mufnet_lightning.evaluation.statistics import power
from mufnet_lightning.evaluation.statistics.auc import auc_estimate, compare_aucs
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_interval
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.power import _placed, planned_size, power_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.study.plan import plan_study


def test_the_papers_question_cannot_be_answered_by_its_test_cohort() -> None:
    assert planned_size(5, 15, (0.838, 0.909), repeats=2000, widths=False).power < 0.07
    assert planned_size(104, 296, (0.838, 0.909), repeats=500, widths=False).power > 0.85


def test_many_patients_have_the_normal_formulas_power() -> None:
    high, low, aucs = 200, 300, (0.8, 0.75)
    rng = np.random.default_rng(1)
    labels = np.arange(high + low) < high
    errors = []
    for _ in range(20):
        shared = rng.normal(size=500)
        arms = [
            labels * np.sqrt(2) * ndtri(auc) + np.sqrt(0.5) * (shared + rng.normal(size=500))
            for auc in aucs
        ]
        errors.append(compare_aucs(auc_estimate(Scores.of(labels, arms), "delong"), 0, 1).error)
    expected = ndtr(0.05 / np.mean(errors) - 1.96)
    assert planned_size(high, low, aucs, repeats=600, widths=False).power == pytest.approx(
        expected, abs=0.06
    )


def test_widths_are_those_of_the_printed_interval() -> None:
    plan = planned_size(5, 15, (0.85,), repeats=300)
    rng = np.random.default_rng(9)
    labels = np.arange(20) < 5
    widths = []
    for _ in range(300):
        low, high = auc_interval(labels, labels * np.sqrt(2) * ndtri(0.85) + rng.normal(size=20))
        widths.append(high - low)
    assert plan.widths[0] == pytest.approx(np.mean(widths), abs=0.03)
    assert np.isnan(plan.power)


def test_large_sizes_are_approximated_quickly_and_meet_the_simulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = time.perf_counter()
    large = planned_size(6000, 18000, (0.838, 0.845))
    assert time.perf_counter() - start < 20  # some 3 s; hours by pairs of patients
    assert large.approximated
    assert large.repeats < 2000
    assert 0.1 < large.power < 0.9
    many = planned_size(104, 296, (0.838, 0.909), widths=False)
    monkeypatch.setattr(power, "MOST_SCORES", 50_000)
    few = planned_size(104, 296, (0.838, 0.909))
    assert (few.approximated, many.approximated) == (True, False)
    assert few.power == pytest.approx(many.power, abs=0.04)


def test_placements_are_the_shares_of_pairs() -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 2, 12))
    aucs, high, low = _placed(drawn, 5)
    above = drawn[:, :, :5, None] > drawn[:, :, None, 5:]
    np.testing.assert_allclose(aucs, above.mean(axis=(2, 3)))
    np.testing.assert_allclose(high, above.mean(axis=3))
    np.testing.assert_allclose(low, above.mean(axis=2))


def test_the_text_says_what_was_simulated_and_of_which_protocols() -> None:
    text = plan_study(5, 15, (0.838, 0.909), repeats=100).text()
    assert "one cohort (protocol paper, external validation)" in text
    assert "nested, center and kfold" in text
    assert "approximation" not in text
    assert "nested, center and kfold" in plan_study(5, 15, (0.838,), repeats=100).text()


def test_the_text_says_where_a_power_is_approximated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "MOST_SCORES", 10_000)
    text = plan_study(5, 15, (0.838, 0.909), repeats=200).text()
    assert "From 30 low-grade and 10 high-grade patients on fewer studies are simulated (125" in text
    assert "normal approximation" in text


def test_power_grows_with_the_effect_and_not_with_what_was_seen() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(100) < 26
    arms = labels + rng.normal(size=(2, 100))
    scores = Scores.of(labels, arms)
    test = compare_aucs(auc_estimate(scores, "delong"), 0, 1)
    small, large = (power_of(scores, (0, 1), test, effect) for effect in (0.05, 0.2))
    assert small < 0.3 < large
    clustered = Scores.of(labels, arms, np.arange(100) // 2)
    image = compare_aucs(auc_estimate(clustered, "obuchowski"), 0, 1)
    assert np.isnan(power_of(clustered, (0, 1), image, 0.05))  # over images it is not told


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(EvaluationError, match="two or more of each class"):
        planned_size(1, 20, (0.8,))
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        planned_size(5, 20, (0.8, 1.2))
    with pytest.raises(EvaluationError, match="correlation"):
        planned_size(5, 20, (0.8, 0.7), 1.0)


def test_what_has_no_p_is_not_found() -> None:
    # with two patients a class many a study has an estimated error of 0, and its test gives no p
    planned = planned_size(2, 2, (0.95, 0.5), repeats=4000, widths=False)
    rng, found = np.random.default_rng(5), 0
    root = np.linalg.cholesky([[1.0, 0.5], [0.5, 1.0]])
    for _ in range(2000):
        drawn = root @ rng.standard_normal((2, 4))
        drawn[:, :2] += np.sqrt(2) * ndtri([[0.95], [0.5]])
        scores = Scores.of([1, 1, 0, 0], ndtr(drawn), list("abcd"), ["fused", "ceus"])
        test = compare_aucs(auc_estimate(scores, "delong"), 0, 1)
        found += test.error > 1e-9 and abs(test.auc_difference) > ndtri(0.975) * test.error
    assert planned.power == pytest.approx(found / 2000, abs=0.035)
