"""Splits: no patient on two sides, classes in proportion, the same from the same seed."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.data.folds import make_folds, read_folds
from mufnet_lightning.data.twin_patients import split_twins
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.twins import leaders
from mufnet_lightning.vocabulary import PARTS, Protocol

PAIR: tuple[Protocol, Protocol] = ("nested", "kfold")


def cohort(rng: np.random.Generator) -> pd.DataFrame:
    low, high = int(rng.integers(10, 120)), int(rng.integers(8, 60))
    labels = rng.permutation([0] * low + [1] * high)
    return pd.DataFrame(
        {
            "patient_id": [f"P{i:04d}" for i in rng.permutation(10_000)[: low + high]],
            "label": labels,
            "center": rng.choice(["north", "south", "west"], size=low + high),
        }
    )


@cache
def random_splits(protocol: Protocol) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Two hundred random cohorts with their folds."""
    cohorts = [cohort(np.random.default_rng(seed)) for seed in range(200)]
    return [(patients, make_folds(patients, protocol, seed=n)) for n, patients in enumerate(cohorts)]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["paper", "nested", "center", "kfold"])
def test_no_patient_is_in_two_parts_and_every_patient_is_in_one(protocol: Protocol) -> None:
    for patients, folds in random_splits(protocol):
        for _, fold in folds.groupby("fold"):
            assert sorted(fold["patient_id"]) == sorted(patients["patient_id"])
            assert set(fold["part"]) == set(PARTS) - ({"val"} if protocol == "kfold" else set())


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["paper", "nested", "kfold"])
def test_class_shares_differ_by_at_most_one_patient_from_proportional(protocol: Protocol) -> None:
    for patients, folds in random_splits(protocol):
        share = patients["label"].mean()
        for _, part in folds.groupby(["fold", "part"]):
            assert abs(part["label"].sum() - share * len(part)) <= 1


def test_the_papers_cohort_is_split_as_in_the_paper() -> None:
    patients = pd.DataFrame(
        {
            "patient_id": [f"{i:03d}" for i in range(100)],
            "label": [0] * 74 + [1] * 26,
            "center": "a",
        }
    )
    folds = make_folds(patients, "paper")
    counts = folds.groupby(["fold", "part"])["label"].agg(["size", "sum"])
    assert len(folds) == 500
    assert (counts.xs("test", level="part")["size"] == 20).all()
    assert (counts.xs("val", level="part")["size"] == 16).all()
    tests = folds[folds["part"] == "test"].groupby("fold")["patient_id"].agg(frozenset)
    assert tests.nunique() == 1
    # the five validation parts are disjoint and cover the 80
    validation = folds[folds["part"] == "val"]["patient_id"]
    assert validation.is_unique
    assert len(validation) == 80


@pytest.mark.parametrize("protocol", ["nested", "kfold"])
def test_every_patient_is_tested_once(protocol: Protocol) -> None:
    for seed in range(5):
        patients = cohort(np.random.default_rng(seed))
        tested = make_folds(patients, protocol, seed=seed).query("part == 'test'")["patient_id"]
        assert sorted(tested) == sorted(patients["patient_id"])


def test_k_folds_of_the_papers_cohort_are_five_80_20_splits() -> None:
    patients = pd.DataFrame(
        {"patient_id": [f"{i:03d}" for i in range(100)], "label": [0] * 74 + [1] * 26}
    )
    counts = make_folds(patients, "kfold").groupby(["fold", "part"])["label"].agg(["size", "sum"])
    assert (counts.xs("test", level="part")["size"] == 20).all()
    assert (counts.xs("train", level="part")["size"] == 80).all()
    assert set(counts.xs("test", level="part")["sum"]) == {5, 6}
    # it needs a patient of each class in every test part, and no more
    few = patients.iloc[[*range(20), *range(95, 100)]]
    assert make_folds(few, "kfold").query("part == 'test'").groupby("fold")["label"].sum().eq(1).all()
    with pytest.raises(InputFault, match="kfold needs at least 5 high-grade patients, found 4"):
        make_folds(few.iloc[:-1], "kfold")


def test_kfold_and_nested_test_the_same_patients_in_each_fold() -> None:
    patients = cohort(np.random.default_rng(11))
    tests = [make_folds(patients, one).query("part == 'test' and fold == 0") for one in PAIR]
    assert set(tests[0]["patient_id"]) == set(tests[1]["patient_id"])


