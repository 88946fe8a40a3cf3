"""Boxes as other programs export them: a writer a format, with the real library where there is one."""

from __future__ import annotations

import base64
import copy
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import highdicom
import nibabel
import numpy as np
from pycocotools import mask as masks
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

WIDTH, HEIGHT, LENGTH = 160, 64, 12
"""Of the clips in cohort_files."""


@dataclass(frozen=True, order=True)
class Drawn:
    """A box as somebody drew it."""

    clip: str
    frame: int
    x: float
    y: float
    width: float
    height: float
    label: str = "tumour"

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def corners(self) -> list[list[float]]:
        """Clockwise, from the left upper one."""
        return [
            [self.x, self.y],
            [self.right, self.y],
            [self.right, self.bottom],
            [self.x, self.bottom],
        ]

    def mask(self) -> np.ndarray:
        """Rows × columns of the frame."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[int(self.y) : int(self.bottom), int(self.x) : int(self.right)] = 1
        return mask


def by_clip(boxes: Iterable[Drawn]) -> dict[str, list[Drawn]]:
    """In the order of their frames."""
    clips: dict[str, list[Drawn]] = {}
    for box in sorted(boxes):
        clips.setdefault(box.clip, []).append(box)
    return clips


def file_of(box: Drawn, first: int = 0) -> str:
    """Name of a picture of one frame."""
    return f"{box.clip}_{box.frame + first:04d}.png"


def _numbers(**given: float | str) -> dict[str, str]:
    return {name: str(value) for name, value in given.items()}


def cvat_film(
    path: Path, boxes: Sequence[Drawn], source: str, keys: Sequence[int] | None = None
) -> Path:
    """CVAT for video: one track; frames that are not in `keys` were filled in by CVAT."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for name, text in (("id", "7"), ("name", "a task"), ("mode", "interpolation"), ("source", source)):
        ElementTree.SubElement(task, name).text = text
    size = ElementTree.SubElement(task, "original_size")
    ElementTree.SubElement(size, "width").text = str(WIDTH)
    ElementTree.SubElement(size, "height").text = str(HEIGHT)
    track = ElementTree.SubElement(root, "track", id="0", label=boxes[0].label, source="manual")
    for box in sorted(boxes):
        key = keys is None or box.frame in keys
        more = _numbers(frame=box.frame, keyframe=int(key), outside=0, occluded=0, z_order=0)
        corners = _numbers(xtl=box.x, ytl=box.y, xbr=box.right, ybr=box.bottom)
        ElementTree.SubElement(track, "box", more | corners)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def cvat_project(path: Path, boxes: Sequence[Drawn], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """CVAT for images, of a project with a film a task."""
    root = ElementTree.Element("annotations")
    project = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "project")
    tasks = ElementTree.SubElement(project, "tasks")
    for number, (clip, drawn) in enumerate(by_clip(boxes).items()):
        task = ElementTree.SubElement(tasks, "task")
        ElementTree.SubElement(task, "id").text = str(number)
        ElementTree.SubElement(task, "source").text = f"{clip}.avi"
        for box in drawn:
            named = f"frame_{box.frame:06d}"
            more = _numbers(id=box.frame, name=named, task_id=number, width=size[0], height=size[1])
            image = ElementTree.SubElement(root, "image", more)
            corners = _numbers(xtl=box.x, ytl=box.y, xbr=box.right, ybr=box.bottom)
            ElementTree.SubElement(image, "box", {"label": box.label, "occluded": "0"} | corners)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def coco(path: Path, boxes: Sequence[Drawn], shape: str = "bbox", first: int = 0) -> Path:
    """COCO of single pictures; `shape` is bbox, polygon, rle (packed) or runs (not packed)."""
    labels = sorted({box.label for box in boxes})
    images, annotations = [], []
    for number, box in enumerate(boxes, 1):
        images.append(
            {"id": number, "file_name": file_of(box, first), "width": WIDTH, "height": HEIGHT}
        )
        given: dict[str, Any] = {
            "id": number,
            "image_id": number,
            "category_id": labels.index(box.label) + 1,
            "iscrowd": int(shape in ("rle", "runs")),
        }
        if shape == "bbox":
            given |= {"bbox": [box.x, box.y, box.width, box.height], "segmentation": []}
        elif shape == "polygon":
            given["segmentation"] = [[value for corner in box.corners for value in corner]]
        else:
            packed = masks.encode(np.asfortranarray(box.mask()))
            given["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
            if shape == "runs":
                flat = box.mask().ravel(order="F")
                edges = np.flatnonzero(np.diff(flat)) + 1
                runs = np.diff([0, *edges, flat.size]).tolist()
                given["segmentation"]["counts"] = runs
        annotations.append(given)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def yolo(folder: Path, boxes: Sequence[Drawn], outline: bool = False, first: int = 0) -> Path:
    """YOLO as Ultralytics lays it out: labels/, data.yaml."""
    (folder / "labels").mkdir(parents=True)
    labels = sorted({box.label for box in boxes})
    (folder / "data.yaml").write_text(f"path: .\nnames: {json.dumps(labels)}\n", encoding="utf-8")
    for box in boxes:
        numbers = [
            (box.x + box.width / 2) / WIDTH,
            (box.y + box.height / 2) / HEIGHT,
            box.width / WIDTH,
            box.height / HEIGHT,
        ]
        if outline:
            numbers = [part for x, y in box.corners for part in (x / WIDTH, y / HEIGHT)]
        row = " ".join([str(labels.index(box.label)), *(f"{number:.6f}" for number in numbers)])
        path = folder / "labels" / Path(file_of(box, first)).with_suffix(".txt")
        with path.open("a", encoding="utf-8") as file:
            file.write(row + "\n")
    return folder


def labelme(folder: Path, boxes: Sequence[Drawn], shape: str = "rectangle", first: int = 0) -> Path:
    """LabelMe: a JSON a picture, whose path is Windows'."""
    folder.mkdir()
    for box in boxes:
        points: list[list[float]] = [[box.right, box.bottom], [box.x, box.y]]
        given: dict[str, Any] = {"label": box.label, "group_id": None, "flags": {}, "shape_type": shape}
        if shape == "polygon":
            points = box.corners
        elif shape == "circle":
            radius = box.width / 2
            points = [[box.x + radius, box.y + radius], [box.x + radius, box.y]]
        elif shape == "mask":
            inside = np.full((int(box.height), int(box.width)), 255, np.uint8)
            points = [[box.x, box.y], [box.right - 1, box.bottom - 1]]
            given["mask"] = base64.b64encode(cv2.imencode(".png", inside)[1].tobytes()).decode()
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [given | {"points": points}],
            "imagePath": f"..\\frames\\{file_of(box, first)}",
            "imageData": None,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        path = folder / Path(file_of(box, first)).with_suffix(".json")
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def via(path: Path, boxes: Sequence[Drawn], shape: str = "rect", first: int = 0) -> Path:
    """VIA 2: a project (.json) or a table (.csv)."""
    rows = []
    for box in boxes:
        given: dict[str, Any] = {"name": shape}
        if shape == "rect":
            given |= {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
        elif shape == "ellipse":
            middle = {"cx": box.x + box.width / 2, "cy": box.y + box.height / 2}
            given |= middle | {"rx": box.width / 2, "ry": box.height / 2, "theta": 0}
        else:
            xs, ys = zip(*box.corners, strict=True)
            given |= {"all_points_x": xs, "all_points_y": ys}
        rows.append((file_of(box, first), given, {"label": box.label}))
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                [
                    *("#filename", "file_size", "file_attributes", "region_count", "region_id"),
                    *("region_shape_attributes", "region_attributes"),
                ]
            )
            for name, given, label in rows:
                writer.writerow([name, 1, "{}", 1, 0, json.dumps(given), json.dumps(label)])
        return path
    entries = {
        f"{name}1": {
            "filename": name,
            "size": 1,
            "regions": [{"shape_attributes": given, "region_attributes": label}],
            "file_attributes": {},
        }
        for name, given, label in rows
    }
    content = {"_via_settings": {}, "_via_img_metadata": entries, "_via_attributes": {}}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def via_film(path: Path, boxes: Sequence[Drawn], rate: float = 15) -> Path:
    """VIA 3: films, times in seconds to three decimals."""
    clips = list(by_clip(boxes))
    metadata = {
        f"1_{number}": {
            "vid": str(clips.index(box.clip) + 1),
            "flg": 0,
            "z": [round(box.frame / rate, 3)],
            "xy": [2, box.x, box.y, box.width, box.height],
            "av": {"1": "0"},
        }
        for number, box in enumerate(boxes)
    }
    content = {
        "project": {"data_format_version": "3.1.1"},
        "attribute": {"1": {"aname": "label", "type": 4, "options": {"0": boxes[0].label}}},
        "file": {
            str(number): {"fid": str(number), "fname": f"{clip}.avi", "type": 4, "loc": 1, "src": ""}
            for number, clip in enumerate(clips, 1)
        },
        "view": {str(number): {"fid_list": [str(number)]} for number in range(1, len(clips) + 1)},
        "metadata": metadata,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def pictures(folder: Path, boxes: Sequence[Drawn], value: int = 255, first: int = 0) -> Path:
    """A PNG a frame."""
    folder.mkdir()
    for box in boxes:
        cv2.imwrite(str(folder / file_of(box, first)), box.mask() * value)
    return folder


def nifti(folder: Path, boxes: Sequence[Drawn], itk: bool = False) -> Path:
    """A NIfTI file a clip; with `itk` as SimpleITK writes it, whose axes run the other way in space."""
    folder.mkdir()
    for clip, drawn in by_clip(boxes).items():
        volume = np.zeros((WIDTH, HEIGHT, LENGTH), np.uint8)
        for box in drawn:
            volume[:, :, box.frame] = box.mask().T
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) if itk else np.eye(4)
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"{clip}.nii.gz")  # type: ignore[attr-defined]
    return folder


