"""`mufnet characteristics`: Table 1 from a patients.csv."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from mufnet_lightning.cli import main


@pytest.fixture
def patients(work: Path) -> Path:
    # the paper's counts of gender by grade: 45 and 29 of 74, 12 and 14 of 26
    rows = [
        {
            "patient_id": f"{i:03d}",
            "grade": (i % 2 + 1) if i < 74 else (i % 2 + 3),
            "gender": "male" if i < 45 or 74 <= i < 86 else "female",
            "size": "" if i == 5 else f"{3 + (i * 37 % 50) / 10}",
        }
        for i in range(100)
    ]
    path = Path("patients.csv")
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_table_one_by_grade_is_low_against_high(
    patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["characteristics", "patients.csv", "--by=grade", "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"variable", "level", "groups", "test", "p"} <= set(rows[0])
    male = next(row for row in rows if row["level"] == "male")
    assert list(male["groups"]) == ["low grade", "high grade"]
    assert male["groups"]["low grade"]["count"] == 45
    assert male["groups"]["high grade"]["patients"] == 26
    assert male["test"] == "Pearson's chi-square"
    missing = next(row for row in rows if row["level"] == "missing")
    assert missing["variable"] == "size"
    assert missing["groups"]["low grade"]["count"] == 1
    assert {row["variable"] for row in rows} == {"gender", "size"}


def test_the_printed_table_says_which_test_was_used(
    patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["characteristics", "patients.csv", "--by=label"]) == 0
    text = capsys.readouterr().out
    assert "low grade (N = 74)" in text
    assert "Pearson's chi-square" in text
    assert main(["characteristics", "patients.csv", "--by=gender", "--format=csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert {"female (N = 43)", "male (N = 57)", "test", "p"} <= set(table.columns)


def test_a_table_with_labels_only_and_na_among_numbers(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [f"{i / 7:.2f}" for i in range(40)]
    values[3] = "NA"
    codes = ["NA", "yes", "no", "no"] * 10
    lab = ["<5" if i == 7 else str(i) for i in range(40)]
    rows = [
        {"patient_id": i, "label": i % 2, "hb": values[i], "code": codes[i], "lab": lab[i]}
        for i in range(40)
    ]
    pd.DataFrame(rows).to_csv("labels.csv", index=False)
    assert main(["characteristics", "labels.csv", "--by=grade", "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows[0]["groups"]) == {"low grade", "high grade"}
    number, missing = (row for row in rows if row["variable"] == "hb")
    assert number["groups"]["high grade"]["n"] == 19
    assert missing["level"] == "missing"
    code = {row["level"]: row for row in rows if row["variable"] == "code"}
    assert set(code) == {"yes", "no", "missing"}
    assert code["missing"]["groups"]["low grade"]["count"] == 10
    assert "Read as categories" not in code["yes"]["note"]
    noted = {row["note"] for row in rows if row["variable"] == "lab"}
    assert all("Read as categories, since '<5' is no number." in note for note in noted)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.csv", "--by=grade"], "there is no file nowhere.csv"),
        (["patients.csv", "--by=sex"], "the table has no column sex"),
        (["patients.csv", "--by=patient_id"], "must have two values, but has 100"),
        (["patients.csv", "--by=grade", "--variables=age"], "the table has no column age"),
        (["patients.csv", "--by=grade", "--numbers=gender"], "gender is to be a number"),
        (["odd.csv", "--by=grade"], "odd.csv, row 3: grade is '5', expected one of 1, 2, 3, 4"),
        (["ragged.csv", "--by=grade"], "ragged.csv row 2: has 1 cell"),
    ],
)
def test_a_mistake_is_one_sentence(
    patients: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    Path("odd.csv").write_text("patient_id,grade,size\n1,1,2\n2,5,3\n")
    Path("ragged.csv").write_text("patient_id,grade\n1\n2,2\n")
    assert main(["characteristics", *words]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert printed.out == ""