def test_center_tests_each_centre_on_models_that_never_saw_it() -> None:
    patients = cohort(np.random.default_rng(6))
    center = patients.set_index("patient_id")["center"]
    for _, fold in make_folds(patients, "center").groupby("fold"):
        tested = set(fold.loc[fold["part"] == "test", "patient_id"].map(center))
        others = set(fold.loc[fold["part"] != "test", "patient_id"].map(center))
        assert len(tested) == 1
        assert not tested & others


def test_the_split_follows_the_seed_and_not_the_order_of_the_table() -> None:
    patients = cohort(np.random.default_rng(7))
    shuffled = patients.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(make_folds(patients, seed=3), make_folds(shuffled, seed=3))
    assert not make_folds(patients, seed=3).equals(make_folds(patients, seed=4))


def test_a_fold_table_reads_back(tmp_path: Path) -> None:
    folds = make_folds(cohort(np.random.default_rng(8)), "nested")
    folds.to_csv(tmp_path / "folds.csv", index=False)
    back = read_folds(tmp_path / "folds.csv")
    pd.testing.assert_frame_equal(back, folds, check_dtype=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fold,patient_id,label,part\n0,a,0,train\n0,a,0,test\n", "named twice"),
        ("fold,patient_id,label,part\n0,a,0,train\n1,a,1,test\n", "two labels"),
        ("fold,patient_id,label,part\n0,a,0,holdout\n", "part"),
        ("fold,patient_id,label\n0,a,0\n", "part"),
        ("fold,patient_id,label,part\n-1,a,0,train\n", "fold"),
        ("", "not a fold table"),
    ],
)
def test_a_table_that_is_no_split_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(InputFault, match=expected):
        read_folds(tmp_path / "folds.csv")


@pytest.mark.parametrize("protocol", ["paper", "nested"])
def test_too_few_patients_of_a_class_are_told(protocol: Protocol) -> None:
    patients = pd.DataFrame(
        {"patient_id": list("abcdefghij"), "label": [0] * 8 + [1] * 2, "center": "x"}
    )
    with pytest.raises(InputFault, match="high-grade patients, found 2"):
        make_folds(patients, protocol)


def test_center_needs_two_centres() -> None:
    patients = cohort(np.random.default_rng(9)).assign(center="only")
    with pytest.raises(InputFault, match="two or more centres"):
        make_folds(patients, "center")
    with pytest.raises(InputFault, match="a centre for every patient"):
        make_folds(patients.assign(center=None), "center")


@pytest.mark.parametrize("protocol", ["paper", "nested", "kfold"])
def test_patients_who_belong_together_are_on_one_side(protocol: Protocol) -> None:
    names = [f"P{number:03d}" for number in range(60)]
    patients = pd.DataFrame({"patient_id": names, "label": [0, 0, 1] * 20})
    together = leaders([("P000", "P003"), ("P003", "P030"), ("P002", "P059"), ("P010", "P013")])
    folds = make_folds(patients, protocol, leaders=together)
    for _, fold in folds.groupby("fold"):
        assert sorted(fold["patient_id"]) == names
        part = fold.set_index("patient_id")["part"]
        assert all(part[follower] == part[leader] for follower, leader in together.items())
        shares = fold.groupby("part")["label"].mean()
        assert ((shares - 1 / 3).abs() < 0.15).all()
    alone = make_folds(patients, protocol)
    apart = alone.pivot(index="patient_id", columns="fold", values="part")
    assert any((apart.loc[one] != apart.loc[other]).any() for one, other in together.items())
    assert make_folds(patients, protocol, leaders={}).equals(alone)


def test_twins_on_both_sides_are_counted() -> None:
    parts = {"a": "train", "b": "test", "c": "train", "d": "val"}
    folds = pd.DataFrame({"fold": 0, "patient_id": list(parts), "part": list(parts.values())})
    twins = [("a", "b"), ("a", "c"), ("c", "d"), ("b", "d"), ("a", "who was left out")]
    assert split_twins(folds, 0, twins) == 3  # of a and b, c and d, b and d
    assert split_twins(folds, 1, twins) == 0


def test_leaving_a_centre_out_does_not_take_twins_to_another_centre() -> None:
    names = [f"P{number:03d}" for number in range(40)]
    patients = pd.DataFrame(
        {"patient_id": names, "label": [0, 1] * 20, "center": ["a"] * 20 + ["b"] * 20}
    )
    with pytest.raises(InputFault, match="patients of two centres look alike"):
        make_folds(patients, "center", leaders=leaders([("P000", "P030")]))
    inside = make_folds(patients, "center", leaders=leaders([("P000", "P010")]))
    assert set(inside.loc[inside["part"] == "test"].groupby("fold").size()) == {20}
