"""What tells the grade by itself is named, and what does not is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.store.inspection.numbers import (
    grade_aucs,
    of_a_site,
    of_the_classes,
    of_the_sizes,
    site_table,
)
from mufnet_lightning.store.inspection.pictures import of_the_twins, same_files
from mufnet_lightning.store.twins import Twins


def patients(low: int, high: int, none: int = 0, **columns: list[str]) -> pd.DataFrame:
    labels = pd.array([0] * low + [1] * high + [None] * none, dtype="Int64")
    return pd.DataFrame(
        {"patient_id": [f"P{n}" for n in range(len(labels))], "label": labels, **columns}
    )


@pytest.mark.parametrize(
    ("low", "high", "none", "severities"),
    [
        (9, 9, 0, ["fact"]),
        (9, 4, 0, ["fault"]),
        (9, 0, 0, ["fault"]),
        (0, 0, 9, ["fact"]),
        (9, 9, 1, ["fact", "doubt"]),
    ],
)
def test_classes(low: int, high: int, none: int, severities: list[str]) -> None:
    assert [finding.severity for finding in of_the_classes(patients(low, high, none))] == severities


def test_no_patients_at_all() -> None:
    assert [finding.severity for finding in of_the_classes(patients(0, 0))] == ["fault"]


@pytest.mark.parametrize(("north_high", "severity"), [(10, None), (16, "doubt"), (20, "fault")])
def test_a_centre_is_named_the_more_it_tells(north_high: int, severity: str | None) -> None:
    centres = ["north"] * (20 - north_high) + ["south"] * north_high  # of low grade
    centres += ["north"] * north_high + ["south"] * (20 - north_high)
    table = site_table(patients(20, 20, center=centres), "center")
    assert table is not None
    named = [finding.severity for finding in of_a_site(table) if "predicts" in finding.sentence]
    assert named == ([severity] if severity else [])


def test_centres_are_named_by_chance_in_one_study_of_a_hundred() -> None:
    rng, named = np.random.default_rng(0), 0
    for _ in range(300):
        centres = rng.choice(["a", "b", "c"], 60).tolist()
        table = site_table(patients(40, 20, center=centres), "center")
        assert table is not None
        named += any("predicts" in finding.sentence for finding in of_a_site(table))
    assert named <= 9  # 3 expected


def test_a_centre_that_is_not_known_is_no_centre() -> None:
    assert site_table(patients(3, 3, center=[""] * 6), "center") is None


@pytest.mark.parametrize(("apart", "named"), [(0.0, False), (3.0, True)])
def test_the_size_of_boxes(apart: float, named: bool) -> None:
    rng = np.random.default_rng(1)
    table = patients(30, 20)
    table = table.assign(area=rng.normal(0, 1, 50) + apart * table["label"].astype(float))
    aucs = grade_aucs(table, {"area": "the area"})
    assert bool(of_the_sizes(aucs)) is named


def test_twins_of_two_grades_are_a_fault_and_many_twins_too() -> None:
    pair = Twins(("P1", "P2"), ("a.png", "b.png"), 0.97, (0, 1))
    assert [one.severity for one in of_the_twins([pair], 100)] == ["fault"]
    alike = Twins(("P1", "P2"), ("a.png", "b.png"), 0.8, (0, 1))  # of one lesion, perhaps
    assert [one.severity for one in of_the_twins([alike], 100)] == ["doubt"]
    several = [Twins((f"P{n}", f"Q{n}"), ("a.png", "b.png"), 0.8, (0, 0)) for n in range(6)]
    findings = of_the_twins(several, 100)
    assert findings[0].severity == "fault"
    assert "12 of 100 patients have a look-alike" in findings[0].sentence
    assert "1 more pair of patients" in findings[-1].sentence
    assert {one.severity for one in of_the_twins(several, 300)} == {"doubt"}


def test_files_that_are_the_same() -> None:
    owners = {"a": "P1", "b": "P1", "c": "P2", "d": "P3"}
    same = same_files(owners, {"a": "x", "b": "x", "c": "x"}, {"P1": 0, "P2": 1, "P3": None})
    assert [(one.patients, one.two_grades) for one in same] == [(("P1", "P2"), True)]
