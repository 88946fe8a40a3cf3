"""What computed a result: the code, the libraries, the machine."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mufnet_lightning.system.processes import cores


def git_commit() -> str | None:
    """The commit of the code that runs, with `-dirty` when files differ from it; None outside git.

    An installed package has none: the repository that its environment may lie in is not its own.
    """
    folder = Path(__file__).parent
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changes else "") if tracked else None


def commit_tags() -> dict[str, str]:
    """The commit as tags: ours, and the one that the MLflow UI shows as the version."""
    commit = git_commit()
    return {"git_commit": commit, "mlflow.source.git.commit": commit} if commit else {}


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


PACKAGES = (
    "mufnet-lightning",
    "torch",
    "lightning",
    "timm",
    "torchmetrics",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "scikit-learn",
    "mlflow",
)


def environment() -> dict[str, str]:
    """Versions of what computes, and on what; nothing that names a machine or a person."""
    import torch

    system = f"{platform.system()} {platform.machine()}"
    versions = {"Python": platform.python_version(), "system": system}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # another build of OpenCV, say
            versions[name] = version(name)
    gpu = torch.cuda.is_available()
    versions["device"] = torch.cuda.get_device_name(0) if gpu else f"CPU, {cores()} cores"
    return versions
