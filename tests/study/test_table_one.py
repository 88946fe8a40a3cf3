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
    lab = ["<5" if i == 7 else str(i % 9) for i in range(40)]
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
        (["patients.csv", "--by=patient_id"], "no groups are made by patient_id: its values are"),
        (["patients.csv", "--by=size"], "1 patients have no value in size"),
        (["odd.csv", "--by=many"], "must have two values or more, up to 12, but has 13"),
        (["patients.csv", "--by=grade", "--variables=age"], "the table has no column age"),
        (["patients.csv", "--by=grade", "--numbers=gender"], "gender is to be a number"),
        (["odd.csv", "--by=grade"], "odd.csv, row 3: grade is '5', expected one of 1, 2, 3, 4"),
        (["ragged.csv", "--by=grade"], "ragged.csv row 2: has 1 cell"),
    ],
)
def test_a_mistake_is_one_sentence(
    patients: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    many = "\n".join(f"{i},{(i - 1) % 4 + 1 if i != 2 else 5},{i % 13}" for i in range(1, 40))
    Path("odd.csv").write_text(f"patient_id,grade,many\n{many}\n")
    Path("ragged.csv").write_text("patient_id,grade\n1\n2,2\n")
    assert main(["characteristics", *words]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert printed.out == ""


PERSONAL = {
    "surname": ["Doe", "Roe", "Poe", "Loe", "Moe", "Doe"],
    "ward": ["A1", "B2", "C3", "D4", "A1", "B2"],  # text, two of six alone: a category
    "scanned": ["2024-01-02", "2024-01-02", "2024-01-02", "2024-01-05", "2024-01-02", "2024-01-02"],
    "admitted": ["20240102", "20240103", "20240102", "20240104", "20240104", "20240105"],
    "hospitalNumber": ["0012", "0013", "0014", "0015", "0016", "0017"],
    "case": ["4711001", "4711002", "4711003", "4711004", "4711005", "4711006"],
    "study_id": ["1", "2", "3", "4", "5", "6"],
    "remark": ["tall", "short", "thin", "lab <5", "", "n/a"],
    "age": ["61", "58", "49", "70", "66", "52"],
    "leucocytes": ["10400", "8700", "9100", "12300", "15200", "10900"],
}


def test_what_tells_who_somebody_is_is_never_printed_and_named(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"patient_id": list("uvwxyz"), "grade": [1, 2, 1, 3, 4, 3], **PERSONAL})
    table.to_csv("small.csv", index=False)
    assert main(["characteristics", "small.csv", "--by=grade"]) == 0
    text = capsys.readouterr().out
    shown, note = text.split("Left out: ")
    assert not [value for name in set(PERSONAL) - {"ward", "age"} for value in PERSONAL[name]
                if value and len(value) > 1 and value in text]  # fmt: skip
    left_out = set(PERSONAL) - {"ward", "age"}
    assert all(f"{name} (" in note for name in left_out)
    assert "ward" in shown
    assert "age" in shown
    assert main(["characteristics", "small.csv", "--by=grade", "--format=json"]) == 0
    printed = capsys.readouterr()
    assert {row["variable"] for row in json.loads(printed.out)} == {"ward", "age"}
    assert "surname (" in printed.err
    # a number that was guessed to be a record's is shown to whoever asks for it, text never
    assert main(["characteristics", "small.csv", "--by=grade", "--variables=leucocytes"]) == 0
    assert "10400" not in capsys.readouterr().out.replace("10400.00", "")
    for name in ("surname", "remark", "scanned", "hospitalNumber"):
        assert main(["characteristics", "small.csv", "--by=grade", f"--variables={name}"]) == 2
        printed = capsys.readouterr()
        assert f"column {name} is never printed" in printed.err
        assert printed.out == ""
    for by in ("surname", "remark"):
        assert main(["characteristics", "small.csv", f"--by={by}"]) == 2
        assert f"no groups are made by {by}" in capsys.readouterr().err


def test_more_than_two_groups(patients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(patients, dtype=str)
    table["site"] = [f"site {i % 3}" for i in range(len(table))]
    table.to_csv("sites.csv", index=False)
    assert main(["characteristics", "sites.csv", "--by=site"]) == 0
    text = capsys.readouterr().out
    assert "site 2 (N = 33)" in text
    assert "analysis of variance" in text
    assert "the largest of any two groups" in text


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1,1,50", "2,3,60", "1,1,50"], "p.csv, row 4: patient_id '1' is in row 2 already"),
        (["1,1,50", " ,3,60"], "p.csv, row 3: patient_id is empty, expected one"),
        (["1,1,999999", "2,3,60"], "p.csv, row 2: age is 999999, expected 0 to 125"),
        (["1,1,50", "2,3,-3"], "p.csv, row 3: age is -3, expected 0 to 125"),
    ],
)
def test_patients_that_cannot_be_are_refused_with_their_row(
    work: Path, capsys: pytest.CaptureFixture[str], rows: list[str], expected: str
) -> None:
    more = [f"{number},{1 + number % 4},{40 + number}" for number in range(10, 40)]
    Path("p.csv").write_text("\n".join(["patient_id,grade,age", *rows, *more]))
    assert main(["characteristics", "p.csv", "--by=grade"]) == 2
    assert expected in capsys.readouterr().err


def test_columns_computed_of_ages_may_be_below_zero_and_rows_without_ids_are_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{1 + n % 4},{(n - 20) / 10}" for n in range(40)]
    Path("p.csv").write_text("\n".join(["grade,age_z", *rows]))
    assert main(["characteristics", "p.csv", "--by=grade"]) == 0
    assert "p.csv has no column patient_id: each row is taken for a patient" in capsys.readouterr().err


def test_codes_of_missing_values_are_told_and_formulas_do_not_run(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n},{1 + n % 4},{'=1+A1' if n % 3 else 'm'},{999 if n == 5 else n}" for n in range(40)]
    Path("p.csv").write_text("\n".join(["patient_id,grade,ward,size", *rows]))
    assert main(["characteristics", "p.csv", "--by=grade", "--format=csv"]) == 0
    printed = capsys.readouterr()
    assert "warning: p.csv, row 7: size is 999, far from all others" in printed.err
    assert "patient_id: each row" not in printed.err
    assert ',"\'=1+A1, n (%)",' in printed.out
    assert "=1+A1" not in printed.out.replace("'=1+A1", "")


def test_a_share_of_nothing_is_no_number(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "patient_id": f"P{i}",
            "grade": 1 + i % 4,
            "ratio": ["0", "1", "inf", "1"][i % 4],
            "size": "2.5",
        }
        for i in range(12)
    ]
    pd.DataFrame(rows).to_csv("patients.csv", index=False)
    assert main(["characteristics", "patients.csv", "--by=grade"]) == 0
    assert "Read as categories, since 'inf' is no number." in capsys.readouterr().out
    rows[3]["size"] = "-inf"
    pd.DataFrame(rows).to_csv("patients.csv", index=False)
    assert main(["characteristics", "patients.csv", "--by=grade"]) == 2
    assert "size is to be a number, but '-inf' is none" in capsys.readouterr().err
