"""Small cohorts of real files whose every crop is known.

A pane's red channel tells frame and clip, green the column, blue the row and the modality. So a
crop tells what it was cut from, and FFV1 in AVI keeps every bit of it.
"""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import set_pixel_data
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from mufnet_lightning.store.prepare import prepare_store

PANE_WIDTH, PANE_HEIGHT = 64, 48
BMODE_PANE = (0, 8, PANE_WIDTH, PANE_HEIGHT)
CEUS_PANE = (PANE_WIDTH + 16, 8, PANE_WIDTH, PANE_HEIGHT)
FRAME_WIDTH, FRAME_HEIGHT = 160, 64
CLIP_LENGTH = 12

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def clip_frame(number: int, clip: int = 0) -> np.ndarray:
    """Frame `number` of clip `clip`, height × width × 3 uint8 RGB."""
    frame = np.full((FRAME_HEIGHT, FRAME_WIDTH, 3), 255, np.uint8)  # the scanner's texts: white
    for modality, (x, y, width, height) in (("bmode", BMODE_PANE), ("ceus", CEUS_PANE)):
        frame[y : y + height, x : x + width] = pane_pixels(number, modality, clip)
    return frame


def pane_pixels(number: int, modality: str, clip: int = 0) -> np.ndarray:
    """What one pane of a frame shows, 48 × 64 × 3 uint8 RGB."""
    rows, columns = np.mgrid[:PANE_HEIGHT, :PANE_WIDTH]
    red = np.full_like(rows, number * 9 + clip)
    blue = rows * 2 + (100 if modality == "ceus" else 0)
    # a texture of its own for each clip, or all would be one scan
    coarse = np.random.default_rng(clip).integers(0, 60, (PANE_HEIGHT // 4, PANE_WIDTH // 4))
    texture = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return np.stack([red, columns * 3 // 2 + 2 * texture, blue], axis=-1).astype(np.uint8)


def write_clip(path: Path, frames: Sequence[np.ndarray], codec: str = "FFV1") -> None:
    """A video of RGB frames, 15 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 15, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_dicom(path: Path, pixels: np.ndarray, photometric: str = "RGB") -> Dataset:
    """A DICOM clip or still with a patient's name in its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = "Geheim^Gerda"
    dataset.PatientID = "MRN4711"
    dataset.PatientBirthDate = "19501231"
    dataset.InstitutionName = "Klinikum Musterstadt"
    set_pixel_data(dataset, pixels, photometric, 8)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


IDENTIFIERS = (b"Geheim", b"Gerda", b"MRN4711", b"19501231", b"Musterstadt")


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with the first row's columns."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def cohort_tables() -> Tables:
    """Three patients, a clip each (the second has two), boxes on the CEUS pane."""
    pane = {
        "bmode_pane": ",".join(map(str, BMODE_PANE)),
        "ceus_pane": ",".join(map(str, CEUS_PANE)),
    }
    clips = [("C1", "P1"), ("C2", "P2"), ("C3", "P2"), ("C4", "P3")]
    x, y = CEUS_PANE[:2]
    return {
        "patients": [
            {"patient_id": "P1", "grade": "2", "center": "north"},
            {"patient_id": "P2", "grade": "3", "center": "south"},
            {"patient_id": "P3", "grade": "1", "center": ""},
        ],
        "clips": [
            {"clip_id": clip, "patient_id": patient, "path": f"clips/{clip}.avi"} | pane
            for clip, patient in clips
        ],
        "boxes": [
            {
                "clip_id": clip,
                "frame": frame,
                "x": x + 10 + frame,
                "y": y + 6,
                "width": 20,
                "height": 16 + frame,
                "pane": "ceus",
                "phase": "cortical" if frame < 6 else "medullary",
            }
            for clip, _ in clips
            for frame in (2, 7, 10)
        ],
    }


def write_cohort(folder: Path, tables: Tables | None = None) -> Path:
    """The tables, and a clip for each row of `clips` that is a plain AVI of ours, cohort.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.json").write_text('{"id": "cohort of the tests"}')
    for name, rows in (tables or cohort_tables()).items():
        write_table(folder / f"{name}.csv", rows)
    for number in range(1, 5):
        frames = [clip_frame(i, number) for i in range(CLIP_LENGTH)]
        write_clip(folder / f"clips/C{number}.avi", frames)
    return folder


def write_pairs_cohort(folder: Path) -> Path:
    """Two patients with cropped images; the last pair has no B-mode image."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(4):
        row: Row = {"patient_id": f"P{number % 2 + 1}", "clip_id": f"C{number}", "frame": number}
        for modality in ("bmode", "ceus"):
            path = f"images/{number} {modality}.png"
            pixels = pane_pixels(number, modality, number)[: 20 + number]
            cv2.imwrite(str(folder / path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
            row[f"{modality}_path"] = path
        rows.append(row)
    rows[3]["bmode_path"] = ""
    write_table(folder / "pairs.csv", rows)
    write_table(
        folder / "patients.csv",
        [{"patient_id": "P1", "label": 0}, {"patient_id": "P2", "label": 1}],
    )
    return folder


def read_rgb(path: Path) -> np.ndarray:
    """A PNG as height × width × 3 uint8 RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="session")
def files() -> ModuleType:
    """The writers above: test folders are no packages, so a test cannot import them."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def whole_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid cohort that tests only read."""
    return write_cohort(tmp_path_factory.mktemp("cohort") / "whole")


@pytest.fixture
def cohort(whole_cohort: Path, tmp_path: Path) -> Path:
    """A valid cohort that the test may break."""
    return Path(shutil.copytree(whole_cohort, tmp_path / "cohort"))


@pytest.fixture(scope="session")
def whole_store(whole_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crop store of that cohort, for tests that only read it."""
    store = tmp_path_factory.mktemp("store") / "whole"
    prepare_store(whole_cohort, store)
    return store