def as_source(clip: Dataset) -> Dataset:
    """A DICOM clip with what highdicom copies of its source."""
    clip.StudyInstanceUID = generate_uid()
    clip.SeriesInstanceUID = generate_uid()
    clip.FrameOfReferenceUID = generate_uid()
    clip.PatientSex, clip.AccessionNumber, clip.StudyID = "F", "1", "1"
    clip.StudyDate, clip.StudyTime, clip.Modality = "20200101", "120000", "US"
    clip.ReferringPhysicianName = "Geheim^Georg"
    clip.InstanceNumber, clip.SeriesNumber = 1, 1
    return clip


def _in_space(source: Dataset) -> Dataset:
    """The source with places in space, which highdicom wants of many frames; a clip has none."""
    placed = copy.deepcopy(source)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 1
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    placed.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number in range(int(source.NumberOfFrames)):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, number]
        group.PlanePositionSequence = [position]
        groups.append(group)
    placed.PerFrameFunctionalGroupsSequence = groups
    return placed


def _made() -> dict[str, Any]:
    return {
        "series_instance_uid": generate_uid(),
        "series_number": 2,
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "nobody",
    }


def segmentation(path: Path, source: Dataset, boxes: Sequence[Drawn], kind: str = "BINARY") -> Path:
    """A DICOM SEG of one clip, a segment a label."""
    labels = sorted({box.label for box in boxes})
    volume = np.zeros((int(source.NumberOfFrames), HEIGHT, WIDTH, len(labels)), np.uint8)
    for box in boxes:
        volume[box.frame, :, :, labels.index(box.label)] = box.mask()
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(labels, 1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=[_in_space(source)],
        pixel_array=volume.astype(float) if kind == "FRACTIONAL" else volume,
        segmentation_type=kind,
        segment_descriptions=segments,
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        **_made(),
    )
    made.save_as(path)
    return path


