"""The paths in a cohort's tables."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from mufnet_lightning.cohort.faults import Report, quoted


def check_paths(
    name: str,
    table: pd.DataFrame,
    columns: list[str],
    endings: tuple[str, ...] | None,
    folder: Path,
    report: Report,
) -> None:
    """Every path leads to a file inside the folder, and no file belongs to two patients.

    Files of other `endings` are faults; None asks the content, when it is read.
    """
    root = folder.resolve()
    owners: dict[Path, tuple[str, int]] = {}
    for column in columns:
        for row, patient, path in table[["patient_id", column]].itertuples():
            if not path:
                continue
            if problem := _path_problem(root, path, endings):
                report.add(name, row, f"{column} {quoted(path)} {problem}")
                continue
            owner, first = owners.setdefault((root / path).resolve(), (patient, row))
            if owner != patient:
                report.add(
                    name,
                    row,
                    f"{column} {quoted(path)} of patient {quoted(patient)} is used in row "
                    f"{first} for patient {quoted(owner)} already",
                )


def _path_problem(root: Path, path: str, endings: tuple[str, ...] | None) -> str:
    if "\\" in path:
        return "has a backslash, expected folders separated by /"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        return "is absolute, expected a path relative to the cohort folder"
    if ".." in PurePosixPath(path).parts:
        return "climbs with .., expected a path inside the cohort folder"
    file = root / path
    try:
        if not file.resolve().is_relative_to(root):
            return "is a link that leads out of the cohort folder"
        if not file.exists():
            return "does not exist"
        if file.is_dir():
            return "is a folder, expected a file"
    except OSError as error:  # a name too long, a loop of links
        return f"cannot be read: {error.strerror}"
    if endings is not None and file.suffix.lower() not in endings:
        known = ", ".join(ending for ending in endings if ending)
        return f"has an ending that is not supported, expected one of {known}"
    return ""
