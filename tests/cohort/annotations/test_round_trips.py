"""Boxes that are exported in a format and imported again are the same boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import annotation_files as made
import numpy as np
import pytest
from annotation_files import Drawn

from mufnet_lightning.cohort.annotations.annotation import Extent
from mufnet_lightning.cohort.annotations.importing import ImportPlan, plan_import
from mufnet_lightning.cohort.annotations.placing import Choices
from mufnet_lightning.cohort.read import read_cohort

NAMED = Choices(frames_from="{clip}_{frame}", first_frame=0)
FROM_1 = Choices(frames_from="{clip}_{frame}.png", first_frame=1)
PLAIN = Choices()
Writer = Callable[[Path, Sequence[Drawn]], Path]


def random_boxes(seed: int, clips: Sequence[str] = ("C1", "C2", "C3", "C4")) -> list[Drawn]:
    """Boxes of whole pixels on the CEUS pane, some frames of each clip; sides are even."""
    generator = np.random.default_rng(seed)
    boxes = []
    for clip in clips:
        for frame in generator.choice(made.LENGTH, 4, replace=False):
            width, height = (int(side) for side in 2 * generator.integers(1, 20, 2))
            x = int(generator.integers(80, 145 - width))
            y = int(generator.integers(8, 57 - height))
            boxes.append(Drawn(clip, int(frame), x, y, width, height))
    return sorted(boxes)


def imported(plan: ImportPlan) -> list[Drawn]:
    """What an import gives, to a thousandth of a pixel."""
    return sorted(Drawn(one.clip, one.frame, *_sides(one.box), one.label) for one in plan.boxes)


def _sides(box: Extent | Drawn) -> tuple[float, float, float, float]:
    return round(box.x, 3), round(box.y, 3), round(box.width, 3), round(box.height, 3)


FORMATS: dict[str, tuple[Writer, Choices]] = {
    "CVAT images": (lambda p, b: made.cvat_project(p / "a.xml", b), PLAIN),
    "COCO": (lambda p, b: made.coco(p / "a.json", b), NAMED),
    "COCO from 1": (lambda p, b: made.coco(p / "a.json", b, first=1), FROM_1),
    "COCO polygons": (lambda p, b: made.coco(p / "a.json", b, "polygon"), NAMED),
    "COCO packed runs": (lambda p, b: made.coco(p / "a.json", b, "rle"), NAMED),
    "COCO runs": (lambda p, b: made.coco(p / "a.json", b, "runs"), NAMED),
    "YOLO": (lambda p, b: made.yolo(p / "yolo", b), NAMED),
    "YOLO from 1": (lambda p, b: made.yolo(p / "yolo", b, first=1), FROM_1),
    "YOLO outlines": (lambda p, b: made.yolo(p / "yolo", b, outline=True), NAMED),
    "LabelMe": (lambda p, b: made.labelme(p / "me", b), NAMED),
    "LabelMe polygons": (lambda p, b: made.labelme(p / "me", b, "polygon"), NAMED),
    "LabelMe masks": (lambda p, b: made.labelme(p / "me", b, "mask"), NAMED),
    "VIA 2": (lambda p, b: made.via(p / "a.json", b), NAMED),
    "VIA 2 polygons": (lambda p, b: made.via(p / "a.json", b, "polygon"), NAMED),
    "VIA 2 ellipses": (lambda p, b: made.via(p / "a.json", b, "ellipse"), NAMED),
    "VIA 2 table": (lambda p, b: made.via(p / "a.csv", b), NAMED),
    "VIA 3": (lambda p, b: made.via_film(p / "a.json", b), PLAIN),
}
MASKS: dict[str, tuple[Writer, Choices, str]] = {
    "PNG": (lambda p, b: made.pictures(p / "png", b), NAMED, "255"),
    "PNG from 1": (lambda p, b: made.pictures(p / "png", b, 1, first=1), FROM_1, "1"),
    "NIfTI": (lambda p, b: made.nifti(p / "nii", b), PLAIN, "1"),
    "NIfTI as ITK": (lambda p, b: made.nifti(p / "nii", b, itk=True), PLAIN, "1"),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMATS)
def test_boxes_come_back(cohort: Path, tmp_path: Path, form: str, seed: int) -> None:
    write, choices = FORMATS[form]
    boxes = random_boxes(seed)
    assert imported(plan_import(write(tmp_path, boxes), cohort, choices)) == boxes


@pytest.mark.parametrize("form", MASKS)
def test_masks_come_back(cohort: Path, tmp_path: Path, form: str) -> None:
    write, choices, label = MASKS[form]
    boxes = random_boxes(7)
    plan = plan_import(write(tmp_path, boxes), cohort, choices)
    expected = [Drawn(one.clip, one.frame, *_sides(one), label) for one in boxes]
    assert imported(plan) == sorted(expected)


def test_a_film_of_cvats_comes_back(cohort: Path, tmp_path: Path) -> None:
    boxes = random_boxes(3, ["C2"])
    path = made.cvat_film(tmp_path / "a.xml", boxes, "C2.avi")
    assert imported(plan_import(path, cohort)) == boxes


def test_circles_come_back(cohort: Path, tmp_path: Path) -> None:
    boxes = [Drawn("C1", 3, 90, 20, 16, 16), Drawn("C4", 11, 100, 10, 30, 30)]
    plan = plan_import(made.labelme(tmp_path / "me", boxes, "circle"), cohort, NAMED)
    assert imported(plan) == boxes


def test_shares_of_fractions_stay_fractions(cohort: Path, tmp_path: Path) -> None:
    drawn = Drawn("C1", 3, 90.31, 20.77, 16.4, 15.2)
    (box,) = plan_import(made.yolo(tmp_path / "yolo", [drawn]), cohort, NAMED).boxes
    assert _sides(box.box) == pytest.approx(_sides(drawn), abs=1e-3)


@pytest.mark.parametrize("form", ["COCO", "YOLO", "VIA 3"])
def test_what_is_written_is_read_by_prepare_as_it_was_drawn(
    cohort: Path, tmp_path: Path, form: str
) -> None:
    write, choices = FORMATS[form]
    boxes = random_boxes(5)
    plan_import(write(tmp_path, boxes), cohort, choices).write(over=True)
    read = read_cohort(cohort).boxes
    assert read is not None
    columns = ["clip_id", "frame", "x", "y", "width", "height"]
    assert [tuple(row) for row in read[columns].itertuples(index=False)] == [
        (one.clip, one.frame, one.x, one.y, one.width, one.height) for one in boxes
    ]
    assert set(read["pane"]) == {"ceus"}


# DICOM names frames by the file's UID, from 1


@pytest.fixture
def dicom_cohort(tmp_path: Path, files: ModuleType) -> Path:
    """Two DICOM clips, D1 and D2, that know their study."""
    folder = tmp_path / "dicom cohort"
    rows = []
    for number, clip in enumerate(("D1", "D2"), 1):
        pixels = np.stack([files.clip_frame(i, number) for i in range(made.LENGTH)])
        path = folder / f"{clip}.dcm"
        source = made.as_source(files.write_dicom(path, pixels))
        source.save_as(path, enforce_file_format=True)
        row = {"clip_id": clip, "patient_id": f"P{number}", "path": path.name}
        rows.append(row | {"ceus_pane": ",".join(map(str, files.CEUS_PANE))})
    files.write_table(folder / "clips.csv", rows)
    return folder


def sources(cohort: Path, write: Callable[..., Path], boxes: Sequence[Drawn]) -> None:
    """Write an object for each clip into a folder beside the cohort."""
    from pydicom import dcmread

    (cohort.parent / "objects").mkdir()
    for clip, drawn in made.by_clip(boxes).items():
        write(cohort.parent / "objects" / f"about {clip}.dcm", dcmread(cohort / f"{clip}.dcm"), drawn)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_dicom_segmentations_come_back(dicom_cohort: Path, kind: str) -> None:
    boxes = random_boxes(1, ["D1", "D2"])
    sources(dicom_cohort, partial(made.segmentation, kind=kind), boxes)
    plan = plan_import(dicom_cohort.parent / "objects", dicom_cohort)
    assert imported(plan) == boxes


@pytest.mark.parametrize("shape", ["POLYLINE", "ELLIPSE"])
def test_dicom_reports_come_back(dicom_cohort: Path, shape: str) -> None:
    boxes = random_boxes(2, ["D1", "D2"])
    sources(dicom_cohort, partial(made.report, shape=shape), boxes)
    plan = plan_import(dicom_cohort.parent / "objects", dicom_cohort)
    named = [Drawn(one.clip, one.frame, *_sides(one), "Neoplasm") for one in boxes]
    assert imported(plan) == named


def test_a_circle_of_a_report_comes_back(dicom_cohort: Path) -> None:
    boxes = [Drawn("D1", 0, 90, 20, 16, 16, "Neoplasm")]
    sources(dicom_cohort, partial(made.report, shape="CIRCLE"), boxes)
    assert imported(plan_import(dicom_cohort.parent / "objects", dicom_cohort)) == boxes


def test_a_segmentation_of_an_unknown_file_is_a_fault_without_its_uid(dicom_cohort: Path) -> None:
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    from mufnet_lightning.errors import InputFault

    source = dcmread(dicom_cohort / "D1.dcm")
    source.SOPInstanceUID = generate_uid()
    path = dicom_cohort.parent / "other.dcm"
    made.segmentation(path, source, random_boxes(1, ["D1"]))
    with pytest.raises(InputFault) as fault:
        plan_import(path, dicom_cohort)
    assert fault.value.faults == (
        "other.dcm: was drawn on a DICOM file whose UID no clip of clips.csv has",
    )
    # a film that was made of it, say
    assert len(plan_import(path, dicom_cohort, Choices(clip="D1")).boxes) == 4


def test_two_segments_are_two_labels(dicom_cohort: Path) -> None:
    boxes = [
        Drawn("D1", 2, 90, 20, 16, 10, "tumour"),
        Drawn("D1", 2, 120, 30, 10, 10, "cyst"),
        Drawn("D1", 5, 92, 20, 16, 10, "tumour"),
    ]
    sources(dicom_cohort, made.segmentation, boxes)
    plan = plan_import(dicom_cohort.parent / "objects", dicom_cohort, Choices(labels=["tumour"]))
    assert imported(plan) == [boxes[0], boxes[2]]
