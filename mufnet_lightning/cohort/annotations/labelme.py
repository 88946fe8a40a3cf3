"""LabelMe's JSON (and X-AnyLabeling's, which is the same): a file a picture."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mufnet_lightning.cohort.annotations.annotation import (
    MALFORMED,
    Annotation,
    Extent,
    Reading,
    read_json,
)
from mufnet_lightning.cohort.annotations.shapes import around_mask, around_points

FORM = "LabelMe"
OUTLINES = ("polygon", "rectangle", "rotation", "line", "linestrip", "quadrilateral")


def is_labelme(content: Any) -> bool:
    """Whether a JSON file's content looks so."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read_labelme(files: Sequence[Path], reading: Reading) -> None:
    """Read LabelMe's JSON files."""
    for path in files:
        content = read_json(path, reading)
        if content is None:
            continue
        try:
            source, shapes = str(content["imagePath"]), list(content["shapes"])
            width, height = content.get("imageWidth"), content.get("imageHeight")
            size = (int(width), int(height)) if width and height else None
        except MALFORMED as error:
            reading.malformed(str(path), FORM, error)
            continue
        for number, shape in enumerate(shapes, 1):
            where = f"{path.name} shape {number}"
            try:
                kind = shape.get("shape_type", "polygon")
                if kind in ("point", "points"):
                    reading.left_out[f"{FORM} {kind}"] += 1
                    continue
                group = shape.get("group_id")
                reading.annotations.append(
                    Annotation(
                        where=where,
                        source=source,
                        box=_box(kind, shape),
                        label=str(shape["label"]),
                        track="" if group is None else str(group),
                        size=size,
                    )
                )
            except MALFORMED as error:
                reading.malformed(where, FORM, error)


def _box(kind: str, shape: Mapping[str, Any]) -> Extent:
    points = shape["points"]
    if kind in OUTLINES:
        return around_points(points)
    if kind == "circle":  # the middle, and a point of the circle
        (x, y), (other_x, other_y) = points
        radius = math.hypot(other_x - x, other_y - y)
        return Extent(x - radius, y - radius, 2 * radius, 2 * radius)
    if kind == "mask":  # the corner pixels, and a PNG of what is set between them
        content = np.frombuffer(base64.b64decode(shape["mask"]), np.uint8)
        mask = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
        box = around_mask(mask > 0) if mask is not None else None
        if box is None:
            raise ValueError("an empty mask")
        left, top = (float(value) for value in points[0])
        return Extent(left + box.x, top + box.y, box.width, box.height)
    raise ValueError(f"its shape is {kind!r}, which is not known")
