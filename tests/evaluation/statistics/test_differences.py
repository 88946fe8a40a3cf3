"""The difference of two AUCs: interval and test agree, hold where arms differ, and over folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from mufnet_lightning.evaluation.statistics.auc import (
    PairedTest,
    auc_estimate,
    compare_aucs,
)
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.differences import auc_difference
from mufnet_lightning.evaluation.statistics.scores import Scores


def difference_of(scores: Scores) -> PairedTest:
    limits = (auc_limits(scores, 0), auc_limits(scores, 1))
    return auc_difference(scores, auc_estimate(scores, "delong"), (0, 1), limits)


def drawn(rng: np.random.Generator, high: int, low: int, aucs: tuple[float, float]) -> Scores:
    labels = np.arange(high + low) < high
    shared = rng.normal(size=high + low)
    arms = [
        labels * np.sqrt(2) * ndtri(auc) + np.sqrt(0.5) * (shared + rng.normal(size=high + low))
        for auc in aucs
    ]
    return Scores.of(labels, arms)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(3, 20))
def test_zero_is_in_the_interval_where_the_test_says_so(seed: int, high: int, low: int) -> None:
    scores = drawn(np.random.default_rng(seed), high, low, (0.97, 0.7))
    test, plain = difference_of(scores), compare_aucs(auc_estimate(scores, "delong"), 0, 1)
    assert (test.z, test.p) == (plain.z, plain.p)
    assert (test.p < 0.05) == (not test.low <= 0 <= test.high)
    assert test.low <= plain.low <= test.auc_difference <= plain.high <= test.high
    assert -1 <= test.low <= test.high <= 1


def test_turned_round_it_is_the_negative() -> None:
    scores = drawn(np.random.default_rng(3), 6, 12, (0.9, 0.7))
    turned = Scores.of(scores.labels, scores.scores[::-1])
    one, other = difference_of(scores), difference_of(turned)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.slow
def test_it_holds_where_walds_does_not() -> None:
    rng = np.random.default_rng(0)
    held = {"ours": 0, "wald": 0}
    for _ in range(600):
        scores = drawn(rng, 5, 15, (0.97, 0.85))
        wald = compare_aucs(auc_estimate(scores, "delong"), 0, 1)
        held["wald"] += wald.low <= 0.12 <= wald.high
        test = difference_of(scores)
        held["ours"] += test.low <= 0.12 <= test.high
    assert held["wald"] / 600 < 0.9
    assert held["ours"] / 600 > 0.94


def out_of_folds(scores: Scores, folds: np.ndarray, other: np.ndarray | None = None) -> Scores:
    both = np.stack([folds, folds if other is None else other])
    return Scores(scores.names, scores.labels, scores.scores, scores.patients, folds=both)


def test_over_folds_it_is_nadeau_and_bengios_t() -> None:
    scores = drawn(np.random.default_rng(5), 40, 60, (0.9, 0.7))
    folds = np.concatenate([np.arange(40), np.arange(60)]) % 5
    test = difference_of(out_of_folds(scores, folds))
    differences = []
    for fold in range(5):
        aucs = auc_estimate(scores.subset(folds == fold), "delong").aucs
        differences.append(aucs[0] - aucs[1])
    error = np.sqrt((1 / 5 + 20 / 80) * np.var(differences, ddof=1))
    own = auc_estimate(scores, "delong").difference_variance[0, 1]
    assert error > np.sqrt(own)  # else the other one is taken
    assert test.freedom == 4
    assert test.z == pytest.approx(test.auc_difference / error)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(test.z), 4))
    assert (test.p < 0.05) == (not test.low <= 0 <= test.high)


def test_other_folds_or_a_fold_of_one_class_are_not_tested() -> None:
    scores = drawn(np.random.default_rng(5), 40, 60, (0.9, 0.7))
    folds = np.concatenate([np.arange(40), np.arange(60)]) % 5
    other = np.where(folds < 2, 1 - folds, folds)
    other[:6] = folds[:6]  # some patients in another fold
    apart = difference_of(out_of_folds(scores, folds, other))
    assert np.isnan(apart.p)
    assert (apart.low, apart.high) == (-1, 1)
    assert "not scored by the same folds" in apart.note
    assert "Fold 0 tests one class only" in difference_of(out_of_folds(scores, scores.labels * 1)).note
    renamed = difference_of(out_of_folds(scores, folds, 7 - folds))  # the same split
    assert renamed.p == difference_of(out_of_folds(scores, folds)).p
    ensemble = difference_of(out_of_folds(scores, folds, np.full(100, -1)))
    assert np.isnan(ensemble.p)


def test_folds_without_any_spread_are_not_called_alike() -> None:
    labels = np.arange(20) < 10
    arms = [labels * 0.5 + 0.2, 0.8 - labels * 0.5]  # perfect in every fold, and turned round
    test = difference_of(out_of_folds(Scores.of(labels, arms), np.arange(20) % 5))
    assert test.auc_difference == 1
    assert np.isnan(test.p)
    assert "variance of the difference is 0" in test.note


@pytest.mark.parametrize("size", [2, 3, 12])
@pytest.mark.parametrize("images", [1, 4])
def test_a_variance_of_0_is_no_evidence_of_a_difference(size: int, images: int) -> None:
    labels = np.repeat(np.arange(2 * size) < size, images)
    patients = np.repeat(np.arange(2 * size), images)
    scores = Scores.of(labels, [labels * 1.0, np.full(len(labels), 0.5)], patients)
    estimate = auc_estimate(scores, "obuchowski")
    limits = (auc_limits(scores, 0), auc_limits(scores, 1))
    test = auc_difference(scores, estimate, (0, 1), limits)
    assert test.auc_difference == 0.5
    assert np.isnan([test.z, test.p]).all()
    assert "not tested" in test.note
    assert test.low <= 0.5 - (1 - limits[0][0])  # no narrower than the perfect arm's own interval
    assert test.low < 0.5 < test.high
    alone = auc_difference(scores, estimate, (0, 1), None)
    assert (np.isnan(alone.p), alone.low, alone.high) == (True, -1, 1)
    assert compare_aucs(estimate, 0, 1).p == 0  # pROC's


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.booleans())
def test_arms_that_order_the_images_alike_do_not_differ_at_all(
    seed: int, images: int, in_folds: bool
) -> None:
    patients = np.repeat(np.arange(20), images)
    labels = patients < 8
    values = labels + np.random.default_rng(seed).normal(size=len(labels))
    scores = Scores.of(labels, [values, np.exp(values)], patients)
    if in_folds:
        scores = Scores(
            scores.names,
            scores.labels,
            scores.scores,
            scores.patients,
            folds=np.stack([patients % 4] * 2),
        )
    estimate = auc_estimate(scores, "obuchowski")
    limits = (auc_limits(scores, 0), auc_limits(scores, 1))
    test = auc_difference(scores, estimate, (0, 1), limits)
    assert (test.auc_difference, test.z, test.p, test.low, test.high) == (0, 0, 1, 0, 0)
    assert "do not differ on any image" in test.note


def test_two_folds_test_nothing_and_a_few_say_that_they_find_little() -> None:
    scores = drawn(np.random.default_rng(5), 40, 60, (0.97, 0.6))
    place = np.concatenate([np.arange(40), np.arange(60)])
    two = difference_of(out_of_folds(scores, place % 2))
    assert np.isnan([two.z, two.p]).all()
    assert (two.low, two.high) == (-1, 1)
    assert "Two folds cannot test a difference" in two.note
    for folds in (3, 4):
        few = difference_of(out_of_folds(scores, place % folds))
        assert few.freedom == folds - 1
        assert f"{folds} folds" in few.note
        assert "large differences only" in few.note
    assert difference_of(out_of_folds(scores, place % 5)).note == ""
