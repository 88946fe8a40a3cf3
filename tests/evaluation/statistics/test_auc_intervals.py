"""The interval of an AUC that is printed: against R, at its limits, and whether it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, ndtri

from mufnet_lightning.evaluation import auc_interval
from mufnet_lightning.evaluation.statistics.auc import auc_estimate, wald_interval
from mufnet_lightning.evaluation.statistics.auc_intervals import (
    OUT_OF_FOLD,
    auc_limits,
    independent_limits,
    newcombe_interval,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.scores import Scores

LABELS = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
SCORES = np.array([0.1, 0.35, 0.2, 0.42, 0.55, 0.3, 0.61, 0.4, 0.7, 0.8, 0.52, 0.9])


# the quartic behind method 5, solved by polyroot of R 4.2.2
@pytest.mark.parametrize(
    ("auc", "high", "low", "limits"),
    [
        (0.75, 5, 15, (0.4522389275, 0.9094944203)),
        (0.9, 5, 15, (0.6091707332, 0.9783083527)),
        (1.0, 5, 15, (0.7453568665, 1.0)),
        (0.8931, 51, 58, (0.8116004148, 0.9399551125)),
        (0.6, 13, 19, (0.3983613948, 0.7689838339)),
        (0.97, 26, 74, (0.8972771074, 0.9912022710)),
    ],
)
def test_newcombes_limits_are_the_roots_of_his_quartic(
    auc: float, high: int, low: int, limits: tuple[float, float]
) -> None:
    assert newcombe_interval(auc, high, low) == pytest.approx(limits, abs=1e-9)
    lower, upper = newcombe_interval(1 - auc, low, high)
    assert (1 - upper, 1 - lower) == pytest.approx(limits, abs=1e-9)


def test_far_from_one_it_is_pepes_logit_interval_and_pulled_towards_newcombe() -> None:
    # AUC and variance of pROC 1.18.0 in R 4.2.2, and from them Pepe's limits
    scores = Scores.of(LABELS, SCORES)
    auc, variance, pepe = 0.857142857143, 0.013333333333, (0.485879448352, 0.974419614701)
    estimate = auc_estimate(scores, "delong")
    assert [estimate.aucs[0], estimate.covariance[0, 0]] == pytest.approx([auc, variance])
    weight = 1 / (1 + 5 * (1 - auc))
    expected = expit(
        (1 - weight) * logit(pepe) + weight * logit(np.array(newcombe_interval(auc, 5, 7)))
    )
    assert auc_interval(LABELS, SCORES) == pytest.approx(tuple(expected), abs=1e-9)


def test_perfect_separation_of_twenty_patients_is_no_certainty() -> None:
    low, high = auc_interval([0] * 15 + [1] * 5, range(20))
    assert (round(low, 3), high) == (0.745, 1)
    images = np.repeat(np.arange(20), 7)
    labels = images >= 15
    assert auc_interval(labels, images + 0.001 * np.arange(140), images) == pytest.approx((low, 1))


def moved_to(where: float, images: np.ndarray) -> np.ndarray:
    """(M, 2) limits of 5 and 15 patients of 50 images, perfect, then with one after another moved."""
    patients = np.repeat(np.arange(20), 50)
    labels = patients < 5
    values = np.where(labels, 0.8, 0.2) + np.random.default_rng(0).uniform(-0.05, 0.05, 1000)
    limits = [auc_interval(labels, values, patients)]
    for image in images:
        values[image] = where
        limits.append(auc_interval(labels, values, patients))
    return np.array(limits)


@pytest.mark.parametrize("where", [0.1, 0.2, 0.2499])
@pytest.mark.parametrize("of_one_patient", [True, False])
def test_over_images_the_limits_move_little_with_one_image(where: float, of_one_patient: bool) -> None:
    images = np.arange(50) if of_one_patient else np.random.default_rng(1).permutation(250)[:50]
    limits = moved_to(where, images)
    assert limits[0] == pytest.approx([0.745, 1], abs=1e-3)
    assert np.abs(np.diff(limits, axis=0)).max() < 0.05
    assert (limits[:5, 0] < 0.82).all()  # four images of 250 are no evidence for an AUC above
    assert (limits[:, 1] > limits[:, 0] + 0.05).all()


def test_patients_who_are_wrong_alike_leave_the_width_of_independent_images() -> None:
    patients = np.repeat(np.arange(9), 2)
    labels = patients < 3
    values = np.where(labels, np.tile([0.9, 0.4], 9), np.tile([0.5, 0.3], 9))
    values[1] = 0.41  # still alike in rank
    lower, upper = auc_interval(labels, values, patients)
    alone = auc_interval(labels, values)
    assert lower <= alone[0] < alone[1] <= upper
    values[7] += 0.15  # next to alike
    lower, upper = auc_interval(labels, values, patients)
    alone = auc_interval(labels, values)
    assert lower <= alone[0] < alone[1] <= upper


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=25),
    st.lists(st.integers(0, 9), min_size=4, max_size=25),
    st.booleans(),
)
def test_it_holds_the_auc_mirrors_and_knows_only_the_order(
    low: list[int], high: list[int], clustered: bool
) -> None:
    labels = np.repeat([0, 1], [len(low), len(high)])
    values = np.array([*low, *high], np.float64)
    patients = np.concatenate([np.arange(len(low)) // 2, 100 + np.arange(len(high)) // 2])
    who = patients if clustered else None
    lower, upper = auc_interval(labels, values, who)
    auc = auc_estimate(Scores.of(labels, values), "delong").aucs[0]
    assert 0 <= lower <= auc <= upper <= 1
    assert auc_interval(1 - labels, values, who) == pytest.approx((1 - upper, 1 - lower))
    assert auc_interval(labels, np.exp(values), who) == (lower, upper)
    narrow = auc_interval(labels, values, who, level=0.5)
    assert lower <= narrow[0] <= narrow[1] <= upper


def test_many_patients_have_delongs_plain_interval() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(4000) < 1500
    values = labels + rng.normal(size=4000)
    ours = auc_interval(labels, values)
    assert ours == pytest.approx(
        wald_interval(auc_estimate(Scores.of(labels, values), "delong")), abs=2e-3
    )


def test_one_image_a_patient_is_the_interval_over_patients() -> None:
    assert auc_interval(LABELS, SCORES, list("abcdefghijkl")) == auc_interval(LABELS, SCORES)


def test_repeated_images_of_the_same_patients_tell_nothing_new() -> None:
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(20), 6)
    labels = patients < 8
    values = labels + rng.normal(size=20)[patients] + 0.5 * rng.normal(size=120)
    once = auc_interval(labels, values, patients)
    thrice = auc_interval(np.tile(labels, 3), np.tile(values, 3), np.tile(patients, 3))
    assert thrice == pytest.approx(once, abs=1e-6)
    alone = auc_interval(labels, values)
    assert alone[1] - alone[0] < 0.6 * (once[1] - once[0])


def test_a_single_patient_of_a_class_leaves_everything_possible() -> None:
    assert auc_interval([0, 0, 1], [0.1, 0.4, 0.9]) == (0, 1)
    assert auc_interval([0, 0, 1, 1], [0.1, 0.4, 0.9, 0.8], ["a", "b", "c", "c"]) == (0, 1)


def test_pooled_out_of_folds_it_is_wider() -> None:
    folds = np.arange(12)[None] % 3
    pooled = Scores(("a",), LABELS.astype(bool), SCORES[None], np.arange(12), folds=folds)
    variance = float(auc_estimate(pooled, "delong").covariance[0, 0])
    expected = independent_limits(6 / 7, OUT_OF_FOLD * variance, 5, 7)
    assert auc_limits(pooled) == pytest.approx(expected)
    assert auc_limits(pooled.at("patient")) == pytest.approx(expected)
    apart = Scores(("a",), LABELS.astype(bool), SCORES[None], np.arange(12), folds=folds * 0 - 1)
    assert auc_limits(apart) == auc_interval(LABELS, SCORES)


def test_procs_plain_interval_is_there_by_its_name() -> None:
    scores = Scores.of(LABELS, SCORES)
    plain = wald_interval(auc_estimate(scores, "delong"))
    assert auc_limits(scores, method="delong", rule="plain") == plain


def test_several_arms_are_refused() -> None:
    with pytest.raises(EvaluationError, match="one arm, not of 2"):
        auc_interval(LABELS, [SCORES, SCORES])


@pytest.mark.slow
@pytest.mark.parametrize(("high", "low"), [(5, 15), (26, 74)])
@pytest.mark.parametrize("auc", [0.75, 0.97])
def test_it_holds_the_truth_as_often_as_it_says(high: int, low: int, auc: float) -> None:
    rng = np.random.default_rng([high, int(1000 * auc)])
    labels = np.arange(high + low) < high
    held = 0
    for _ in range(600):
        values = labels * np.sqrt(2) * ndtri(auc) + rng.normal(size=len(labels))
        lower, upper = auc_interval(labels, values)
        held += lower <= auc <= upper
    assert 0.92 < held / 600 <= 0.995
