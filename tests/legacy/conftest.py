"""A working folder with a store and runs that the code before the rooms made (see README.md)."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent


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
    """The working folder: `store`, `cohort` (its tables), `mlruns` and today's `configs`.

    It was made in /tmp/legacy, which stands in its database and its checkpoints: it was moved.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    (tmp_path / "configs").symlink_to(HERE.parents[1] / "configs")
    return tmp_path
