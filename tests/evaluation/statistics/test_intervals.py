"""Wilson's interval, that of clustered images, the spread over folds, Holm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import (
    clustered_proportion,
    fold_spread,
    wilson,
)
from mufnet_lightning.evaluation.statistics.multiplicity import holm


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(counts: tuple[int, int]) -> None:
    ours = wilson(*counts)
    theirs = stats.binomtest(*counts).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.value <= ours.high


def test_nothing_counted_is_not_defined_and_says_so() -> None:
    nothing = wilson(0, 0)
    assert np.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0, 1)
    assert "not defined" in nothing.note
    with pytest.raises(EvaluationError, match="3 successes do not fit 2 trials"):
        wilson(3, 2)


def test_one_image_a_patient_is_plain_wilson() -> None:
    assert clustered_proportion([1, 0, 1, 1], [1, 1, 1, 1]) == wilson(3, 4)
    assert clustered_proportion([1, 0, 1, 1, 0], [1, 1, 1, 1, 0]) == wilson(3, 4)


def test_duplicated_images_do_not_narrow_the_clustered_interval() -> None:
    hits, trials = np.array([3, 1, 4, 0, 5, 2]), np.array([5, 5, 4, 2, 6, 3])
    once, twice = clustered_proportion(hits, trials), clustered_proportion(2 * hits, 2 * trials)
    assert twice.low == pytest.approx(once.low, abs=0.01)
    assert twice.high == pytest.approx(once.high, abs=0.01)
    plain = wilson(30, 50)
    assert plain.high - plain.low < twice.high - twice.low


def test_images_that_all_agree_inside_a_patient_count_as_one() -> None:
    hits = 50 * (np.arange(200) < 140)
    ours, patients = clustered_proportion(hits, np.full(200, 50)), wilson(140, 200)
    assert (ours.low, ours.high) == pytest.approx((patients.low, patients.high), abs=5e-3)


def test_far_from_0_and_1_it_is_the_jackknife_on_the_logit_scale() -> None:
    hits, trials = np.array([3, 1, 4, 0, 5, 2, 7, 3]), np.array([5, 5, 4, 2, 6, 3, 9, 12])
    left = np.array([np.delete(hits, i).sum() / np.delete(trials, i).sum() for i in range(8)])
    odds = np.log(left / (1 - left))
    error = np.sqrt(7 / 8 * ((odds - odds.mean()) ** 2).sum())
    value = hits.sum() / trials.sum()
    half = stats.t.ppf(0.975, 7) * error
    centre = np.log(value / (1 - value))
    expected = [1 / (1 + np.exp(-centre - side)) for side in (-half, half)]
    assert clustered_proportion(hits, trials).limits == pytest.approx(tuple(expected), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.85, 0.95])
def test_it_holds_where_clips_differ_in_length(share: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        trials = np.maximum(1, np.round(20 * rng.lognormal(-0.18, 0.6, 15))).astype(int)
        easy = stats.norm.cdf(
            (stats.norm.ppf(share) - np.sqrt(0.8) * rng.normal(size=15)) / np.sqrt(0.2)
        )
        low, high = clustered_proportion(rng.binomial(trials, easy), trials).limits
        held += low <= share <= high
    assert held / 600 > 0.92  # Wilson's with a design effect: 89% and 81%


def test_one_outcome_counts_each_patient_once() -> None:
    ours = clustered_proportion([20, 30, 10], [20, 30, 10])
    effective = 60**2 / (20**2 + 30**2 + 10**2)  # Kish: the clips differ in length
    assert (ours.value, ours.low, ours.high) == (1, wilson(effective, effective).low, 1)
    assert "one trial" in ours.note


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=20).flatmap(
        lambda trials: st.tuples(
            st.tuples(*(st.integers(0, count) for count in trials)), st.just(tuple(trials))
        )
    )
)
def test_it_is_never_narrower_than_wilsons_of_independent_images(
    counts: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    ours, alone = clustered_proportion(*counts), wilson(sum(counts[0]), sum(counts[1]))
    assert ours.low <= alone.low + 1e-12
    assert ours.high >= alone.high - 1e-12


@pytest.mark.parametrize(("hits", "trials", "patients"), [(1, 2, 5), (9, 10, 15)])
def test_patients_who_fail_alike_are_no_certainty(hits: int, trials: int, patients: int) -> None:
    ours = clustered_proportion([hits] * patients, [trials] * patients)
    alone = wilson(hits * patients, trials * patients)
    assert ours.limits == pytest.approx(alone.limits)


def test_one_patient_leaves_everything_possible() -> None:
    ours = clustered_proportion([20], [30])
    assert ours.value == pytest.approx(2 / 3)
    assert ours.limits == (0, 1)
    assert "single patient" in ours.note


def test_the_spread_over_folds_is_no_interval() -> None:
    folds = [0.81, 0.86, 0.79, 0.84, 0.88]
    spread = fold_spread(folds)
    assert (spread.mean, spread.sd) == pytest.approx((np.mean(folds), np.std(folds, ddof=1)))
    assert (spread.low, spread.high, spread.folds) == (0.79, 0.88, 5)
    assert np.isnan(fold_spread([0.9]).sd)
    assert fold_spread([0.9]).as_json()["sd"] is None


@pytest.mark.parametrize(
    ("folds", "message"), [([], "needs folds"), ([0.9, np.nan], "fold 1 has no value")]
)
def test_folds_without_a_spread_are_refused(folds: list[float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        fold_spread(folds)


def test_holm_as_in_the_textbook() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p(p_values: list[float]) -> None:
    p, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_refuses_what_is_no_p() -> None:
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        holm([0.5, np.nan])
