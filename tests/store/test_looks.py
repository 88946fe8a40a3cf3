"""Crops that show nothing are named, and a store of them is not made."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.inputs import ODD
from mufnet_lightning.store.looks import look
from mufnet_lightning.store.prepare import prepare_store

NOISE = np.random.default_rng(0).normal(0, 2, (40, 60, 3))


@pytest.mark.parametrize(("level", "expected"), [(1, "black"), (255, "saturated"), (128, ""), (60, "")])
def test_dark_bright_and_ordinary_crops(level: int, expected: str) -> None:
    assert look(np.clip(level + NOISE, 0, 255).astype(np.uint8)) == expected


def test_a_single_level_is_flat_and_a_few_pixels_are_tiny() -> None:
    assert look(np.full((40, 60, 3), 128, np.uint8)) == "flat"
    assert look(np.full((7, 60, 3), 128, np.uint8)) == "tiny"


def test_a_dark_picture_with_a_bright_spot_is_none_of_them() -> None:
    pixels = np.zeros((50, 50, 3), np.uint8)
    pixels[20:28, 20:28] = 200
    assert look(pixels) == ""


def pairs(folder: Path, files: ModuleType, black: set[int]) -> Path:
    """Ten pairs of noise, some with a black CEUS image."""
    (folder / "images").mkdir(parents=True)
    rng, rows = np.random.default_rng(1), []
    for number in range(10):
        row = {"patient_id": f"P{number % 2}"}
        for modality in ("bmode", "ceus"):
            pixels = rng.integers(0, 255, (32, 40, 3), np.uint8)
            if modality == "ceus" and number in black:
                pixels[:] = 0
            row[f"{modality}_path"] = f"images/{number}_{modality}.png"
            cv2.imwrite(str(folder / row[f"{modality}_path"]), pixels)
        rows.append(row)
    files.write_table(folder / "pairs.csv", rows)
    grades = [{"patient_id": "P0", "grade": "1"}, {"patient_id": "P1", "grade": "4"}]
    files.write_table(folder / "patients.csv", grades)
    return folder


def test_a_black_crop_is_named_and_named_again(
    files: ModuleType,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort = pairs(tmp_path / "cohort", files, black={3})
    prepare_store(cohort, tmp_path / "store")
    assert "1 of 10 CEUS crops are black: p000006_ceus.png" in caplog.text
    assert (tmp_path / "store" / ODD).read_text() == "crop,looks\np000006_ceus.png,black\n"
    prepare_store(cohort, tmp_path / "store")
    assert f"odd crops, named in {tmp_path / 'store' / ODD}: 1" in capsys.readouterr().out


def test_a_store_that_is_mostly_black_is_not_made(files: ModuleType, tmp_path: Path) -> None:
    cohort = pairs(tmp_path / "cohort", files, black=set(range(6)))
    with pytest.raises(
        InputFault, match=r"6 of 10 CEUS crops are black: .*, \.\.\.; expected pictures"
    ):
        prepare_store(cohort, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_crops_that_show_nothing_are_counted_together(files: ModuleType, tmp_path: Path) -> None:
    cohort = pairs(tmp_path / "cohort", files, black={0, 1, 2, 3})
    for number in range(4, 8):
        flat = np.full((32, 40, 3), 90, np.uint8)
        cv2.imwrite(str(cohort / f"images/{number}_ceus.png"), flat)
    with pytest.raises(InputFault) as refused:
        prepare_store(cohort, tmp_path / "store")
    assert [fault.split(":")[0] for fault in refused.value.faults] == [
        "4 of 10 CEUS crops are black",
        "4 of 10 CEUS crops are flat",
    ]
    assert not (tmp_path / "store").exists()


def test_ordinary_crops_are_not_spoken_of(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = prepare_store(pairs(tmp_path / "cohort", files, black=set()), tmp_path / "store")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not (store.root / ODD).exists()


# Boxes in other units


def boxes(folder: Path, files: ModuleType, rows: list[dict[str, object]]) -> Path:
    cohort = files.write_cohort(folder, {**files.cohort_tables(), "boxes": rows})
    return Path(cohort)


def test_boxes_in_shares_of_the_frame_are_refused(files: ModuleType, tmp_path: Path) -> None:
    share = {"x": 0.6, "y": 0.2, "width": 0.1, "height": 0.3}
    rows = [{"clip_id": f"C{clip}", "frame": 2, **share} for clip in range(1, 5)]
    with pytest.raises(InputFault, match="boxes in shares of the frame"):
        prepare_store(boxes(tmp_path / "cohort", files, rows), tmp_path / "store")


def test_boxes_that_could_be_two_corners_are_doubted(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"clip_id": "C1", "frame": n, "x": 4 + n, "y": 9 + n, "width": 20 + n, "height": 25 + n}
        for n in range(8)
    ]
    rows += [
        {"clip_id": f"C{n}", "frame": 1, "x": 5, "y": 9, "width": 30, "height": 20} for n in (2, 3, 4)
    ]
    prepare_store(boxes(tmp_path / "cohort", files, rows), tmp_path / "store")
    assert "as if they were the other corner" in caplog.text


def test_a_table_that_counts_frames_from_1_is_asked_so(files: ModuleType, tmp_path: Path) -> None:
    place = {"x": 90, "y": 14, "width": 20, "height": 20}
    last = int(files.CLIP_LENGTH)
    rows = [{"clip_id": f"C{n}", "frame": frame, **place} for n in (1, 2, 3, 4) for frame in (1, last)]
    with pytest.raises(InputFault, match=r"counted from 0; does the table count from 1\?"):
        prepare_store(boxes(tmp_path / "cohort", files, rows), tmp_path / "store")
