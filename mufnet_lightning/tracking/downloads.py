"""Artifacts as files of this machine, which go when the process ends."""

from __future__ import annotations

from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp


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


@cache
def _scratch() -> TemporaryDirectory[str]:
    scratch: TemporaryDirectory[str] = TemporaryDirectory(prefix="mufnet-")
    Finalize(None, scratch.cleanup, exitpriority=1)  # a worker process ends without atexit
    return scratch
