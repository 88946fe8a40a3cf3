"""Which format a file or a folder of annotations is in, told by its content, and its reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from mufnet_lightning.cohort.annotations.annotation import Reading
from mufnet_lightning.cohort.annotations.coco import is_coco, read_coco
from mufnet_lightning.cohort.annotations.cvat import read_cvat
from mufnet_lightning.cohort.annotations.dicom_objects import (
    REPORTS,
    SEGMENTATIONS,
    read_reports,
    read_segmentations,
)
from mufnet_lightning.cohort.annotations.labelme import is_labelme, read_labelme
from mufnet_lightning.cohort.annotations.masks import read_nifti, read_pictures
from mufnet_lightning.cohort.annotations.via import is_via, is_via_table, read_via
from mufnet_lightning.cohort.annotations.yolo import NO_PICTURES, read_yolo
from mufnet_lightning.cohort.dicom import sop_class
from mufnet_lightning.cohort.dicom_file import is_dicom
from mufnet_lightning.cohort.faults import raise_faults
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.guards import LARGEST_NOTES, check_regular, read_text

Format = Literal["cvat", "coco", "yolo", "labelme", "via", "mask", "nifti", "dicom-seg", "dicom-sr"]
NAMES: dict[Format, str] = {
    "cvat": "CVAT",
    "coco": "COCO",
    "yolo": "YOLO",
    "labelme": "LabelMe",
    "via": "VIA",
    "mask": "masks in PNG",
    "nifti": "masks in NIfTI",
    "dicom-seg": "DICOM SEG",
    "dicom-sr": "DICOM SR",
}
READERS: dict[Format, Callable[[Sequence[Path], Reading], None]] = {
    "cvat": read_cvat,
    "coco": read_coco,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "via": read_via,
    "mask": read_pictures,
    "nifti": read_nifti,
    "dicom-seg": read_segmentations,
    "dicom-sr": read_reports,
}
assert set(READERS) == set(NAMES) == set(get_args(Format))
JSON: dict[Format, Callable[[object], bool]] = {"coco": is_coco, "labelme": is_labelme, "via": is_via}


def read_annotations(
    path: Path, form: Format | None = None, label_attribute: str | None = None
) -> tuple[Format, Reading]:
    """Read a file, or all files of one format in a folder and the folders in it.

    Args:
        path: the file or folder.
        form: the format; told by the content unless given.
        label_attribute: see `Reading`.

    Raises:
        InputFault: with everything that is not as its format says, a sentence each; or no format is
            recognised, or more than one. A pipe, or a link that leads nowhere, is refused where `path`
            is one; within a folder it is left out, with a warning.
    """
    reading = Reading(label_attribute)
    if path.is_dir():
        files = _files_in(path, reading)
    elif path.exists():
        files = [path]
        raise_faults(f"{path} cannot be read: {reason}" for reason in [_odd(path)] if reason)
    else:
        raise InputFault(f"there is no file or folder {path}")
    by_form: dict[Format, list[Path]] = {}
    for file in files:
        if (known := _format_of(file, form)) is not None:
            by_form.setdefault(known, []).append(file)
    if len(by_form) > 1:
        by_form.pop("mask", None)  # the pictures themselves, beside what was drawn on them
    if not by_form:
        expected = f"as {NAMES[form]}" if form else f"as any of {', '.join(NAMES.values())}"
        packed = "; it is an archive, unpack it" if path.suffix.lower() == ".zip" else ""
        raise InputFault(f"{path} holds nothing that can be read {expected}{packed}")
    if len(by_form) > 1:
        counts = ", ".join(f"{len(of_form)} of {name}" for name, of_form in by_form.items())
        raise InputFault(f"{path} holds files of several formats ({counts}); choose one with --format")
    ((recognised, chosen),) = by_form.items()
    READERS[recognised](chosen, reading)
    return recognised, reading


def _files_in(folder: Path, reading: Reading) -> list[Path]:
    """Those that can be read, sorted; of each other one a warning."""
    files = []
    for file in sorted(folder.rglob("*")):
        if file.is_dir() or _hidden(file, folder):
            continue
        if reason := _odd(file):
            reading.warnings.append(f"{file} is left out: {reason}")
        else:
            files.append(file)
    return files


def _odd(file: Path) -> str:
    """Why a file is none to be read, a pipe or a link that leads nowhere; empty for others."""
    try:
        check_regular(file)
    except OSError as error:
        return str(error.strerror)
    return ""


def _hidden(file: Path, folder: Path) -> bool:
    """Of the system's own: `.DS_Store`, `__MACOSX`."""
    return any(part.startswith((".", "__MACOSX")) for part in file.relative_to(folder).parts)


def _format_of(file: Path, form: Format | None) -> Format | None:
    """The format of a file; None for one of none, or of another than is asked for."""
    suffix = file.suffix.lower()
    if file.name.lower().endswith((".nii", ".nii.gz")):
        known: Format | None = "nifti"
    elif is_dicom(file):
        kind = sop_class(file)
        known = "dicom-seg" if kind in SEGMENTATIONS else "dicom-sr" if kind in REPORTS else None
    elif suffix == ".xml":
        known = "cvat"
    elif suffix == ".json":
        known = _json_format(file, form)
    elif suffix == ".csv":
        known = "via" if is_via_table(file) else None
    elif suffix == ".txt":
        known = None if file.name.lower() in NO_PICTURES else "yolo"
    else:
        known = "mask" if suffix == ".png" else None
    return known if form in (None, known) else None


def _json_format(file: Path, form: Format | None) -> Format | None:
    """By the content; one that is cut off is of the format that was asked for, or of COCO."""
    try:
        content = parse_json(read_text(file, LARGEST_NOTES))
    except (ValueError, OSError):
        return form if form in JSON else "coco"  # its reader says what is wrong
    return next((name for name, is_one in JSON.items() if is_one(content)), None)
