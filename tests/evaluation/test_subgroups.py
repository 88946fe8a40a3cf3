"""Subgroups of patients: the numbers of each alone, counts where an interval would not hold."""

from __future__ import annotations

import numpy as np
import pytest

from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.evaluation.subgroups import subgroups

PATIENTS = 60


@pytest.fixture
def scores() -> Scores:
    """60 patients of three images; the first 20 are high."""
    rng = np.random.default_rng(5)
    patients = np.repeat([f"p{i}" for i in range(PATIENTS)], 3)
    labels = np.repeat(np.arange(PATIENTS) < 20, 3)
    arms = np.clip(0.4 + 0.2 * labels + rng.normal(0, 0.2, (2, 3 * PATIENTS)), 0, 1)
    return Scores.of(labels, arms, patients, ["fused", "bmode"])


def values(rule: object) -> dict[str, object]:
    return {f"p{i}": rule(i) for i in range(PATIENTS)}  # type: ignore[operator]


def test_a_subgroup_has_the_numbers_of_its_patients_alone(scores: Scores) -> None:
    made = subgroups(scores, "sex", values(lambda i: "mf"[i % 2]))
    assert [group.name for group in made.groups] == ["f", "m"]
    for group, chosen in zip(made.groups, (1, 0), strict=True):
        alone = scores.subset(np.repeat(np.arange(PATIENTS) % 2 == chosen, 3)).at("patient")
        assert (group.low, group.high, group.images) == (20, 10, 90)
        for arm, name in enumerate(scores.names):
            wins = np.subtract.outer(alone.scores[arm][alone.labels], alone.scores[arm][~alone.labels])
            auc = group.aucs[name]
            assert auc.value == pytest.approx(((wins > 0) + 0.5 * (wins == 0)).mean())
            assert (auc.low, auc.high) == auc_limits(alone, arm, method="delong")
            assert 0 < auc.low < auc.value < auc.high < 1


def test_an_arm_that_the_patients_chose_has_no_interval_in_any_subgroup(scores: Scores) -> None:
    sexes = values(lambda i: "mf"[i % 2])
    whole = subgroups(scores, "sex", sexes)
    made = subgroups(scores, "sex", sexes, chosen=["bmode"])
    for group, before in zip(made.groups, whole.groups, strict=True):
        said = group.as_json()["auc"]
        assert isinstance(said, dict)
        assert said["bmode"] == {"value": before.aucs["bmode"].value, "ci": None}
        assert group.aucs["fused"] == before.aucs["fused"]
    assert made.frame()["AUC, bmode"].str.fullmatch(r"0\.\d{3} \(chosen here\)").all()
    assert "whose epoch these patients chose (chosen here)" in made.caption()
    assert "chosen here" not in whole.caption()


def test_fewer_than_five_of_a_class_are_counts_alone_and_nobody_is_lost(scores: Scores) -> None:
    made = subgroups(
        scores, "site", values(lambda i: "A" if i < 4 or i > 50 else "B" if i < 48 else "")
    )
    assert [(g.name, g.low, g.high) for g in made.groups] == [
        ("A", 9, 4),
        ("B", 28, 16),
        ("not known", 3, 0),
    ]
    assert [bool(g.aucs) for g in made.groups] == [False, True, False]
    assert made.frame()["AUC, fused"].tolist()[::2] == ["too few", "too few"]
    assert "counts alone" in made.caption()
    assert made.groups[0].as_json()["auc"] is None
    assert sum(g.images for g in made.groups) == 3 * PATIENTS


def test_a_perfect_auc_has_an_interval_of_some_width() -> None:
    labels = [0] * 8 + [1] * 8
    made = subgroups(
        Scores.of(labels, [*np.arange(16.0)], [*map(str, range(16))], ["a"]),
        "sex",
        {str(i): "m" for i in range(16)},
    )
    auc = made.groups[0].aucs["a"]
    assert auc.value == 1
    assert auc.low < 0.9


def test_numbers_are_cut_at_their_median_or_where_told_and_codes_are_not(scores: Scores) -> None:
    of_size = values(lambda i: "" if i == 3 else str(1 + i / 10))
    made = subgroups(scores, "size", of_size)
    known = [1 + i / 10 for i in range(PATIENTS) if i != 3]
    assert made.cut == np.median(known)
    assert made.cut_is_median
    assert f"cut at {made.cut:g}, the median of these patients" in made.caption()
    assert [g.name for g in made.groups] == ["4 or less", "above 4", "not known"]
    told = subgroups(scores, "size", of_size, cut=2.0)
    assert [g.low + g.high for g in told.groups] == [10, 49, 1]
    assert "as it was given" in told.caption()
    codes = subgroups(scores, "grade", values(lambda i: i % 3 + 1.0))
    assert [g.name for g in codes.groups] == ["1", "2", "3"]
    assert codes.cut is None


@pytest.mark.parametrize(
    ("rule", "cut", "sentence"),
    [
        (lambda i: "", None, "no patient has a value of x"),
        (lambda i: "mf"[i % 2], 2.0, "x cannot be cut at 2: 'm' is no number"),
        (lambda i: f"ward {i % 14}", None, "x has 14 values, expected 12 at most"),
    ],
)
def test_what_makes_no_subgroups_is_told(
    scores: Scores, rule: object, cut: float | None, sentence: str
) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        subgroups(scores, "x", values(rule), cut)


def test_names_that_are_numbers_are_not_cut(scores: Scores) -> None:
    centres = values(lambda i: i % 15 + 1)
    with pytest.raises(EvaluationError, match="15 values"):
        subgroups(scores, "centre", {p: f"c{i}" for p, i in centres.items()})
    made = subgroups(scores, "centre", centres, named=True)
    assert [group.name for group in made.groups] == [str(number) for number in range(1, 16)]
    assert made.cut is None
