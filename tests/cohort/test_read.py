"""Tables as they should be are read as they are meant; the faults are in test_broken_cohorts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from mufnet_lightning.cohort.alike_ids import alike
from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault


def test_a_whole_cohort(whole_cohort: Path) -> None:
    cohort = read_cohort(whole_cohort)
    assert cohort.pairs is None
    assert cohort.warnings == ()
    assert cohort.patients["label"].tolist() == [0, 1, 0]
    assert cohort.patients["grade"].tolist() == [2, 3, 1]
    assert cohort.clips is not None
    assert cohort.clips["ceus_pane"].tolist() == [Pane(80, 8, 64, 48)] * 4
    assert cohort.boxes is not None
    assert list(cohort.boxes.loc[2, ["frame", "x", "y", "width", "height"]]) == [2, 92, 14, 20, 18]
    assert list(cohort.boxes.index) == list(range(2, 14)), "the index is the line in the file"


def write(folder: Path, table: str, text: str, encoding: str = "utf-8") -> None:
    (folder / table).write_bytes(text.encode(encoding))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_excel_writes(cohort: Path, encoding: str, ending: str) -> None:
    lines = [" patient_id ,grade,center,,", " P1 ,2.0, Köln ,,", ",,,,", "P2,4,,,", "", "P3,1,,,"]
    write(cohort, "patients.csv", ending.join(lines), encoding)
    patients = read_cohort(cohort).patients
    assert patients["patient_id"].tolist() == ["P1", "P2", "P3"]
    assert patients["grade"].tolist() == [2, 4, 1]
    assert patients["center"].tolist() == ["Köln", "", ""]


def test_ids_stay_text(cohort: Path) -> None:
    names = {"P1": "007", "P2": "1e3", "P3": "NA"}
    for table in ("patients.csv", "clips.csv"):
        text = (cohort / table).read_text()
        for old, new in names.items():
            text = text.replace(old, new)
        write(cohort, table, text)
    assert read_cohort(cohort).patients["patient_id"].tolist() == ["007", "1e3", "NA"]


def test_a_label_is_enough_and_a_grade_makes_one(cohort: Path) -> None:
    write(cohort, "patients.csv", "patient_id,grade,label,age\nP1,,1,61\nP2,2,0,50\nP3,4,,49\n")
    patients = read_cohort(cohort).patients
    assert patients["label"].tolist() == [1, 0, 1]
    assert patients["grade"].isna().tolist() == [True, False, False]
    assert patients["age"].tolist() == ["61", "50", "49"], "clinical columns are kept as text"


def test_without_grades_none_is_needed(cohort: Path) -> None:
    write(cohort, "patients.csv", "patient_id\nP1\nP2\nP3\n")
    patients = read_cohort(cohort, with_grades=False).patients
    assert patients["label"].isna().all()
    assert patients["grade"].isna().all()
    with pytest.raises(InputFault):
        read_cohort(cohort)


def test_a_box_without_a_pane_belongs_to_the_pane_around_it(cohort: Path) -> None:
    write(
        cohort,
        "boxes.csv",
        "clip_id,frame,x,y,width,height\nC1,0,5,10,9,9\nC2,0,90,10,9,9\nC3,0,5,10,9,9\nC4,0,5,9,9,9\n",
    )
    boxes = read_cohort(cohort).boxes
    assert boxes is not None
    assert boxes["pane"].tolist() == ["bmode", "ceus", "bmode", "bmode"]


def test_boxes_in_fractions_are_rounded_outward(cohort: Path) -> None:
    write(cohort, "boxes.csv", "clip_id,frame,x,y,width,height\nC1,3.0,90.4,10.6,9.2,9\n")
    boxes = read_cohort(cohort).boxes
    assert boxes is not None
    assert list(boxes.loc[2, ["frame", "x", "y", "width", "height"]]) == [3, 90, 10, 10, 10]


def test_words_may_be_in_capitals(cohort: Path) -> None:
    text = (cohort / "boxes.csv").read_text().replace("ceus", "CEUS").replace("cort", "Cort")
    write(cohort, "boxes.csv", text)
    boxes = read_cohort(cohort).boxes
    assert boxes is not None
    assert set(boxes["pane"]) == {"ceus"}
    assert set(boxes["phase"]) == {"cortical", "medullary"}


def test_both_panes_of_a_frame_may_have_their_own_box(cohort: Path) -> None:
    write(cohort, "boxes.csv", "clip_id,frame,x,y,width,height\nC1,3,90,10,9,9\nC1,3,9,10,9,9\n")
    boxes = read_cohort(cohort).boxes
    assert boxes is not None
    assert boxes["pane"].tolist() == ["ceus", "bmode"]


def test_patients_and_clips_that_are_left_out_are_named(cohort: Path) -> None:
    with open(cohort / "patients.csv", "a") as file:
        file.writelines(f"X{number},1,\n" for number in range(7))
    text = (cohort / "boxes.csv").read_text()
    write(cohort, "boxes.csv", "\n".join(x for x in text.splitlines() if not x.startswith("C4")))
    assert read_cohort(cohort).warnings == (
        "patients.csv: 7 patients without any clip, left out: X0, X1, X2, X3, X4, ...",
        "clips.csv: 1 clip without any box, left out: C4",
    )


def test_a_link_inside_the_folder_and_a_linked_folder_are_fine(cohort: Path) -> None:
    (cohort / "clips/C1.avi").rename(cohort / "C1.avi")
    (cohort / "clips/C1.avi").symlink_to(cohort / "C1.avi")
    (cohort.parent / "link").symlink_to(cohort)
    assert len(read_cohort(cohort.parent / "link").patients) == 3


def test_pairs(files: ModuleType, tmp_path: Path) -> None:
    cohort = read_cohort(files.write_pairs_cohort(tmp_path / "pairs"))
    assert cohort.clips is None
    assert cohort.boxes is None
    assert cohort.pairs is not None
    assert cohort.pairs["bmode_path"].tolist()[-1] == ""
    assert cohort.pairs["frame"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("P1", "p1", True),
        ("P1", "P01", True),
        ("P-1", "P 1", True),
        ("P1", "P1\u200b", True),
        ("P1", "\uff301", True),  # a wide P
        ("P1", "P10", False),
        ("P10", "P100", False),
        ("P101", "P1001", False),
        ("A1", "B1", False),
    ],
)
def test_ids_that_the_eye_takes_for_one_another_are_named(one: str, other: str, same: bool) -> None:
    warnings = alike("patients.csv", "patient_id", [one, other, "Q9"])
    assert len(warnings) == same
    assert not same or (repr(one) in warnings[0] and repr(other) in warnings[0])


def test_a_cohort_with_such_ids_is_read_with_a_warning(cohort: Path) -> None:
    write(cohort, "patients.csv", "patient_id,grade\nP1,2\nP2,3\nP3,1\np01,1\n")
    assert any("'P1' and 'p01'" in warning for warning in read_cohort(cohort).warnings)
