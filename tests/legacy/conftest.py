"""A working folder with a store and runs that the code before the rooms made (see README.md)."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MADE_IN = "/tmp/legacy"  # absolute paths of that folder stand in the database and in checkpoints


def moved(content: Any, folder: Path) -> Any:
    """With paths as if it had been made in `folder`."""
    if isinstance(content, str):
        return content.replace(MADE_IN, str(folder))
    if isinstance(content, Mapping):
        return {moved(name, folder): moved(value, folder) for name, value in content.items()}
    return content


def move_checkpoint(path: Path, folder: Path) -> None:
    """Only where callbacks keep their files is a path."""
    import torch

    content = torch.load(path, weights_only=True)
    content["callbacks"] = moved(content["callbacks"], folder)
    torch.save(content, path)


def move_database(path: Path, folder: Path) -> None:
    """Where runs and experiments keep their artifacts."""
    with sqlite3.connect(path) as database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (MADE_IN, str(folder))
            )
    database.close()


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives' content, as it was made."""
    folder = tmp_path_factory.mktemp("legacy")
    for archive in sorted(HERE.glob("*.tar.xz")):
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
    return folder


@pytest.fixture
def legacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacked: Path) -> Path:
    """The working folder: `store`, `cohort` (its tables), `mlruns` and today's `configs`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    (tmp_path / "configs").symlink_to(HERE.parents[1] / "configs")
    move_database(tmp_path / "mlruns" / "mlflow.db", tmp_path)
    for path in (tmp_path / "mlruns" / "checkpoints").rglob("*.ckpt"):
        move_checkpoint(path, tmp_path)
    return tmp_path
