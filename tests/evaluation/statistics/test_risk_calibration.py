"""Are risks right? Coverage and size at few patients, and the decision curve against dcurves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import chi2, norm
from sklearn.metrics import brier_score_loss

from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.decision_curve import decision_curve
from mufnet_lightning.evaluation.statistics.firth import intercept_estimate, slope_estimate
from mufnet_lightning.evaluation.statistics.intervals import wilson
from mufnet_lightning.evaluation.statistics.risk_calibration import (
    calibration_test,
    risk_calibration,
    risk_curve,
)


def right_risks(
    rng: np.random.Generator, high: int, low: int, auc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Patients drawn from a clinic with that share of high grade, and their true risks."""
    d, patients, share = float(np.sqrt(2) * norm.ppf(auc)), high + low, high / (high + low)
    labels = rng.random(patients) < share
    while labels.all() or not labels.any():
        labels = rng.random(patients) < share
    signal = d * (rng.normal(size=patients) + (labels - 0.5) * d)
    return labels, expit(signal + logit(share))


@pytest.mark.parametrize(("high", "low", "auc"), [(5, 15, 0.91), (13, 19, 0.85), (26, 74, 0.75)])
def test_risks_that_are_right_are_seldom_doubted(high: int, low: int, auc: float) -> None:
    """docs/risk.md has 2,000 sets of each size; here 100, which tells 95% from the 86% of plain
    likelihood."""
    rng = np.random.default_rng(high)
    sets = [right_risks(rng, high, low, auc) for _ in range(100)]
    slopes = [slope_estimate(logit(risks), labels) for labels, risks in sets]
    intercepts = [intercept_estimate(logit(risks), labels) for labels, risks in sets]
    p = [calibration_test(labels, risks, 499, seed) for seed, (labels, risks) in enumerate(sets)]
    assert np.mean([one.low <= 1 <= one.high for one in slopes]) > 0.9
    assert np.mean([one.low <= 0 <= one.high for one in intercepts]) > 0.9
    assert np.mean(np.array(p) <= 0.05) < 0.09


@pytest.mark.parametrize(("high", "low"), [(10, 10), (5, 15), (26, 74)])
@pytest.mark.parametrize("near", [0.001, 0.0])
def test_sharp_risks_that_are_all_right_leave_the_intercept_at_0(
    high: int, low: int, near: float
) -> None:
    labels = np.arange(high + low) < high
    held = risk_calibration(labels, np.where(labels, 1 - near, near)).intercept
    assert abs(held.value) < 1  # unequal classes leave it flat, not far off
    assert held.low < 0 < held.high
    assert held.low < held.value < held.high


def test_the_intercept_is_that_of_plain_likelihood() -> None:
    labels, risks = right_risks(np.random.default_rng(6), 13, 19, 0.91)
    held = intercept_estimate(logit(risks), labels)

    def height(a: float) -> float:
        logits = a + logit(risks)
        return float(np.sum(labels * logits - np.logaddexp(0, logits)))

    assert height(held.value) >= max(height(a) for a in np.linspace(-10, 10, 2001))
    for limit in held.limits:
        assert 2 * (height(held.value) - height(limit)) == pytest.approx(chi2.ppf(0.95, 1), abs=1e-3)


def test_wrong_risks_are_seen_with_a_hundred_patients() -> None:
    rng = np.random.default_rng(0)
    sets = [right_risks(rng, 26, 74, 0.85) for _ in range(30)]
    for slope, intercept in ((2.0, 0.0), (1.0, 1.0)):
        doubted = [
            calibration_test(labels, expit(intercept + slope * logit(risks)), 499) <= 0.05
            for labels, risks in sets
        ]
        assert np.mean(doubted) > 0.8


def test_the_test_is_coxs_where_patients_are_many() -> None:
    """By likelihood ratio and chi-squared with two degrees of freedom, fitted by SciPy."""
    rng = np.random.default_rng(2)
    labels, true = right_risks(rng, 260, 740, 0.85)
    risks = expit(0.15 + 1.1 * logit(true))

    def minus(line: np.ndarray) -> float:
        logits = line[0] + line[1] * logit(risks)
        return float(np.sum(np.logaddexp(0, logits) - labels * logits))

    best = minimize(minus, [0, 1])
    p = float(chi2.sf(2 * (minus(np.array([0, 1])) - best.fun), 2))
    assert 0.001 < p < 0.9
    assert calibration_test(labels, risks) == pytest.approx(p, abs=0.02)
    calibration = risk_calibration(labels, risks)
    assert calibration.slope.value == pytest.approx(best.x[1], abs=0.01)


def test_numbers_are_scikit_learns_and_strict_json() -> None:
    labels, risks = right_risks(np.random.default_rng(3), 13, 19, 0.85)
    calibration = risk_calibration(labels, risks)
    assert calibration.brier == pytest.approx(brier_score_loss(labels, risks))
    always = np.full(32, labels.mean())
    assert calibration.brier_skill == pytest.approx(
        1 - brier_score_loss(labels, risks) / brier_score_loss(labels, always)
    )
    share = risk_calibration(labels, always)
    assert share.brier_skill == pytest.approx(0)
    assert np.isnan(share.slope.value)
    assert share.p == 1
    assert share.intercept.low < 0 < share.intercept.high
    assert "calibration_slope" not in share.numbers()
    for one in (calibration, share):
        json.dumps(one.as_json(), allow_nan=False)


