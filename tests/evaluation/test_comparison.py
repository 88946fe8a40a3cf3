"""Arms side by side, in the form that other programs read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.statistics import checks, scores
from mufnet_lightning.evaluation.statistics.auc import compare_aucs, delong, obuchowski, wald_interval
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.differences import auc_difference
from mufnet_lightning.evaluation.statistics.intervals import wilson
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.rates import confusion, patient_scores, rate_intervals
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import CHOSEN_HERE, RATES, IntervalRule, Level

ARMS = ("bmode", "ceus", "fused")
LEVELS: tuple[Level, ...] = ("image", "patient")
RULES: tuple[IntervalRule, ...] = ("small-sample", "plain")


@pytest.fixture
def scored() -> Scores:
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 8)
    labels = (patients < 15).astype(int)
    logits = np.array([[0.8], [1.0], [1.6]]) * labels + rng.normal(size=(3, 40))[:, patients]
    values = 1 / (1 + np.exp(-logits - rng.normal(size=(3, 320)) + 0.5))
    return Scores.of(labels, values, patients.astype(str), ARMS)


def test_the_keys_are_those_of_the_contract(scored: Scores) -> None:
    content: dict[str, Any] = json.loads(json.dumps(compare_arms(scored).as_json(), allow_nan=False))
    assert list(content) == ["arms", "tests", "level", "method", "confidence", "intervals"]
    head = ["name", "images", "patients", "auc", "auc_ci", "auc_variance"]
    for arm, name in zip(content["arms"], ARMS, strict=True):
        assert list(arm) == [*head, *RATES, "threshold", "notes"]
        assert (arm["name"], arm["images"], arm["patients"]) == (name, 320, 40)
        assert all(list(arm[rate]) == ["value", "ci"] and len(arm[rate]["ci"]) == 2 for rate in RATES)
    assert [(test["a"], test["b"]) for test in content["tests"]] == [
        *(("bmode", "ceus"), ("bmode", "fused"), ("ceus", "fused")),
    ]
    for test in content["tests"]:
        assert {"auc_difference", "covariance", "z", "p"} <= set(test)


def test_images_are_clustered_by_patient_unless_told(scored: Scores) -> None:
    result = compare_arms(scored)
    assert (result.level, result.method) == ("image", "obuchowski")
    estimate = obuchowski(scored.labels, scored.scores, scored.patients)
    assert result.arms[2].auc_variance == estimate.covariance[2, 2]
    limits = (result.arms[0].auc_ci, result.arms[2].auc_ci)
    test = auc_difference(scored, estimate, (0, 2), limits)
    assert (result.tests[1].z, result.tests[1].p) == (test.z, test.p)
    assert test.z == pytest.approx(compare_aucs(estimate, 0, 2).z, rel=0.15)
    assert [pair.p_holm for pair in result.tests] == pytest.approx(
        holm([pair.p for pair in result.tests])
    )
    rates = rate_intervals(scored.labels, scored.scores[1], scored.patients)
    assert result.arms[1].rates["npv"] == rates["npv"]
    naive = compare_arms(scored, method="delong")
    assert naive.arms[0].auc_variance < result.arms[0].auc_variance / 2


def test_patients_are_compared_by_the_mean_of_their_images(scored: Scores) -> None:
    result = compare_arms(scored, level="patient")
    assert (result.level, result.method) == ("patient", "delong")
    pooled = patient_scores(scored.labels, scored.scores, scored.patients)
    estimate = delong(pooled.labels, pooled.scores)
    assert result.arms[0].auc == estimate.aucs[0]
    assert result.tests[0].covariance == estimate.covariance[0, 1]
    counts = confusion(pooled.labels, pooled.scores[0])
    assert result.arms[0].rates["sensitivity"] == wilson(counts.tp, counts.tp + counts.fn)
    assert (result.arms[0].images, result.arms[0].patients) == (320, 40)
    clustered = compare_arms(scored, level="patient", method="obuchowski")
    assert clustered.tests[0].z == pytest.approx(result.tests[0].z)


def test_each_arm_may_have_its_own_threshold(scored: Scores) -> None:
    result = compare_arms(scored, thresholds=[0.3, 0.5, 0.7])
    assert [arm.threshold for arm in result.arms] == [0.3, 0.5, 0.7]
    expected = confusion(scored.labels, scored.scores[0], 0.3).rates()
    assert result.arms[0].rates["ppv"].value == pytest.approx(expected["ppv"])


def test_images_with_thresholds_of_their_own_have_a_list_of_them(scored: Scores) -> None:
    cuts = np.where(scored.codes % 2, 0.3, 0.7) * np.ones((3, 1))
    for level in ("image", "patient"):
        arm = compare_arms(scored, level, thresholds=cuts).arms[0]
        assert arm.threshold == (0.3, 0.7)
        assert arm.as_json()["threshold"] == [0.3, 0.7]


def test_one_arm_has_no_tests(scored: Scores) -> None:
    alone = Scores.of(scored.labels, scored.scores[2], scored.patients, ["fused"])
    assert compare_arms(alone).tests == ()


def test_degenerate_arms_are_defined_and_fit_for_json(scored: Scores) -> None:
    labels = scored.labels
    values = np.stack([labels * 0.2 + 0.1, labels * 0.2 + 0.1, 0.9 - 0.8 * labels])
    result = compare_arms(Scores.of(labels, values, scored.patients, ARMS))
    perfect, same = result.arms[0], result.tests[0]
    assert (perfect.auc, perfect.auc_variance, perfect.auc_ci[1]) == (1, 0, 1)
    assert perfect.auc_ci[0] < 0.9  # no variance in the sample is no certainty
    assert perfect.rates["ppv"].as_json() == {"value": None, "ci": [0, 1]}
    assert any("perfectly" in note for note in perfect.notes)
    assert any(note.startswith("ppv: Nothing to count") for note in perfect.notes)
    assert (same.auc_difference, same.z, same.p) == (0, 0, 1)
    content: dict[str, Any] = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert (content["tests"][1]["z"], content["tests"][1]["p"]) == (None, None)
    assert "not tested" in content["tests"][1]["notes"][0]
    three = Scores.of([1, 0, 0], values[:, [0, 150, 300]], ["a", "b", "c"], ARMS)
    alone: dict[str, Any] = json.loads(json.dumps(compare_arms(three).as_json(), allow_nan=False))
    assert (alone["arms"][0]["auc_variance"], alone["arms"][0]["auc_ci"]) == (None, [0, 1])


@pytest.mark.parametrize("level", ["image", "patient"])
def test_one_class_has_no_auc(scored: Scores, level: Level) -> None:
    with pytest.raises(EvaluationError, match="needs both classes"):
        compare_arms(scored.subset(scored.labels), level)


def test_thresholds_that_do_not_fit_are_refused(scored: Scores) -> None:
    with pytest.raises(
        EvaluationError, match=r"thresholds of the shape \(2,\) do not fit 3 arms of 320 images"
    ):
        compare_arms(scored, thresholds=[0.5, 0.5])


def test_scores_are_checked_when_they_are_made_and_never_again(
    scored: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("as_labels", "as_scores", "as_codes", "one_label_each"):
        check = getattr(checks, name)

        def counted(*arguments: Any, name: str = name, check: Any = check) -> Any:
            asked.append(name)
            return check(*arguments)

        for module in (scores, *map(_module, ("auc", "rates", "bootstrap", "calibration"))):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counted)
    compare_arms(scored)
    assert asked == []
    for _ in range(2):  # a patient's mean score is a score of its own, made once
        compare_arms(scored, "patient")
    assert sorted(asked) == ["as_codes", "as_labels", "as_scores", "one_label_each"]


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"mufnet_lightning.evaluation.statistics.{name}")


def test_each_two_arms_have_tests_of_the_rates_power_and_non_inferiority(scored: Scores) -> None:
    result = compare_arms(scored, "patient", margin=0.4)
    for test in result.tests:
        assert set(test.rates) == {"accuracy", "sensitivity", "specificity"}
        assert all(test.rates_p_holm[name] >= rate.p for name, rate in test.rates.items())
        assert 0 < test.power < 1
        assert test.noninferior == (test.auc_difference_ci[0] > -0.4)
    assert compare_arms(scored).tests[0].noninferior is None
    with pytest.raises(EvaluationError, match="margin of"):
        compare_arms(scored, margin=0.7)


def test_arms_pooled_out_of_folds_are_tested_over_folds_and_say_so(scored: Scores) -> None:
    folds = np.array([int(patient) % 5 for patient in scored.patients])
    pooled = Scores(
        scored.names, scored.labels, scored.scores, scored.patients, folds=np.stack([folds] * 3)
    )
    for level in LEVELS:
        result, plain = compare_arms(pooled, level), compare_arms(scored, level)
        for arm, before in zip(result.arms, plain.arms, strict=True):
            assert arm.auc_ci[0] < before.auc_ci[0] <= before.auc_ci[1] < arm.auc_ci[1]
            assert any("Pooled out of folds" in note for note in arm.notes)
        test: dict[str, Any] = json.loads(json.dumps(result.as_json(), allow_nan=False))["tests"][0]
        assert (test["freedom"], test["rates"]) == (4, {})
        assert 0 < test["p"] <= 1


def test_an_arm_that_the_patients_chose_has_no_interval_and_its_pairs_no_test(scored: Scores) -> None:
    first, second, third = scored.names
    for level in LEVELS:
        whole = compare_arms(scored, level, margin=0.3)
        result = compare_arms(scored, level, margin=0.3, chosen=[second])
        content: dict[str, Any] = json.loads(json.dumps(result.as_json(), allow_nan=False))
        here = content["arms"][1]
        assert ["chosen_here" in arm for arm in content["arms"]] == [False, True, False]
        assert here["auc_ci"] is here["sensitivity"]["ci"] is here["npv"]["ci"] is None
        assert here["notes"][-1].startswith(f"{CHOSEN_HERE}: ")
        assert (result.arms[1].auc, result.arms[0], result.arms[2]) == (
            whole.arms[1].auc,
            whole.arms[0],
            whole.arms[2],
        )
        for test in content["tests"]:
            tested = second not in (test["a"], test["b"])
            said = [test[key] for key in ("auc_difference_ci", "z", "p", "p_holm", "noninferior")]
            said.append(test["rates"]["accuracy"]["p"])
            assert [value is not None for value in said] == [tested] * len(said)
            assert tested or test["power"]["power"] is None
            assert any(CHOSEN_HERE in note and second in note for note in test["notes"]) != tested
        # the one test that is made is the only one: Holm has nothing to correct
        (test,) = [test for test in result.tests if (test.a, test.b) == (first, third)]
        assert test.p_holm == test.p
        assert test.auc_difference_ci == whole.tests[1].auc_difference_ci


def test_the_note_on_pooled_scores_says_what_their_interval_allows_for(scored: Scores) -> None:
    folds = np.array([int(patient) % 5 for patient in scored.patients])
    pooled = Scores(
        scored.names, scored.labels, scored.scores, scored.patients, folds=np.stack([folds] * 3)
    )
    said = {
        rule: " ".join(compare_arms(pooled, "patient", intervals=rule).arms[0].notes) for rule in RULES
    }
    assert "takes 1.4 times the variance" in said["small-sample"]
    assert "plain interval does not allow for it" in said["plain"]
    assert "allows for it" not in said["plain"]
    here = " ".join(compare_arms(pooled, "patient", chosen=pooled.names).arms[0].notes)
    assert "Pooled out of folds" in here
    assert "interval allows" not in here


def test_the_plain_interval_is_procs(scored: Scores) -> None:
    result = compare_arms(scored, "patient", intervals="plain")
    estimate = delong(scored.at("patient").labels, scored.at("patient").scores)
    assert result.arms[1].auc_ci == wald_interval(estimate, 1)
    test = compare_aucs(estimate, 0, 1)
    assert result.tests[0].auc_difference_ci == (test.low, test.high)


@pytest.mark.parametrize("level", LEVELS)
def test_planned_pairs_alone_are_tested_and_corrected_among_themselves(
    scored: Scores, level: Level
) -> None:
    every = {(test.a, test.b): test for test in compare_arms(scored, level).tests}
    result = compare_arms(scored, level, planned=[("fused", "bmode"), ("ceus", "fused")])
    assert [(test.a, test.b) for test in result.tests] == [("fused", "bmode"), ("ceus", "fused")]
    turned, same = result.tests
    before = every["bmode", "fused"]
    # the same test, whichever arm is named first
    assert turned.p == pytest.approx(before.p, rel=1e-9)
    assert turned.auc_difference == -before.auc_difference
    assert turned.auc_difference_ci == pytest.approx([-end for end in before.auc_difference_ci[::-1]])
    assert same.p == every["ceus", "fused"].p
    assert [test.p_holm for test in result.tests] == pytest.approx(holm([turned.p, same.p]).tolist())
    rates = [test.rates["accuracy"].p for test in result.tests]
    corrected = [test.rates_p_holm["accuracy"] for test in result.tests]
    assert corrected == pytest.approx(holm(rates).tolist())
    assert result.as_json()["planned"] is True
    assert compare_arms(scored, level, planned=[]).tests == ()
    # tests of arms that have no scores yet count: what is corrected only gets smaller later
    early = compare_arms(scored, level, planned=[("fused", "bmode"), ("ceus", "fused")], waiting=8)
    padded = holm([turned.p, same.p, *[1.0] * 8]).tolist()[:2]
    assert [test.p_holm for test in early.tests] == pytest.approx(padded)
    assert all(
        test.p_holm > later.p_holm for test, later in zip(early.tests, result.tests, strict=True)
    )


@pytest.mark.parametrize(
    ("planned", "fault"),
    [
        ([("fused", "ceus"), ("ceus", "fused")], "ceus and fused is planned twice"),
        ([("fused", "fused")], "fused and fused is planned of one arm"),
        ([("fused", "b-mode")], r"there is no arm b-mode \(there are bmode, ceus, fused\)"),
    ],
)
def test_plans_that_do_not_fit_are_refused(
    scored: Scores, planned: list[tuple[str, str]], fault: str
) -> None:
    with pytest.raises(EvaluationError, match=fault):
        compare_arms(scored, planned=planned)
