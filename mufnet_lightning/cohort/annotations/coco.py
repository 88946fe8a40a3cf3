"""COCO's JSON: boxes, polygons and run lengths on pictures; on frames of films too.

`bbox` is x, y, width, height in pixels, from the top left corner. Films come in three forms: a
picture's `video_id` with `frame_index` (TAO: from 0) or `frame_id` (from 0 or 1, which nobody says),
and boxes of all frames in one annotation (YouTube-VIS: from 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mufnet_lightning.cohort.annotations.annotation import (
    MALFORMED,
    Annotation,
    Extent,
    Reading,
    need,
    read_json,
)
from mufnet_lightning.cohort.annotations.shapes import around_flat, around_points, around_turned

FORM = "COCO"
APART = 2.0
"""Pixels by which a `bbox` and the outline beside it may differ."""


def is_coco(content: Any) -> bool:
    """Whether a JSON file's content looks so."""
    return isinstance(content, dict) and "annotations" in content and "categories" in content


def read_coco(files: Sequence[Path], reading: Reading) -> None:
    """Read COCO's JSON files."""
    for path in files:
        content = read_json(path, reading)
        if content is None:
            continue
        try:
            labels = {one["id"]: str(one["name"]) for one in content["categories"]}
            images = {one["id"]: one for one in content.get("images", ())}
            films = {one["id"]: one for one in content.get("videos", ())}
            annotations = list(content["annotations"])
        except MALFORMED as error:
            reading.malformed(str(path), FORM, error)
            continue
        for place, given in enumerate(annotations):
            number = given.get("id", place) if isinstance(given, Mapping) else place
            where = f"{path.name} annotation {number}"
            try:
                label = labels.get(given["category_id"])
                if label is None:
                    raise ValueError(f"there is no category {given['category_id']}")
                if "bboxes" in given:
                    _add_film(path, where, given, films, label, reading)
                else:
                    _add(path, where, given, images, films, label, reading)
            except MALFORMED as error:
                reading.malformed(where, FORM, error)


def _add(
    path: Path,
    where: str,
    given: Mapping[str, Any],
    images: Mapping[Any, Any],
    films: Mapping[Any, Any],
    label: str,
    reading: Reading,
) -> None:
    image = images.get(given["image_id"])
    if image is None:
        raise ValueError(f"there is no image {given['image_id']}")
    more = given.get("attributes")
    more = more if isinstance(more, Mapping) else {}
    box = _box(path, where, given, image, reading)
    if box is None:
        reading.left_out[f"{FORM} annotation without a box"] += 1
        return
    if more.get("rotation"):
        box = around_turned(box, float(more["rotation"]))
    track = given.get("track_id", given.get("instance_id", more.get("track_id", "")))
    source, frame, counts_from = str(image["file_name"]), None, None
    if "video_id" in image:
        frame, counts_from = _frame(image)
    if frame is not None:
        film = films.get(image["video_id"])
        if film is None:
            raise ValueError(f"there is no video {image['video_id']}")
        source = str(film["name"] if "name" in film else film["file_name"])
    reading.annotations.append(
        Annotation(
            where=where,
            source=source,
            box=box,
            label=label,
            frame=frame,
            counts_from=counts_from,
            track="" if track == "" or track is None else str(track),
            drawn=bool(more.get("keyframe", True)),
            size=(int(image["width"]), int(image["height"])) if image.get("width") else None,
        )
    )


def _frame(image: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """A picture's number in its film, and what it counts from."""
    if "frame_index" in image:
        return int(image["frame_index"]), 0
    if "frame_id" in image:
        return int(image["frame_id"]), None
    return None, None


def _add_film(
    path: Path,
    where: str,
    given: Mapping[str, Any],
    films: Mapping[Any, Any],
    label: str,
    reading: Reading,
) -> None:
    film = films.get(given["video_id"])
    if film is None:
        raise ValueError(f"there is no video {given['video_id']}")
    names = film.get("file_names") or [""]
    source = film.get("name") or Path(str(names[0]).replace("\\", "/")).parent.as_posix()
    for frame, bbox in enumerate(given["bboxes"]):
        if bbox:
            reading.annotations.append(
                Annotation(
                    where=f"{where} frame {frame}",
                    source=str(source),
                    box=Extent(*map(float, bbox)),
                    label=label,
                    frame=frame,
                    counts_from=0,
                    track=str(given.get("id", where)),
                    size=(int(film["width"]), int(film["height"])) if film.get("width") else None,
                )
            )


def _box(
    path: Path, where: str, given: Mapping[str, Any], image: Mapping[str, Any], reading: Reading
) -> Extent | None:
    outline = given.get("segmentation")
    bbox = given.get("bbox")
    polygons = [part for part in outline if part] if isinstance(outline, list) else []
    around = _around(polygons) if polygons else None
    if bbox:
        box = Extent(*map(float, bbox))
        if around is not None and not _near(box, around) and not _turned(given):
            raise ValueError(f"its bbox {bbox} is not around its segmentation")
        return box
    if around is not None:
        return around
    return _around_runs(path, outline, image) if isinstance(outline, Mapping) else None


def _around(polygons: Sequence[Sequence[float]]) -> Extent:
    boxes = [around_flat(polygon) for polygon in polygons]
    return around_points(
        [(box.x, box.y) for box in boxes] + [(box.x + box.width, box.y + box.height) for box in boxes]
    )


def _turned(given: Mapping[str, Any]) -> bool:
    more = given.get("attributes")
    return isinstance(more, Mapping) and bool(more.get("rotation"))


def _near(box: Extent, around: Extent) -> bool:
    """Whether the box is around the outline, up to how programs round."""
    return (
        abs(box.x - around.x) <= APART
        and abs(box.y - around.y) <= APART
        and abs(box.x + box.width - around.x - around.width) <= APART
        and abs(box.y + box.height - around.y - around.height) <= APART
    )


def _around_runs(path: Path, runs: Mapping[str, Any], image: Mapping[str, Any]) -> Extent | None:
    """Around a mask of run lengths, column by column, packed into text or not."""
    need(path, "pycocotools")
    from pycocotools import mask as masks

    height, width = (int(side) for side in runs["size"])
    if image.get("width") and (width, height) != (int(image["width"]), int(image["height"])):
        raise ValueError(f"its mask is of {width} × {height} pixels, its image is not")
    counts = runs["counts"]
    if isinstance(counts, list):
        if sum(map(int, counts)) != width * height or min(map(int, counts)) < 0:
            raise ValueError(f"runs that do not fill a mask of {width} × {height} pixels")
        packed = masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    else:
        packed = {
            "size": [height, width],
            "counts": counts.encode() if isinstance(counts, str) else counts,
        }
    x, y, box_width, box_height = (float(number) for number in masks.toBbox(packed))
    if box_width <= 0 or box_height <= 0:
        return None
    return Extent(x, y, box_width, box_height)
