"""From scores to risks: against scikit-learn, and laws that hold at sixteen patients."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.firth import fit_line, intercept_estimate, slope_estimate
from mufnet_lightning.evaluation.statistics.recalibration import Recalibration, recalibrate
from mufnet_lightning.evaluation.statistics.risk_calibration import risk_calibration

D = float(np.sqrt(2) * norm.ppf(0.85))


def miscalibrated(
    rng: np.random.Generator, high: int, low: int, intercept: float = -1.28, slope: float = 1.32
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of patients whose risk is expit(intercept + slope * logit(score)), AUC 0.85."""
    labels = np.repeat([1, 0], [high, low])
    signal = D * (rng.normal(size=high + low) + (labels - 0.5) * D)
    return labels, expit((signal + logit(high / (high + low)) - intercept) / slope)


def test_with_many_patients_it_is_the_plain_likelihoods() -> None:
    labels, scores = miscalibrated(np.random.default_rng(0), 20_000, 60_000)
    plain = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(scores)[:, None], labels)
    fit = recalibrate(labels, scores)
    assert fit.slope == pytest.approx(plain.coef_[0, 0], abs=0.003)
    assert fit.intercept == pytest.approx(plain.intercept_[0], abs=0.003)
    assert fit.intercept == pytest.approx(-1.28, abs=0.05)
    assert fit.slope == pytest.approx(1.32, abs=0.05)


def test_firths_line_through_a_two_by_two_table_adds_half_to_each_cell() -> None:
    """Heinze & Schemper 2002, section 2: so R's logistf has it too."""
    values = np.repeat([0.0, 0.0, 1.0, 1.0], [10, 3, 2, 9])
    positive = np.repeat([False, True, False, True], [10, 3, 2, 9])
    slope = np.log(9.5 / 2.5) - np.log(3.5 / 10.5)
    assert slope_estimate(values, positive).value == pytest.approx(slope, abs=1e-5)
    assert fit_line(values, positive).slope == pytest.approx(slope, abs=1e-5)
    # and an intercept alone, which has no penalty, is the logit of the share
    alone = intercept_estimate(np.zeros(15), positive[:15]).value
    assert alone == pytest.approx(logit(3 / 15), abs=1e-8)


@pytest.mark.parametrize(("high", "low"), [(1, 1), (1, 15), (4, 12), (21, 59)])
def test_separated_classes_give_finite_risks_that_rise(high: int, low: int) -> None:
    labels = np.repeat([1, 0], [high, low])
    for scores in (
        np.where(labels, 1.0, 0.0),
        np.linspace(1, 0, high + low),
        np.where(labels, 0.51, 0.49),
    ):
        fit = recalibrate(labels, scores)
        spread = np.std(logit(np.clip(scores, 1e-3, 1 - 1e-3)))
        assert 0 < fit.slope * spread < 8
        risks = fit.apply(scores)
        assert ((risks > 0) & (risks < 1)).all()
        assert risks.mean() == pytest.approx(high / (high + low), abs=1e-3)
        rising = fit.apply(np.linspace(0, 1, 50))
        assert (np.diff(rising) >= 0).all()
        assert 0 < rising[0] < rising[-1] < 1


def test_the_scale_of_the_scores_changes_no_risk() -> None:
    """A network after an epoch or two has logits ten times too narrow."""
    labels, scores = miscalibrated(np.random.default_rng(2), 4, 12)
    narrow = expit(0.1 * logit(scores) + 0.8)
    expected = recalibrate(labels, scores).apply(scores)
    np.testing.assert_allclose(recalibrate(labels, narrow).apply(narrow), expected, atol=1e-4)


def test_the_wrong_way_round_is_said_and_nobody_is_turned_over() -> None:
    fit = recalibrate([1, 1, 1, 0, 0, 0, 0, 0, 0], np.linspace(0.1, 0.9, 9))
    assert fit.slope == 0
    assert "the wrong way" in fit.note
    assert fit.apply([0.01, 0.99]) == pytest.approx([1 / 3, 1 / 3])
    alike = recalibrate([1, 0, 0], [0.4, 0.4, 0.4])
    assert alike.apply([0.4, 0.9]) == pytest.approx([1 / 3, 1 / 3])
    assert "alike" in alike.note


def test_the_intercept_takes_off_what_a_balanced_sampler_moves() -> None:
    """Scores that are right where half are high, of patients of whom a quarter are."""
    labels, scores = miscalibrated(np.random.default_rng(1), 5_000, 15_000, float(logit(0.25)), 1)
    assert scores.mean() > 0.3
    fit = recalibrate(labels, scores)
    assert fit.intercept == pytest.approx(logit(0.25), abs=0.06)
    back = fit.at_share(0.5)
    assert back.apply([0.5]) == pytest.approx([0.5], abs=0.02)
    assert back.slope == fit.slope


def test_a_patient_counts_once_with_the_mean_of_the_images() -> None:
    labels, scores = [0, 0, 1, 0, 1, 1], [0.2, 0.4, 0.5, 0.1, 0.7, 0.9]
    once = recalibrate(labels, scores)
    # each of the first two twice, 0.1 to both sides
    many = recalibrate(
        [0, 0, 0, 0, *labels[2:]],
        [0.1, 0.3, 0.3, 0.5, *scores[2:]],
        ["a", "a", "b", "b", "c", "d", "e", "f"],
    )
    assert many.slope == pytest.approx(once.slope)
    assert (many.high, many.low) == (3, 3)


