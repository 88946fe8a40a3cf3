"""YOLO's text files: a file a picture, a row a box or an outline, in shares of the picture.

`class x y width height` (x and y of the middle), with a confidence behind it or not; or `class x y x y
...`, an outline of four points or more (of three, it could be a box with confidence and track). The
classes have their names in data.yaml, classes.txt or obj.names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mufnet_lightning.cohort.annotations.annotation import (
    MALFORMED,
    Annotation,
    Extent,
    Reading,
    read_text,
)
from mufnet_lightning.cohort.annotations.shapes import around_flat
from mufnet_lightning.system.documents import parse_yaml

FORM = "YOLO"
LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels")
YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NO_PICTURES = (
    *LISTS,
    "train.txt",
    "val.txt",
    "test.txt",
    "valid.txt",
    "readme.txt",
    "readme.dataset.txt",
    "readme.roboflow.txt",
    "requirements.txt",
)
ABOVE = 3  # folders above the files in which names are looked for


def read_yolo(files: Sequence[Path], reading: Reading) -> None:
    """Read YOLO's files."""
    names: dict[Path, dict[int, str]] = {}
    for path in files:
        text = read_text(path, reading)
        if text is None:
            continue
        if path.parent not in names:
            names[path.parent] = _names(path.parent, reading)
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            where = f"{path.name} row {number}"
            try:
                label, box, digits = _row(line.split())
                known = names[path.parent]
                if known and label not in known:
                    raise ValueError(f"class {label} has no name in the list of classes")
                reading.annotations.append(
                    Annotation(
                        where=where,
                        source=path.with_suffix("").as_posix(),
                        box=box,
                        label=known.get(label, str(label)),
                        digits=digits,
                    )
                )
            except MALFORMED as error:
                reading.malformed(where, FORM, error)


def _row(words: Sequence[str]) -> tuple[int, Extent, int]:
    """Class, box in shares of the picture, and how many decimals they have."""
    label, numbers = int(words[0]), [float(word) for word in words[1:]]
    if len(numbers) < 4:
        raise ValueError(f"it has {len(words)} words, expected 5 (a box) or more (an outline)")
    if len(numbers) == 6:
        raise ValueError("it has 7 words: an outline of 3 points, or a box with confidence and track?")
    outline = len(numbers) > 6
    shares = words[1:] if outline else words[1:5]
    if outline and len(numbers) % 2:
        raise ValueError(f"it has {len(words)} words, expected class and pairs of x and y")
    if not all(-0.01 <= float(share) <= 1.01 for share in shares):
        raise ValueError("a number is not within 0 and 1, expected shares of the picture")
    digits = max(len(share.lower().partition("e")[0].partition(".")[2]) for share in shares)
    if any("e" in share.lower() for share in shares):
        digits = 12  # 1e-05: nobody rounded it
    if outline:
        return label, around_flat(numbers), digits
    x, y, width, height = numbers[:4]
    return label, Extent(x - width / 2, y - height / 2, width, height), digits


def _names(folder: Path, reading: Reading) -> dict[int, str]:
    """The classes' names, of the nearest list; none where there is none."""
    for place in [folder, *folder.resolve().parents[:ABOVE]]:
        for name in LISTS:
            if (place / name).is_file():
                lines = (read_text(place / name, reading) or "").splitlines()
                return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        for name in YAMLS:
            if (place / name).is_file():
                return _yaml_names(place / name, reading)
    return {}


def _yaml_names(path: Path, reading: Reading) -> dict[int, str]:
    try:
        names = parse_yaml(read_text(path, reading) or "")["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in pairs}
    except MALFORMED:
        reading.faults.append(f"{path} has no list `names` of classes")
        return {}
