"""The bootstrap over patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mufnet_lightning.evaluation.statistics import bootstrap
from mufnet_lightning.evaluation.statistics.auc import compare_aucs, obuchowski, wald_interval
from mufnet_lightning.evaluation.statistics.bootstrap import (
    bootstrap_aucs,
    bootstrap_rates,
    draw_patients,
    weighted_auc,
)
from mufnet_lightning.evaluation.statistics.rates import rate_intervals

Cohort = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Labels (N,), scores of two arms (2, N) and patients (N,): 120 patients with 10 images each."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(120), 10)
    labels = (patients < 50).astype(int)
    effect = rng.normal(size=(2, 120))[:, patients]
    return labels, labels + effect + rng.normal(size=(2, 1200)), patients


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=50, deadline=None)
def test_weighted_auc_agrees_with_scikit_learn(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 40), [0, 1])
    scores = rng.normal(size=42).round(0 if ties else 9)
    weights = np.append(rng.integers(0, 4, (3, 40)), np.ones((3, 2)), axis=1)
    expected = [roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(labels, scores, weights), expected, atol=1e-12)


def test_a_weight_is_a_repetition(cohort: Cohort) -> None:
    labels, scores, patients = cohort
    positive = labels.astype(bool)
    resampled = bootstrap_aucs(labels, scores, patients, replicates=5, seed=7)
    (weights,) = draw_patients(positive, patients, 120, 5, 7)
    for replicate, drawn in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(1200), drawn[patients])
        for arm in (0, 1):
            expected = roc_auc_score(labels[rows], scores[arm, rows])
            assert resampled.replicates[arm, replicate] == pytest.approx(expected, abs=1e-12)


def test_each_resample_has_as_many_patients_of_a_class() -> None:
    high = np.array([1, 0, 1, 0, 0, 0, 0]).astype(bool)
    codes = np.array([0, 0, 1, 2, 3, 4, 4])  # patient 0 has images of both classes
    (weights,) = draw_patients(high, codes, 5, 200, 0)
    assert (weights[:, :2].sum(axis=1) == 2).all()
    assert (weights[:, 2:].sum(axis=1) == 3).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.2)


def test_a_seed_repeats_itself_whatever_the_chunks(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, scores, patients = cohort
    whole = bootstrap_aucs(labels, scores, patients, replicates=50, seed=1)
    monkeypatch.setattr(bootstrap, "CHUNK", 7 * 1200)
    pieces = bootstrap_aucs(labels, scores, patients, replicates=50, seed=1)
    np.testing.assert_array_equal(whole.replicates, pieces.replicates)
    other = bootstrap_aucs(labels, scores, patients, replicates=50, seed=2)
    assert not np.array_equal(whole.replicates, other.replicates)


def test_intervals_are_near_the_analytical_ones(cohort: Cohort) -> None:
    drawn = bootstrap_aucs(*cohort)
    estimate = obuchowski(*cohort)
    np.testing.assert_allclose(drawn.aucs, estimate.aucs, atol=1e-12)
    for arm in (0, 1):
        limits = drawn.interval(arm).limits
        assert limits == pytest.approx(wald_interval(estimate, arm), abs=0.015)
    ours, test = drawn.difference(0, 1), compare_aucs(estimate, 0, 1)
    assert ours.value == pytest.approx(test.auc_difference)
    assert ours.limits == pytest.approx((test.low, test.high), abs=0.02)
    assert ours.note == ""


def test_rates_have_the_spread_of_their_patients(cohort: Cohort) -> None:
    labels, scores, patients = cohort
    drawn = bootstrap_rates(labels, scores[0], patients, threshold=0.5)
    analytical = rate_intervals(labels, scores[0], patients, threshold=0.5)
    for name, theirs in analytical.items():
        ours = drawn[name]
        assert ours.value == pytest.approx(theirs.value)
        if name in ("ppv", "npv"):  # narrower: the resamples keep the share of high patients
            assert theirs.low < ours.low < ours.high < theirs.high
        else:
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert 0 < drawn["f1"].low < drawn["f1"].value < drawn["f1"].high < 1


def test_a_class_with_one_patient_is_said_to_be_too_narrow() -> None:
    drawn = bootstrap_aucs([1, 1, 0, 0, 0], [3, 5, 1, 2, 4], ["a", "a", "b", "c", "d"])
    assert "single patient" in drawn.interval().note


def test_perfect_separation_has_no_width_and_says_so() -> None:
    drawn = bootstrap_aucs([1, 1, 0, 0], [3, 4, 1, 2], ["a", "b", "c", "d"], replicates=50)
    assert (drawn.interval().low, drawn.interval().high) == (1, 1)
    assert "no certainty" in drawn.interval().note


def test_resamples_without_a_value_are_counted_and_never_in_the_interval() -> None:
    # the only low image belongs to a patient with a high one, and is not always drawn
    drawn = bootstrap_aucs([1, 0, 1, 1], [3, 2, 1, 4], ["a", "a", "b", "c"], replicates=200)
    left = int(np.isnan(drawn.replicates[0]).sum())
    assert 0 < left < 200
    assert f"Not defined on {left} of 200 resamples." in drawn.interval().note
    assert np.isfinite([drawn.interval().low, drawn.interval().high]).all()
    nothing = bootstrap_rates([1, 0], [0.1, 0.2], ["a", "b"], replicates=20)["ppv"]
    assert (nothing.low, nothing.high) == (0, 1)
    assert "Not defined" in nothing.note


def test_no_replicates_are_refused(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="at least one replicate"):
        bootstrap_aucs(cohort[0], cohort[1], cohort[2], replicates=0)