def report(path: Path, source: Dataset, boxes: Sequence[Drawn], shape: str = "POLYLINE") -> Path:
    """A DICOM SR with a region (TID 1500) a box of one clip."""
    groups = []
    for box in boxes:
        middle_x, middle_y = box.x + box.width / 2, box.y + box.height / 2
        points = [*box.corners, box.corners[0]]
        if shape == "ELLIPSE":
            points = [
                [box.x, middle_y],
                [box.right, middle_y],
                [middle_x, box.y],
                [middle_x, box.bottom],
            ]
        elif shape == "CIRCLE":
            points = [[middle_x, middle_y], [middle_x, box.y]]
        region = highdicom.sr.ImageRegion(
            graphic_type=shape,
            graphic_data=np.array(points),
            source_image=highdicom.sr.SourceImageForRegion(
                source.SOPClassUID, source.SOPInstanceUID, [box.frame + 1]
            ),
        )
        groups.append(
            highdicom.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=highdicom.sr.TrackingIdentifier(generate_uid(), "a tumour"),
                referenced_region=region,
                finding_type=codes.SCT.Neoplasm,
            )
        )
    observer = highdicom.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=highdicom.sr.PersonObserverIdentifyingAttributes("A^B"),
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = highdicom.sr.ComprehensiveSR(evidence=[source], content=content, **_made())
    made.save_as(path)
    return path