def test_it_is_kept_as_json_and_what_is_none_is_refused() -> None:
    fit = recalibrate([0, 1, 0, 1], [0.2, 0.6, 0.5, 0.7])
    content = json.loads(json.dumps(fit.as_json()))
    assert Recalibration.from_json({**content, "of_a_later_version": 1}) == fit
    with pytest.raises(EvaluationError, match="slope"):
        Recalibration.from_json({"intercept": 0})
    with pytest.raises(EvaluationError, match="all 2 patients are of low grade"):
        recalibrate([0, 0], [0.2, 0.3])
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        recalibrate([0, 1], [0.2, 1.3])
    with pytest.raises(EvaluationError, match="share"):
        fit.at_share(1)


def test_recalibrated_risks_are_right_where_scores_are_not() -> None:
    """Fitted on 160 patients, held against 100 others: intercept 0 and slope 1 in their intervals."""
    rng = np.random.default_rng(5)
    held = {"risk": 0, "score": 0}
    for _ in range(40):
        fit = recalibrate(*miscalibrated(rng, 42, 118))
        labels, scores = miscalibrated(rng, 26, 74)
        for name, values in (("risk", fit.apply(scores)), ("score", scores)):
            calibration = risk_calibration(labels, values)
            right = calibration.intercept.low <= 0 <= calibration.intercept.high
            held[name] += right and calibration.slope.low <= 1 <= calibration.slope.high
    assert held["risk"] >= 33
    assert held["score"] <= 2


def tiny_differences() -> tuple[np.ndarray, np.ndarray]:
    """Four high and twelve low patients, scores .5 give or take .001, classes .8 SD apart."""
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [4, 12])
    noise = rng.normal(size=16)
    noise[labels == 1] -= noise[labels == 1].mean()
    noise[labels == 0] -= noise[labels == 0].mean()
    return labels, 0.5 + 0.001 * (noise / noise.std() + 0.8 * labels)


def test_nothing_is_extrapolated_beyond_the_validation_patients() -> None:
    labels, scores = tiny_differences()
    fit = recalibrate(labels, scores)
    logits = logit(scores)
    assert fit.limits is not None
    slack = np.std(logits)
    np.testing.assert_allclose(fit.limits, (logits.min() - slack, logits.max() + slack))
    # who is beyond is taken at that end
    ends = fit.apply(expit(np.array(fit.limits)))
    np.testing.assert_allclose(fit.apply([0.48, 0.52]), ends)
    np.testing.assert_allclose(fit.apply([0, 1]), ends)
    assert 0.01 < ends[0] < ends[1] < 0.99
    # the patients it was fitted on are where the line has them
    np.testing.assert_allclose(fit.apply(scores), expit(fit.intercept + fit.slope * logits), rtol=1e-9)
    # a scanner that adds .01 to every score makes nobody certain
    assert fit.apply(scores + 0.01).max() <= ends[1]
    assert fit.at_share(0.5).limits == fit.limits


@pytest.mark.parametrize("seed", range(20))
def test_a_higher_score_never_has_a_lower_risk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    high, low = map(int, rng.integers(1, 30, 2))
    labels, scores = miscalibrated(rng, high, low, slope=float(rng.uniform(0.1, 200)))
    risks = recalibrate(labels, scores).apply(np.linspace(0, 1, 1001))
    assert (np.diff(risks) >= 0).all()


def test_noise_that_is_amplified_is_said() -> None:
    labels, scores = tiny_differences()
    fit = recalibrate(labels, scores)
    assert fit.slope > 100
    assert "span only" in fit.note
    assert f"slope of {fit.slope:.0f}" in fit.note
    wide = recalibrate(*miscalibrated(np.random.default_rng(2), 4, 12))
    assert wide.note == ""
    # steep although they span more than .05
    spread = np.where(labels, 0.54, 0.46) + np.linspace(-0.005, 0.005, 16)
    steep = recalibrate(labels, spread)
    assert np.ptp(spread) > 0.05
    assert steep.slope > 10
    assert "slope of" in steep.note
    assert "span only" not in steep.note
    # narrow and useless: both are said
    both = recalibrate([1, 1, 0, 0, 0], [0.500, 0.501, 0.502, 0.503, 0.504])
    assert both.slope == 0
    assert "the wrong way" in both.note


def test_a_file_of_before_has_no_limits_and_is_read_as_it_was() -> None:
    before = {"intercept": -1.0, "slope": 2.0, "high": 4, "low": 12, "note": ""}
    fit = Recalibration.from_json(before)
    assert fit.limits is None
    assert fit.apply([0.9]) == pytest.approx(expit(-1 + 2 * logit(0.9)))
    assert Recalibration.from_json(json.loads(json.dumps(fit.as_json()))) == fit
    for wrong in ([0.0], ["a", "b"], 3, [1.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(EvaluationError, match="not a recalibration"):
            Recalibration.from_json({**before, "limits": wrong})
