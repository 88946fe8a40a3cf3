"""VGG Image Annotator: projects and exports of version 2 (pictures), projects of version 3 (films).

Version 3 keeps the time at which a film was stopped, in seconds; which frame that is the film's frame
rate tells.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mufnet_lightning.cohort.annotations.annotation import (
    MALFORMED,
    Annotation,
    Extent,
    Reading,
    read_json,
    read_text,
)
from mufnet_lightning.cohort.annotations.shapes import around_ellipse, around_flat, around_points
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.guards import open_regular

FORM = "VIA"
POINT, RECTANGLE, CIRCLE, ELLIPSE, LINE, POLYLINE, POLYGON, EXTREME_BOX, EXTREME_CIRCLE = range(1, 10)
"""Shapes of version 3."""
HEADER = 1 << 16  # bytes of a table, in which its columns are named
CHECK_BOXES = 2
"""Type of an attribute of version 3 with several values."""


def is_via(content: Any) -> bool:
    """Whether a JSON file's content looks so."""
    if not isinstance(content, dict):
        return False
    if "_via_img_metadata" in content or {"metadata", "view", "file"} <= content.keys():
        return True
    entries = list(content.values())
    return bool(entries) and all(
        isinstance(one, dict) and {"filename", "regions"} <= one.keys() for one in entries
    )


def is_via_table(path: Path) -> bool:
    """Whether a CSV file looks so."""
    try:
        with open_regular(path) as file:
            return b"region_shape_attributes" in file.readline(HEADER)
    except OSError:
        return False


def read_via(files: Sequence[Path], reading: Reading) -> None:
    """Read VIA's files: JSON of version 2 or 3, CSV of version 2."""
    for path in files:
        if path.suffix.lower() == ".csv":
            _table(path, reading)
            continue
        content = read_json(path, reading)
        if content is None:
            continue
        try:
            if {"metadata", "view", "file"} <= content.keys():
                _films(path, content, reading)
            else:
                _pictures(path, content.get("_via_img_metadata", content), reading)
        except MALFORMED as error:
            reading.malformed(str(path), FORM, error)


def _pictures(path: Path, entries: Mapping[str, Any], reading: Reading) -> None:
    for entry in entries.values():
        name, regions = str(entry["filename"]), entry["regions"]
        for number, region in enumerate(regions.values() if isinstance(regions, dict) else regions):
            _region(
                f"{path.name} {name} region {number}",
                name,
                region["shape_attributes"],
                region["region_attributes"],
                reading,
            )


def _table(path: Path, reading: Reading) -> None:
    text = read_text(path, reading)
    rows = csv.DictReader(io.StringIO(text or "", newline=""))
    for row in rows:
        where = f"{path.name} row {rows.line_num}"
        try:
            name = row.get("#filename") or row["filename"]
            shape = parse_json(row["region_shape_attributes"])
            if shape:  # a picture without a region has a row too
                _region(where, name, shape, parse_json(row["region_attributes"]), reading)
        except MALFORMED as error:
            reading.malformed(where, FORM, error)


def _region(
    where: str, name: str, shape: Mapping[str, Any], attributes: Mapping[str, Any], reading: Reading
) -> None:
    try:
        kind = shape["name"]
        if kind == "point":
            reading.left_out[f"{FORM} point"] += 1
            return
        box = _box(kind, shape)
        label = _label(attributes, reading)
        reading.annotations.append(Annotation(where, name, box, label))
    except MALFORMED as error:
        reading.malformed(where, FORM, error)


def _box(kind: str, shape: Mapping[str, Any]) -> Extent:
    if kind == "rect":
        return Extent(*(float(shape[name]) for name in ("x", "y", "width", "height")))
    if kind == "circle":
        return around_ellipse(shape["cx"], shape["cy"], shape["r"], shape["r"])
    if kind == "ellipse":
        # version 2 keeps the angle in radians
        degrees = float(shape.get("theta", 0)) * 57.29577951308232
        return around_ellipse(shape["cx"], shape["cy"], shape["rx"], shape["ry"], degrees)
    if kind in ("polygon", "polyline"):
        return around_points(list(zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
    raise ValueError(f"its shape is {kind!r}, which is not known")


def _label(attributes: Mapping[str, Any], reading: Reading) -> str:
    """The value of the one attribute, or of the one that was chosen."""
    chosen = reading.label_attribute
    if chosen is None and len(attributes) > 1:
        names = ", ".join(sorted(map(str, attributes)))
        raise ValueError(
            f"it has several attributes ({names}), expected --label-attribute with the one that is the "
            "label"
        )
    value = attributes.get(chosen, "") if chosen else next(iter(attributes.values()), "")
    if isinstance(value, dict):  # check boxes
        return ",".join(str(name) for name, ticked in value.items() if ticked)
    return str(value)


def _films(path: Path, content: Mapping[str, Any], reading: Reading) -> None:
    """Version 3."""
    attributes = content.get("attribute", {})
    for number, one in content["metadata"].items():
        where = f"{path.name} metadata {number}"
        try:
            shape = one["xy"]
            if not shape:
                reading.left_out[f"{FORM} span of time, or word about a file"] += 1
                continue
            if shape[0] == POINT:
                reading.left_out[f"{FORM} point"] += 1
                continue
            files = content["view"][str(one["vid"])]["fid_list"]
            (file,) = (content["file"][str(fid)] for fid in files)
            times = [float(time) for time in one["z"]]
            if len(times) > 1:
                raise ValueError("it has a box over a span of time, expected one moment")
            named = {
                str(attributes[key]["aname"]): _chosen(attributes[key], str(value))
                for key, value in one["av"].items()
            }
            reading.annotations.append(
                Annotation(
                    where=where,
                    source=str(file["fname"]),
                    box=_box_of_numbers(int(shape[0]), [float(value) for value in shape[1:]]),
                    label=_label(named, reading),
                    seconds=times[0] if times else None,
                )
            )
        except MALFORMED as error:
            reading.malformed(where, FORM, error)


def _chosen(attribute: Mapping[str, Any], value: str) -> str:
    """What was chosen, in words; of check boxes all that were ticked."""
    options = attribute.get("options") or {}
    ticked = value.split(",") if attribute.get("type") == CHECK_BOXES else [value]
    return ",".join(str(options.get(one, one)) for one in ticked)


def _box_of_numbers(kind: int, numbers: Sequence[float]) -> Extent:
    if kind == RECTANGLE:
        return Extent(*numbers)
    if kind == CIRCLE:
        x, y, radius = numbers
        return around_ellipse(x, y, radius, radius)
    if kind == ELLIPSE:
        return around_ellipse(*numbers)
    if kind in (LINE, POLYLINE, POLYGON, EXTREME_BOX):
        return around_flat(numbers)
    raise ValueError(f"its shape is number {kind}, which is not known")
