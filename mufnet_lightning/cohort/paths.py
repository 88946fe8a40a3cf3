"""The paths in a cohort's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from mufnet_lightning.cohort.faults import Report, quoted
from mufnet_lightning.system.guards import check_regular

if TYPE_CHECKING:  # whoever asks for a place alone needs no tables
    import pandas as pd


def check_paths(
    name: str,
    table: pd.DataFrame,
    columns: list[str],
    endings: tuple[str, ...] | None,
    roots: Sequence[Path],
    report: Report,
) -> None:
    """Every path leads to a file inside one of the folders `roots`, and none belongs to two patients.

    Files of other `endings` are faults; None asks the content, when it is read, and takes a folder of
    frames too.
    """
    owners: dict[Path, tuple[str, int]] = {}
    for column in columns:
        for row, patient, path in table[["patient_id", column]].itertuples():
            if not path:
                continue
            if problem := _path_problem(roots, path, endings):
                report.add(name, row, f"{column} {quoted(path)} {problem}")
                continue
            real = located(roots, path).resolve()
            same = real
            if real not in owners:  # a folder of frames holds the file of another row, or the other way
                same = next((place for place in real.parents if place in owners), real)
                if same == real and real.is_dir():
                    same = next((place for place in owners if real in place.parents), real)
            owner, first = owners.get(same, (patient, row))
            owners.setdefault(real, (patient, row))
            if owner != patient:
                report.add(
                    name,
                    row,
                    f"{column} {quoted(path)} of patient {quoted(patient)} is used in row "
                    f"{first} for patient {quoted(owner)} already",
                )


def located(roots: Sequence[Path], path: str) -> Path:
    """The file that a table names: in the first of the folders that has it, else in the first."""
    places = [root / path for root in roots]
    return next((place for place in places if place.exists()), places[0])


def _path_problem(roots: Sequence[Path], path: str, endings: tuple[str, ...] | None) -> str:
    if "\\" in path:
        return "has a backslash, expected folders separated by /"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive:
        return "is absolute, expected a path relative to the cohort folder, or to --root"
    if ".." in PurePosixPath(path).parts:
        return "climbs with .., expected a path inside the cohort folder"
    try:
        file = located(roots, path)
        real = file.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            allowed = " and --root" if len(roots) > 1 else "; --root DIR allows those into DIR"
            return f"is a link that leads out of the cohort folder{allowed}"
        if not file.exists():
            return "does not exist"
        if file.is_dir():
            if endings is not None:
                return "is a folder, expected a file"
            inside = [one.resolve() for one in file.iterdir()]
            if not all(any(one.is_relative_to(root.resolve()) for root in roots) for one in inside):
                return "is a folder with a link in it that leads out of the cohort folder"
            return ""
        check_regular(file)
    except OSError as error:  # a name too long, a named pipe
        return f"cannot be read: {error.strerror}"
    except RuntimeError:  # how Python says it
        return "is a link that leads to itself"
    if endings is not None and file.suffix.lower() not in endings:
        known = ", ".join(ending for ending in endings if ending)
        return f"has an ending that is not supported, expected one of {known}"
    return ""
