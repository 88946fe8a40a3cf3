"""What headers say: real files, files made with pydicom, films made with FFmpeg."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.geometry import Box, Pane, carry
from mufnet_lightning.cohort.header import ClipHeader, Region
from mufnet_lightning.cohort.header_dicom import ELEMENTS
from mufnet_lightning.cohort.headers import read_header, read_headers
from mufnet_lightning.cohort.regions import (
    Scale,
    carry_in_space,
    scale_of,
    shown_on_both,
    tissue_panes,
    view_difference,
)


def real(name: str) -> ClipHeader:
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    header = read_header(Path(str(path)))
    assert header is not None
    return header


def written(files: ModuleType, path: Path, **elements: object) -> ClipHeader:
    """A clip of three frames, 160 × 64, with elements in its header; what is read of it."""
    dataset: Dataset = files.write_dicom(path, np.zeros((3, 64, 160, 3), np.uint8))
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    header = read_header(path)
    assert header is not None
    return header


def region(*edges: int, form: int = 1, kind: int = 1, delta: float = 0.0, **others: object) -> Dataset:
    item = Dataset()
    for name, edge in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), edges, strict=True):
        setattr(item, f"RegionLocation{name}", edge)
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = form, kind, 2
    if delta:
        item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
        item.PhysicalDeltaX = item.PhysicalDeltaY = delta
    for name, value in others.items():
        setattr(item, name, value)
    return item


# Real files


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"])
def test_two_panes_of_a_real_scanner_without_its_grey_bar(name: str) -> None:
    header = real(name)
    assert len(header.regions) == 3
    assert tissue_panes(header) == (Pane(32, 24, 304, 392), Pane(336, 24, 304, 392))
    left, right = (scale_of(pane, header) for pane in tissue_panes(header))
    assert left is not None
    assert right is not None
    assert left.x_cm == left.y_cm == pytest.approx(0.038265, abs=1e-6)
    assert view_difference(*(tissue_panes(header)[0], left), *(tissue_panes(header)[1], right)) < 1e-9


def test_a_real_region_whose_last_column_is_one_behind_the_picture_and_its_ecg() -> None:
    header = real("OBXXXX1A.dcm")
    assert [(one.x1, one.spatial_format, one.data_type) for one in header.regions] == [
        (800, 1, 1),
        (743, 4, 10),
    ]
    assert tissue_panes(header) == (Pane(120, 60, 680, 459),)


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_ybr_color.dcm"])
def test_real_regions_of_a_picture_that_was_made_smaller_are_no_panes_and_no_scale(name: str) -> None:
    header = real(name)
    assert any((one.spatial_format, one.data_type) == (1, 1) for one in header.regions)
    assert tissue_panes(header) == ()
    assert scale_of(Pane(130, 70, 100, 100), header) is None


def test_real_headers_say_times_pixels_and_burned_in_text() -> None:
    clip = real("color3d_jpeg_baseline.dcm")
    assert (clip.frames, clip.timing) == (120, "Frame Time")
    assert clip.time_s(30) == pytest.approx(0.99999)
    assert real("color-pl.dcm").pixel_aspect == pytest.approx(4 / 3)  # vertical\\horizontal
    assert real("JPGLosslessP14SV1_1s_1f_8b.dcm").burned_in is False
    assert clip.burned_in is None


def test_no_real_file_stops_the_reading_and_nothing_but_the_elements_is_read() -> None:
    paths = [Path(path) for path in pydicom.data.get_testdata_files() if Path(path).is_file()]
    headers = read_headers({str(path): path for path in paths})
    assert 100 < len(headers) < len(paths)


# What is read, and what is not


def test_nobody_is_named_by_what_is_kept_of_a_header(
    files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    dcmread = pydicom.dcmread

    def listening(*args: Any, **kwargs: Any) -> Dataset:
        held.append(dcmread(*args, **kwargs))
        return held[-1]

    monkeypatch.setattr(pydicom, "dcmread", listening)
    header = written(
        files,
        tmp_path / "a.dcm",
        OperatorsName="Geheim^Gerda",
        SequenceOfUltrasoundRegions=Items([region(0, 0, 63, 63)]),
        AcquisitionTime="101010",
        ContrastBolusStartTime="101000",
    )
    [dataset] = held
    assert {element.keyword for element in dataset} <= {*ELEMENTS, "SpecificCharacterSet"}
    assert len(header.regions) == 1
    for secret in files.IDENTIFIERS:
        assert secret in (tmp_path / "a.dcm").read_bytes()
        assert secret.decode() not in repr(header)
    assert "101010" not in repr(header)
    assert header.start_s == 10


@pytest.mark.parametrize(
    ("elements", "timing", "second"),
    [
        ({}, "", None),
        ({"FrameTime": 40}, "Frame Time", 0.04),
        ({"FrameTime": 0}, "", None),
        ({"FrameTimeVector": [0, 40, 60]}, "Frame Time Vector", 0.04),
        ({"FrameTimeVector": [0, 40, 60], "FrameTime": 33}, "Frame Time Vector", 0.04),
        (
            {"FrameTimeVector": [0, 40, 60], "FrameTime": 33, "FrameIncrementPointer": 0x00181063},
            "Frame Time",
            0.033,
        ),
        ({"FrameTimeVector": [0, 40], "CineRate": 20}, "Cine Rate", 0.05),  # shorter than the clip
        ({"FrameTimeVector": [0, 40, -60]}, "", None),
        (
            {"RecommendedDisplayFrameRate": 10, "CineRate": 20},
            "Recommended Display Frame Rate",
            0.1,
        ),
    ],
)
def test_the_time_of_a_frame_is_what_the_header_says_best(
    elements: dict[str, object], timing: str, second: float | None, files: ModuleType, tmp_path: Path
) -> None:
    header = written(files, tmp_path / "a.dcm", **elements)
    assert header.timing == timing
    assert header.time_s(1) == (None if second is None else pytest.approx(second))
    if "Vector" in timing:
        assert header.time_s(2) == pytest.approx(0.1)
        assert header.time_s(3) is None
        assert header.time_s(0) == 0


@pytest.mark.parametrize(
    ("bolus", "clip", "since"),
    [
        ("101000", "101025.5", 25.5),
        ("101000", "100955", -5),  # before the injection
        ("235950", "000010", 20),  # over midnight
        ("10:10:00", "101001", 1),
        ("081000", "101000", None),  # another injection's
        ("1010", "101000", None),  # no seconds
        ("", "101000", None),
        ("101000", "", None),
    ],
)
def test_time_since_injection_is_the_difference_of_two_times_of_day(
    bolus: str, clip: str, since: float | None, files: ModuleType, tmp_path: Path
) -> None:
    header = written(files, tmp_path / "a.dcm", ContrastBolusStartTime=bolus, AcquisitionTime=clip)
    assert header.start_s == since


@pytest.mark.parametrize(
    ("word", "burned"), [("YES", True), ("NO", False), ("", None), ("MAYBE", None)]
)
def test_burned_in_text(word: str, burned: bool | None, files: ModuleType, tmp_path: Path) -> None:
    assert written(files, tmp_path / "a.dcm", BurnedInAnnotation=word).burned_in is burned


def test_odd_elements_are_none(files: ModuleType, tmp_path: Path) -> None:
    header = written(
        files,
        tmp_path / "a.dcm",
        PixelAspectRatio=["0", "3"],
        FrameTime=[1, 2],
        SequenceOfUltrasoundRegions=Items([Dataset(), region(0, 0, 9, 9)]),
    )
    assert (header.pixel_aspect, header.timing, len(header.regions)) == (1.0, "", 1)


def test_what_has_no_header_has_none(tmp_path: Path) -> None:
    for name in ("a.png", "a.avi", "a.dcm", "a"):
        (tmp_path / name).write_bytes(b"no picture of anything")
        assert read_header(tmp_path / name) is None
    assert read_header(tmp_path / "nowhere.dcm") is None


def _section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_page_on_input_lists_every_element_that_is_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "input.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z][A-Za-z, ]+) \|", _section(text, "The header"), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == set(ELEMENTS)


# Regions

LEFT, RIGHT = Region(0, 8, 63, 55, 1, 1), Region(80, 8, 143, 55, 1, 1)
PANES = (Pane(0, 8, 64, 48), Pane(80, 8, 64, 48))


@pytest.mark.parametrize(
    ("regions", "panes"),
    [
        ([RIGHT, LEFT], PANES),
        ([LEFT, RIGHT, LEFT], PANES),
        ([LEFT, RIGHT, Region(0, 50, 143, 63, 4, 10)], PANES),  # ECG
        ([LEFT, RIGHT, Region(150, 8, 155, 55, 0, 14)], PANES),  # bar of colours
        ([LEFT, RIGHT, Region(0, 8, 63, 55, 2, 1)], PANES),  # M-mode
        ([LEFT, RIGHT, Region(0, 8, 63, 55, 1, 2)], PANES),  # colour flow
        ([LEFT, RIGHT, Region(0, 0, 159, 63, 1, 1)], PANES),  # the whole screen
        ([LEFT, RIGHT, Region(0, 4, 150, 60, 1, 1)], PANES),  # a frame around both
        ([LEFT, Region(0, 0, 159, 63, 1, 1)], PANES[:1]),
        ([Region(0, 0, 159, 63, 1, 1)], (Pane(0, 0, 160, 64),)),  # and nothing else
        ([LEFT, Region(10, 12, 20, 20, 1, 1)], (PANES[0], Pane(10, 12, 11, 9))),  # nobody can tell
        ([LEFT, Region(80, 8, 170, 55, 1, 1)], PANES[:1]),  # outside the picture
        ([LEFT, Region(-2, 8, 63, 55, 1, 1)], PANES[:1]),
        ([Region(80, 8, 160, 64, 1, 1)], (Pane(80, 8, 80, 56),)),  # one behind the last
        ([Region(80, 8, 159, 63, 1, 1)], (Pane(80, 8, 80, 56),)),
        (
            [Region(0, 0, 80, 63, 1, 1), Region(80, 0, 160, 63, 1, 1)],
            (Pane(0, 0, 80, 64), Pane(80, 0, 80, 64)),
        ),  # two that share a column
        (
            [Region(0, 0, 159, 32, 1, 1), Region(0, 32, 159, 64, 1, 1)],
            (Pane(0, 0, 160, 32), Pane(0, 32, 160, 32)),
        ),
        ([Region(20, 8, 20, 55, 1, 1), Region(30, 20, 20, 30, 1, 1)], ()),  # no picture
        ([], ()),
    ],
)
def test_panes_among_regions(regions: Sequence[Region], panes: tuple[Pane, ...]) -> None:
    assert tissue_panes(ClipHeader(160, 64, regions=tuple(regions))) == panes
    turned = ClipHeader(160, 64, regions=tuple(reversed(regions)))
    assert tissue_panes(turned) == panes  # whatever the order in the file


def scaled(
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    *,
    cm: float,
    reference: tuple[float, float, float, float] | None,
) -> Region:
    return Region(x0, y0, x1, y1, 1, 1, delta_x_cm=cm, delta_y_cm=cm, reference=reference)


def test_the_scale_of_a_pane_is_that_of_the_smallest_region_around_it() -> None:
    screen = scaled(0, 0, 159, 63, cm=0.1, reference=None)
    header = ClipHeader(160, 64, regions=(screen, scaled(0, 8, 63, 55, cm=0.02, reference=None)))
    outlined = scale_of(Pane(1, 9, 60, 44), header)
    assert outlined == Scale(0.02, 0.02)
    assert scale_of(Pane(80, 8, 64, 48), header) == Scale(0.1, 0.1)
    assert scale_of(Pane(80, 8, 64, 48), ClipHeader(160, 64, regions=header.regions[1:])) is None


def test_a_box_is_carried_to_the_same_centimetres() -> None:
    # the left pane shows 6.4 × 4.8 cm; the right one its middle, twice as large
    left = scaled(0, 8, 63, 55, cm=0.1, reference=(32, 0, 0, 0))
    right = scaled(80, 8, 143, 55, cm=0.05, reference=(32, 0, 0, 1))
    header = ClipHeader(160, 64, regions=(left, right))
    scales = [scale_of(pane, header) for pane in PANES]
    assert scales[0] is not None
    assert scales[1] is not None
    assert view_difference(PANES[0], scales[0], PANES[1], scales[1]) > 0.4
    part = shown_on_both(PANES[0], scales[0], PANES[1], scales[1])
    # its edges lie a quarter of a pixel beside whole ones there: 16.25 to 48.25, 18.25 to 42.25
    assert part == Pane(17, 19, 31, 23)
    # the middle of pixel (32, 18) is x = 0, y = 1 cm in both: column 32 and row 0 of the other pane
    carried = carry_in_space(Box(32, 18, 8, 6), scales[0], scales[1])
    assert carried.contains(Box(112, 8, 15, 11))
    assert (carried.width, carried.height) == (17, 13)  # 16 × 12, outward from half pixels
    assert carry_in_space(carried, scales[1], scales[0]).contains(Box(32, 18, 8, 6))


@pytest.mark.parametrize("margin", [0, 5])
def test_centimetres_and_proportion_agree_where_panes_show_one_section(margin: int) -> None:
    left = scaled(0, 8, 63, 55, cm=0.1, reference=(32, 0, 0, 0))
    right = scaled(80, 8, 111, 31, cm=0.2, reference=(15.75, -0.25, 0, 0))  # half as large
    panes = (Pane(0, 8, 64, 48), Pane(80, 8, 32, 24))
    header = ClipHeader(160, 64, regions=(left, right))
    one, other = (scale_of(pane, header) for pane in panes)
    assert one is not None
    assert other is not None
    assert view_difference(panes[0], one, panes[1], other) < 1e-9
    box = Box(10 + margin, 14, 21, 17)
    assert carry_in_space(box, one, other) == carry(box, *panes)


def test_a_scale_without_a_place_carries_nothing() -> None:
    with pytest.raises(ValueError, match="without its place"):
        carry_in_space(Box(0, 0, 4, 4), Scale(0.1, 0.1), Scale(0.1, 0.1, (0, 0)))


# Films

FILM_CODECS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "avi": "mpeg4"}


def film(path: Path, codec: str, sar: tuple[int, int] = (1, 1), turn: int = 0, rate: int = 25) -> Path:
    """Ten frames, 160 × 64, black but for a white corner at the top left of what is stored."""
    picture = np.zeros((64, 160, 3), np.uint8)
    picture[:16, :40] = 255
    with av.open(path, "w") as output:
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
        stream.sample_aspect_ratio = Fraction(*sar)
        if turn:
            stream.set_display_rotation(-turn)  # counter-clockwise there
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("ending", "codec"), FILM_CODECS.items())
def test_films_say_the_shape_of_their_pixels_and_their_rate(
    ending: str, codec: str, tmp_path: Path
) -> None:
    wide = read_header(film(tmp_path / f"wide.{ending}", codec, sar=(4, 3)))
    square = read_header(film(tmp_path / f"square.{ending}", codec, rate=10))
    assert wide is not None
    assert square is not None
    assert wide.pixel_aspect == pytest.approx(0.75)
    assert (wide.width, wide.height) == (160, 64)  # as stored: nothing is stretched
    [(_, pixels)] = iter_frames(tmp_path / f"wide.{ending}", [3])
    assert pixels.shape == (64, 160, 3)
    assert square.pixel_aspect == 1
    assert square.time_s(5) == pytest.approx(0.5)
    assert wide.time_s(5) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("turn", "corner"), [(90, (slice(0, 10), slice(-10, None))), (180, (slice(-10, None),) * 2)]
)
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_films_that_are_stored_turned_are_read_upright(
    turn: int, corner: tuple[slice, slice], ending: str, tmp_path: Path
) -> None:
    path = film(tmp_path / f"turned.{ending}", "libx264", sar=(4, 3), turn=turn)
    header = read_header(path)
    assert header is not None
    assert header.rotation == turn
    [(_, pixels)] = iter_frames(path, [3])
    assert pixels.shape[:2] == (header.height, header.width) == ((160, 64) if turn == 90 else (64, 160))
    assert pixels[corner].mean() > 200
    assert pixels[:10, :10].mean() < 20
    assert header.pixel_aspect == pytest.approx(4 / 3 if turn == 90 else 0.75)
