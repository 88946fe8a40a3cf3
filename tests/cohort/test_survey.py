"""A cohort with faults is read as far as it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.cohort.survey import survey_cohort
from mufnet_lightning.errors import InputFault


def test_a_whole_cohort_is_read_whole(whole_cohort: Path) -> None:
    survey = survey_cohort(whole_cohort)
    assert survey.faults == ()
    assert survey.cohort is not None
    assert survey.cohort.boxes is not None
    whole = read_cohort(whole_cohort)
    assert whole.boxes is not None
    assert survey.cohort.boxes.equals(whole.boxes)
    assert survey.cohort.id == whole.id


def test_rows_with_a_fault_are_left_out_with_what_hangs_on_them(cohort: Path) -> None:
    text = (cohort / "patients.csv").read_text()
    (cohort / "patients.csv").write_text(text.replace("P1,2", "P1,9"))
    text = (cohort / "clips.csv").read_text()
    (cohort / "clips.csv").write_text(
        text.replace('"80,8,64,48"', '"80,8,64"', 4).replace('"80,8,64"', '"80,8,64,48"', 3)
    )
    survey = survey_cohort(cohort)
    assert survey.cohort is not None
    assert survey.cohort.clips is not None
    assert survey.cohort.boxes is not None
    assert survey.cohort.patients["patient_id"].tolist() == ["P2", "P3"]
    assert survey.cohort.clips["clip_id"].tolist() == ["C2", "C3"]  # C4 has no pane any more
    assert set(survey.cohort.boxes["clip_id"]) == {"C2", "C3"}
    assert any("grade is 9" in fault for fault in survey.faults)
    assert any("ceus_pane" in fault for fault in survey.faults)
    with pytest.raises(InputFault) as refused:
        read_cohort(cohort)
    assert refused.value.faults == survey.faults


def test_a_cohort_whose_every_clip_has_a_fault_is_read_without_clips(cohort: Path) -> None:
    text = (cohort / "clips.csv").read_text()
    (cohort / "clips.csv").write_text(text.replace('"80,8,64,48"', "null"))
    survey = survey_cohort(cohort)
    assert survey.cohort is not None
    assert survey.cohort.clips is not None
    assert survey.cohort.boxes is not None
    assert len(survey.cohort.clips) == len(survey.cohort.boxes) == 0
    assert len(survey.faults) >= 4


def test_tables_that_are_not_there(cohort: Path) -> None:
    (cohort / "clips.csv").unlink()
    survey = survey_cohort(cohort)
    assert survey.cohort is None
    assert any("clips.csv" in fault for fault in survey.faults)
