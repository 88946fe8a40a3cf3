"""DeLong and Obuchowski: agreement with pROC and with brute force, and the laws that they keep."""

from __future__ import annotations

import csv
import json
import time
import tracemalloc
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mufnet_lightning.evaluation.statistics.auc import (
    AucEstimate,
    compare_aucs,
    delong,
    obuchowski,
    wald_interval,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError

Case = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels, scores, patients
REFERENCE = Path(__file__).parent / "reference"
PROC = [
    json.loads(line)
    for name in ("delong_proc.jsonl", "cases.jsonl")
    for line in (REFERENCE / name).read_text().splitlines()
]


@cache
def reference_cases() -> dict[str, dict[str, np.ndarray]]:
    """Columns of each case, by its name."""
    cases: dict[str, dict[str, list[str]]] = {}
    for name in ("asah", "ties", "cases"):
        with (REFERENCE / f"{name}.csv").open() as file:
            for row in csv.DictReader(file):
                columns = cases.setdefault(row.pop("case", name), {})
                for column, value in row.items():
                    if value:
                        columns.setdefault(column, []).append(value)
    return {
        name: {column: np.array(values, float) for column, values in columns.items()}
        for name, columns in cases.items()
    }


def test_there_are_twenty_cases_beside_the_two_given() -> None:
    assert len(reference_cases()) == 22
    assert {case["case"] for case in PROC} == set(reference_cases())


@pytest.mark.parametrize("proc", PROC, ids=lambda proc: f"{proc['case']}-{proc['a']}-{proc['b']}")
@pytest.mark.parametrize("method", ["delong", "obuchowski"])
def test_agrees_with_proc(proc: dict[str, Any], method: str) -> None:
    case = reference_cases()[proc["case"]]
    scores = np.stack([case[proc["a"]], case[proc["b"]]])
    if method == "delong":
        estimate = delong(case["label"], scores)
    else:  # a patient an image
        estimate = obuchowski(case["label"], scores, np.arange(len(case["label"])))
    test = compare_aucs(estimate, 0, 1)
    ours = [*estimate.aucs, *np.diag(estimate.covariance), test.covariance, test.z, test.p]
    theirs = [proc[name] for name in ("auc_a", "auc_b", "var_a", "var_b", "cov", "z", "p")]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(wald_interval(estimate, 0), proc["ci_a"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(wald_interval(estimate, 1), proc["ci_b"], rtol=0, atol=1e-10)


def brute_force(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Obuchowski's formulas as printed, over all pairs of images."""
    labels = labels.astype(bool)
    m, n = labels.sum(), (~labels).sum()
    psi = [
        (arm[labels][:, None] > arm[~labels]) + 0.5 * (arm[labels][:, None] == arm[~labels])
        for arm in scores
    ]
    aucs = np.array([pairs.mean() for pairs in psi])
    ids = np.unique(clusters)
    i10, i01 = len(np.unique(clusters[labels])), len(np.unique(clusters[~labels]))
    covariance = np.zeros((len(scores), len(scores)))
    for r, s in product(range(len(scores)), repeat=2):
        s10 = s01 = s11 = s11_turned = 0.0
        for patient in ids:
            high, low = clusters[labels] == patient, clusters[~labels] == patient
            v10 = [psi[a].mean(axis=1)[high].sum() - high.sum() * aucs[a] for a in (r, s)]
            v01 = [psi[a].mean(axis=0)[low].sum() - low.sum() * aucs[a] for a in (r, s)]
            s10 += v10[0] * v10[1]
            s01 += v01[0] * v01[1]
            s11 += v10[0] * v01[1]
            s11_turned += v10[1] * v01[0]
        s10 *= i10 / ((i10 - 1) * m)
        s01 *= i01 / ((i01 - 1) * n)
        cross = len(ids) / (len(ids) - 1) * (s11 + s11_turned)
        covariance[r, s] = s10 / m + s01 / n + cross / (m * n)
    return aucs, covariance


@pytest.mark.parametrize("seed", range(12))
def test_obuchowski_agrees_with_brute_force_on_mixed_clusters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, patients = int(rng.integers(20, 200)), int(rng.integers(4, 30))
    clusters = rng.integers(0, patients, images)
    labels = rng.random(images) < rng.uniform(0.2, 0.8)  # inside a patient, both classes
    effect = rng.normal(size=patients)[clusters]
    scores = labels + effect + rng.normal(size=(3, images))
    if seed % 2:
        scores = scores.round()  # ties
    aucs, covariance = brute_force(labels, scores, clusters)
    estimate = obuchowski(labels, scores, clusters)
    np.testing.assert_allclose(estimate.aucs, aucs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(estimate.covariance, covariance, rtol=0, atol=1e-10)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        expected = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
        assert estimate.difference_variance[a, b] == pytest.approx(expected, abs=1e-10)


def test_one_image_a_patient_makes_obuchowski_delong() -> None:
    case = reference_cases()["the_papers_patients"]
    scores = np.stack([case["a"], case["b"], case["c"]])
    names = np.array([f"patient {number}" for number in range(len(case["label"]))])
    ours, theirs = obuchowski(case["label"], scores, names), delong(case["label"], scores)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-12)
    np.testing.assert_allclose(ours.difference_variance, theirs.difference_variance, rtol=1e-12)


def test_duplicated_images_move_delong_by_the_root_of_two_and_obuchowski_not_at_all() -> None:
    case = reference_cases()["thousands"]
    scores = np.stack([case["a"], case["b"]])
    patients = np.arange(len(case["label"])) // 3
    labels, doubled = np.repeat(case["label"], 2), np.repeat(scores, 2, axis=1)

    once = compare_aucs(obuchowski(case["label"], scores, patients), 0, 1)
    twice = compare_aucs(obuchowski(labels, doubled, np.repeat(patients, 2)), 0, 1)
    assert twice.z == pytest.approx(once.z, rel=1e-12)
    assert twice.covariance == pytest.approx(once.covariance, rel=1e-12)

    once, twice = (
        compare_aucs(delong(*arrays), 0, 1) for arrays in ((case["label"], scores), (labels, doubled))
    )
    assert abs(twice.z) > abs(once.z)
    # up to m/(m − 1), which is not quite one
    assert twice.z / once.z == pytest.approx(np.sqrt(2), rel=1 / 2000)


scored = st.integers(0, 10_000).map(np.random.default_rng).map(
    lambda rng: (
        np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 30)]),
        rng.integers(0, 12, (2, 34)).astype(float),
        np.concatenate([[0, 1, 2, 3], rng.integers(0, 9, 30)]),
    )
)  # fmt: skip


def both_methods(labels: Any, scores: Any, patients: Any) -> list[AucEstimate]:
    return [delong(labels, scores), obuchowski(labels, scores, patients)]


@given(scored)
@settings(max_examples=60, deadline=None)
def test_only_the_order_of_the_scores_counts(case: Case) -> None:
    labels, scores, patients = case
    for before, after in zip(
        both_methods(labels, scores, patients),
        both_methods(labels, np.exp(scores / 3) - 5, patients),
        strict=True,
    ):
        np.testing.assert_array_equal(before.covariance, after.covariance)
        np.testing.assert_array_equal(before.aucs, after.aucs)


@given(scored)
@settings(max_examples=60, deadline=None)
def test_swapped_labels_or_turned_scores_give_one_minus_the_auc(case: Case) -> None:
    labels, scores, patients = case
    for before, swapped, turned in zip(
        both_methods(labels, scores, patients),
        both_methods(1 - labels, scores, patients),
        both_methods(labels, -scores, patients),
        strict=True,
    ):
        for other in (swapped, turned):
            np.testing.assert_allclose(other.aucs, 1 - before.aucs, atol=1e-12)
            np.testing.assert_allclose(other.covariance, before.covariance, atol=1e-12)


@given(scored, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_images_does_not_count(case: Case, seed: int) -> None:
    labels, scores, patients = case
    order = np.random.default_rng(seed).permutation(len(labels))
    for before, after in zip(
        both_methods(labels, scores, patients),
        both_methods(labels[order], scores[:, order], patients[order]),
        strict=True,
    ):
        np.testing.assert_allclose(after.covariance, before.covariance, atol=1e-14)


@given(scored)
@settings(max_examples=40, deadline=None)
def test_covariances_have_no_negative_direction(case: Case) -> None:
    for estimate in both_methods(*case):
        assert np.linalg.eigvalsh(estimate.covariance).min() > -1e-12


def test_the_logit_interval_stays_inside_zero_and_one_around_the_auc() -> None:
    case = reference_cases()["few_high"]
    estimate = delong(case["label"], case["a"])
    assert wald_interval(estimate)[1] == 1
    low, high = wald_interval(estimate, scale="logit")
    assert 0.5 < low < estimate.aucs[0] < high < 1
    width = wald_interval(estimate, level=0.5)
    assert width[1] - width[0] < high - low


def test_perfect_separation_has_variance_zero_and_says_so() -> None:
    estimate = delong([0, 0, 1, 1], [[1, 2, 3, 4], [1, 3, 2, 4]])
    assert estimate.aucs[0] == 1
    assert estimate.covariance[0, 0] == 0
    assert "perfectly" in estimate.notes[0]
    assert estimate.notes[1] == ""
    assert wald_interval(estimate, 0) == wald_interval(estimate, 0, scale="logit") == (1, 1)
    assert np.isfinite(compare_aucs(estimate, 0, 1).z)


def test_identical_arms_do_not_differ_at_all() -> None:
    case = reference_cases()["the_papers_patients"]
    scores = np.stack([case["a"], case["a"] * 3 + 1])
    for estimate in both_methods(case["label"], scores, np.arange(len(case["label"])) // 4):
        test = compare_aucs(estimate, 0, 1)
        assert (test.auc_difference, test.z, test.p, test.low, test.high) == (0, 0, 1, 0, 0)
        assert "do not differ" in test.note


def test_one_image_or_patient_in_a_class_leaves_everything_possible_and_says_so() -> None:
    labels, scores = [1, 0, 0, 0], [[4, 1, 2, 3], [3, 1, 2, 4]]
    for estimate in (delong(labels, scores), obuchowski([1, 1, 0, 0], scores, ["a", "a", "b", "c"])):
        assert np.isposinf(estimate.covariance).all()
        assert wald_interval(estimate, 0) == (0, 1)
        assert "single" in estimate.notes[0]
        test = compare_aucs(estimate, 0, 1)
        assert (test.z, test.p, test.low, test.high) == (0, 1, -1, 1)
        assert "cannot be estimated" in test.note


def test_tied_scores_and_opposite_certainties_are_defined() -> None:
    estimate = delong([0, 0, 1, 1], [[1, 1, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1]])
    np.testing.assert_array_equal(estimate.aucs, [0.5, 1, 0])
    assert "tied" in estimate.notes[0]
    test = compare_aucs(estimate, 1, 2)
    assert (test.z, test.p) == (np.inf, 0)
    assert "no measure of the evidence" in test.note


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [1, 2], "all 2 images are of the high class"),
        ([0, 0], [1, 2], "all 2 images are of the low class"),
        ([], [], "no images"),
        ([0, 2], [1, 2], "image 1 has 2"),
        ([0, np.nan], [1, 2], "image 1 has nan"),
        (["low", "high"], [1, 2], "0 \\(low\\) or 1 \\(high\\)"),
        ([[0, 1]], [1, 2], "one dimension"),
        ([0, 1], [1, 2, 3], "need the shape \\(2,\\)"),
        ([0, 1], [1, np.nan], "1 scores are missing or infinite"),
        ([0, 1], ["a", "b"], "must be numbers"),
    ],
)
def test_what_has_no_auc_is_refused_in_a_sentence(labels: list[int], scores: Any, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        delong(labels, scores)


def test_an_image_without_a_patient_is_refused() -> None:
    with pytest.raises(EvaluationError, match="1 images have no patient, the first is image 2"):
        obuchowski([0, 1, 1], [1, 2, 3], np.array(["a", "b", None]))
    with pytest.raises(EvaluationError, match=r"patients need the shape \(3,\)"):
        obuchowski([0, 1, 1], [1, 2, 3], ["a", "b"])


@pytest.mark.parametrize("clustered", [False, True])
def test_a_million_scores_of_two_arms_take_seconds_and_linear_memory(clustered: bool) -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for images in (250_000, 1_000_000):
        labels = rng.random(images) < 0.4
        scores = labels + rng.normal(size=(2, images))
        patients = np.arange(images) // 60
        tracemalloc.start()
        start = time.perf_counter()
        estimate = obuchowski(labels, scores, patients) if clustered else delong(labels, scores)
        seconds = time.perf_counter() - start
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.isfinite(compare_aucs(estimate, 0, 1).z)
    assert seconds < 20  # 0.6 s on a quiet core
    assert peaks[1] < 4.2 * peaks[0]
    assert peaks[1] < 200 * images  # bytes
