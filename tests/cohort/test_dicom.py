"""DICOM as scanners and archives write it: real files, and every syntax that is named; films, stills.

docs/input.md has a row for each syntax here.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLSLossless,
    RLELossless,
)

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault

INPUT_TABLE = Path(__file__).parents[2] / "docs" / "input.md"
NUMBERED = 6


def real(name: str) -> Path:
    """A file of pydicom's, or of pydicom-data's, that is here already."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    return Path(str(path))


def frame(path: Path, number: int = 0) -> np.ndarray:
    [(_, pixels)] = iter_frames(path, [number])
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    return pixels


def films(count: int = 24) -> list[np.ndarray]:
    """Frames whose grey says their number, with some structure."""
    grid = np.indices((64, 96)).sum(0) % 16
    return [
        np.repeat((8 * number + 24 + grid)[..., None], 3, 2).astype(np.uint8) for number in range(count)
    ]


# Palettes


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("OBXXXX1A_expb.dcm", "OBXXXX1A.dcm"),
        ("OBXXXX1A_rle.dcm", "OBXXXX1A.dcm"),
        ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm"),
    ],
)
def test_a_palette_has_the_same_colours_in_either_order_of_bytes(name: str, same: str) -> None:
    picture = frame(real(name))
    assert picture.mean() > 5
    np.testing.assert_array_equal(picture, frame(real(same)))


@pytest.mark.parametrize("name", ["OBXXXX1A.dcm", "gdcm-US-ALOKA-16.dcm", "examples_palette.dcm"])
def test_colours_of_real_palettes_are_pydicoms(name: str) -> None:
    dataset = pydicom.dcmread(real(name))
    wide = apply_color_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(frame(real(name)), wide >> 8 if wide.dtype == np.uint16 else wide)


def palette_file(files: ModuleType, path: Path, **elements: object) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = files.write_dicom(path, indices, "MONOCHROME2")
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for name, value in elements.items():
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, name.format(colour), value)
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("bits", [8, 16])
def test_entries_of_8_bits_in_words_of_16_are_not_black(
    bits: int, files: ModuleType, tmp_path: Path
) -> None:
    palette_file(
        files,
        tmp_path / "p.dcm",
        **{
            "{}PaletteColorLookupTableDescriptor": [256, 0, bits],
            "{}PaletteColorLookupTableData": (255 - np.arange(256, dtype="<u2")).tobytes(),
        },
    )
    np.testing.assert_array_equal(frame(tmp_path / "p.dcm")[..., 1].ravel(), 255 - np.arange(256))


def test_segmented_palettes_are_unfolded(files: ModuleType, tmp_path: Path) -> None:
    # two entries as they are, then a line to the last
    segments = np.array([0, 2, 0, 257, 1, 254, 65535], "<u2")
    palette_file(
        files,
        tmp_path / "p.dcm",
        **{
            "{}PaletteColorLookupTableDescriptor": [256, 0, 16],
            "Segmented{}PaletteColorLookupTableData": segments.tobytes(),
        },
    )
    np.testing.assert_array_equal(frame(tmp_path / "p.dcm")[..., 2].ravel(), np.arange(256))


# Syntaxes


def encoded(path: Path, syntax: str, photometric: str, frames: list[bytes], like: Dataset) -> None:
    like.file_meta.TransferSyntaxUID = UID(syntax)
    like.PhotometricInterpretation = photometric
    like.PixelData = encapsulate(frames)
    like["PixelData"].VR = "OB"
    like.save_as(path, enforce_file_format=True)


REAL_SYNTAXES = {  # syntax: a real file of it, and one that shows the same, if there is one
    "JPEG Baseline (Process 1)": ("color3d_jpeg_baseline.dcm", None),
    "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])": (
        "JPGLosslessP14SV1_1s_1f_8b.dcm",
        None,
    ),
    "JPEG-LS Lossy (Near-Lossless) Image Compression": ("SC_rgb_jls_lossy_line.dcm", None),
    "JPEG 2000 Image Compression (Lossless Only)": ("US1_J2KR.dcm", "US1_UNCR.dcm"),
    "JPEG 2000 Image Compression": ("US1_J2KI.dcm", "US1_UNCI.dcm"),
    "RLE Lossless": ("SC_rgb_rle_2frame.dcm", "SC_rgb_2frame.dcm"),
    "Explicit VR Big Endian": ("SC_rgb_expb.dcm", "SC_rgb.dcm"),
    "Explicit VR Little Endian": ("color-pl.dcm", "color-px.dcm"),
    "Implicit VR Little Endian": ("SC_rgb_jpeg_dcmd.dcm", "SC_jpeg_no_color_transform.dcm"),
    "Deflated Explicit VR Little Endian": ("image_dfl.dcm", None),
}


MADE_SYNTAXES = {syntax.name: syntax for syntax in (JPEGLSLossless, RLELossless)}


