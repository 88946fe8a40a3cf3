"""A working folder of one's own, as a user has one: made, entered, and its runs copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[1] / "configs"


def make_working_folder(folder: Path, tracking: bytes) -> Path:
    """Give a folder an empty tracking store (see `empty_tracking`) and the configs."""
    (folder / "mlruns").mkdir(parents=True)
    (folder / "mlruns" / "mlflow.db").write_bytes(tracking)
    (folder / "configs").symlink_to(CONFIGS)
    return folder


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work there, as a new process does: MLflow sets the variable by itself, and keeps it."""
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.chdir(folder)


def copy_runs(source: Path, target: Path) -> None:
    """Put the runs of one working folder into another, in place of what is there.

    The first command there makes their addresses lead into it (see `tracking.relocation`), so that
    nothing that happens in `target` shows in `source`.
    """
    shutil.rmtree(target / "mlruns", ignore_errors=True)
    shutil.copytree(source / "mlruns", target / "mlruns")
