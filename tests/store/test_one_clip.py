"""One clip and its boxes: what stands beside it, what is given, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.one_clip import OneClip


def test_what_the_tables_beside_it_say_is_taken(cohort: Path) -> None:
    tables = OneClip(cohort / "clips" / "C2.avi").cohort()
    assert tables.clips is not None
    assert tables.boxes is not None
    assert tables.clips[["clip_id", "patient_id", "path"]].to_numpy().tolist() == [
        ["C2", "P2", "C2.avi"]
    ]
    assert tables.boxes["frame"].tolist() == [2, 7, 10]
    assert tables.id == "cohort of the tests"


def test_what_is_given_stands_above_them(cohort: Path, files: ModuleType) -> None:
    x, y, width, height = files.CEUS_PANE
    clip = OneClip(
        cohort / "clips" / "C2.avi", panes={"ceus": f"{x},{y},{width},{height - 1}"}, patient="Q"
    )
    tables = clip.cohort()
    assert tables.clips is not None
    assert tables.clips["bmode_pane"].map(str).tolist() == [",".join(map(str, files.BMODE_PANE))]
    assert tables.clips["ceus_pane"].map(lambda pane: pane.height).tolist() == [height - 1]
    assert tables.patients["patient_id"].tolist() == ["Q"]
    assert not clip.patient_is_guessed


def test_boxes_of_other_clips_are_left_out_and_a_table_without_clips_is_this_ones(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    shutil.copy(cohort / "clips" / "C1.avi", tmp_path / "lone.avi")
    panes = {"ceus": ",".join(map(str, files.CEUS_PANE))}
    with pytest.raises(InputFault, match="has no box of clip lone"):
        OneClip(tmp_path / "lone.avi", cohort / "boxes.csv", panes).cohort()
    boxes = pd.read_csv(cohort / "boxes.csv", dtype=str)
    boxes[boxes["clip_id"] == "C1"].drop(columns="clip_id").to_csv(tmp_path / "own.csv", index=False)
    clip = OneClip(tmp_path / "lone.avi", tmp_path / "own.csv", panes)
    assert clip.patient_is_guessed
    tables = clip.cohort()
    assert tables.boxes is not None
    assert len(tables.boxes) == 3
    said = clip.worded("clips.csv row 2: lone.avi has 3 frames (boxes.csv row 9 needs frame 11)")
    assert said == f"clip {clip.clip}: lone.avi has 3 frames ({clip.boxes} row 9 needs frame 11)"


@pytest.mark.parametrize(
    ("panes", "told"),
    [
        ({}, "no clips.csv beside it names its panes; give --bmode-pane"),
        ({"ceus": "1,2,3"}, "the CEUS pane is '1,2,3', expected"),
        ({"ceus": "0,0,10,10"}, "own.csv row 2: the box .* does not lie inside|reaches outside"),
    ],
)
def test_faults_are_told_by_what_was_given(
    panes: dict[str, str], told: str, cohort: Path, tmp_path: Path
) -> None:
    shutil.copy(cohort / "clips" / "C1.avi", tmp_path / "lone.avi")
    boxes = pd.read_csv(cohort / "boxes.csv", dtype=str).drop(columns="clip_id")[:3]
    boxes.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(InputFault, match=told):
        OneClip(tmp_path / "lone.avi", tmp_path / "own.csv", panes).cohort()


def test_a_clip_without_boxes_says_what_is_needed(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    shutil.copy(cohort / "clips" / "C1.avi", tmp_path / "lone.avi")
    pane = ",".join(map(str, files.CEUS_PANE))
    with pytest.raises(InputFault, match="needs --boxes FILE"):
        OneClip(tmp_path / "lone.avi", panes={"ceus": pane}).cohort()
