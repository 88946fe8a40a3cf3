"""The phantom's laws: what its videos may and may not tell, and that its ceilings are true."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom import generate as phantom
from mufnet_lightning.phantom.clips import draw_boxes, write_clip
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions, ceilings, separations
from mufnet_lightning.phantom.patients import Patient, draw_latents, draw_patients, stream
from mufnet_lightning.phantom.scene import Scene, draw_scene
from mufnet_lightning.phantom.ultrasound import (
    CORTICAL_START,
    MEDULLARY_START,
    Screen,
    contrast_seconds,
    draw_screen,
)

SMALL = PhantomOptions(patients=4, high_share=0.5, frames=5, clip_length=12, pane_size=128, seed=3)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames(video: Path) -> np.ndarray:
    """Every frame of a video, (length, height, width, 3)."""
    capture = cv2.VideoCapture(str(video))
    images: list[Any] = []
    while True:
        read, image = capture.read()
        if not read:
            return np.stack(images)
        images.append(image)


def drawn(patient: Patient, options: PhantomOptions) -> tuple[Scene, Screen, list[dict[str, Any]]]:
    """A patient's scene, screen and boxes, as in the patient's clip."""
    scene = draw_scene(
        stream(options, "scene", patient.index),
        patient.scanner.half_angle,
        options.pane_size,
        patient.length,
    )
    screen = draw_screen(patient.scanner, scene.depth_cm, options.pane_size)
    seconds = contrast_seconds(patient.length, patient.frames)
    boxes = draw_boxes(stream(options, "boxes", patient.index), scene, screen, seconds, patient.frames)
    return scene, screen, boxes


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    write_phantom(out, SMALL)
    return out


@pytest.fixture(scope="module")
def patient() -> Patient:
    return draw_patients(draw_latents(SMALL), SMALL)[0][0]


# The answer


def test_the_ceilings_are_those_of_the_design() -> None:
    assert separations(PhantomOptions()) == pytest.approx(
        {"bmode": 1.395, "ceus": 1.436, "fused": 2.002}, abs=6e-4
    )
    best = ceilings(PhantomOptions())
    assert best == pytest.approx({"bmode": 0.838, "ceus": 0.845, "fused": 0.9215}, abs=1e-4)


@pytest.mark.parametrize("auc", [(0.838, 0.845), (0.6, 0.95)])
def test_the_hidden_numbers_reach_the_ceilings_and_no_more(auc: tuple[float, float]) -> None:
    options = PhantomOptions(patients=60_000, auc_bmode=auc[0], auc_ceus=auc[1])
    hidden, d, best = draw_latents(options), separations(options), ceilings(options)
    both = hidden.b * d["bmode"] + hidden.c * d["ceus"]
    for arm, score in (("bmode", hidden.b), ("ceus", hidden.c), ("fused", both)):
        assert roc_auc_score(hidden.label, score) == pytest.approx(best[arm], abs=0.008)


def test_the_hidden_numbers_are_independent_within_a_class_and_of_the_grade_within_it() -> None:
    hidden = draw_latents(PhantomOptions(patients=40_000, high_share=0.5))
    for label in (0, 1):
        of = hidden.label == label
        chance = 4 / np.sqrt(of.sum())
        b, c, grade = hidden.b[of], hidden.c[of], hidden.grade[of]
        assert set(grade) == ({3, 4} if label else {1, 2})
        assert abs(np.corrcoef(b, c)[0, 1]) < chance
        assert abs(np.corrcoef(b, grade)[0, 1]) < chance
        assert abs(np.corrcoef(c, grade)[0, 1]) < chance
        assert b.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("patients", "share"), [(100, 0.26), (7, 0.5), (50, 0.031), (3, 0.66)])
def test_exactly_the_asked_share_is_high_grade(patients: int, share: float) -> None:
    hidden = draw_latents(PhantomOptions(patients=patients, high_share=share))
    assert hidden.label.sum() == round(share * patients)
    assert ((hidden.grade >= 3) == (hidden.label == 1)).all()


def test_the_order_of_patients_says_nothing_about_the_label() -> None:
    first = [draw_latents(replace(SMALL, seed=seed)).label[0] for seed in range(400)]
    assert 0.4 < np.mean(first) < 0.6


# Where the answer may show


@pytest.mark.parametrize(("hidden", "shows_in"), [("b", "bmode"), ("c", "ceus")])
def test_a_hidden_number_shows_in_its_own_pane_alone(
    patient: Patient, tmp_path: Path, hidden: str, shows_in: str
) -> None:
    videos, clips = [], []
    for value in (-2.0, 2.0):
        folder = tmp_path / str(value)
        (folder / "clips").mkdir(parents=True)
        changed: dict[str, Any] = {hidden: value}
        clips.append(write_clip(folder, replace(patient, **changed), SMALL))
        videos.append(frames(folder / clips[-1].row["path"]))
    assert clips[0] == clips[1]  # boxes, anatomy, scanner
    differs = (videos[0] != videos[1]).any(axis=(0, 3))
    x, y, width, height = map(int, clips[0].row[f"{shows_in}_pane"].split(","))
    assert differs[y : y + height, x : x + width].any()
    differs[y : y + height, x : x + width] = False
    assert not differs.any()


def test_what_the_tables_say_is_independent_of_the_label() -> None:
    options = PhantomOptions(patients=3000, high_share=0.5)
    hidden = draw_latents(options)
    patients, table = draw_patients(hidden, options)
    high = hidden.label == 1
    columns = {
        name: np.array([row[name] for row in table])
        for name in table[0]
        if name not in ("patient_id", "grade")
    }
    columns["scanner"] = np.array([patient.scanner.name for patient in patients])
    for name, values in columns.items():
        ranks = np.unique(values, return_inverse=True)[1]
        assert mannwhitneyu(ranks[high], ranks[~high]).pvalue > 1e-3, name


def test_boxes_are_the_same_size_and_place_in_both_classes() -> None:
    options = replace(SMALL, patients=120, frames=1, clip_length=2)
    hidden = draw_latents(options)
    boxes = []
    for patient in draw_patients(hidden, options)[0]:
        _, screen, (box,) = drawn(patient, options)
        boxes.append([box["x"] - screen.ceus[0], box["y"], box["width"], box["height"]])
    for values in np.array(boxes).T:
        split = values[hidden.label == 1], values[hidden.label == 0]
        assert mannwhitneyu(*split).pvalue > 1e-3


# The folder


def test_the_same_seed_writes_the_same_bytes_in_one_process_or_many(
    cohort: Path, tmp_path: Path
) -> None:
    write_phantom(tmp_path / "again", SMALL)
    assert digests(tmp_path / "again") == digests(cohort)
    (tmp_path / "here" / "clips").mkdir(parents=True)
    for patient in reversed(draw_patients(draw_latents(SMALL), SMALL)[0]):
        write_clip(tmp_path / "here", patient, SMALL)
    assert digests(tmp_path / "here" / "clips") == digests(cohort / "clips")


def test_mp4_is_as_repeatable_as_avi(tmp_path: Path) -> None:
    options = replace(SMALL, patients=2, frames=2, clip_length=6, video_format="mp4")
    for name in ("one", "two"):
        (tmp_path / name / "clips").mkdir(parents=True)
        for patient in draw_patients(draw_latents(options), options)[0]:
            write_clip(tmp_path / name, patient, options)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(list((tmp_path / "one" / "clips").glob("*.mp4"))) == 2


def test_another_seed_writes_other_clips(cohort: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "other", replace(SMALL, seed=4))
    here, there = digests(cohort), digests(tmp_path / "other")
    assert here.keys() == there.keys()
    assert not set(here.values()) & set(there.values())


def test_the_same_phantom_is_the_same_cohort_and_another_is_not(cohort: Path, tmp_path: Path) -> None:
    few = replace(SMALL, patients=2, frames=1, clip_length=1)
    ids = [read_cohort(cohort).id]
    for name, options in (("one", few), ("two", few), ("three", replace(few, seed=9))):
        write_phantom(tmp_path / name, options)
        ids.append(read_cohort(tmp_path / name).id)
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3
    assert None not in ids


def test_the_tables_have_the_columns_of_the_contract(cohort: Path) -> None:
    patients, clips, boxes = (rows(cohort / f"{name}.csv") for name in ("patients", "clips", "boxes"))
    assert {"patient_id", "grade", "center", "sex", "age"} <= set(patients[0])
    assert list(clips[0]) == [
        *("clip_id", "patient_id", "path", "bmode_pane", "ceus_pane", "scanner"),
    ]
    assert list(boxes[0]) == [
        *("clip_id", "frame", "x", "y", "width", "height", "pane", "phase"),
    ]
    assert len(patients) == len(clips) == SMALL.patients
    assert len(boxes) == SMALL.patients * SMALL.frames
    assert {row["phase"] for row in boxes} == {"cortical", "medullary"}
    assert {row["pane"] for row in boxes} == {"ceus"}
    for row in patients:
        assert not {"b", "c", "label"} & set(row)


def test_the_truth_holds_what_was_drawn(cohort: Path) -> None:
    truth = json.loads((cohort / "truth.json").read_text(encoding="utf-8"))
    hidden = draw_latents(SMALL)
    assert [p["b"] for p in truth["patients"]] == hidden.b.tolist()
    assert [p["c"] for p in truth["patients"]] == hidden.c.tolist()
    assert [p["grade"] for p in truth["patients"]] == [
        int(row["grade"]) for row in rows(cohort / "patients.csv")
    ]
    assert truth["ceilings"] == ceilings(SMALL)
    assert truth["options"]["seed"] == SMALL.seed


def test_every_clip_decodes_to_its_length_and_holds_its_boxes(cohort: Path) -> None:
    boxes = rows(cohort / "boxes.csv")
    wanted = {p.patient_id: p.frames for p in draw_patients(draw_latents(SMALL), SMALL)[0]}
    for clip in rows(cohort / "clips.csv"):
        length, height, width, _ = frames(cohort / clip["path"]).shape
        assert length == SMALL.clip_length
        panes = [tuple(map(int, clip[name].split(","))) for name in ("bmode_pane", "ceus_pane")]
        for x, y, w, h in panes:
            assert x >= 0
            assert y >= 0
            assert x + w <= width
            assert y + h <= height
        of_clip = [row for row in boxes if row["clip_id"] == clip["clip_id"]]
        annotated = [int(row["frame"]) for row in of_clip]
        assert len(set(annotated)) == len(annotated) == wanted[clip["patient_id"]]
        assert max(annotated) < length
        (bx, _, bw, bh), (cx, cy, _, _) = panes
        for row in of_clip:
            x, y, w, h = (int(row[name]) for name in ("x", "y", "width", "height"))
            assert w > 10
            assert h > 10
            x, y = x - cx, y - cy  # the place in the pane: the same tissue in both
            assert 0 <= x <= x + w <= bw
            assert 0 <= y <= y + h <= bh
            assert bx + x + w <= width


def test_boxes_are_tight_around_the_tumor(patient: Patient) -> None:
    scene, screen, boxes = drawn(patient, SMALL)
    edges = scene.moved(scene.outline)
    for box in boxes:
        edge = edges[box["frame"]]
        x, y = box["x"] - screen.ceus[0], box["y"] - screen.ceus[1]
        slack = 0.12 * np.ptp(edge.real) + 1
        assert abs(x - edge.real.min()) < slack
        assert abs(x + box["width"] - edge.real.max()) < slack
        assert abs(y - edge.imag.min()) < slack
        assert abs(y + box["height"] - edge.imag.max()) < slack


@pytest.mark.parametrize(("annotated", "length"), [(1, 1), (1, None), (7, 7), (60, 120), (100, 101)])
def test_any_clip_long_enough_holds_its_annotated_frames(annotated: int, length: int | None) -> None:
    options = replace(SMALL, frames=annotated, clip_length=length)
    for patient in draw_patients(draw_latents(options), options)[0]:
        boxes = drawn(patient, options)[2]
        chosen = [box["frame"] for box in boxes]
        assert len(chosen) == len(set(chosen)) == patient.frames >= 1
        assert max(chosen) < patient.length
        seconds = contrast_seconds(patient.length, patient.frames)
        for box in boxes:
            early = CORTICAL_START <= seconds[box["frame"]] < MEDULLARY_START
            assert box["phase"] == ("cortical" if early else "medullary")


# Faults


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("patients", 1, "patients"),
        ("high_share", 0.0, "share"),
        ("high_share", 0.05, "share"),
        ("high_share", float("nan"), "share"),
        ("frames", 0, "annotated"),
        ("frames_spread", 1.0, "spread"),
        ("frames_by_grade", (4, 13), "cannot hold 13"),
        ("frames_by_grade", (0, 4), "at least 1 annotated"),
        ("frames_by_grade", (4,), "two numbers"),
        ("bmode_signal", ("texture", "timing"), "the B-mode pane has no signal 'timing'"),
        ("bmode_signal", (), "at least one kind"),
        ("ceus_signal", ("margin", "margin"), "twice"),
        ("ceus_signal", ("glow",), "it has texture, timing, margin, brightness"),
        ("confound", "sex", "center or scanner"),
        ("confound_strength", 1.5, "strength"),
        ("duplicates", -1, "duplicates"),
        ("duplicates", 3, "at most 2 duplicates"),
        ("clip_length", 4, "4 frames"),
        ("pane_size", 64, "pixels"),
        ("centers", 0, "centres"),
        ("centers", 5, "centres"),
        ("auc_bmode", 0.5, "B-mode"),
        ("auc_ceus", 1.0, "CEUS"),
        ("video_format", "mov", "mov"),
        ("seed", -1, "seed"),
    ],
)
def test_a_senseless_option_is_refused_in_one_sentence(option: str, value: object, word: str) -> None:
    with pytest.raises(InputFault, match=word) as caught:
        replace(SMALL, **{option: value})  # type: ignore[arg-type]
    assert len(caught.value.faults) == 1


def test_what_does_not_go_together_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        InputFault, match="one frame tells nothing of the timing of the bolus"
    ) as caught:
        replace(SMALL, ceus_signal=("timing",), frames=2, clip_length=3)
    assert len(caught.value.faults) == 1
    with pytest.raises(InputFault, match="one centre cannot be tied") as caught:
        replace(SMALL, confound="center", centers=1)
    assert len(caught.value.faults) == 1


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(InputFault) as caught:
        PhantomOptions(patients=1, auc_bmode=0.2, seed=-5, centers=1)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_exists_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    kept = out / "notes.txt" if kind == "folder" else out
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(InputFault, match="exists already"):
        write_phantom(out, SMALL)
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_hold_a_folder_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputFault, match="cannot be written"):
        write_phantom(tmp_path / "file" / "out", SMALL)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def interrupted(*_: object) -> None:
        assert any(tmp_path.iterdir())  # the clips were on disk when it happened
        raise stop

    monkeypatch.setattr(phantom, "_write_tables", interrupted)
    with pytest.raises(stop):
        write_phantom(tmp_path / "out", replace(SMALL, patients=2, frames=1))
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_there_is_one_line_and_no_progress_bar(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    command = "from mufnet_lightning.cli import main; raise SystemExit(main())"
    few = ["--patients", "2", "--high-share", "0.5", "--frames", "1", "--pane-size", "128"]
    done = subprocess.run(
        [sys.executable, "-c", command, "phantom", str(out), *few],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"wrote 2 patients (1 high), 2 annotated frames to {out}; "
        "ceilings: B-mode 0.838, CEUS 0.845, fused 0.922\n"
    )
    assert done.stderr == ""
    assert [path.name for path in out.parent.iterdir()] == ["out"]
