"""CVAT's own XML, version 1.1: "CVAT for images" and "CVAT for video".

Coordinates are edges in pixels. A film's frames are numbered from 0, in both forms; of a task of
pictures only the pictures' names tell what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from mufnet_lightning.cohort.annotations.annotation import MALFORMED, Annotation, Extent, Reading
from mufnet_lightning.cohort.annotations.shapes import (
    around_ellipse,
    around_mask,
    around_points,
    around_turned,
    mask_of_runs,
)

FORM = "CVAT"


def read_cvat(files: Sequence[Path], reading: Reading) -> None:
    """Read CVAT's XML files."""
    for path in files:
        root = _parsed(path, reading)
        if root is None:
            continue
        tasks = _Tasks(root)
        for image in root.iterfind("image"):
            _image(f"{path.name} image {image.get('id', '?')}", image, tasks, reading)
        for track in root.iterfind("track"):
            _track(f"{path.name} track {track.get('id', '?')}", track, tasks, reading)


def _parsed(path: Path, reading: Reading) -> Element | None:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root: Element = parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException:
        reading.faults.append(f"{path} declares a document type or entities, which CVAT never does")
    except (ParseError, ValueError, LookupError) as error:
        reading.faults.append(f"{path} is no whole XML file: {error}")
    except OSError as error:
        reading.faults.append(f"{path} cannot be read: {error.strerror}")
    else:
        if root.tag == "annotations":
            return root
        reading.faults.append(f"{path} is no XML of CVAT's: it begins with <{root.tag[:60]}>")
    return None


class _Tasks:
    """The films of the tasks that a file speaks of."""

    def __init__(self, root: Element) -> None:
        self.films: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        meta = root.find("meta")
        tasks = [] if meta is None else [*meta.iter("task"), *meta.iter("job")]
        for task in tasks:
            number = task.findtext("id") or ""
            self.names[number] = (task.findtext("name") or "").strip()
            film = task.findtext("source") or (meta.findtext("source") if meta is not None else "")
            if film:
                self.films[number] = film.strip()
            try:
                size = task.find("original_size")
                if size is not None:
                    width, height = size.findtext("width"), size.findtext("height")
                    self.sizes[number] = int(str(width)), int(str(height))
            except ValueError:
                pass  # nothing to compare with
        self.only = next(iter(self.names)) if len(self.names) == 1 else ""

    def of(self, element: Element) -> str:
        """The id of the task that an image or a track belongs to."""
        return element.get("task_id") or self.only


def _image(where: str, image: Element, tasks: _Tasks, reading: Reading) -> None:
    task = tasks.of(image)
    film = tasks.films.get(task)
    try:
        name = image.attrib["name"]
        frame = int(image.attrib["id"]) if film else None
        size = int(image.attrib["width"]), int(image.attrib["height"])
    except MALFORMED as error:
        reading.malformed(where, FORM, error)
        return
    if film and len(image):
        reading.notes.add(
            "CVAT's form for images does not say which boxes of a film it filled in: all count as "
            "drawn (its form for video does)"
        )
    for shape in image:
        box = _box_of(where, shape, reading)
        if box is not None:
            reading.annotations.append(
                Annotation(
                    where=where,
                    source=film or name,
                    box=box,
                    label=shape.get("label", ""),
                    frame=frame,
                    counts_from=0 if film else None,
                    size=size,
                )
            )


def _track(where: str, track: Element, tasks: _Tasks, reading: Reading) -> None:
    task = tasks.of(track)
    source = tasks.films.get(task) or tasks.names.get(task, "")
    visible = 0  # pieces of the track between which the object was not to be seen
    try:
        shapes = sorted(track, key=lambda shape: int(shape.attrib["frame"]))
    except MALFORMED as error:
        reading.malformed(where, FORM, error)
        return
    for shape in shapes:
        frame = int(shape.attrib["frame"])
        if shape.get("outside") == "1":
            visible += 1
            continue
        box = _box_of(f"{where} frame {frame}", shape, reading)
        if box is not None:
            reading.annotations.append(
                Annotation(
                    where=f"{where} frame {frame}",
                    source=source,
                    box=box,
                    label=track.get("label", ""),
                    frame=frame,
                    counts_from=0,
                    track=f"{where} {visible}",
                    drawn=shape.get("keyframe", "1") != "0",
                    size=tasks.sizes.get(task),
                )
            )


def _box_of(where: str, shape: Element, reading: Reading) -> Extent | None:
    if shape.tag in ("tag", "points", "skeleton", "cuboid", "attribute"):
        if shape.tag != "attribute":
            reading.left_out[f"{FORM} {shape.tag}"] += 1
        return None
    try:
        return _SHAPES[shape.tag](shape.attrib)
    except MALFORMED as error:
        if shape.tag in _SHAPES:
            reading.malformed(f"{where} {shape.tag}", FORM, error)
        else:
            reading.faults.append(f"{where} has a <{shape.tag[:60]}>, a shape that is not known")
    return None


def _rectangle(given: Any) -> Extent:
    left, top, right, bottom = (float(given[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    box = around_points([(left, top), (right, bottom)])
    return around_turned(box, float(given.get("rotation", 0)))


def _polygon(given: Any) -> Extent:
    return around_points([point.split(",") for point in given["points"].split(";") if point])


def _ellipse(given: Any) -> Extent:
    x, y, radius_x, radius_y = (float(given[name]) for name in ("cx", "cy", "rx", "ry"))
    return around_ellipse(x, y, radius_x, radius_y, float(given.get("rotation", 0)))


def _mask(given: Any) -> Extent:
    runs = [int(run) for run in given["rle"].split(",")]
    width, height = int(given["width"]), int(given["height"])
    box = around_mask(mask_of_runs(runs, width, height))
    if box is None:
        raise ValueError("an empty mask")
    left, top = float(given["left"]), float(given["top"])
    return Extent(left + box.x, top + box.y, box.width, box.height)


_SHAPES: dict[str, Callable[[Any], Extent]] = {
    "box": _rectangle,
    "polygon": _polygon,
    "polyline": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
}
