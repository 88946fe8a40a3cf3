"""Who is shown follows from the scores and the seed."""

from __future__ import annotations

import pandas as pd
import pytest

from mufnet_lightning.explain.choice import choose_patients, typical_image

PATIENTS = {  # label and the scores of three images
    "a": (0, [0.1, 0.2, 0.3]),
    "b": (0, [0.4, 0.3, 0.35]),
    "c": (0, [0.9, 0.1, 0.6]),
    "d": (0, [0.7, 0.6, 0.95]),
    "e": (1, [0.9, 0.99, 0.96]),
    "f": (1, [0.55, 0.52, 0.6]),
    "g": (1, [0.2, 0.6, 0.4]),
    "h": (1, [0.45, 0.1, 0.3]),
}
SEEDS = range(20)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"pair_id": f"{who}{i}", "patient_id": who, "label": label, "score": score}
        for who, (label, scores) in PATIENTS.items()
        for i, score in enumerate(scores)
    )


def test_each_class_has_one_right_and_one_wrong_and_the_extremes_follow() -> None:
    drawn = [choose_patients(table(), seed) for seed in SEEDS]
    by_reason: dict[str, set[str]] = {}
    for chosen in drawn:
        for one in chosen:
            by_reason.setdefault(one.reason, set()).add(one.patient_id)
    assert by_reason == {
        "low grade, correct (drawn of 2)": {"a", "b"},
        "low grade, wrong (drawn of 2)": {"c", "d"},
        "high grade, correct (drawn of 2)": {"e", "f"},
        "high grade, wrong (drawn of 2)": {"g", "h"},
        "most certain": {"e"},
        "least certain": {"c"},
    }
    assert all(len(chosen) == 6 for chosen in drawn)
    assert len({tuple(one.patient_id for one in chosen[:4]) for chosen in drawn}) > 8


def test_the_seed_alone_decides_whatever_the_order_of_rows() -> None:
    for seed in SEEDS:
        shuffled = table().sample(frac=1, random_state=seed)
        assert [c.patient_id for c in choose_patients(shuffled, seed)] == [
            c.patient_id for c in choose_patients(table(), seed)
        ]


@pytest.mark.parametrize("gone", [("c", "d"), ("d",), ("a", "b")])
def test_who_is_missing_shifts_no_other_lot(gone: tuple[str, ...]) -> None:
    everybody = table()
    fewer = everybody[~everybody["patient_id"].isin(gone)]
    for seed in SEEDS:
        before = {c.reason: c.patient_id for c in choose_patients(everybody, seed)}
        after = {c.reason: c.patient_id for c in choose_patients(fewer, seed)}
        for reason in (r for r in before if r.startswith("high grade")):
            assert after[reason] == before[reason]
    sides = [c.reason for c in choose_patients(fewer) if "grade" in c.reason]
    assert len(sides) == (4 if len(gone) == 1 else 3)


def test_the_image_shown_is_the_one_nearest_to_the_patients_mean() -> None:
    assert [typical_image(table(), who) for who in "aceh"] == ["a1", "c2", "e2", "h2"]
    for one in choose_patients(table()):
        assert one.pair_id == typical_image(table(), one.patient_id)
