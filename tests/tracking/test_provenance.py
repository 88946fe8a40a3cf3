"""Whose commit is recorded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mufnet_lightning
from mufnet_lightning.tracking.provenance import git_commit

PACKAGE = Path(mufnet_lightning.__file__).parent
ASK = "from mufnet_lightning.tracking.provenance import git_commit; print(git_commit())"


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(folder), *name, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_an_installed_package_is_not_of_the_repository_that_it_lies_in(tmp_path: Path) -> None:
    """As in a virtual environment inside somebody's repository."""
    git(tmp_path, "init", "-q")
    (tmp_path / "notes.txt").write_text("theirs")
    git(tmp_path, "add", "notes.txt")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    shutil.copytree(
        PACKAGE, tmp_path / "mufnet_lightning", ignore=shutil.ignore_patterns("__pycache__")
    )

    def asked() -> str:
        done = subprocess.run(
            [sys.executable, "-c", ASK], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert asked() == "None"
    git(tmp_path, "add", "mufnet_lightning")
    git(tmp_path, "commit", "-q", "-m", "ours too")
    assert asked() == git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("changed")
    assert asked() == git(tmp_path, "rev-parse", "HEAD") + "-dirty"


def test_a_clone_has_its_commit() -> None:
    commit = git_commit()
    inside = subprocess.run(
        ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    if inside.returncode == 0:
        assert commit is not None
        assert commit.removesuffix("-dirty") == inside.stdout.strip()
    else:
        assert commit is None
