"""Wilson's interval, plain and for clustered images; the mean over folds; Holm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import mean_t, wilson, wilson_clustered
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
    assert wilson_clustered([1, 0, 1, 1], [1, 1, 1, 1]) == wilson(3, 4)
    assert wilson_clustered([1, 0, 1, 1, 0], [1, 1, 1, 1, 0]) == wilson(3, 4)


def test_duplicated_images_do_not_narrow_the_clustered_interval() -> None:
    hits, trials = np.array([3, 1, 4, 0, 5, 2]), np.array([5, 5, 4, 2, 6, 3])
    once, twice = wilson_clustered(hits, trials), wilson_clustered(2 * hits, 2 * trials)
    assert twice.low == pytest.approx(once.low, abs=0.01)
    assert twice.high == pytest.approx(once.high, abs=0.01)
    plain = wilson(30, 50)
    assert plain.high - plain.low < twice.high - twice.low


def test_images_that_all_agree_inside_a_patient_count_as_one() -> None:
    hits = 50 * (np.arange(200) < 140)
    ours, patients = wilson_clustered(hits, np.full(200, 50)), wilson(140, 200)
    assert (ours.low, ours.high) == pytest.approx((patients.low, patients.high), abs=2e-3)


def test_one_outcome_counts_each_patient_once() -> None:
    ours = wilson_clustered([20, 30, 10], [20, 30, 10])
    assert (ours.value, ours.low, ours.high) == (1, wilson(3, 3).low, 1)
    assert "one trial" in ours.note


def test_one_patient_leaves_everything_possible() -> None:
    ours = wilson_clustered([20], [30])
    assert ours.value == pytest.approx(2 / 3)
    assert ours.limits == (0, 1)
    assert "single patient" in ours.note


def test_the_mean_over_folds_is_the_one_sample_t_interval() -> None:
    folds = [0.81, 0.86, 0.79, 0.84, 0.88]
    ours = mean_t(folds)
    theirs = stats.ttest_1samp(folds, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert mean_t([0.9, 1.0]).high == 1
    assert mean_t([0.9, 1.0], limits=None).high > 1
    assert "no width" in mean_t([0.9, 0.9]).note


@pytest.mark.parametrize(
    ("folds", "message"), [([0.9], "at least two"), ([0.9, np.nan], "fold 1 has no value")]
)
def test_folds_without_an_interval_are_refused(folds: list[float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        mean_t(folds)


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
