"""Panes on other tissue are told by their outlines, and by the edges of tissue in many clips."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.geometry import Box, Pane, crop
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.store.inspection.alignment import (
    FEWEST_FRAMES,
    PaneView,
    inside,
    is_off,
    outline_offset,
    tissue_map,
    tissue_offset,
)
from mufnet_lightning.store.inspection.panes import boxes_apart

PANE = 224
PATIENTS = 24
Clips = list[tuple[dict[str, Pane], list[np.ndarray]]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Panes and six annotated frames of each clip of a phantom."""
    folder = tmp_path_factory.mktemp("aligned") / "cohort"
    size = {"frames": 6, "frames_spread": 0.0, "clip_length": 12, "pane_size": PANE}
    write_phantom(folder, PhantomOptions(patients=PATIENTS, high_share=0.5, seed=4, **size))  # type: ignore[arg-type]
    cohort = read_cohort(folder)
    assert cohort.clips is not None
    assert cohort.boxes is not None
    clips = []
    for row in cohort.clips.to_dict("records"):
        numbers = cohort.boxes.loc[cohort.boxes["clip_id"] == row["clip_id"], "frame"].tolist()
        frames = [np.array(frame) for _, frame in iter_frames(folder / row["path"], numbers)]
        clips.append(({name: row[f"{name}_pane"] for name in ("bmode", "ceus")}, frames))
    return clips


def views(
    clip: tuple[dict[str, Pane], list[np.ndarray]], right: int = 0, down: int = 0, darker: int = 0
) -> tuple[PaneView, PaneView]:
    """Both panes; that of CEUS where a table with a mistake has it."""
    panes, frames = clip
    wrong = Box(panes["ceus"].x + right, panes["ceus"].y + down, PANE, PANE)
    ceus = [
        np.clip(crop(frame, wrong).astype(int) - darker, 0, 255).astype(np.uint8) for frame in frames
    ]
    return PaneView.of([crop(frame, panes["bmode"]) for frame in frames]), PaneView.of(ceus)


def test_an_ordinary_clip_is_not_doubted(clips: Clips) -> None:
    offsets = [outline_offset(*views(clip)) for clip in clips]
    assert all(offset is not None and not is_off(offset) for offset in offsets)


@pytest.mark.parametrize("darker", [0, 30])
def test_an_offset_of_4_in_100_is_named_and_measured(clips: Clips, darker: int) -> None:
    rng, named, errors = np.random.default_rng(0), 0, []
    for clip in clips:
        angle = rng.uniform(0, 2 * np.pi)
        right, down = (round(0.04 * PANE * way) for way in (np.cos(angle), np.sin(angle)))
        offset = outline_offset(*views(clip, right, down, darker))
        if offset is not None:
            named += is_off(offset)
            errors.append(np.hypot(PANE * offset.right + right, PANE * offset.down + down))
    assert named >= 0.9 * len(clips)
    assert np.median(errors) <= 0.01 * PANE


def test_contrast_that_lights_nothing_tells_nothing(clips: Clips) -> None:
    assert outline_offset(*views(clips[0], darker=255)) is None
    assert inside(views(clips[0], darker=255)[1], (0.4, 0.4, 0.6, 0.6)) is None


def test_a_sector_that_fills_its_pane_tells_nothing() -> None:
    full = PaneView(np.full((4, 128, 128), 90, np.uint8))
    assert outline_offset(full, full) is None


def test_few_frames_tell_nothing(clips: Clips) -> None:
    bmode, ceus = (PaneView(view.frames[: FEWEST_FRAMES - 1]) for view in views(clips[0]))
    assert outline_offset(bmode, ceus) is None
    assert tissue_map(bmode, ceus) is None


def test_a_box_beside_the_sector_lies_outside(clips: Clips) -> None:
    bmode, _ = views(clips[0])
    assert inside(bmode, (0.4, 0.4, 0.6, 0.6)) == 1
    corner = inside(bmode, (0, 0, 0.1, 0.1))
    assert corner is not None
    assert corner < 0.3


@pytest.mark.parametrize("shift", [0, 18])
def test_the_edges_of_tissue_of_many_clips_tell_an_offset(clips: Clips, shift: int) -> None:
    maps = [tissue_map(*views(clip, shift)) for clip in clips]
    offset = tissue_offset([one for one in maps if one is not None])
    assert abs(PANE * offset.right + shift) <= 0.03 * PANE
    assert abs(PANE * offset.down) <= 0.03 * PANE


@pytest.mark.parametrize(("frames", "slip", "expected"), [(4, 10, 0.1), (4, 0, 0.0), (2, 10, None)])
def test_boxes_on_both_panes_are_held_against_each_other(
    frames: int, slip: int, expected: float | None
) -> None:
    panes = {"bmode": Pane(0, 0, 100, 100), "ceus": Pane(100, 0, 100, 100)}
    boxes = pd.DataFrame(
        [
            {"frame": frame, "x": x, "y": 30, "width": 20, "height": 20, "pane": pane}
            for frame in range(frames)
            for pane, x in (("bmode", 40), ("ceus", 140 + slip))
        ]
    )
    assert boxes_apart(boxes, panes) == expected
