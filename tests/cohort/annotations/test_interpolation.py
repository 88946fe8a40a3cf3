"""Frames between key frames: only where that was asked for, and marked."""

from __future__ import annotations

from pathlib import Path

import annotation_files as made
import pandas as pd
import pytest
from annotation_files import Drawn
from edited_stores import unseal
from hypothesis import given
from hypothesis import strategies as st

from mufnet_lightning.cohort.annotations.annotation import Extent
from mufnet_lightning.cohort.annotations.importing import plan_import
from mufnet_lightning.cohort.annotations.interpolation import interpolate
from mufnet_lightning.cohort.annotations.placing import Choices, Placed
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import LATER, CropStore

FILL = Choices(frames_from="{clip}_{frame}", first_frame=0, interpolate=True)
KEYS = [Drawn("C1", 2, 90, 20, 16, 12), Drawn("C1", 6, 98, 21, 20, 12)]


def placed(frame: int, box: Extent, track: str = "", drawn: bool = True) -> Placed:
    return Placed(f"frame {frame}", "C1", frame, box, "tumour", "ceus", track, drawn)


def test_frames_between_two_key_frames_are_filled_on_request(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", KEYS)
    plain = plan_import(path, cohort, Choices(frames_from="{clip}_{frame}", first_frame=0))
    assert plain.text.splitlines() == [
        "clip_id,frame,x,y,width,height,pane",
        "C1,2,90,20,16,12,ceus",
        "C1,6,98,21,20,12,ceus",
    ]
    assert plan_import(path, cohort, FILL).text.splitlines() == [
        "clip_id,frame,x,y,width,height,pane,box_source",
        "C1,2,90,20,16,12,ceus,drawn",
        "C1,3,92,20,17,13,ceus,interpolated",  # 92 to 109, 20.25 to 32.25, rounded outward
        "C1,4,94,20,18,13,ceus,interpolated",
        "C1,5,96,20,19,13,ceus,interpolated",
        "C1,6,98,21,20,12,ceus,drawn",
    ]


def test_key_frames_far_apart_stay_alone_and_are_told(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", KEYS)
    near = Choices(frames_from="{clip}_{frame}", first_frame=0, interpolate=True, most_gap=3)
    plan = plan_import(path, cohort, near)
    assert [box.frame for box in plan.boxes] == [2, 6]
    assert any("1 times two key frames are more than 3 frames apart" in note for note in plan.notes)


def test_what_cvat_filled_in_is_not_drawn(cohort: Path, tmp_path: Path) -> None:
    boxes = [
        KEYS[0],
        *(Drawn("C1", frame, 91.5, 20, 16, 12) for frame in (3, 4, 5)),
        KEYS[1],
        *(Drawn("C1", frame, 98, 21, 20, 12) for frame in range(7, 12)),  # to the end of the film
    ]
    path = made.cvat_film(tmp_path / "a.xml", boxes, "C1.avi", keys=[2, 6])
    plain = plan_import(path, cohort)
    assert [box.frame for box in plain.boxes] == [2, 6]
    assert any("8 boxes that the program filled in around key frames" in note for note in plain.notes)
    filled = plan_import(path, cohort, Choices(interpolate=True))
    assert [(box.frame, box.drawn) for box in filled.boxes] == [
        *((2, True), (3, False), (4, False), (5, False), (6, True))
    ]
    assert filled.boxes[1].box.x == 91.5  # as CVAT has it
    assert any("5 boxes that the program filled in lie between no two" in note for note in filled.notes)


def test_nothing_is_filled_in_where_the_tumour_was_out_of_sight(cohort: Path, tmp_path: Path) -> None:
    path = made.cvat_film(tmp_path / "a.xml", KEYS, "C1.avi")
    text = path.read_text()
    gone = '<box frame="4" keyframe="1" outside="1" xtl="90" ytl="20" xbr="99" ybr="30" />'
    path.write_text(text.replace("</track>", f"{gone}</track>"))
    plan = plan_import(path, cohort, Choices(interpolate=True))
    assert [box.frame for box in plan.boxes] == [2, 6]


def test_boxes_on_both_panes_are_filled_each_on_its_own(cohort: Path, tmp_path: Path) -> None:
    both = [*KEYS, Drawn("C1", 2, 10, 20, 16, 12), Drawn("C1", 6, 18, 21, 20, 12)]
    plan = plan_import(made.coco(tmp_path / "a.json", sorted(both)), cohort, FILL)
    there = [(box.frame, box.pane, box.box.x) for box in plan.boxes if not box.drawn]
    assert there == [
        *((3, "bmode", 12), (3, "ceus", 92), (4, "bmode", 14), (4, "ceus", 94)),
        *((5, "bmode", 16), (5, "ceus", 96)),
    ]


def test_tracks_are_filled_apart() -> None:
    boxes = [
        placed(0, Extent(0, 0, 4, 4), "a"),
        placed(2, Extent(4, 0, 4, 4), "a"),
        placed(4, Extent(50, 0, 4, 4), "b"),
    ]
    filled, _ = interpolate(boxes, 10)
    assert sorted(box.frame for box in filled) == [0, 1, 2, 4]


SIDES = st.floats(1, 60)
EXTENTS = st.builds(Extent, st.floats(0, 90), st.floats(0, 40), SIDES, SIDES)


@given(EXTENTS, EXTENTS, st.integers(2, 10))
def test_a_filled_box_holds_what_lies_between(first: Extent, last: Extent, gap: int) -> None:
    filled, notes = interpolate([placed(0, first), placed(gap, last)], 10)
    assert notes == []
    between = [box for box in filled if not box.drawn]
    assert [box.frame for box in between] == list(range(1, gap))
    for one in between:
        share = one.frame / gap
        for low, high, edges in (
            (one.box.x, one.box.x + one.box.width, ("x", "width")),
            (one.box.y, one.box.y + one.box.height, ("y", "height")),
        ):
            start, side = edges
            a, b = getattr(first, start), getattr(last, start)
            c, d = a + getattr(first, side), b + getattr(last, side)
            assert low <= a + share * (b - a) + 1e-5
            assert high >= c + share * (d - c) - 1e-5
            assert low == int(low)
            assert high - low <= (c + share * (d - c)) - (a + share * (b - a)) + 2


def test_the_store_says_which_boxes_nobody_drew(cohort: Path, tmp_path: Path) -> None:
    before = prepare_store(cohort, tmp_path / "before").digest
    assert set(CropStore.open(tmp_path / "before").manifest["box_source"]) == {""}
    kept = (cohort / "boxes.csv").read_bytes()
    plan_import(made.coco(tmp_path / "a.json", KEYS), cohort, FILL).write(over=True)
    prepare_store(cohort, tmp_path / "store")
    manifest = CropStore.open(tmp_path / "store").manifest
    marks = dict(zip(manifest["frame"], manifest["box_source"], strict=True))
    assert marks == {2: "drawn", 3: "interpolated", 4: "interpolated", 5: "interpolated", 6: "drawn"}
    (cohort / "boxes.csv").write_bytes(kept)
    assert prepare_store(cohort, tmp_path / "again").digest == before


def test_a_store_of_before_opens(whole_store: Path, tmp_path: Path) -> None:
    import shutil

    store = Path(shutil.copytree(whole_store, tmp_path / "store"))
    table = pd.read_csv(store / "manifest.csv")
    table.drop(columns=[*LATER]).to_csv(store / "manifest.csv", index=False)
    unseal(store)
    manifest = CropStore.open(store).manifest
    assert len(manifest) == len(table)
    for name, kind in LATER.items():
        assert ((manifest[name] == "") if kind == "str" else manifest[name].isna()).all()
        assert manifest[name].dtype == CropStore.open(whole_store).manifest[name].dtype


@pytest.mark.parametrize(("word", "fits"), [("Interpolated", True), ("drawn", True), ("cvat", False)])
def test_source_is_one_of_two_words(cohort: Path, word: str, fits: bool) -> None:
    from mufnet_lightning.errors import InputFault

    header, *rows = (cohort / "boxes.csv").read_text().splitlines()
    lines = [f"{header},box_source", *(f"{row},{word}" for row in rows)]
    (cohort / "boxes.csv").write_text("\n".join(lines))
    if fits:
        boxes = read_cohort(cohort).boxes
        assert boxes is not None
        assert set(boxes["box_source"]) == {word.lower()}
    else:
        with pytest.raises(InputFault, match="box_source is 'cvat', expected drawn or interpolated"):
            read_cohort(cohort)


def test_a_pair_with_one_filled_box_is_marked(cohort: Path, tmp_path: Path) -> None:
    header, *rows = (cohort / "boxes.csv").read_text().splitlines()
    lines = [f"{header},box_source", *(f"{row},drawn" for row in rows)]
    lines.append("C1,2,10,14,20,18,bmode,,interpolated")
    (cohort / "boxes.csv").write_text("\n".join(lines))
    prepare_store(cohort, tmp_path / "store")
    manifest = CropStore.open(tmp_path / "store").manifest
    marked = manifest[manifest["box_source"] == "interpolated"]
    assert [(row.clip_id, row.frame) for row in marked.itertuples()] == [("C1", 2)]
