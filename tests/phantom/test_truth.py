"""Where a phantom's signal lies, against what its panes show when only the hidden numbers change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.phantom.patients import draw_latents, draw_patients, stream
from mufnet_lightning.phantom.scene import draw_scene
from mufnet_lightning.phantom.signals import KINDS, Shown
from mufnet_lightning.phantom.truth import RIM, PhantomTruth
from mufnet_lightning.phantom.ultrasound import contrast_seconds, render_bmode, render_ceus
from mufnet_lightning.store.store import CropStore

EVERYTHING = 20.0  # a margin that reaches the pane's edges


@pytest.fixture(scope="module")
def cohort(phantom_store: Path) -> Path:
    return phantom_store.parent / "cohort"


@pytest.fixture(scope="module")
def rows(phantom_store: Path) -> list[Any]:
    return list(CropStore.open(phantom_store).manifest.itertuples())


@pytest.mark.parametrize("kinds", [*KINDS["ceus"], "all"])
@pytest.mark.parametrize("pane", ["bmode", "ceus"])
def test_the_signal_is_where_a_pane_changes_with_its_hidden_number(
    cohort: Path, rows: list[Any], pane: str, kinds: str
) -> None:
    truth = PhantomTruth(cohort)
    options = PhantomOptions(**json.loads((cohort / "truth.json").read_text())["options"])
    patients = {p.patient_id: p for p in draw_patients(draw_latents(options), options)[0]}
    chosen = [kind for kind in KINDS[pane] if kinds in (kind, "all")]
    for row in rows[:: 17 if kinds == "all" else 41] if chosen else ():
        patient = patients[row.patient_id]
        seconds = contrast_seconds(patient.length, patient.frames)
        half = patient.scanner.half_angle
        scene = draw_scene(
            stream(options, "scene", patient.index), half, options.pane_size, patient.length
        )
        shown = []
        for hidden in (-3.0, 3.0):
            rng, as_shown = stream(options, pane, patient.index), Shown.of(hidden, chosen)
            frames = (
                render_bmode(rng, scene, patient.scanner, as_shown)
                if pane == "bmode"
                else render_ceus(rng, scene, patient.scanner, as_shown, seconds)
            )
            shown.append(list(frames)[row.frame].astype(float))
        change = np.abs(shown[0] - shown[1]).max(axis=2)
        signal = truth.signal(row, EVERYTHING, options.pane_size)
        assert change[signal].sum() > 0.8 * change.sum() > 0  # a blurred margin fades out beyond it
        if kinds != "all":
            continue
        assert change[signal].mean() > 40
        assert (change[signal] > 8).mean() > 0.8
        assert change[~signal].mean() < 0.03 * change[signal].mean()
        far = cv2.dilate(signal.astype(np.uint8), np.ones((15, 15))) == 0
        assert change[far].mean() < 0.005 * change[signal].mean()


def test_the_signal_is_one_piece_however_wide_the_crop(cohort: Path, rows: list[Any]) -> None:
    truth = PhantomTruth(cohort)
    for row in rows:
        signal = truth.signal(row, EVERYTHING, 128)
        assert cv2.connectedComponents(signal.astype(np.uint8))[0] == 2


def test_the_box_that_was_drawn_lies_around_the_signal(cohort: Path, rows: list[Any]) -> None:
    truth = PhantomTruth(cohort)
    clips = pd.read_csv(cohort / "clips.csv").set_index("clip_id")
    close = [truth.signal(row, 0.0, 64).mean() for row in rows]
    assert 0.75 < min(close) <= max(close) < 1
    margin, size = 0.5, 200
    for row in rows:
        x, y, width, height = map(int, clips.loc[row.clip_id, "ceus_pane"].split(","))
        signal = truth.signal(row, margin, size)
        for axis, start, side, pane, extent in (
            (0, row.box_x, row.box_width, x, width),
            (1, row.box_y, row.box_height, y, height),
        ):
            first = max(start - round(margin * side), pane)
            last = min(start + side + round(margin * side), pane + extent)
            there = np.flatnonzero(signal.any(axis=axis))
            seen = first + np.array([there[0], there[-1] + 1]) * (last - first) / size
            slip = 4 * 0.025 * side + RIM * extent + 2
            np.testing.assert_allclose(seen, [start, start + side], atol=slip)


def test_another_size_is_the_same_region(cohort: Path, rows: list[Any]) -> None:
    truth = PhantomTruth(cohort)
    fine, coarse = (truth.signal(rows[0], 0.2, size) for size in (256, 64))
    shrunk = cv2.resize(fine.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA) > 0.5
    assert (shrunk == coarse).mean() > 0.99


def spoilt(cohort: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    truth = json.loads((cohort / "truth.json").read_text())
    (folder / "truth.json").write_text(json.dumps(change(truth)))
    return folder


def test_a_phantom_of_before_the_kinds_of_signal_is_still_pointed_at(
    cohort: Path, rows: list[Any], tmp_path: Path
) -> None:
    """Its tumours are where they were; it had as many frames in each clip."""
    later = {
        *("frames_spread", "frames_by_grade", "bmode_signal", "ceus_signal"),
        *("confound", "confound_strength", "duplicates"),
    }

    def earlier(truth: Any) -> object:
        return {**truth, "options": {k: v for k, v in truth["options"].items() if k not in later}}

    then, now = PhantomTruth(spoilt(cohort, tmp_path, earlier)), PhantomTruth(cohort)
    for row in rows[::10]:
        assert np.array_equal(then.signal(row, 0.5, 64), now.signal(row, 0.5, 64))


def moved(truth: Any) -> object:
    truth["patients"][0]["tumor"][0] += 1
    return truth


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved, "the tumour of P001 is another one when drawn again"),
        (lambda truth: {**truth, "patients": truth["patients"][1:]}, "has no patient P001"),
        (lambda truth: {**truth, "options": {"people": 3}}, "is not as this version writes it"),
        (lambda truth: {}, "is not as this version writes it"),
        (lambda truth: [1, 2], "truth.json is not JSON"),
    ],
)
def test_a_truth_that_is_not_the_phantoms_is_one_sentence(
    cohort: Path,
    rows: list[Any],
    tmp_path: Path,
    change: Callable[[Any], object],
    message: str,
) -> None:
    with pytest.raises(InputFault, match=message):
        PhantomTruth(spoilt(cohort, tmp_path, change)).signal(rows[0], 0.0, 32)


def test_a_folder_without_truth_and_a_row_it_does_not_know_are_refused(
    cohort: Path, rows: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(InputFault, match="only a phantom has one"):
        PhantomTruth(tmp_path)
    truth = PhantomTruth(cohort)
    with pytest.raises(InputFault, match="no patient P999"):
        truth.signal(rows[0]._replace(patient_id="P999"), 0.0, 32)
    with pytest.raises(InputFault, match="the clip of P001 has no frame 6"):
        truth.signal(rows[0]._replace(frame=6), 0.0, 32)


def test_a_store_of_another_phantom_with_the_same_patients_is_refused(
    cohort: Path, rows: list[Any], tmp_path: Path
) -> None:
    options = PhantomOptions(**json.loads((cohort / "truth.json").read_text())["options"])
    write_phantom(tmp_path / "other", replace(options, patients=4, seed=2))
    shutil.rmtree(tmp_path / "other" / "clips")
    truth = PhantomTruth(tmp_path / "other")
    for row in (row for row in rows if row.patient_id <= "P004"):
        with pytest.raises(InputFault, match="the store is of another phantom"):
            truth.signal(row, 0.0, 32)
