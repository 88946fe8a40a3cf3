"""Panes, millimetres and seconds out of headers, from a cohort folder to the crops."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pandas as pd
import pydicom
import pytest
from edited_stores import unseal
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.annotations.importing import plan_import
from mufnet_lightning.cohort.annotations.placing import Choices
from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.geometry import Box, Pane, crop
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.inputs import SEEN
from mufnet_lightning.store.one_clip import OneClip
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import MEASURED, CropStore
from mufnet_lightning.vocabulary import Contrast

AMBER = np.array([1.0, 0.7, 0.2])
LEFT, RIGHT = (0, 8, 63, 55), (80, 8, 143, 55)
Clips = Mapping[str, Sequence[Dataset]]


@pytest.fixture(autouse=True)
def what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """As the command shows it."""
    caplog.set_level(logging.INFO)


def region(
    edges: Sequence[int],
    form: int = 1,
    kind: int = 1,
    cm: float = 0.05,
    place: tuple[float, float, float, float] | None = None,
) -> Dataset:
    item = Dataset()
    for name, edge in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), edges, strict=True):
        setattr(item, f"RegionLocation{name}", edge)
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = form, kind, 2
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = cm
    names = ("PixelX0", "PixelY0", "PixelPhysicalValueX", "PixelPhysicalValueY")
    for name, value in zip(names, place or (), strict=False):
        setattr(item, f"Reference{name}", value)
    return item


def tinted(files: ModuleType, number: int, clip: int, ceus: str = "right") -> np.ndarray:
    """A frame with one grey pane and one in amber."""
    frame = np.zeros((64, 160, 3), np.uint8)
    texture = np.random.default_rng([clip, number]).integers(0, 256, (12, 16)).repeat(4, 0).repeat(4, 1)
    for (x, y, *_), side in ((LEFT, "left"), (RIGHT, "right")):
        grey = np.repeat(texture[..., None], 3, 2)
        frame[y : y + 48, x : x + 64] = grey * AMBER if side == ceus else grey
    return frame


def cohort_of(
    folder: Path,
    files: ModuleType,
    regions: Sequence[Dataset] | None,
    *,
    look: str = "right",
    panes: bool = False,
    box: tuple[int, int, int, int] = (90, 14, 20, 16),
    extra: Mapping[str, Mapping[str, str]] | None = None,
    **elements: object,
) -> Path:
    """Three patients, a DICOM clip of 12 frames each, without panes in the table unless asked for.

    `look` says where contrast is, or is `colour` or `grey` of both panes; `extra` are cells of
    clips.csv by clip.
    """
    tables: dict[str, list[dict[str, Any]]] = files.cohort_tables()
    del tables["clips"][1]
    tables["boxes"] = [row for row in tables["boxes"] if row["clip_id"] != "C2"]
    names = dict.fromkeys(name for cells in (extra or {}).values() for name in cells)
    for row in tables["clips"]:
        row["path"] = f"clips/{row['clip_id']}.dcm"
        if not panes:
            del row["bmode_pane"], row["ceus_pane"]
        row |= {name: (extra or {}).get(row["clip_id"], {}).get(name, "") for name in names}
    for row in tables["boxes"]:
        row |= dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"pane": ""}
    folder.mkdir(parents=True)
    (folder / "cohort.json").write_text('{"id": "of headers"}')
    for name, rows in tables.items():
        files.write_table(folder / f"{name}.csv", rows)
    for clip in (1, 3, 4):
        if look == "colour":
            frames = [files.clip_frame(number, clip) for number in range(12)]
        else:
            frames = [tinted(files, number, clip, look) for number in range(12)]
        dataset = files.write_dicom(folder / f"clips/C{clip}.dcm", np.stack(frames))
        if regions is not None:
            dataset.SequenceOfUltrasoundRegions = Items(regions)
        for element, value in elements.items():
            setattr(dataset, element, value)
        dataset.save_as(folder / f"clips/C{clip}.dcm", enforce_file_format=True)
    return folder


def crops(store: CropStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store.root / "crops").iterdir())}


def faults(cohort: Path, contrast: Contrast = "tint") -> list[str]:
    with pytest.raises(InputFault) as raised:
        read_cohort(cohort, contrast=contrast)
    return list(raised.value.faults)


DUAL = [region(LEFT), region(RIGHT)]


# Panes


def test_a_pane_of_the_header_is_as_good_as_one_of_the_table(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = [region((0, 0, 159, 63)), region((0, 50, 143, 63), 4, 10), region((150, 8, 400, 55))]
    with_table = cohort_of(tmp_path / "table", files, None, look="colour", panes=True)
    of_header = cohort_of(tmp_path / "header", files, [*odd, *DUAL[::-1]], look="colour")
    for margin in (0.0, 0.7):
        caplog.clear()
        first = prepare_store(with_table, tmp_path / f"one {margin}", margin)
        assert "panes read" not in caplog.text
        other = prepare_store(of_header, tmp_path / f"other {margin}", margin, contrast="right")
        assert crops(first) == crops(other)
        assert len(crops(first)) == 18
        assert (
            "3 clips: panes read from the header (bmode 0,8,64,48, ceus 80,8,64,48), contrast at the "
            "right by --contrast right" in caplog.text
        )
    frame = files.clip_frame(2, 1)
    pixels = files.read_rgb(first.root.parent / "one 0.0" / "crops" / "p000000_bmode.png")
    np.testing.assert_array_equal(pixels, crop(frame, Box(10, 14, 20, 16)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tint_tells_which_pane_shows_contrast(
    side: str, files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, look=side)
    store = prepare_store(cohort, tmp_path / "store")
    assert f"contrast at the {side} by its tint" in caplog.text
    assert store.manifest["box_pane"].unique().tolist() == ["ceus" if side == "right" else "bmode"]
    row = store.manifest.iloc[0]
    colour, grey = (files.read_rgb(store.root / row[f"{name}_path"]) for name in ("ceus", "bmode"))
    assert (np.ptp(grey, axis=-1) == 0).all()
    assert np.ptp(colour, axis=-1).mean() > 40


@pytest.mark.parametrize(("look", "words"), [("grey", "(grey)"), ("colour", "tinted)")])
def test_where_the_tint_does_not_tell_an_option_is_asked_for(
    look: str, words: str, files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, look=look)
    reasons = faults(cohort)
    assert len(reasons) == 3
    assert reasons[0].startswith(
        "clips.csv row 2: bmode_pane and ceus_pane are both empty, expected at least one: its header "
        "names two, left 0,8,64,48 ("
    )
    assert reasons[0].endswith(
        "whose tint does not tell which shows contrast; say --contrast left or right, or write "
        "bmode_pane and ceus_pane (x,y,width,height)"
    )
    assert words in reasons[0]
    panes = read_cohort(cohort, contrast="left").headers.panes
    assert panes["C1"] == {"ceus": Pane(0, 8, 64, 48), "bmode": Pane(80, 8, 64, 48)}


def test_an_option_against_the_tint_is_doubted_and_one_that_fits_no_pane_refused(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, look="right")
    headers = read_cohort(cohort, contrast="left").headers
    assert headers.warnings == (
        "of 3 clips (C1, C3, C4) the pane that --contrast left names is the grey one of two",
    )
    assert read_cohort(cohort, contrast="right").headers.warnings == ()
    reasons = faults(cohort, "top")
    assert reasons[0] == (
        "clips.csv row 2: has the panes left 0,8,64,48 and right 80,8,64,48, of which --contrast top "
        "is none, expected left or right"
    )


def test_panes_one_above_the_other(files: ModuleType, tmp_path: Path) -> None:
    upper, lower = region((0, 0, 99, 31)), region((0, 32, 99, 63))
    cohort = cohort_of(tmp_path / "cohort", files, [lower, upper], box=(10, 4, 20, 16))
    panes = read_cohort(cohort, contrast="bottom").headers.panes
    assert panes["C1"] == {"bmode": Pane(0, 0, 100, 32), "ceus": Pane(0, 32, 100, 32)}


@pytest.mark.parametrize(
    ("regions", "reason"),
    [
        (None, "its header names no regions"),
        ([region(LEFT, 4, 10)], "the regions in its header (0,8,64,48) show no tissue"),
        (
            [region((0, 0, 319, 127))],
            "the regions in its header (0,0,320,128) reach outside the picture of 160 × 64 pixels",
        ),
        ([region(LEFT)], "its header names one, 0,8,64,48; write it into bmode_pane or ceus_pane, or "),
        ([region(LEFT), region((40, 8, 103, 55))], "those that its header names, 0,8,64,48 and "),
        ([region(LEFT), region((80, 8, 103, 55))], "0,8,64,48 and 80,8,24,48, differ in shape"),
        (
            [*DUAL, region((64, 8, 79, 20))],
            "its header names 3, 0,8,64,48; 64,8,16,13; 80,8,64,48; write bmode_pane and ceus_pane",
        ),
        (
            [region(LEFT), region(RIGHT, cm=0.1)],
            "show different sections (3.2 × 2.4 cm and 6.4 × 4.8 cm) and it does not say where; write",
        ),
    ],
)
def test_what_does_not_settle_the_panes_is_a_fault_of_each_clip(
    regions: list[Dataset] | None, reason: str, files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, regions)
    if regions is None:  # no clip says anything, and the table has not even the columns
        assert faults(cohort) == [
            "clips.csv has no column bmode_pane or ceus_pane, expected at least one"
        ]
        text = (cohort / "clips.csv").read_text().replace("\n", ",\n")
        (cohort / "clips.csv").write_text(text.replace(",\n", ",ceus_pane\n", 1))
    reasons = faults(cohort)
    assert [one.split(":")[0] for one in reasons] == [f"clips.csv row {row}" for row in (2, 3, 4)]
    assert reason in reasons[0]
    assert "bmode_pane and ceus_pane are both empty, expected at least one" in reasons[0]


def test_one_region_is_the_pane_of_the_modality_that_the_table_names(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = {clip: {"modality": "CEUS"} for clip in ("C1", "C3", "C4")}
    cohort = cohort_of(tmp_path / "cohort", files, [region(RIGHT)], extra=words)
    store = prepare_store(cohort, tmp_path / "store")
    assert store.modalities == ("ceus",)
    assert store.manifest["box_pane"].unique().tolist() == ["ceus"]
    assert "3 clips: one pane, read from the header (80,8,64,48): ceus, by" in caplog.text


def test_a_pane_of_the_table_is_never_overruled_but_a_difference_is_said(
    files: ModuleType, tmp_path: Path
) -> None:
    far = [region((2, 8, 63, 55)), region((80, 14, 143, 61))]
    for name, regions, differs in (("near", DUAL, False), ("far", far, True)):
        cohort = cohort_of(tmp_path / name, files, regions, panes=True)
        tables = read_cohort(cohort)
        assert tables.clips is not None
        assert tables.clips["ceus_pane"].unique().tolist() == [Pane(80, 8, 64, 48)]
        assert tables.headers.panes == {}
        said = "the panes in clips.csv are not those of the header; the table counts"
        expected = (f"of 3 clips (C1, C3, C4) {said}",) if differs else ()
        assert tables.headers.warnings == expected


def test_a_clip_without_boxes_needs_no_panes(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL)
    boxes = [line for line in (cohort / "boxes.csv").read_text().splitlines() if "C3" not in line]
    (cohort / "boxes.csv").write_text("\n".join(boxes) + "\n")
    (cohort / "clips" / "C3.dcm").write_bytes(b"nothing")
    assert set(read_cohort(cohort).headers.panes) == {"C1", "C4"}


def test_a_file_that_cannot_be_read_has_one_fault_and_hides_no_other(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL)
    (cohort / "clips" / "C1.dcm").write_bytes(b"nothing")
    whole = (cohort / "clips" / "C4.dcm").read_bytes()
    (cohort / "clips" / "C4.dcm").write_bytes(whole[: len(whole) // 2])
    reasons = faults(cohort)
    assert reasons[0] == (
        "clips.csv row 2: clips/C1.dcm cannot be read as DICOM: damaged, or another format"
    )
    assert reasons[1].startswith("clips.csv row 4: clips/C4.dcm has ")
    assert len(reasons) == 2
    # with panes in the table, it is the fault of cutting, as ever
    tables = cohort_of(tmp_path / "tables", files, DUAL, panes=True)
    (tables / "clips" / "C1.dcm").write_bytes(b"nothing")
    with pytest.raises(InputFault) as raised:
        prepare_store(tables, tmp_path / "store")
    assert list(raised.value.faults) == [f"{reasons[0]} (boxes.csv row 4 needs frame 10)"]


def test_a_box_behind_the_last_frame_is_told_when_it_is_cut(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL)
    text = (cohort / "boxes.csv").read_text().replace("C1,10,", "C1,99,")
    (cohort / "boxes.csv").write_text(text)
    with pytest.raises(
        InputFault, match=r"C1\.dcm has 12 frames .*\(boxes\.csv row 4 needs frame 99\)"
    ):
        prepare_store(cohort, tmp_path / "store")


def test_a_real_clip_of_two_panes(files: ModuleType, tmp_path: Path) -> None:
    path = get_testdata_file("gdcm-US-ALOKA-16.dcm", download=False)
    assert path is not None
    (tmp_path / "clips").mkdir()
    shutil.copy(str(path), tmp_path / "clips" / "a")
    files.write_table(tmp_path / "patients.csv", [{"patient_id": "P", "grade": 1}])
    files.write_table(tmp_path / "clips.csv", [{"clip_id": "A", "patient_id": "P", "path": "clips/a"}])
    files.write_table(
        tmp_path / "boxes.csv",
        [{"clip_id": "A", "frame": 0, "x": 450, "y": 150, "width": 80, "height": 60}],
    )
    assert "left 32,24,304,392 (grey) and right 336,24,304,392 (grey)" in faults(tmp_path)[0]
    store = prepare_store(tmp_path, tmp_path / "store", contrast="right")
    row = store.manifest.iloc[0]
    assert row["box_pane"] == "ceus"
    assert row["lesion_width_mm"] == pytest.approx(80 * 0.38265, abs=0.01)
    assert files.read_rgb(store.root / row["bmode_path"]).shape == (60, 80, 3)


# Sections


def zoomed(files: ModuleType, folder: Path, **how: Any) -> Path:
    """The right pane shows the left one's middle, twice as large."""
    left = region(LEFT, cm=0.1, place=(32, 0, 0, 0))
    right = region(RIGHT, cm=0.05, place=(32, 0, 0, 1))
    return cohort_of(folder, files, [left, right], **how)


