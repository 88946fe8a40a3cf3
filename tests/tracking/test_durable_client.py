"""Artifacts of a local store lie on the disk before anything says that they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mufnet_lightning.tracking import durable_client
from mufnet_lightning.tracking.runs import Tracking, mlflow_client, open_study
from mufnet_lightning.training.logger import RunLogger

LOG = Path("points.log")


def synced() -> set[tuple[int, int]]:
    """Inode and time of change of what was brought to the disk, as it was then."""
    rows = [line.split(maxsplit=4) for line in LOG.read_text().splitlines()]
    return {(int(inode), int(time)) for kind, inode, time, _, _ in rows if kind == "sync"}


def kept(folder: str) -> list[Path]:
    """The artifacts below it."""
    return sorted(path for path in Path("mlruns/artifacts", folder).rglob("*") if path.is_file())


def names(files: list[Path]) -> set[str]:
    """Below the artifacts of their run."""
    return {path.as_posix().partition("/artifacts/")[2].partition("/artifacts/")[2] for path in files}


def not_synced(files: list[Path]) -> list[str]:
    """Those that a power cut may empty."""
    seen = synced()
    status = {path: path.stat() for path in files}
    return [str(path) for path, one in status.items() if (one.st_ino, one.st_mtime_ns) not in seen]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which write points are noted, and some files to log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MUFNET_WRITE_FAULT", "count")
    monkeypatch.setenv("MUFNET_WRITE_LOG", str(tmp_path / LOG))
    inner = tmp_path / "files" / "inner"
    inner.mkdir(parents=True)
    (inner / "table.csv").write_text("a,b")
    (tmp_path / "files" / "note.txt").write_text("note")
    return tmp_path


def log_everything(client: MlflowClient, run_id: str) -> None:
    """By each way that the package and callbacks of others take."""
    client.log_text(run_id, "text", "texts/one.txt")
    client.log_artifact(run_id, "files/note.txt")
    client.log_artifact(run_id, "files", "as a folder")
    client.log_artifacts(run_id, "files", "deep/er")
    client.log_dict(run_id, {"one": 1}, "one.json")


EVERYTHING = {
    "texts/one.txt",
    "note.txt",
    "as a folder/files/note.txt",
    "as a folder/files/inner/table.csv",
    "deep/er/note.txt",
    "deep/er/inner/table.csv",
    "one.json",
}


def test_what_is_logged_directly_is_on_the_disk(folder: Path) -> None:
    client = mlflow_client()
    run_id = client.create_run(open_study("one")).info.run_id
    log_everything(client, run_id)
    files = kept(run_id)
    assert names(files) >= EVERYTHING
    assert not_synced(files) == []
    os.symlink(folder / "files" / "inner", folder / "files" / "linked")
    client.log_artifacts(run_id, "files", "with a link")
    assert not_synced(kept(run_id)) == []


def test_the_names_of_what_is_new_are_on_the_disk_up_to_the_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(durable_client, "sync_folder", lambda one: seen.append(one.resolve()))
    client = mlflow_client()
    study = open_study("one")
    run_id = client.create_run(study).info.run_id
    client.log_text(run_id, "text", "texts/one.txt")
    model = client.create_logged_model(study, "model")
    client.log_model_artifacts(model.model_id, "files")
    root = folder / "mlruns/artifacts"
    new = {root, root / run_id, root / run_id / "artifacts/texts", root / "models" / model.model_id}
    assert new <= set(seen)
    assert seen.index(root / run_id / "artifacts") < seen.index(root)  # from below


def test_what_a_journal_sends_is_on_the_disk(folder: Path) -> None:
    logger = RunLogger(Tracking(study="one"), "one", {})
    log_everything(logger.experiment, str(logger.run))
    logger.close("FINISHED")
    files = kept(str(logger.run))
    assert names(files) >= EVERYTHING
    assert not_synced(files) == []


def test_a_model_is_on_the_disk(folder: Path) -> None:
    client = mlflow_client()
    model = client.create_logged_model(open_study("one"), "model")
    client.log_model_artifacts(model.model_id, "files")
    client.log_model_artifact(model.model_id, "files/note.txt", "more")
    files = kept("models")
    assert [path.name for path in files] == ["table.csv", "note.txt", "note.txt"]
    assert not_synced(files) == []


def test_a_second_writing_is_on_the_disk_too(folder: Path) -> None:
    client = mlflow_client()
    run_id = client.create_run(open_study("one")).info.run_id
    for text in ("first", "second"):
        client.log_text(run_id, text, "one.txt")
    (file,) = kept(run_id)
    assert file.read_text() == "second"
    assert not_synced([file]) == []


def test_a_file_that_cannot_be_brought_to_the_disk_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow_client()
    run_id = client.create_run(open_study("one")).info.run_id
    client.log_text(run_id, "text", "one.txt")
    points = LOG.read_text().splitlines()
    monkeypatch.setenv("MUFNET_WRITE_FAULT", f"EIO:{len(points) + 1}")
    with pytest.raises(OSError, match=r"two\.txt"):
        client.log_text(run_id, "text", "two.txt")
