"""Paired tests of rates, with the patient as the unit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from mufnet_lightning.evaluation.statistics.paired_rates import RateDifference, rate_differences
from mufnet_lightning.evaluation.statistics.scores import Scores


def compared(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike | None = None
) -> Mapping[str, RateDifference]:
    scores = Scores.of(labels, np.stack([np.asarray(a), np.asarray(b)]), patients)
    cut = np.full(len(scores.labels), 0.5)
    return rate_differences(scores, (0, 1), (cut, cut))


def test_with_one_image_a_patient_it_is_mcnemars_exact_test() -> None:
    # 9 patients whom only a calls rightly, 2 whom only b does; binom.test(2, 11) of R 4.2.2
    labels = np.ones(30)
    a = np.r_[np.ones(9), np.zeros(2), np.ones(19)]
    b = np.r_[np.zeros(9), np.ones(2), np.ones(19)]
    test = compared(np.r_[labels, 0], np.r_[a, 0], np.r_[b, 0])["sensitivity"]
    assert test.p == pytest.approx(0.06542969, abs=1e-8)
    assert test.p == pytest.approx(binomtest(2, 11).pvalue)
    assert (test.better, test.worse) == (9, 2)
    assert test.difference == pytest.approx(7 / 30)


def test_many_images_of_one_patient_are_no_evidence() -> None:
    labels, patients = np.ones(60, int), np.repeat(["a", "b", "c"], 20)
    tests = compared(labels, np.ones(60), np.r_[np.zeros(20), np.ones(40)], patients)
    assert tests["sensitivity"].p == 1  # one patient differs: nothing can be said
    assert tests["sensitivity"].difference == pytest.approx(1 / 3)
    assert np.isnan(tests["specificity"].p)
    assert tests["accuracy"].p == 1


def test_equal_arms_do_not_differ() -> None:
    tests = compared([0, 1, 1], [0.2, 0.7, 0.4], [0.3, 0.9, 0.1])
    assert {test.p for test in tests.values()} == {1.0}


@pytest.mark.slow
def test_equal_arms_are_seldom_called_different() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 10)
    labels = patients < 5
    positives = np.zeros(3)
    for _ in range(400):
        shared = rng.normal(size=20)[patients]
        arms = [labels + shared + rng.normal(size=20)[patients] + rng.normal(size=200) for _ in "ab"]
        tests = compared(labels, arms[0], arms[1], patients)
        positives += [test.p < 0.05 for test in tests.values()]
    assert (positives / 400 < 0.08).all()
