"""`mufnet import`: shown first, written on request."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import annotation_files as made
import pytest
from annotation_files import Drawn

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.read import read_cohort

BOXES = [Drawn("C1", 2, 90, 20, 16, 12), Drawn("C1", 6, 98, 21, 20, 12), Drawn("C3", 0, 90, 9, 5, 5)]
NAMES = ["--frames-from", "{clip}_{frame}", "--first-frame", "0"]


def test_it_is_shown_before_it_is_written(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(made.coco(tmp_path / "a <b>.json", BOXES))
    before = (cohort / "boxes.csv").read_bytes()
    assert main(["import", path, str(cohort), *NAMES]) == 0
    printed = capsys.readouterr()
    assert (cohort / "boxes.csv").read_bytes() == before
    assert "COCO, 3 boxes in 2 clips" in printed.out
    assert re.search(r"^C1 +tumour +2 +0 +2 to 6 +0 to 11$", printed.out, re.MULTILINE)
    assert "C1,2,90,20,16,12,ceus" in printed.out
    assert "frames: 3 by their number, counted from 0 as --first-frame says" in printed.out
    assert "boxes.csv is not written; --write does it" in printed.out
    assert "clips.csv: 2 clips without any box" in printed.err
    page = (cohort / "boxes_look.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3
    assert "a &lt;b&gt;.json" in page
    assert "http" not in page


def test_a_table_that_is_there_is_only_replaced_on_request(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(made.coco(tmp_path / "a.json", BOXES))
    before = (cohort / "boxes.csv").read_bytes()
    assert main(["import", path, str(cohort), *NAMES, "--write"]) == 2
    assert "boxes.csv is there already; --replace writes over it" in capsys.readouterr().err
    assert (cohort / "boxes.csv").read_bytes() == before
    assert main(["import", path, str(cohort), *NAMES, "--write", "--replace"]) == 0
    boxes = read_cohort(cohort).boxes
    assert boxes is not None
    assert len(boxes) == 3
    (cohort / "boxes.csv").unlink()
    (cohort / "patients.csv").unlink()  # the other tables may come later
    assert main(["import", path, str(cohort), *NAMES, "--write"]) == 0
    assert len((cohort / "boxes.csv").read_text().splitlines()) == 4
    assert [entry.name for entry in cohort.iterdir() if entry.name.startswith(".")] == []


def test_the_boxes_are_drawn_where_they_are(cohort: Path, tmp_path: Path, files: ModuleType) -> None:
    import base64

    import cv2
    import numpy as np

    path = str(made.coco(tmp_path / "a.json", [BOXES[0]]))
    assert main(["import", path, str(cohort), *NAMES]) == 0
    page = (cohort / "boxes_look.html").read_text(encoding="utf-8")
    (picture,) = re.findall(r"base64,([^\"]+)", page)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    clean = files.clip_frame(2, 1)[..., ::-1].astype(int)
    assert image.shape == clean.shape
    changed = (np.abs(image - clean) > 90).any(axis=2)  # more than JPEG changes
    rows, columns = np.nonzero(changed)
    edges = (columns.min(), columns.max(), rows.min(), rows.max())
    for edge, expected in zip(edges, (89, 106, 19, 32), strict=True):
        assert abs(edge - expected) <= 2
    assert not changed[23:29, 93:103].any()  # its inside is left as it is


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pane-labels tumour", "--pane-labels has 'tumour', expected ceus=LABEL or bmode=LABEL"),
        ("--pane-labels ceus=a,bmode=a", "--pane-labels names one label for two panes"),
        ("--pane ceus --pane-labels ceus=a", "both tell the pane"),
        ("--most-gap 1", "--most-gap is 1, expected 2 or more"),
        ("--replace", "--replace says what --write may do"),
        ("--first-frame 2", "first_frame: expected one of 0, 1"),
        ("--format pair", "format: expected one of 'cvat'"),
        ("--clip C9", "--clip is 'C9', expected a clip_id that clips.csv has"),
    ],
)
def test_options_without_sense_are_faults(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    path = str(made.coco(tmp_path / "a.json", BOXES))
    assert main(["import", path, str(cohort), *shlex.split(words)]) == 2
    assert message in capsys.readouterr().err


def test_pane_and_labels_by_options(cohort: Path, tmp_path: Path) -> None:
    boxes = [*BOXES, Drawn("C1", 6, 10, 21, 20, 12, "b"), Drawn("C1", 6, 1, 1, 2, 2, "ruler")]
    path = str(made.coco(tmp_path / "a.json", boxes))
    call = ["import", path, str(cohort), *NAMES, "--write", "--replace"]
    assert main([*call, "--pane-labels", "ceus=tumour,bmode=b", "--interpolate"]) == 0
    rows = (cohort / "boxes.csv").read_text().splitlines()
    assert rows[-3:] == [
        "C1,6,10,21,20,12,bmode,drawn",
        "C1,6,98,21,20,12,ceus,drawn",
        "C3,0,90,9,5,5,ceus,drawn",
    ]
    assert main([*call, "--labels", "tumour", "--pane", "bmode"]) == 2


def test_what_is_no_annotation_is_a_fault(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("a.zip", b"PK"), ("b.json", b"{}"), ("c.xml", b"<a/>"), ("d.txt", b"")):
        (tmp_path / name).write_bytes(content)
        assert main(["import", str(tmp_path / name), str(cohort)]) == 2
    told = capsys.readouterr().err
    assert "unpack it" in told
    assert "b.json holds nothing that can be read" in told
    assert "c.xml is no XML of CVAT's" in told
    assert "d.txt holds no box" in told
    assert main(["import", str(tmp_path / "none"), str(cohort)]) == 2
