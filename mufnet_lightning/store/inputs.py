"""Whether a store was made of the files in a cohort folder, from outside: without reading them.

A store keeps one number of how its inputs looked: size, times and inode of each file, and the settings.
Where a later call finds the same number, the files are the same, and neither pandas nor a clip is
loaded. A file that is changed has another change time, whatever its size and modification time say; a
file whose times are too near to now to tell a later change by is not trusted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.cohort.paths import located
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.info import FORMAT_VERSION, StoreInfo
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.guards import LARGEST_TABLE, read_text
from mufnet_lightning.system.sheets import meant
from mufnet_lightning.vocabulary import Contrast

if TYPE_CHECKING:
    from mufnet_lightning.cohort.pseudonyms import Pseudonyms

SEEN = "inputs.look"
"""In a store: the number. It names no file, since names may tell of people."""
ODD = "odd_crops.csv"
"""In a store: the crops that are odd (see `looks`), where there are any."""
CUT_RULES = 3
"""Raised when the same inputs may give other crops; 2: boxes on both panes are one pair; 3: exams."""
TWINS = "twins.csv"
"""In a store: pairs of patients who look alike (see `twins`), where there are any."""
SETTLED_S = 2.0
"""Seconds after which a file's times tell a later change: some file systems count in whole ones."""
TABLES = ("patients.csv", "clips.csv", "boxes.csv", "pairs.csv")


def keep_look(store: Path, look: str | None) -> None:
    """Note in a store how its inputs look; nothing where that is not known, or it cannot be written."""
    if look is not None:
        with suppress(OSError):
            write_atomic(store / SEEN, look)


def look_of(
    cohort: Path,
    margin: float,
    with_grades: bool,
    contrast: Contrast = "tint",
    root: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> str | None:
    """How a cohort folder looks from outside; None where that cannot be told, or not yet."""
    if os.name == "nt":  # it keeps no time of change
        return None
    try:
        seen = [(name, _look(cohort / name)) for name in TABLES if (cohort / name).exists()]
        roots = [cohort] if root is None else [root, cohort]
        seen += [(name, look) for name in sorted(_named(cohort)) for look in _looks(roots, name)]
    except (OSError, ValueError, csv.Error):
        return None
    latest = max((max(look[1:3]) for _, look in seen), default=0)
    if latest > time.time_ns() - SETTLED_S * 1e9:
        return None
    made_of = [str(cohort.resolve()), FORMAT_VERSION, CUT_RULES, float(margin), with_grades, seen]
    if contrast != "tint":  # else the number is that of earlier versions
        made_of.append(contrast)
    if root is not None:
        made_of.append(str(root.resolve()))
    if pseudonyms is not None:
        made_of.append([pseudonyms.mark, *pseudonyms.columns])
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def made_before(
    cohort: Path,
    store: Path,
    margin: float,
    with_grades: bool,
    contrast: Contrast = "tint",
    root: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> StoreInfo | None:
    """What the whole store of these very inputs says of itself, if the store is there.

    None says nothing: there is no such store, or it takes reading to tell.
    """
    try:
        kept = read_text(store / SEEN, LARGEST_TABLE)
        info = StoreInfo.read(store)
        crops = sum(1 for _ in os.scandir(store / "crops"))
    except (InputFault, OSError, ValueError):
        return None
    whole = crops >= info.crops
    same = look_of(cohort, margin, with_grades, contrast, root, pseudonyms)
    return info if whole and kept == same else None


def _named(cohort: Path) -> set[str]:
    """The files that the tables name, whose cells are read as `cohort.csv_text` reads them.

    Raises:
        ValueError: a table names none.
        OSError: a table cannot be read.
    """
    names: set[str] = set()
    for table, columns in (("clips.csv", {"path"}), ("pairs.csv", {"bmode_path", "ceus_path"})):
        if not (cohort / table).exists():
            continue
        text = io.StringIO(read_text(cohort / table, LARGEST_TABLE), newline="")
        lines = [[meant(cell.strip()) for cell in line] for line in csv.reader(text)]
        header, *rows = [line for line in lines if any(line)]
        places = [place for place, name in enumerate(header) if name in columns]
        named = {row[place] for row in rows for place in places if place < len(row) and row[place]}
        if not named:
            raise ValueError(f"{table} names no file")
        names |= named
    return names


def _looks(roots: Sequence[Path], name: str) -> list[tuple[int, int, int, int]]:
    """Of the file that a table names, or of a folder of frames and all that is in it."""
    path = located(roots, name)
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return [_look(one) for one in (path, *inside)]


def _look(file: Path) -> tuple[int, int, int, int]:
    """Size, times of modification and of change, inode."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def same_inputs(store: Path, info: StoreInfo) -> str:
    """What is said where there is nothing to do."""
    doubts = [
        f"; {what}, named in {store / file}: {len(lines):,}"
        for file, what in ((ODD, "odd crops"), (TWINS, "pairs of patients who look alike"))
        if (store / file).is_file()
        for lines in [(store / file).read_text(encoding="utf-8").splitlines()[1:]]
    ]
    return f"{store} is made of these inputs already, nothing to do: {info}{''.join(doubts)}"
