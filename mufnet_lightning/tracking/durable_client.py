"""MLflow's client, whose artifacts lie on the disk when a call has logged them.

MLflow copies artifacts into a local store and leaves it to the system when they reach the disk: behind
a power cut within seconds of a run's end they are empty, and the run is FINISHED.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient

from mufnet_lightning.system.files import sync_file, sync_folder

_ABOVE = 3
"""Folders above that of the artifacts which may be as new: of a run or a model."""
_folders: dict[tuple[str, str], Path | None] = {}
"""Where artifacts lie, by store and the id of their run or model."""


class DurableClient(MlflowClient):
    """Brings what it logs to the disk, where that is one of this machine's.

    What else MLflow logs (texts, figures, tables) goes through these four calls; each raises OSError
    where a file cannot be brought there. Artifacts that a server keeps are that server's to keep.
    """

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        """A file, or a folder under its own name."""
        super().log_artifact(run_id, local_path, artifact_path)
        _sync(self._run_artifacts(run_id), [Path(local_path)], artifact_path)

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """The files of a folder, and of those in it."""
        super().log_artifacts(run_id, local_dir, artifact_path)
        _sync(self._run_artifacts(run_id), Path(local_dir).iterdir(), artifact_path)

    def log_model_artifact(
        self, model_id: str, local_path: str, artifact_path: str | None = None
    ) -> None:
        """A file of a logged model."""
        super().log_model_artifact(model_id, local_path, artifact_path)
        _sync(self._model_artifacts(model_id), [Path(local_path)], artifact_path)

    def log_model_artifacts(
        self, model_id: str, local_dir: str, artifact_path: str | None = None
    ) -> None:
        """The files of a folder, for a logged model."""
        super().log_model_artifacts(model_id, local_dir, artifact_path)
        _sync(self._model_artifacts(model_id), Path(local_dir).iterdir(), artifact_path)

    def _run_artifacts(self, run_id: str) -> Path | None:
        return self._known(run_id, lambda: self.get_run(run_id).info.artifact_uri)

    def _model_artifacts(self, model_id: str) -> Path | None:
        return self._known(model_id, lambda: self.get_logged_model(model_id).artifact_location)

    def _known(self, owner: str, ask: Callable[[], str]) -> Path | None:
        key = self.tracking_uri, owner
        if key not in _folders:
            _folders[key] = local_folder(ask())
        return _folders[key]


def local_folder(uri: str) -> Path | None:
    """The folder of artifacts at an address; None where they lie on no disk of this machine.

    >>> local_folder("file:///data/mlruns/artifacts")
    PosixPath('/data/mlruns/artifacts')
    >>> local_folder("mlflow-artifacts:/1/2/artifacts"), local_folder("s3://bucket/artifacts")
    (None, None)
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    scheme = urlsplit(uri).scheme
    drive = os.name == "nt" and len(scheme) == 1
    return Path(local_file_uri_to_path(uri)) if scheme in ("", "file") or drive else None


def _sync(artifacts: Path | None, sources: Iterable[Path], folder: str | None) -> None:
    """Bring to the disk what was copied of each of these files and folders."""
    if artifacts is None:
        return
    inside = artifacts / folder if folder else artifacts
    folders = set[Path]()
    for source in sources:
        copied = inside / source.name
        for file in copied.rglob("*") if copied.is_dir() else [copied]:
            if file.is_file():
                sync_file(file)
                depth = len(file.relative_to(artifacts).parts)
                folders.update(file.parents[: depth + _ABOVE])
    for one in sorted(folders, reverse=True):  # a folder's name lies in the one above it
        sync_folder(one)
