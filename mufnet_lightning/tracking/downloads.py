"""Artifacts as files of this machine, which go when the process ends."""

from __future__ import annotations

from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def download(uri: str, store: str) -> Path:
    """An artifact, or a folder of them, as a copy here; MLflow's own copy would stay for ever.

    Args:
        uri: of the artifact, `runs:/...` or `models:/...`.
        store: URI of the tracking store.

    Raises:
        MlflowException: there is none.
        OSError: it cannot be had, or not be written here.
    """
    from mlflow.artifacts import download_artifacts

    # a folder of its own: the same artifact may be another one by the next time
    own = mkdtemp(dir=_scratch().name)
    return Path(download_artifacts(artifact_uri=uri, tracking_uri=store, dst_path=own))


def is_missing(client: MlflowClient, run_id: str, artifact: str) -> bool:
    """Whether the store says that a run has no such artifact; False where it does not answer."""
    from mlflow.exceptions import MlflowException

    try:
        there = client.list_artifacts(run_id, artifact.rpartition("/")[0] or None)
    except (MlflowException, OSError):
        return False
    return artifact not in {entry.path for entry in there}


@cache
def _scratch() -> TemporaryDirectory[str]:
    scratch: TemporaryDirectory[str] = TemporaryDirectory(prefix="mufnet-")
    Finalize(None, scratch.cleanup, exitpriority=1)  # a worker process ends without atexit
    return scratch
