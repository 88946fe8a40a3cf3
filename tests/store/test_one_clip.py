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
    pane = ",".join(map(str, files.CEUS_PANE))
    tables = OneClip(cohort / "clips" / "C2.avi", panes={"ceus": pane}, patient="Q").cohort()
    assert tables.clips is not None
    assert tables.clips["bmode_pane"].tolist() == [None]
    assert tables.patients["patient_id"].tolist() == ["Q"]


def test_boxes_of_other_clips_are_left_out_and_a_table_without_clips_is_this_ones(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    shutil.copy(cohort / "clips" / "C1.avi", tmp_path / "lone.avi")
    panes = {"ceus": ",".join(map(str, files.CEUS_PANE))}
    with pytest.raises(InputFault, match="has no box of clip lone"):
        OneClip(tmp_path / "lone.avi", cohort / "boxes.csv", panes).cohort()
    boxes = pd.read_csv(cohort / "boxes.csv", dtype=str)
    boxes[boxes["clip_id"] == "C1"].drop(columns="clip_id").to_csv(tmp_path / "own.csv", index=False)
    tables = OneClip(tmp_path / "lone.avi", tmp_path / "own.csv", panes).cohort()
    assert tables.boxes is not None
    assert len(tables.boxes) == 3


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
