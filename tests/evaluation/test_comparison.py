"""Arms side by side, in the form that other programs read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.statistics.auc import compare_aucs, delong, obuchowski
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import wilson
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.rates import confusion, patient_scores, rate_intervals

ARMS = ("bmode", "ceus", "fused")


@pytest.fixture
def scored() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 8)
    labels = (patients < 15).astype(int)
    logits = np.array([[0.8], [1.0], [1.6]]) * labels + rng.normal(size=(3, 40))[:, patients]
    scores = 1 / (1 + np.exp(-logits - rng.normal(size=(3, 320)) + 0.5))
    return {"labels": labels, "scores": scores, "patients": patients.astype(str)}


def test_the_keys_are_those_of_the_contract(scored):
    found = json.loads(json.dumps(compare_arms(ARMS, **scored), allow_nan=False))
    assert {"arms", "tests", "level", "method"} <= set(found)
    rates = {"accuracy", "sensitivity", "specificity", "ppv", "npv"}
    for arm, name in zip(found["arms"], ARMS, strict=True):
        assert {"name", "images", "patients", "auc", "auc_ci", "auc_variance", *rates} <= set(arm)
        assert (arm["name"], arm["images"], arm["patients"]) == (name, 320, 40)
        assert all(set(arm[rate]) == {"value", "ci"} and len(arm[rate]["ci"]) == 2 for rate in rates)
    assert [(test["a"], test["b"]) for test in found["tests"]] == [
        *(("bmode", "ceus"), ("bmode", "fused"), ("ceus", "fused")),
    ]
    assert all({"auc_difference", "covariance", "z", "p"} <= set(test) for test in found["tests"])


def test_images_are_clustered_by_patient_unless_told(scored):
    found = compare_arms(ARMS, **scored)
    assert (found["level"], found["method"]) == ("image", "obuchowski")
    estimate = obuchowski(scored["labels"], scored["scores"], scored["patients"])
    assert found["arms"][2]["auc_variance"] == estimate.covariance[2, 2]
    test = compare_aucs(estimate, 0, 2)
    assert (found["tests"][1]["z"], found["tests"][1]["p"]) == (test.z, test.p)
    assert [test["p_holm"] for test in found["tests"]] == pytest.approx(
        holm([test["p"] for test in found["tests"]])
    )
    rates = rate_intervals(scored["labels"], scored["scores"][1], scored["patients"])
    assert found["arms"][1]["npv"]["ci"] == [rates["npv"].low, rates["npv"].high]
    naive = compare_arms(ARMS, **scored, method="delong")
    assert naive["arms"][0]["auc_variance"] < found["arms"][0]["auc_variance"] / 2


def test_patients_are_compared_by_the_mean_of_their_images(scored):
    found = compare_arms(ARMS, **scored, level="patient")
    assert (found["level"], found["method"]) == ("patient", "delong")
    pooled = patient_scores(**scored)
    estimate = delong(pooled.labels, pooled.scores)
    assert found["arms"][0]["auc"] == estimate.aucs[0]
    assert found["tests"][0]["covariance"] == estimate.covariance[0, 1]
    counts = confusion(pooled.labels, pooled.scores[0])
    expected = wilson(counts.tp, counts.tp + counts.fn)
    assert found["arms"][0]["sensitivity"] == {
        "value": expected.value,
        "ci": [expected.low, expected.high],
    }
    assert (found["arms"][0]["images"], found["arms"][0]["patients"]) == (320, 40)
    clustered = compare_arms(ARMS, **scored, level="patient", method="obuchowski")
    assert clustered["tests"][0]["z"] == pytest.approx(found["tests"][0]["z"])


def test_each_arm_may_have_its_own_threshold(scored):
    found = compare_arms(ARMS, **scored, thresholds=[0.3, 0.5, 0.7])
    assert [arm["threshold"] for arm in found["arms"]] == [0.3, 0.5, 0.7]
    expected = confusion(scored["labels"], scored["scores"][0], 0.3).rates()
    assert found["arms"][0]["ppv"]["value"] == pytest.approx(expected["ppv"])


def test_one_arm_has_no_tests(scored):
    found = compare_arms(["fused"], scored["labels"], scored["scores"][2], scored["patients"])
    assert found["tests"] == []


def test_degenerate_arms_are_defined_and_fit_for_json(scored):
    labels = scored["labels"]
    scores = np.stack([labels * 0.2 + 0.1, labels * 0.2 + 0.1, 0.9 - 0.8 * labels])
    found = compare_arms(ARMS, labels, scores, scored["patients"])
    json.dumps(found, allow_nan=False)
    perfect, same = found["arms"][0], found["tests"][0]
    assert (perfect["auc"], perfect["auc_ci"], perfect["auc_variance"]) == (1, [1, 1], 0)
    assert perfect["ppv"] == {"value": None, "ci": [0, 1]}
    assert any("perfectly" in note for note in perfect["notes"])
    assert any(note.startswith("ppv: Nothing to count") for note in perfect["notes"])
    assert (same["auc_difference"], same["z"], same["p"]) == (0, 0, 1)
    assert (found["tests"][1]["z"], found["tests"][1]["p"]) == (None, 0)
    alone = compare_arms(ARMS, [1, 0, 0], scores[:, [0, 150, 300]], ["a", "b", "c"])
    json.dumps(alone, allow_nan=False)
    assert (alone["arms"][0]["auc_variance"], alone["arms"][0]["auc_ci"]) == (None, [0, 1])


@pytest.mark.parametrize("level", ["image", "patient"])
def test_a_patient_with_two_labels_is_refused(scored, level):
    scored["labels"][0] = 0
    with pytest.raises(EvaluationError, match="1 patient has images of both classes, for example 0"):
        compare_arms(ARMS, **scored, level=level)


def test_names_that_do_not_fit_are_refused(scored):
    with pytest.raises(
        EvaluationError, match=r"2 names and thresholds of the shape \(2,\) do not fit 3 arms"
    ):
        compare_arms(ARMS[:2], **scored, thresholds=[0.5, 0.5])
    with pytest.raises(EvaluationError, match="two arms have the same name"):
        compare_arms(["a", "b", "a"], **scored)
