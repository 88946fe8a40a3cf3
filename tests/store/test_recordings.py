"""Laws of clips: two of an exam, folders of frames, two tumours in a frame, files elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.exams import matched
from mufnet_lightning.cohort.geometry import Box, crop
from mufnet_lightning.cohort.series import series_files
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore


def apart(files: ModuleType, bmode_frames: list[int], ceus_frames: list[int]) -> dict[str, Any]:
    """Tables of two patients whose B-mode and contrast are clips of their own: C1, C2 and C3, C4."""
    tables: dict[str, Any] = files.cohort_tables()
    bmode, ceus = (",".join(map(str, pane)) for pane in (files.BMODE_PANE, files.CEUS_PANE))
    tables["patients"] = tables["patients"][:2]
    tables["clips"] = [
        {
            "clip_id": f"C{number}",
            "patient_id": f"P{(number + 1) // 2}",
            "path": f"clips/C{number}.avi",
            "bmode_pane": bmode if number % 2 else "",
            "ceus_pane": "" if number % 2 else ceus,
            "exam_id": f"E{(number + 1) // 2}",
        }
        for number in (1, 2, 3, 4)
    ]
    tables["boxes"] = [
        {
            "clip_id": f"C{number}",
            "frame": frame,
            "x": (files.BMODE_PANE if number % 2 else files.CEUS_PANE)[0] + 5 + frame,
            "y": 20,
            "width": 20,
            "height": 16,
        }
        for number in (1, 2, 3, 4)
        for frame in (bmode_frames if number % 2 else ceus_frames)
    ]
    return tables


def test_two_clips_of_an_exam_are_pairs(files: ModuleType, tmp_path: Path) -> None:
    tables = apart(files, [2, 9], [1, 4, 6, 11])
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    table = store.manifest
    assert store.modalities == ("bmode", "ceus")
    assert table["patient_id"].tolist() == ["P1"] * 4 + ["P2"] * 4
    assert table["clip_id"].tolist() == ["C2"] * 4 + ["C4"] * 4, (
        "the clip with more frames names a pair"
    )
    assert table["frame"].tolist() == [1, 4, 6, 11] * 2
    assert table["partner_clip_id"].tolist() == ["C1"] * 4 + ["C3"] * 4
    assert table["partner_frame"].tolist() == [2, 2, 9, 9] * 2
    rows: list[Any] = list(table.itertuples())
    for row in rows:
        for modality, clip, number in (
            ("bmode", str(row.partner_clip_id), int(row.partner_frame)),
            ("ceus", str(row.clip_id), int(row.frame)),
        ):
            x = (files.BMODE_PANE if modality == "bmode" else files.CEUS_PANE)[0] + 5 + number
            expected = crop(files.clip_frame(number, int(clip[1:])), Box(x, 20, 20, 16))
            assert (files.read_rgb(store.root / getattr(row, f"{modality}_path")) == expected).all()


def test_frames_of_equal_number_belong_together(files: ModuleType, tmp_path: Path) -> None:
    tables = apart(files, [2, 5, 9], [2, 5, 9])
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert store.manifest["partner_frame"].tolist() == store.manifest["frame"].tolist()
    assert set(store.manifest["clip_id"]) == {"C2", "C4"}, "the contrast names a pair of equals"


@pytest.mark.parametrize("longer", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("shorter", [1, 2, 3])
def test_every_frame_is_in_a_pair(longer: int, shorter: int) -> None:
    pairs = matched([(i, i) for i in range(longer)], [(i, i) for i in range(shorter)])
    assert len(pairs) == max(longer, shorter)
    assert {one for one, _ in pairs} == set(range(longer))
    assert {other for _, other in pairs} == set(range(shorter))
    assert pairs == sorted(pairs)


def test_clips_that_nothing_pairs_are_told(
    files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = apart(files, [2], [2])
    for clip in tables["clips"]:
        clip["exam_id"] = ""
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert (store.manifest[["bmode_path", "ceus_path"]] == "").any(axis=1).all()
    assert (
        "2 patients with B-mode and contrast in clips of their own that are not paired" in caplog.text
    )


@pytest.mark.parametrize(
    ("row", "cells", "reason"),
    [
        (3, {"exam_id": "E1", "patient_id": "P1"}, "exam_id 'E1' has 2 clips of CEUS beside 1"),
    ],
)
def test_an_exam_that_is_none(
    row: int, cells: dict[str, str], reason: str, files: ModuleType, tmp_path: Path
) -> None:
    tables = apart(files, [2], [2])
    tables["clips"][row] |= cells
    with pytest.raises(InputFault, match=reason):
        prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")


def test_exams_are_counted_in_each_patient(files: ModuleType, tmp_path: Path) -> None:
    tables = apart(files, [2], [2])
    for clip in tables["clips"]:
        clip["exam_id"] = "1"  # everybody's first visit
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert (store.manifest["partner_clip_id"] != "").all()
    assert len(store.manifest) == 2


def test_a_box_that_was_forgotten_moves_no_other_pair(files: ModuleType, tmp_path: Path) -> None:
    tables = apart(files, [0, 3, 6], [0, 3, 6, 9])
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert store.manifest["partner_frame"].tolist() == [0, 3, 6, 6] * 2


@pytest.mark.parametrize(
    ("lesions", "reason"),
    [
        (
            {"C1": "", "C2": "a"},
            "lesion_id is empty, and that of row 4 .* expected all or none",
        ),
        ({"C1": "a", "C2": "b"}, "have no lesion_id in common, so nothing of them is a pair"),
    ],
)
def test_lesions_that_do_not_agree_are_a_fault(
    lesions: dict[str, str], reason: str, files: ModuleType, tmp_path: Path
) -> None:
    tables = apart(files, [2, 5], [2, 5])
    for box in tables["boxes"]:
        box["lesion_id"] = lesions.get(box["clip_id"], "a")
    with pytest.raises(InputFault, match=reason):
        prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")


def test_two_tumours_in_a_frame_are_two_pairs(files: ModuleType, tmp_path: Path) -> None:
    tables = files.cohort_tables()
    second = {**tables["boxes"][0], "x": tables["boxes"][0]["x"] + 15, "lesion_id": "b"}
    tables["boxes"] = [{**box, "lesion_id": "a"} for box in tables["boxes"]] + [second]
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    of_frame = store.manifest.query("clip_id == 'C1' and frame == 2")
    assert of_frame["lesion_id"].tolist() == ["a", "b"]
    one, other = (files.read_rgb(store.root / path) for path in of_frame["bmode_path"])
    assert one.shape == other.shape
    assert (one != other).any()


def test_boxes_of_both_panes_pair_by_their_lesion(files: ModuleType, tmp_path: Path) -> None:
    box = {"clip_id": "C1", "frame": 7, "y": 14, "width": 12, "height": 12}
    tables = files.cohort_tables()
    tables["boxes"] = [
        {**box, "x": x, "pane": pane, "lesion_id": lesion}
        for x, pane, lesion in (
            (85, "ceus", "a"),
            (110, "ceus", "b"),
            (35, "bmode", "b"),
            (6, "bmode", "a"),
        )
    ]
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert store.manifest["lesion_id"].tolist() == ["b", "a"]
    frame = files.clip_frame(7, 1)
    for row, (bmode, ceus) in zip(store.manifest.itertuples(), ((35, 110), (6, 85)), strict=True):
        for path, x in ((row.bmode_path, bmode), (row.ceus_path, ceus)):
            expected = crop(frame, Box(x, 14, 12, 12))
            assert (files.read_rgb(store.root / str(path)) == expected).all()


# A folder of frames.


def dicom_series(folder: Path, files: ModuleType, numbers: list[int | None]) -> Path:
    """A file a frame, named against its order."""
    for place, number in enumerate(numbers):
        path = folder / f"IM{len(numbers) - place:04d}"
        dataset = files.write_dicom(path, files.clip_frame(place, 1))
        dataset.SeriesInstanceUID = "1.2.3"
        if number is not None:
            dataset.InstanceNumber = number
        dataset.save_as(path, enforce_file_format=True)
    return folder


def test_a_folder_of_dicom_frames_is_a_clip(cohort: Path, files: ModuleType, tmp_path: Path) -> None:
    whole = prepare_store(cohort, tmp_path / "whole")
    (cohort / "clips/C1.avi").unlink()
    dicom_series(cohort / "clips/C1", files, [3 * i + 1 for i in range(files.CLIP_LENGTH)])
    (cohort / "clips/C1/DICOMDIR").write_bytes(b"index")
    (cohort / "clips/C1/Thumbs.db").write_bytes(b"")
    tables = files.cohort_tables()
    tables["clips"][0]["path"] = "clips/C1"
    files.write_table(cohort / "clips.csv", tables["clips"])
    store = prepare_store(cohort, tmp_path / "store")
    for path in [*store.manifest["bmode_path"], *store.manifest["ceus_path"]]:
        assert (store.root / path).read_bytes() == (whole.root / path).read_bytes()
    (cohort / "clips/C1/.DS_Store").write_bytes(b"")  # systems leave such files there
    assert prepare_store(cohort, tmp_path / "store").digest == store.digest
    # a frame that changes makes other inputs
    assert store.digest != whole.digest
    (cohort / "clips/C1/IM0001").write_bytes((cohort / "clips/C1/IM0002").read_bytes())
    with pytest.raises(InputFault, match="store of other inputs"):
        prepare_store(cohort, tmp_path / "store")


def test_numbered_pictures_are_a_clip_in_the_order_of_their_numbers(
    files: ModuleType, tmp_path: Path
) -> None:
    for number in range(8, 12):
        bgr = cv2.cvtColor(files.clip_frame(number, 1), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / f"scan2_{number}.png"), bgr)
    frames = dict(iter_frames(tmp_path, [3, 0]))
    assert list(frames) == [0, 3]
    for number, frame in frames.items():
        assert (frame == files.clip_frame(number + 8, 1)).all()
    with pytest.raises(InputFault, match="has 4 frames"):
        list(iter_frames(tmp_path, [4]))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "without a file"),
        (["a1.png", "a3.png"], "no frame between a1.png and a3.png"),
        (["a1.png", "a01.png"], "two frames of one number"),
        (["a1.png", "b2.png"], "frames of several names"),
        (["first.png"], "without a number in its name"),
        (["a1.png", "notes.txt"], "holds pictures and notes.txt"),
        (["film.avi"], "is a folder with film.avi in it"),
    ],
)
def test_a_folder_whose_frames_have_no_order(names: list[str], reason: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputFault, match=reason):
        series_files(tmp_path)


def test_frames_of_another_size_and_a_gap_in_a_series_are_faults(
    files: ModuleType, tmp_path: Path
) -> None:
    gap = dicom_series(tmp_path / "gap", files, [1, 2, 4, 5])
    with pytest.raises(InputFault, match="Instance Numbers have a gap behind 2"):
        series_files(gap)
    cv2.imwrite(str(tmp_path / "gap/f1.png"), np.zeros((20, 30, 3), np.uint8))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, height in ((1, 20), (2, 22)):
        cv2.imwrite(str(mixed / f"f{number}.png"), np.zeros((height, 30, 3), np.uint8))
    with pytest.raises(InputFault, match="of 30 × 22 pixels among others of 30 × 20"):
        list(iter_frames(mixed, [0, 1]))


def test_a_folder_and_a_file_in_it_are_of_one_patient(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    dicom_series(cohort / "clips/series", files, [1, 2, 3])
    tables = files.cohort_tables()
    tables["clips"][0]["path"], tables["clips"][1]["path"] = "clips/series", "clips/series/IM0002"
    files.write_table(cohort / "clips.csv", tables["clips"])
    with pytest.raises(InputFault, match="is used in row 2 for patient 'P1' already"):
        prepare_store(cohort, tmp_path / "store")
    tables["clips"][0]["path"], tables["clips"][1]["path"] = "clips/series/IM0002", "clips/series"
    files.write_table(cohort / "clips.csv", tables["clips"])
    with pytest.raises(InputFault, match="is used in row 2 for patient 'P1' already"):
        prepare_store(cohort, tmp_path / "store")


def test_no_link_in_a_folder_of_frames_leads_out(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    folder = dicom_series(cohort / "clips/series", files, [1, 2, 3])
    (tmp_path / "IM0004").write_bytes((folder / "IM0001").read_bytes())
    (folder / "IM0004").symlink_to(tmp_path / "IM0004")
    tables = files.cohort_tables()
    tables["clips"][0]["path"] = "clips/series"
    files.write_table(cohort / "clips.csv", tables["clips"])
    with pytest.raises(InputFault, match="with a link in it that leads out of the cohort folder"):
        prepare_store(cohort, tmp_path / "store")


@pytest.mark.parametrize("numbers", [[1, 1, 2], [1, None, 2]])
def test_dicom_frames_without_a_number_of_their_own(
    numbers: list[int | None], files: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(InputFault, match="without an Instance Number of their own"):
        series_files(dicom_series(tmp_path / "series", files, numbers))


def test_two_series_in_a_folder_and_a_film_among_frames(files: ModuleType, tmp_path: Path) -> None:
    folder = dicom_series(tmp_path / "series", files, [1, 2])
    film = files.write_dicom(tmp_path / "film", np.stack([files.clip_frame(i, 1) for i in range(3)]))
    film.SeriesInstanceUID, film.InstanceNumber = "1.2.3", 3
    film.save_as(folder / "film", enforce_file_format=True)
    with pytest.raises(InputFault, match="has a file film of 3 frames, expected one each"):
        series_files(folder)
    (folder / "film").unlink()
    other = files.write_dicom(folder / "other", files.clip_frame(5, 1))
    other.SeriesInstanceUID, other.InstanceNumber = "1.2.4", 3
    other.save_as(folder / "other", enforce_file_format=True)
    with pytest.raises(InputFault, match="holds 2 DICOM series"):
        series_files(folder)


# Files elsewhere.


def test_clips_may_lie_in_another_folder_that_is_named(
    cohort: Path, whole_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, linked = tmp_path / "archive", tmp_path / "linked"
    shutil.move(cohort / "clips", archive / "clips")
    linked.mkdir()
    command = ["prepare", str(cohort), str(tmp_path / "store")]
    assert main(command) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main([*command, "--root", str(archive)]) == 0
    assert CropStore.open(tmp_path / "store").digest == CropStore.open(whole_store).digest
    assert main([*command, "--root", str(archive)]) == 0
    assert "nothing to do" in capsys.readouterr().out

    (cohort / "clips").symlink_to(archive / "clips")  # links are followed into that folder alone
    command[-1] = str(tmp_path / "by links")
    assert main(command) == 2
    assert "leads out of the cohort folder; --root DIR allows" in capsys.readouterr().err
    assert main([*command, "--root", str(linked)]) == 2
    assert "leads out of the cohort folder and --root" in capsys.readouterr().err
    assert main([*command, "--root", str(archive)]) == 0