def test_risks_that_are_certain_are_taken_and_others_refused() -> None:
    labels = [0, 0, 0, 1, 1]
    calibration = risk_calibration(labels, [0, 0.2, 0, 1, 1])
    assert np.isfinite([*calibration.slope.limits, *calibration.intercept.limits]).all()
    assert calibration_test([1, 0, 1, 0], [0, 0, 1, 1]) < 0.01  # what cannot be has come true
    with pytest.raises(EvaluationError, match="from 0 to 1"):
        risk_calibration(labels, [0.1, 0.2, 0.3, 0.4, 1.5])
    with pytest.raises(EvaluationError, match="both classes"):
        risk_calibration([0, 0], [0.1, 0.2])
    with pytest.raises(EvaluationError, match="one arm"):
        risk_curve([0, 1], [[0.1, 0.2], [0.1, 0.2]])


def test_a_curve_has_every_patient_once_and_wilsons_limits() -> None:
    labels, risks = right_risks(np.random.default_rng(4), 26, 74, 0.85)
    curve = risk_curve(labels, risks)
    assert curve.patients.tolist() == [10] * 10
    order = np.argsort(risks)
    assert curve.risk[0] == pytest.approx(risks[order[:10]].mean())
    last = wilson(int(labels[order[-10:]].sum()), 10)
    assert (curve.share[-1], curve.low[-1], curve.high[-1]) == (last.value, last.low, last.high)
    tied = risk_curve([0, 1, 0, 1, 1], [0.2, 0.2, 0.2, 0.2, 0.7], 4)
    assert tied.patients.tolist() == [4, 1]
    assert risk_curve([0, 1, 0], [0.3, 0.3, 0.3]).patients.tolist() == [3]


def test_net_benefit_is_that_of_dcurves() -> None:
    """Of the package dcurves 1.1.2 (`dcurves.dca`), run once on these twenty patients."""
    labels = [0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]
    risks = [0.02, 0.05, 0.08, 0.11, 0.12, 0.2, 0.25, 0.3, 0.35, 0.4]
    risks += [0.1, 0.6, 0.15, 0.18, 0.07, 0.9, 0.03, 0.5, 0.22, 0.01]
    reference = {  # threshold: model, treat all
        0.01: (0.29292929292929293, 0.29292929292929293),
        0.05: (0.2710526315789474, 0.2631578947368421),
        0.1: (0.25555555555555554, 0.2222222222222222),
        0.11: (0.25674157303370787, 0.21348314606741572),
        0.2: (0.2, 0.125),
        0.25: (0.15, 0.06666666666666668),
        0.35: (0.09615384615384615, -0.07692307692307687),
        0.5: (0.049999999999999996, -0.39999999999999997),
        0.6: (0.09999999999999999, -0.7499999999999998),
        0.75: (0.049999999999999996, -1.7999999999999996),
        0.95: (0.0, -12.999999999999986),
    }
    curve = decision_curve(labels, risks, list(reference))
    np.testing.assert_allclose(
        np.stack([curve.model, curve.treat_all], axis=1), list(reference.values()), atol=1e-12
    )
    assert (curve.patients, curve.high) == (20, 6)
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        decision_curve(labels, risks, [0.5, 1])


def test_net_benefit_is_that_of_dcurves_on_its_own_data() -> None:
    """The first sixty patients of its df_binary.csv: outcome `cancer`, model `cancerpredmarker`."""
    risks = [0.037201, 0.578907, 0.021551, 0.00391, 0.01879, 0.042638, 0.296262, 0.387292, 0.037254]
    risks += [0.032037, 0.038008, 0.027301, 0.061962, 0.02679, 0.028428, 0.453508, 0.020353, 0.329523]
    risks += [0.054316, 0.040892, 0.008106, 0.050443, 0.012815, 0.016477, 0.155201, 0.013012, 0.011675]
    risks += [0.033226, 0.092651, 0.04847, 0.012784, 0.030319, 0.013813, 0.049562, 0.027777, 0.567192]
    risks += [0.01459, 0.047727, 0.047005, 0.344109, 0.567525, 0.124882, 0.392327, 0.103668, 0.085588]
    risks += [0.316669, 0.204508, 0.058636, 0.060713, 0.00552, 0.144906, 0.04707, 0.008727, 0.430633]
    risks += [0.000959, 0.005548, 0.023971, 0.123184, 0.188266, 0.386165]
    labels = np.isin(np.arange(60), [7, 11, 15, 27, 35, 42, 53])
    curve = decision_curve(labels, risks, [0.05, 0.1, 0.15, 0.2, 0.3, 0.35, 0.5])
    model = [0.064912, 0.057407, 0.053922, 0.05, 0.040476, 0.05641, -0.016667]
    treat_all = [0.070175, 0.018519, -0.039216, -0.104167, -0.261905, -0.358974, -0.766667]
    np.testing.assert_allclose(curve.model, model, atol=1e-6)
    np.testing.assert_allclose(curve.treat_all, treat_all, atol=1e-6)
