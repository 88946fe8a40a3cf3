"""Frames come out of real AVI, MP4 and DICOM files: the right ones, in RGB, and none made up."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import RLELossless

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.faults import ClipFault
from mufnet_lightning.cohort.stills import read_image

LENGTH = 12


@pytest.fixture(scope="module")
def frames(files: ModuleType) -> list[np.ndarray]:
    return [files.clip_frame(number) for number in range(LENGTH)]


@pytest.fixture(scope="module")
def blocks() -> list[np.ndarray]:
    """Frames that survive a lossy codec: red says the number, green and blue are plain."""
    return [np.full((64, 96, 3), (20 * number + 10, 40, 220), np.uint8)[:] for number in range(LENGTH)]


def test_a_lossless_clip_comes_back_bit_for_bit(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "clip.avi"
    files.write_clip(path, frames)
    decoded = list(iter_frames(path, range(LENGTH)))
    assert [number for number, _ in decoded] == list(range(LENGTH))
    for number, frame in decoded:
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, frames[number])


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("A.MP4", "mp4v"), ("f.avi", "FFV1")])
def test_wanted_frames_come_in_order_and_in_rgb(
    name: str, codec: str, files: ModuleType, blocks: list[np.ndarray], tmp_path: Path
) -> None:
    files.write_clip(tmp_path / name, blocks, codec)
    decoded = dict(iter_frames(tmp_path / name, [7, 0, 3, 7, 11]))
    assert list(decoded) == [0, 3, 7, 11]
    for number, frame in decoded.items():
        assert np.abs(frame.astype(int) - blocks[number]).max() < 10


def test_nothing_is_wanted_and_nothing_is_read(tmp_path: Path) -> None:
    assert list(iter_frames(tmp_path / "not there.avi", [])) == []


def test_a_name_that_looks_like_a_protocol_is_a_file(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_clip(tmp_path / "plain.avi", frames)
    Path("plain.avi").rename("http:été %03d.avi")
    assert len(list(iter_frames(Path("http:été %03d.avi"), [0, 5]))) == 2


def test_a_short_clip_says_how_many_frames_it_has(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "clip.avi"
    files.write_clip(path, frames)
    decoded = iter_frames(path, [11, 12])
    assert next(decoded)[0] == 11
    with pytest.raises(ClipFault, match="12 frames that can be read"):
        next(decoded)


@pytest.mark.parametrize("codec", ["MJPG", "FFV1"])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_no_frame_of_a_clip_that_is_cut_off_passes_for_whole(
    codec: str, share: float, files: ModuleType, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (LENGTH, 64, 96, 3), np.uint8)
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    files.write_clip(whole, list(noise), codec)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    decoded = dict(iter_frames(whole, range(LENGTH)))
    with pytest.raises(ClipFault, match="though its header says 12") as fault:
        list(iter_frames(cut, range(LENGTH)))
    readable = int(fault.value.reason.split()[1])
    assert 0 < readable < LENGTH
    for wanted in range(readable - 1):
        [(_, frame)] = iter_frames(cut, [wanted])
        np.testing.assert_array_equal(frame, decoded[wanted])
    with pytest.raises(ClipFault, match="the last may be incomplete"):
        list(iter_frames(cut, [readable - 1]))


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4", "clip.dcm", "IM_0001"])
@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello" * 1000])
def test_a_file_that_is_no_clip_is_one_fault(
    name: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClipFault, match="cannot be"):
        list(iter_frames(tmp_path / name, [0]))
    assert capfd.readouterr() == ("", ""), "no line of FFmpeg's or pydicom's own"


# DICOM


def test_dicom_clips_come_back_bit_for_bit(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    plain, packed = tmp_path / "plain.dcm", tmp_path / "IM_0001"
    files.write_dicom(plain, np.stack(frames))
    dataset = pydicom.dcmread(plain)
    dataset.compress(RLELossless)
    dataset.save_as(packed)
    for path in (plain, packed):
        decoded = dict(iter_frames(path, [9, 1, 4]))
        assert list(decoded) == [1, 4, 9]
        for number, frame in decoded.items():
            np.testing.assert_array_equal(frame, frames[number])


def test_a_single_dicom_frame_is_a_clip_of_one(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    files.write_dicom(tmp_path / "still.dcm", frames[3])
    [(number, frame)] = iter_frames(tmp_path / "still.dcm", [0])
    assert number == 0
    np.testing.assert_array_equal(frame, frames[3])
    with pytest.raises(ClipFault, match="1 frame that can be read"):
        list(iter_frames(tmp_path / "still.dcm", [1]))


def test_grey_dicom_becomes_grey_rgb(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    grey = np.stack(frames)[..., 1].copy()
    files.write_dicom(tmp_path / "2.dcm", grey, "MONOCHROME2")
    files.write_dicom(tmp_path / "1.dcm", grey, "MONOCHROME1")
    [(_, frame)] = iter_frames(tmp_path / "2.dcm", [5])
    np.testing.assert_array_equal(frame, np.repeat(grey[5][..., None], 3, axis=2))
    [(_, inverse)] = iter_frames(tmp_path / "1.dcm", [5])
    np.testing.assert_array_equal(inverse, 255 - frame)


def test_ybr_dicom_becomes_rgb(files: ModuleType, frames: list[np.ndarray], tmp_path: Path) -> None:
    ycrcb = [cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb) for frame in frames]
    files.write_dicom(tmp_path / "y.dcm", np.stack(ycrcb)[..., [0, 2, 1]].copy(), "YBR_FULL")
    [(_, frame)] = iter_frames(tmp_path / "y.dcm", [7])
    assert np.abs(frame.astype(int) - frames[7]).max() <= 2  # 8-bit rounding


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_dicom_becomes_rgb(bits: int, files: ModuleType, tmp_path: Path) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    dataset = files.write_dicom(tmp_path / "p.dcm", indices[0], "MONOCHROME2")
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour, table in (
        ("Red", np.arange(256)),
        ("Green", 255 - np.arange(256)),
        ("Blue", [9] * 256),
    ):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        entries = np.asarray(table, "<u2") * 257 if bits == 16 else np.asarray(table, np.uint8)
        setattr(dataset, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    dataset.save_as(tmp_path / "p.dcm", enforce_file_format=True)
    [(_, frame)] = iter_frames(tmp_path / "p.dcm", [0])
    np.testing.assert_array_equal(frame[..., 0], indices[0])
    np.testing.assert_array_equal(frame[..., 1], 255 - indices[0])
    assert (frame[..., 2] == 9).all()


def test_a_dicom_clip_that_is_cut_off_says_so_and_names_nobody(
    files: ModuleType, frames: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "cut.dcm"
    files.write_dicom(path, np.stack(frames))
    path.write_bytes(path.read_bytes()[: int(frames[0].size * 5.5)])
    with pytest.raises(ClipFault, match="5 frames that can be read, though its header says 12") as e:
        list(iter_frames(path, [2, 8]))
    assert not any(name.decode() in str(e.value) for name in files.IDENTIFIERS)


def test_memory_does_not_grow_with_a_dicom_clip(files: ModuleType, tmp_path: Path) -> None:
    pixels = np.zeros((60, 200, 300, 3), np.uint8)
    files.write_dicom(tmp_path / "long.dcm", pixels)
    tracemalloc.start()
    for _ in iter_frames(tmp_path / "long.dcm", range(60)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * pixels[0].nbytes


# Images


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_lossless_images_come_back_bit_for_bit(ending: str, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    path = tmp_path / f"image.{ending}"
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_an_image_that_is_cut_off_is_a_fault(ending: str, share: float, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    path = tmp_path / f"image.{ending}"
    cv2.imwrite(str(path), rgb)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ClipFault, match="cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_12_bits_in_16_are_refused_rather_than_dark(ending: str, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 4096, (30, 40, 3), np.uint16)
    path = tmp_path / f"image.{ending}"
    cv2.imwrite(str(path), deep)
    with pytest.raises(ClipFault, match="has pixels of 16 bits, of which it does not use all"):
        read_image(path)
    cv2.imwrite(str(path), deep * 16)
    np.testing.assert_array_equal(read_image(path), (deep >> 4)[..., ::-1].astype(np.uint8))


def test_a_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    pages = list(np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), np.uint8))
    cv2.imwritemulti(str(tmp_path / "pages.tif"), pages)
    with pytest.raises(ClipFault, match="has 3 pages, expected one picture"):
        read_image(tmp_path / "pages.tif")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_white_is_zero_is_no_negative(bits: int, tmp_path: Path) -> None:
    levels = np.array([[0, 10, 200, 255]] * 4, np.uint8)
    stored = levels if bits == 8 else levels.astype(np.uint16) * 257
    # of 8 bits Pillow turns the pixels themselves, so that the picture stays the same
    for photometric, expected in ((1, levels), (0, 255 - levels if bits == 16 else levels)):
        path = tmp_path / f"{photometric}.tif"
        Image.fromarray(stored).save(path, tiffinfo={262: photometric})
        with Image.open(path) as written:
            assert written.getexif()[262] == photometric
        assert (read_image(path)[..., 0] == expected).all()


def test_other_formats_are_refused_whatever_they_claim(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"P4 9000 9000 " + bytes(9000 * 1125))
    with pytest.raises(ClipFault, match="cannot be decoded"):
        read_image(path)