def test_panes_of_different_zoom_are_cut_at_the_same_centimetres(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = zoomed(files, tmp_path / "cohort", box=(100, 16, 20, 16))
    store = prepare_store(cohort, tmp_path / "store")
    assert (
        "3 clips (C1, C3, C4): the panes show different sections; boxes are carried by" in caplog.text
    )
    row = store.manifest.iloc[0]
    # columns 100 to 120 are -0.625 to 0.375 cm, rows 16 to 32 1.375 to 2.175: half the pixels there
    frame = tinted(files, 2, 1)
    for name, box in (("ceus", Box(100, 16, 20, 16)), ("bmode", Box(26, 22, 11, 9))):
        pixels = files.read_rgb(store.root / row[f"{name}_path"])
        np.testing.assert_array_equal(pixels, crop(frame, box))
    wide = prepare_store(cohort, tmp_path / "wide", margin=3.0)
    row = wide.manifest.iloc[0]  # as far as both panes show it
    shapes = [files.read_rgb(wide.root / row[f"{name}_path"]).shape for name in ("ceus", "bmode")]
    assert shapes == [(48, 64, 3), (25, 33, 3)]
    # drawn on the left: its context ends where the right pane ends, 17 to 48 and 19 to 42
    other = zoomed(files, tmp_path / "other", box=(26, 22, 11, 9))
    row = prepare_store(other, tmp_path / "left", margin=3.0).manifest.iloc[0]
    for name, box in (("ceus", Box(81, 9, 63, 47)), ("bmode", Box(17, 19, 31, 23))):
        pixels = files.read_rgb(tmp_path / "left" / row[f"{name}_path"])
        np.testing.assert_array_equal(pixels, crop(frame, box))


def test_a_box_that_the_other_pane_does_not_show_is_a_fault_unless_it_has_its_own(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = zoomed(files, tmp_path / "cohort", box=(4, 14, 20, 16))
    reasons = faults(cohort)
    assert len(reasons) == 9
    assert reasons[0] == (
        "boxes.csv row 2: the box 4,14,20,16 reaches outside what the ceus pane shows of the bmode "
        "pane (17,19,31,23), expected a box on each pane"
    )
    with open(cohort / "boxes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    files.write_table(cohort / "boxes.csv", [*rows, *({**row, "x": 100} for row in rows)])
    store = prepare_store(cohort, tmp_path / "store")
    row = store.manifest.iloc[0]
    np.testing.assert_array_equal(
        files.read_rgb(store.root / row["ceus_path"]), crop(tinted(files, 2, 1), Box(100, 14, 20, 16))
    )


def test_panes_of_the_table_that_show_different_sections_are_doubted(
    files: ModuleType, tmp_path: Path
) -> None:
    headers = read_cohort(zoomed(files, tmp_path / "cohort", panes=True)).headers
    [warning] = headers.warnings
    assert warning.startswith("of 3 clips (C1, C3, C4) the panes in clips.csv show different sections")
    assert headers.views == {}


# Millimetres and seconds


def test_the_manifest_has_millimetres_and_seconds(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(
        tmp_path / "cohort",
        files,
        DUAL,
        FrameTimeVector=[0, *[100] * 5, *[200] * 6],
        ContrastBolusStartTime="101000",
        AcquisitionTime="101020",
    )
    store = prepare_store(cohort, tmp_path / "store", margin=0.5)
    rows: list[Any] = list(store.manifest.itertuples())
    for row in rows:
        assert (row.mm_per_pixel_x, row.mm_per_pixel_y) == (0.5, 0.5)
        assert (row.lesion_width_mm, row.lesion_height_mm) == (10.0, 8.0)  # without the margin
        assert row.time_s == {2: 0.2, 7: 0.9, 10: 1.5}[row.frame]
        assert row.time_since_injection_s == pytest.approx(20 + row.time_s)


def test_the_table_counts_where_it_gives_numbers(files: ModuleType, tmp_path: Path) -> None:
    extra = {
        "C1": {"mm_per_pixel": "0.2", "start_s": "-3.5"},
        "C3": {"mm_per_pixel": "0.51", "injection_frame": "7"},
    }
    cohort = cohort_of(
        tmp_path / "cohort", files, DUAL, extra=extra, FrameTime=100, PixelAspectRatio=["3", "2"]
    )
    warnings = read_cohort(cohort).headers.warnings
    assert "of 1 clip (C1) mm_per_pixel is not that of the header; the table counts" in warnings
    rows = prepare_store(cohort, tmp_path / "store").manifest.set_index(["clip_id", "frame"])
    cells: list[dict[str, Any]] = [
        {str(name): cell for name, cell in rows.xs((clip, 10)).items()} for clip in ("C1", "C3", "C4")
    ]
    first, second, third = cells
    assert (first["mm_per_pixel_x"], first["mm_per_pixel_y"]) == (0.2, 0.3)
    assert (first["lesion_width_mm"], first["lesion_height_mm"]) == (4.0, 4.8)
    assert first["time_since_injection_s"] == -2.5
    assert second["mm_per_pixel_x"] == 0.51
    assert second["time_since_injection_s"] == pytest.approx(0.3)
    assert third["mm_per_pixel_x"] == 0.5
    assert third["time_s"] == 1
    assert pd.isna(third["time_since_injection_s"])


def test_films_have_their_rate_and_the_millimetres_that_the_table_says(
    cohort: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(cohort / "clips.csv", dtype=str)
    table["mm_per_pixel"] = ["0.25", "", "", ""]
    table.to_csv(cohort / "clips.csv", index=False)
    manifest = prepare_store(cohort, tmp_path / "store").manifest
    first = manifest[manifest["clip_id"] == "C1"]
    assert first["lesion_width_mm"].tolist() == [5, 5, 5]
    assert first["lesion_height_mm"].tolist() == [4.5, 5.75, 6.5]
    assert manifest["time_s"].tolist() == [round(frame / 15, 6) for frame in (2, 7, 10)] * 4
    assert manifest["mm_per_pixel_x"].isna().sum() == 9
    assert manifest["time_since_injection_s"].isna().all()


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"mm_per_pixel": "0"}, "mm_per_pixel is 0, expected millimetres, above 0 and at most 5"),
        ({"mm_per_pixel": "wide"}, "mm_per_pixel is 'wide', expected millimetres"),
        ({"start_s": "soon"}, "start_s is 'soon', expected seconds after the injection of contrast"),
        ({"injection_frame": "1.5"}, "injection_frame is 1.5, expected a whole frame number"),
        (
            {"start_s": "1", "injection_frame": "2"},
            "start_s and injection_frame are both given, expected one",
        ),
    ],
)
def test_numbers_that_are_none(
    cells: dict[str, str], fault: str, files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, extra={"C3": cells})
    [reason] = faults(cohort)
    assert reason.startswith(f"clips.csv row 3: {fault}")


# What is odd, said once


def test_what_is_odd_is_said_once_for_all_clips(
    files: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = cohort_of(
        tmp_path / "cohort",
        files,
        None,
        panes=True,
        extra={"C4": {"injection_frame": "1"}},
        BurnedInAnnotation="YES",
        PixelAspectRatio=["4", "3"],
    )
    assert main(["prepare", str(cohort), str(tmp_path / "store")]) == 0
    error = capsys.readouterr().err
    for words in (
        "text is burned into the pixels of 3 clips (C1, C3, C4), as the header has it",
        "pixels are not square: 3 clips (C1, C3, C4) 1.33 times as high as wide. Boxes",
        "of 1 clip (C4) the injection_frame gives no time",
    ):
        assert error.count(words) == 1, error
    assert error.count("warning:") == 3
    for secret in files.IDENTIFIERS:
        assert secret.decode() not in error


def test_a_cohort_of_square_and_other_pixels_is_said(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, None, panes=True)
    dataset = pydicom.dcmread(cohort / "clips" / "C3.dcm")
    dataset.PixelAspectRatio = ["1", "2"]
    dataset.save_as(cohort / "clips" / "C3.dcm")
    [warning] = read_cohort(cohort).headers.warnings
    assert "1 clip (C3) 0.50 times as high as wide; 2 with square ones. Boxes" in warning


def test_films_of_other_pixels_and_turned_films_are_said(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    for clip, sar, turn in ((1, (4, 3), 0), (3, (1, 1), 180)):
        path = cohort / "clips" / f"C{clip}.mp4"
        with av.open(path, "w") as output:
            stream = output.add_stream("mpeg4", rate=15)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
            stream.sample_aspect_ratio = Fraction(*sar)
            if turn:
                stream.set_display_rotation(turn)
            for number in range(12):
                picture = av.VideoFrame.from_ndarray(files.clip_frame(number, clip), "rgb24")
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        text = (cohort / "clips.csv").read_text().replace(f"C{clip}.avi", f"C{clip}.mp4")
        (cohort / "clips.csv").write_text(text)
    square, turned = read_cohort(cohort).headers.warnings
    assert square.startswith(
        "pixels are not square: 1 clip (C1) 0.75 times as high as wide; 3 with square ones. Boxes and"
    )
    assert turned == (
        "frames of 1 clip (C3) are stored turned, by 180 degrees, and read upright, as players show "
        "them: boxes and panes count pixels of upright frames"
    )


def test_regions_outside_the_picture_are_said(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, [region((0, 0, 639, 479))], panes=True)
    tables = read_cohort(cohort)
    [warning] = tables.headers.warnings
    assert "the header has regions that reach outside the picture" in warning
    assert prepare_store(cohort, tmp_path / "store").manifest["mm_per_pixel_x"].isna().all()


# Stores


def test_other_panes_are_other_inputs_and_the_same_ones_are_not(
    files: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, look="right")
    store = tmp_path / "store"
    made = prepare_store(cohort, store)
    capsys.readouterr()
    for options, code in (([], 0), (["--contrast", "right"], 0), (["--contrast", "left"], 2)):
        assert main(["prepare", str(cohort), str(store), *options]) == code
        said = capsys.readouterr()
        assert ("nothing to do" if code == 0 else "is a store of other inputs") in said.out + said.err
    assert CropStore.open(store).digest == made.digest


def test_a_store_of_table_panes_has_the_digest_of_earlier_versions(
    cohort: Path, tmp_path: Path
) -> None:
    """SHA-256 of the files and the settings alone, whatever the header says."""
    names = ["patients.csv", "clips.csv", "boxes.csv", *(f"clips/C{n}.avi" for n in range(1, 5))]
    sums = {name: hashlib.sha256((cohort / name).read_bytes()).hexdigest() for name in names}
    inputs = {"format_version": 1, "margin": 0.0, "with_grades": True, "files": sums}
    expected = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    assert prepare_store(cohort, tmp_path / "store").digest == expected


def test_a_store_of_earlier_versions_has_empty_measures(whole_store: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(whole_store, tmp_path / "old"))
    table = pd.read_csv(old / "manifest.csv", dtype=str, keep_default_na=False)
    table.drop(columns=list(MEASURED)).to_csv(old / "manifest.csv", index=False)
    unseal(old)
    manifest = CropStore.open(old).manifest
    assert list(manifest) == list(CropStore.open(whole_store).manifest)
    assert manifest[list(MEASURED)].isna().all(axis=None)
    assert (manifest.dtypes[list(MEASURED)] == "Float64").all()


def test_doubts_about_headers_do_not_make_the_second_call_read_clips(
    files: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, BurnedInAnnotation="YES")
    past = time.time() - 60
    for path in cohort.rglob("*"):
        os.utime(path, (past, past))
    time.sleep(2.1)  # until times of change are trusted
    store = prepare_store(cohort, tmp_path / "store").root
    assert (store / SEEN).is_file()
    capsys.readouterr()
    assert main(["prepare", str(cohort), str(store)]) == 0
    assert "burned" not in capsys.readouterr().err
    assert main(["prepare", str(cohort), str(store), "--contrast", "left"]) == 2  # looked at anew


# The next patient


def test_one_clip_takes_its_panes_from_its_header(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL, look="left")
    boxes = tmp_path / "own.csv"
    files.write_table(boxes, [{"frame": 2, "x": 90, "y": 14, "width": 20, "height": 16}])
    lone = tmp_path / "lone.dcm"
    shutil.copy(cohort / "clips" / "C1.dcm", lone)
    tables = OneClip(lone, boxes).cohort()
    assert tables.boxes is not None
    assert tables.boxes["pane"].tolist() == ["bmode"]
    assert tables.headers.panes["lone"]["ceus"] == Pane(0, 8, 64, 48)
    right = OneClip(lone, boxes, contrast="right").cohort()
    assert right.headers.panes["lone"]["ceus"] == Pane(80, 8, 64, 48)
    given = OneClip(lone, boxes, {"ceus": "80,8,64,48"}).cohort()
    assert given.headers.panes == {}
    beside = OneClip(cohort / "clips" / "C3.dcm").cohort()
    assert beside.headers.panes["C3"]["ceus"] == Pane(0, 8, 64, 48)


def test_one_clip_whose_header_does_not_settle_the_panes(files: ModuleType, tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, [region(LEFT)])
    boxes = tmp_path / "own.csv"
    files.write_table(boxes, [{"frame": 2, "x": 10, "y": 14, "width": 20, "height": 16}])
    lone = tmp_path / "lone.dcm"
    shutil.copy(cohort / "clips" / "C1.dcm", lone)
    with pytest.raises(InputFault) as raised:
        OneClip(lone, boxes).cohort()
    assert raised.value.faults == (
        f"clip {lone}: no clips.csv beside it names its panes: its header names one, 0,8,64,48; give "
        "--bmode-pane X,Y,WIDTH,HEIGHT or --ceus-pane X,Y,WIDTH,HEIGHT",
    )


def test_boxes_of_both_panes_of_the_header_are_interpolated_pane_by_pane(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = cohort_of(tmp_path / "cohort", files, DUAL)
    (cohort / "boxes.csv").unlink()
    clip = read_table(cohort / "clips.csv").iloc[0]
    places = {"bmode": 12, "ceus": 92}
    for frame in (3, 5):
        shapes = [
            {"label": "t", "shape_type": "rectangle", "points": [[x + frame, 20], [x + frame + 20, 36]]}
            for x in places.values()
        ]
        size = {"imageWidth": files.FRAME_WIDTH, "imageHeight": files.FRAME_HEIGHT}
        name = f"{clip['clip_id']}_{frame}"
        text = json.dumps({"imagePath": f"{name}.png", **size, "shapes": shapes})
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "labels").mkdir()
    for path in tmp_path.glob("*.json"):
        path.rename(tmp_path / "labels" / path.name)
    choices = Choices(frames_from="{clip}_{frame}", first_frame=0, interpolate=True)
    boxes = plan_import(tmp_path / "labels", cohort, choices).boxes
    for pane, x in places.items():
        own = {one.frame: one.box.x for one in boxes if one.pane == pane}
        assert own == {3: x + 3, 4: x + 4, 5: x + 5}
    assert len(boxes) == 6
