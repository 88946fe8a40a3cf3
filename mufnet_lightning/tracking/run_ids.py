"""Runs that began while the tracking server was away: the id that they have here, and the server's.

MLflow chooses the id of a run when it makes it. Until then a run has one of its own, of the same form;
checkpoints, locks and the journal of the run keep it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.locks import waiting

_KNOWN = "ids.json"


def note_id(folder: Path, here: str, there: str) -> None:
    """Note the server's id of a run.

    Args:
        folder: `mlruns/`.
        here: the run's own id.
        there: the server's.

    Raises:
        OSError: it cannot be written.
    """
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    with waiting(folder / "locks" / "ids"):
        text = json.dumps({**_ids(folder), here: there}, indent=1)
        write_atomic(_path(folder), text + "\n")


def server_id(folder: Path, run_id: str) -> str:
    """The id that the server knows a run by; the same one for most runs."""
    return _ids(folder).get(run_id, run_id)


def own_id(folder: Path, run_id: str) -> str:
    """The id that a run has in this working folder: of its checkpoints, lock and journal."""
    return next((here for here, there in _ids(folder).items() if there == run_id), run_id)


def _path(folder: Path) -> Path:
    return folder / "outbox" / _KNOWN


def _ids(folder: Path) -> Mapping[str, str]:
    try:
        content = json.loads(_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    rows = content.items() if isinstance(content, dict) else ()
    return {str(here): str(there) for here, there in rows}
