"""Where the stores of recorded runs lie on this machine.

Runs and checkpoints name a store as it is seen from the working folder, so that they tell of no machine
and of no user. A working folder that is copied or moved finds it by this note in mlruns/, which is no
part of any run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from mufnet_lightning.system.files import portable_path, write_atomic
from mufnet_lightning.tracking.runs import STORE_FOLDER

NOTED = "stores.json"


def note_store(root: Path) -> None:
    """Note where a store lies that is not in the working folder; nothing where it cannot be written."""
    seen, there = portable_path(root), str(Path(root).resolve())
    if Path(there).is_relative_to(Path.cwd()) or _noted().get(seen) == there:
        return
    with suppress(OSError):
        STORE_FOLDER.mkdir(exist_ok=True)
        text = json.dumps({**_noted(), seen: there}, indent=1)
        write_atomic(STORE_FOLDER / NOTED, text + "\n")


def noted_store(path: str) -> str:
    """A store as a run names it; where it is not there, as it was noted."""
    return path if (Path(path) / "store.json").is_file() else _noted().get(path, path)


def _noted() -> dict[str, str]:
    try:
        content = json.loads((STORE_FOLDER / NOTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    rows = content.items() if isinstance(content, dict) else ()
    return {str(seen): str(there) for seen, there in rows}
