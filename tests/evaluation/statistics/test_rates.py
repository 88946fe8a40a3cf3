"""Rates at a threshold, Youden's threshold, patients, calibration: against scikit-learn, and laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve as sk_calibration_curve

from mufnet_lightning.evaluation.statistics.calibration import (
    brier_score,
    calibration_curve,
    calibration_error,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import wilson
from mufnet_lightning.evaluation.statistics.rates import (
    confusion,
    patient_scores,
    rate_intervals,
    roc_curve,
    youden_threshold,
)
from mufnet_lightning.vocabulary import RATES

Scored = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def scored() -> Scored:
    """Labels, scores and patients of 400 images of 20 patients, with ties."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(20), 20)
    labels = (patients < 8).astype(int)
    logits = 1.2 * labels + rng.normal(size=20)[patients] + rng.normal(size=400)
    return labels, (1 / (1 + np.exp(-logits))).round(2), patients


def test_rates_agree_with_scikit_learn(scored: Scored) -> None:
    labels, scores, _ = scored
    called = scores > 0.5
    ours = confusion(labels, scores)
    assert [[ours.tn, ours.fp], [ours.fn, ours.tp]] == sk.confusion_matrix(labels, called).tolist()
    assert ours.rates() == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, called),
            "sensitivity": sk.recall_score(labels, called),
            "specificity": sk.recall_score(labels, called, pos_label=0),
            "ppv": sk.precision_score(labels, called),
            "npv": sk.precision_score(labels, called, pos_label=0),
            "f1": sk.f1_score(labels, called),
        }
    )


def test_a_score_at_the_threshold_is_called_low_as_the_argmax_does() -> None:
    assert confusion([1, 0], [0.5, 0.5]).tn == 1
    assert confusion([1, 0], [0.7, 0.2], threshold=0.1).fp == 1


def test_intervals_are_wilsons_for_patients_and_wider_for_their_images(scored: Scored) -> None:
    labels, scores, patients = scored
    naive = rate_intervals(labels, scores)
    clustered = rate_intervals(labels, scores, patients)
    counts = confusion(labels, scores)
    assert naive["ppv"] == wilson(counts.tp, counts.tp + counts.fp)
    assert list(clustered) == list(RATES)
    for name in RATES:
        assert clustered[name].value == pytest.approx(counts.rates()[name])
        assert clustered[name].value == pytest.approx(naive[name].value)
        assert clustered[name].low < naive[name].low <= naive[name].high < clustered[name].high
    own = rate_intervals(labels, scores, np.arange(400).astype(str))
    assert own == naive


def test_a_rate_without_images_is_not_defined_and_says_so() -> None:
    rates = rate_intervals([0, 0, 1], [0.1, 0.2, 0.3], [1, 1, 2])
    assert np.isnan(rates["ppv"].value)
    assert (rates["ppv"].low, rates["ppv"].high) == (0, 1)
    assert rates["ppv"].note
    assert np.isnan(confusion([0, 1], [0.1, 0.2]).rates()["ppv"])
    assert confusion([0, 1], [0.1, 0.2]).rates()["f1"] == 0


def test_youdens_threshold_is_the_best_of_all(scored: Scored) -> None:
    labels, scores, _ = scored
    ours = youden_threshold(labels, scores)
    low, high, _ = sk.roc_curve(labels, scores)
    rates = confusion(labels, scores, ours.value).rates()
    assert rates["sensitivity"] == pytest.approx(ours.sensitivity)
    assert rates["specificity"] == pytest.approx(ours.specificity)
    assert ours.sensitivity + ours.specificity - 1 == pytest.approx((high - low).max())
    assert not ours.note


def test_youdens_threshold_lies_between_scores_and_near_a_half() -> None:
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]).value == pytest.approx(0.4)
    # (0.2, 0.3) and (0.6, 0.8) cut equally well; 0.7 is nearer to 0.5 than 0.25
    labels, scores = [0, 1, 0, 1], [0.2, 0.3, 0.6, 0.8]
    assert youden_threshold(labels, scores).value == pytest.approx(0.7)


@pytest.mark.parametrize("scores", [[0.7, 0.7, 0.7], [0.9, 0.2, 0.2], [0.4, 0.3, 0.3]])
def test_without_a_threshold_better_than_chance_a_half_is_kept(scores: list[float]) -> None:
    labels = [0, 1, 1]
    ours = youden_threshold(labels, scores)
    assert ours.value == 0.5
    assert "better than chance" in ours.note
    assert ours.sensitivity == confusion(labels, scores).rates()["sensitivity"]


def test_a_patients_score_is_the_mean_of_its_images(scored: Scored) -> None:
    labels, scores, patients = scored
    order = np.random.default_rng(0).permutation(400)
    ours = patient_scores(labels[order], np.stack([scores, -scores])[:, order], patients[order])
    assert ours.scores.shape == (2, 20)
    for name, label, score in zip(ours.patients, ours.labels, ours.scores[0], strict=True):
        assert label == (name < 8)
        assert score == pytest.approx(scores[patients == name].mean())


def test_a_repeated_image_changes_no_other_patient(scored: Scored) -> None:
    labels, scores, patients = scored
    before = patient_scores(labels, scores, patients)
    after = patient_scores(*(np.append(values, values[0]) for values in (labels, scores, patients)))
    np.testing.assert_allclose(after.scores[0, 1:], before.scores[0, 1:])


def test_a_patient_with_two_labels_has_no_label() -> None:
    with pytest.raises(EvaluationError, match="1 patient has images of both classes, for example b"):
        patient_scores([0, 1, 0], [0.1, 0.2, 0.3], ["a", "b", "b"])


def test_the_roc_curve_has_the_area_of_the_auc(scored: Scored) -> None:
    labels, scores, _ = scored
    low, high = roc_curve(labels, scores)
    assert (low[0], high[0], low[-1], high[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(high, low) == pytest.approx(sk.roc_auc_score(labels, scores))


def test_brier_and_calibration_agree_with_scikit_learn(scored: Scored) -> None:
    labels, scores, _ = scored
    assert brier_score(labels, scores) == pytest.approx(sk.brier_score_loss(labels, scores))
    share, score = sk_calibration_curve(labels, np.minimum(scores + 1e-9, 1), n_bins=10)
    ours = calibration_curve(labels, scores)
    np.testing.assert_allclose(ours.share, share)
    np.testing.assert_allclose(ours.score, score, atol=1e-8)
    assert ours.images.sum() == 400
    assert calibration_error(labels, scores) == pytest.approx(
        (ours.images * np.abs(share - score)).sum() / 400, abs=1e-8
    )


def test_true_probabilities_are_calibrated_and_a_wrong_scale_is_not() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200_000)
    labels = rng.random(200_000) < scores
    assert calibration_error(labels, scores) < 0.01
    assert calibration_error(labels, scores / 2) == pytest.approx(0.25, abs=0.01)
    assert calibration_curve([1, 0], [1, 0]).share.tolist() == [0, 1]


@pytest.mark.parametrize("measure", [brier_score, calibration_error])
def test_what_is_no_probability_has_no_calibration(measure: Callable[..., object]) -> None:
    with pytest.raises(EvaluationError, match="scores from 0 to 1"):
        measure([0, 1], [0.5, 1.5])


@pytest.mark.parametrize("measure", [confusion, brier_score, youden_threshold])
def test_two_arms_at_once_are_refused_where_one_is_asked(measure: Callable[..., object]) -> None:
    with pytest.raises(EvaluationError, match="one arm, not of 2"):
        measure([0, 1], [[0.1, 0.2], [0.3, 0.4]])
