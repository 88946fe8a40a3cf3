"""What a machine of a Ray cluster sees, and what keeps it from running jobs of a study.

Little is imported here: the first worker of a machine looks, and reads it maybe from a network drive.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mufnet_lightning
from mufnet_lightning.study.trained_code import own_code_digest
from mufnet_lightning.tracking.liveness import machine


@dataclass(frozen=True)
class Seen:
    """What a machine of the cluster sees.

    Attributes:
        is_here: whether it is the one that asks.
        missing: paths that are not there.
        versions: of what decides a result.
    """

    is_here: bool
    missing: tuple[str, ...]
    versions: Mapping[str, str]


def look(folder: str, paths: Sequence[str], asker: str) -> Seen:
    """On a machine of the cluster."""
    missing = tuple(path for path in (folder, *paths) if not Path(path).exists())
    return Seen(machine() == asker, missing, versions())


def versions() -> Mapping[str, str]:
    """Of what decides the last bits, here."""
    import torch

    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__,
        "mufnet-lightning": f"{mufnet_lightning.__version__} {own_code_digest()[:8]}",
    }


def differences(
    node: str, seen: Seen, wanted: Sequence[Path], folders: Sequence[Path]
) -> Iterator[str]:
    """What keeps a machine from running jobs of this study."""
    if str(Path.cwd()) in seen.missing or str(wanted[0]) in seen.missing:
        yield (
            f"machine {node} does not see the working folder {Path.cwd()}: share it (as by NFS) under "
            "the same path, since checkpoints lie in its mlruns/"
        )
    for folder in folders:
        if str(folder.resolve()) in seen.missing:
            yield f"machine {node} does not see {folder.resolve()}: share it under the same path"
    for name, version in versions().items():
        there = seen.versions.get(name, "none")
        if there != version:
            yield f"machine {node} has {name} {there}, and this one {version}: install the same"