@pytest.mark.parametrize("syntax", MADE_SYNTAXES)
def test_frames_without_loss_come_back_bit_by_bit(
    syntax: str, files: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "clip.dcm"
    dataset = files.write_dicom(path, np.stack([files.clip_frame(number, 1) for number in range(3)]))
    dataset.compress(MADE_SYNTAXES[syntax], generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.name == syntax
    for number in (0, 2):
        assert (frame(path, number) == files.clip_frame(number, 1)).all()


@pytest.mark.parametrize(("syntax", "names"), REAL_SYNTAXES.items(), ids=[*REAL_SYNTAXES])
def test_real_files_of_each_syntax_show_a_picture(syntax: str, names: tuple[str, str | None]) -> None:
    name, same = names
    assert pydicom.dcmread(real(name)).file_meta.TransferSyntaxUID.name == syntax
    picture = frame(real(name))
    assert picture.std() > 0.5
    assert picture.mean() > 1
    if same:
        difference = np.abs(picture.astype(int) - frame(real(same)))
        assert difference.max() <= (0 if "Lossless" in syntax or "VR" in syntax else 8)


FILMS = {  # syntax: FFmpeg's encoder and container
    "MPEG2 Main Profile / Main Level": ("1.2.840.10008.1.2.4.100", "mpeg2video", "mpegts"),
    "MPEG-4 AVC/H.264 High Profile / Level 4.1": ("1.2.840.10008.1.2.4.102", "libx264", "mp4"),
    "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1": (
        "1.2.840.10008.1.2.4.102.1",
        "libx264",
        "mp4",
    ),
    "HEVC/H.265 Main Profile / Level 5.1": ("1.2.840.10008.1.2.4.107", "libx265", "mpegts"),
}


def film(frames: list[np.ndarray], codec: str, container: str, pixels: str = "yuv420p") -> bytes:
    """A film as FFmpeg makes it."""
    content = io.BytesIO()
    with av.open(content, "w", format=container) as output:
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = output.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for picture in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    return content.getvalue()


@pytest.mark.parametrize(("syntax", "how"), FILMS.items(), ids=[*FILMS])
def test_a_film_in_dicom_gives_the_frames_that_are_asked_for(
    syntax: str, how: tuple[str, str, str], files: ModuleType, tmp_path: Path
) -> None:
    uid, codec, container = how
    assert UID(uid).name == syntax
    frames = films()
    dataset = files.write_dicom(tmp_path / "film.dcm", np.stack(frames))
    encoded(tmp_path / "film.dcm", uid, "YBR_PARTIAL_420", [film(frames, codec, container)], dataset)
    decoded = dict(iter_frames(tmp_path / "film.dcm", [0, 9, 23]))
    assert list(decoded) == [0, 9, 23]
    for number, pixels in decoded.items():
        assert abs(pixels.mean() - frames[number].mean()) < 3
    with pytest.raises(ClipFault, match=r"film\.dcm has 24 frames that can be read"):
        list(iter_frames(tmp_path / "film.dcm", [24]))


def test_a_film_that_is_cut_off_inside_dicom_says_so(files: ModuleType, tmp_path: Path) -> None:
    frames = films()
    dataset = files.write_dicom(tmp_path / "film.dcm", np.stack(frames))
    content = film(frames, "mpeg2video", "mpegts")
    content = content[: len(content) // 2]
    encoded(tmp_path / "film.dcm", "1.2.840.10008.1.2.4.100", "YBR_PARTIAL_420", [content], dataset)
    with pytest.raises(ClipFault, match="though its header says 24"):
        list(iter_frames(tmp_path / "film.dcm", [22]))


@pytest.mark.parametrize("quality", [95, 100])
def test_jpeg_frames_come_back_in_their_colours(
    quality: int, files: ModuleType, tmp_path: Path
) -> None:
    colours = [
        np.full((64, 96, 3), (20 * number + 10, 90, 200), np.uint8) for number in range(NUMBERED)
    ]
    dataset = files.write_dicom(tmp_path / "j.dcm", np.stack(colours))
    jpegs = [
        cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        for pixels in colours
    ]
    encoded(tmp_path / "j.dcm", "1.2.840.10008.1.2.4.50", "YBR_FULL_422", jpegs, dataset)
    decoded = dict(iter_frames(tmp_path / "j.dcm", range(NUMBERED)))
    for number, pixels in decoded.items():
        assert np.abs(pixels.astype(int) - colours[number]).max() < 6


CONTAINERS = {  # ending: FFmpeg's container, encoder and pixels
    ".mov": ("mov", "libx264", "yuv420p"),
    ".m4v": ("mp4", "mpeg4", "yuv420p"),
    ".mkv": ("matroska", "ffv1", "yuv444p"),
    ".wmv": ("asf", "wmv2", "yuv420p"),
    ".mpg": ("mpeg", "mpeg2video", "yuv420p"),
    ".ts": ("mpegts", "libx264", "yuv420p"),
    ".gif": ("gif", "gif", "rgb8"),
}


@pytest.mark.parametrize(("ending", "how"), CONTAINERS.items(), ids=[*CONTAINERS])
def test_films_are_read_whatever_holds_them(
    ending: str, how: tuple[str, str, str], tmp_path: Path
) -> None:
    container, codec, pixels = how
    frames = films()
    path = tmp_path / f"clip{ending.upper()}"
    path.write_bytes(film(frames, codec, container, pixels))
    decoded = dict(iter_frames(path, [23, 0, 9]))
    assert list(decoded) == [0, 9, 23]
    for number, picture in decoded.items():
        assert abs(picture.mean() - frames[number].mean()) < (16 if ending == ".gif" else 3)
    with pytest.raises(ClipFault, match="has 24 frames that can be read"):
        list(iter_frames(path, [24]))


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_a_still_is_a_clip_of_one_frame(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"key_frame{ending}"
    cv2.imwrite(str(path), films(1)[0])
    np.testing.assert_array_equal(frame(path), films(1)[0])
    with pytest.raises(ClipFault, match="has 1 frame that can be read"):
        frame(path, 1)


# What files are called, and what they lack


@pytest.mark.parametrize(
    "name", ["a.ima", "b.dicom", "1.2.840.113619.2.55.3", "IM_0001", "c.avi", "d.txt"]
)
def test_dicom_is_known_by_its_content(name: str, files: ModuleType, tmp_path: Path) -> None:
    pixels = films(1)[0]
    files.write_dicom(tmp_path / name, pixels)
    np.testing.assert_array_equal(frame(tmp_path / name), pixels)


def test_dicom_without_the_mark_at_its_beginning_is_read(files: ModuleType, tmp_path: Path) -> None:
    pixels = films(3)
    dataset = files.write_dicom(tmp_path / "whole.dcm", np.stack(pixels))
    del dataset.file_meta
    bare = tmp_path / "bare.dcm"
    pydicom.dcmwrite(bare, dataset, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(frame(bare, 2), pixels[2])
    assert frame(real("OT-PAL-8-face.dcm")).std() > 10


@pytest.mark.parametrize("name", ["DICOMDIR", "reportsi.dcm", "rtplan.dcm"])
def test_dicom_without_a_picture_says_so(name: str) -> None:
    with pytest.raises(ClipFault, match="it holds no picture"):
        frame(real(name))


def test_a_header_with_an_odd_number_of_frames_is_one_fault(files: ModuleType, tmp_path: Path) -> None:
    dataset = files.write_dicom(tmp_path / "two.dcm", films(1)[0])
    dataset.NumberOfFrames = [10, 1]
    dataset.save_as(tmp_path / "two.dcm", enforce_file_format=True)
    with pytest.raises(ClipFault, match="its number of frames is none"):
        frame(tmp_path / "two.dcm")
    with pytest.raises(ClipFault, match="its number of frames is none"):
        frame(real("badVR.dcm"))


@pytest.mark.parametrize("name", ["MR_small.dcm", "SC_rgb_16bit.dcm", "JPEGLSNearLossless_16.dcm"])
def test_deeper_pixels_are_refused_rather_than_cut(name: str) -> None:
    with pytest.raises(ClipFault, match="16-bit pixels, expected 8-bit ultrasound"):
        frame(real(name))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelRepresentation": 1}, "signed pixels"),
        ({"HighBit": 15}, "8-bit pixels whose highest bit is 15, expected 7"),
        ({"HighBit": [7, 7]}, "does not say how its pixels are stored"),
        ({"SamplesPerPixel": [3, 3]}, "does not say how its pixels are stored"),
        ({"PhotometricInterpretation": "HSV"}, "3 samples in HSV"),
        ({"PhotometricInterpretation": "YBR_RCT"}, "3 samples in YBR_RCT"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "3 samples in MONOCHROME2"),
    ],
)
def test_pixels_of_a_kind_that_ultrasound_has_not_are_refused(
    files: ModuleType, tmp_path: Path, elements: dict[str, object], reason: str
) -> None:
    dataset = files.write_dicom(tmp_path / "odd.dcm", files.clip_frame(0, 1))
    assert frame(tmp_path / "odd.dcm").any()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(tmp_path / "odd.dcm", enforce_file_format=True)
    with pytest.raises(ClipFault, match=reason):
        frame(tmp_path / "odd.dcm")


def test_an_odd_table_of_offsets_does_not_hide_a_frame() -> None:
    whole = pydicom.dcmread(real("SC_rgb_jpeg.dcm")).pixel_array
    np.testing.assert_array_equal(frame(real("SC_rgb_jpeg.dcm")), whole)


def test_every_real_ultrasound_file_of_pydicoms_shows_a_picture() -> None:
    seen = 0
    for path in map(Path, pydicom.data.get_testdata_files()):
        if path.suffix != ".dcm" or not path.is_file():
            continue
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        if header.get("Modality") != "US" or "Rows" not in header:
            continue
        seen += 1
        assert frame(path).mean() > 5, path.name
    assert seen >= 15


def test_the_page_on_input_has_a_row_for_each_syntax() -> None:
    rows = re.findall(r"^\| (.+?) \|", INPUT_TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*REAL_SYNTAXES, *MADE_SYNTAXES, *FILMS, *CONTAINERS} <= set(rows)
    assert DeflatedExplicitVRLittleEndian.name in rows
    assert ExplicitVRBigEndian.name in rows
