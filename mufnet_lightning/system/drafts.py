"""Drafts: what is written beside its place before it takes its name, and removed where nobody will."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from mufnet_lightning.system.write_points import REMOVE, write_point

_DRAFT = re.compile(r"\.partial-([0-9a-f]{6})-(\d+)-")
_seen: set[Path] = set()
"""Folders in which this process looked for drafts."""


def draft_of(path: Path) -> Path:
    """A name beside `path` that is not there."""
    owner = f"{_machine()}-{os.getpid()}-{threading.get_ident()}"
    draft = path.with_name(f".partial-{owner}-{path.name}")
    remove_quietly(draft)  # of a process of the same number that was killed
    _remove_drafts_of_the_dead(path.parent)
    return draft


def _remove_drafts_of_the_dead(folder: Path) -> None:
    """Once in each folder; not those of other machines and containers: their processes are not seen."""
    if os.name != "posix" or folder in _seen:
        return
    _seen.add(folder)
    with suppress(OSError):
        for entry in os.scandir(folder):
            draft = _DRAFT.match(entry.name)
            if draft and draft[1] == _machine() and not _alive(int(draft[2])):
                remove_quietly(Path(entry.path))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


@cache
def _machine() -> str:
    """Of a computer or a container, within which numbers of processes are one's own."""
    numbers = ""
    with suppress(OSError):  # Linux
        numbers = str(os.stat("/proc/self/ns/pid").st_ino)
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]


def remove_quietly(path: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    if not os.path.lexists(path):
        return
    with suppress(OSError):
        write_point(REMOVE, path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
