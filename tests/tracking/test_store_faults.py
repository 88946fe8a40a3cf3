"""Tracking stores that cannot be used, or not now: one sentence, and nothing lost."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from working_folder import enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking import opening
from mufnet_lightning.tracking.journal import journals
from mufnet_lightning.tracking.left_over import send_left_over
from mufnet_lightning.tracking.liveness import HEARTBEAT
from mufnet_lightning.tracking.run_ids import note_id, own_id, server_id
from mufnet_lightning.tracking.runs import Tracking, find_run, mlflow_client, tracking_uri
from mufnet_lightning.tracking.stores import noted_store
from mufnet_lightning.training.logger import RunLogger

DATABASE = Path("mlruns/mlflow.db")


def begun(name: str = "one") -> RunLogger:
    """A logger whose run has been opened."""
    logger = RunLogger(Tracking(study="faults"), name)
    assert logger.run
    return logger


def points(run_id: str) -> list[tuple[int, float]]:
    """Of the loss, as the store has them."""
    history = mlflow_client().get_metric_history(find_run(run_id).id, "loss")
    return [(point.step, point.value) for point in history]


def in_processes(work: Callable[[], None], count: int) -> list[int | None]:
    """The exit codes of processes that do the same at once."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def open_and_close() -> None:
    with begun() as logger:
        logger.log_metrics({"loss": 1.0}, step=0)


def test_two_runs_begin_in_a_folder_without_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(tmp_path, monkeypatch)
    assert in_processes(open_and_close, 2) == [0, 0]
    store = mlflow_client()
    (study,) = [e for e in store.search_experiments() if e.name == "faults"]
    runs = store.search_runs([study.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_a_locked_database_holds_nothing_up(work: Path) -> None:
    with begun() as logger, closing(sqlite3.connect(DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        for step in range(3):
            logger.log_metrics({"loss": float(step)}, step=step)
            logger.experiment.set_tag(logger.run, f"tag{step}", "on")
        assert time.monotonic() - begin < 0.5
        logger.experiment.outbox.flush(0.5)  # it tries
    assert points(logger.run) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert find_run(logger.run).tags["tag2"] == "on"


def test_a_database_that_is_deleted_is_made_again_with_all_of_the_run(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with begun() as logger:
        first = logger.run
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.log_hyperparams({"lr": 0.1})
        logger.experiment.log_text(first, "settings", "config.yaml")
        logger.experiment.flush()
        DATABASE.unlink()
        logger.log_metrics({"loss": 0.5}, step=1)
    assert [text for text in caplog.messages if "was deleted or replaced" in text]
    run = find_run(first)
    assert (run.status, run.params) == ("FINISHED", {"lr": "0.1"})
    assert points(first) == [(0, 1.0), (1, 0.5)]
    assert [entry.path for entry in mlflow_client().list_artifacts(run.id)] == ["config.yaml"]
    assert not journals(Path("mlruns"))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no database\n" * 999, "it is no database"), (None, "it is damaged")]
)
def test_what_is_no_database_is_told_in_a_sentence(
    work: Path, content: bytes | None, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = DATABASE.read_bytes()
    torn = whole[:4096] + bytes(len(whole) // 2) + whole[4096 + len(whole) // 2 :]
    DATABASE.write_bytes(content if content is not None else torn)
    with pytest.raises(InputFault, match=reason):
        begun()
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A working folder that this process may read and not write."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    if os.geteuid() == 0:
        os.seteuid(65534)
    else:
        root.chmod(0o555)
    try:
        yield root
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        root.chmod(0o755)
        shutil.rmtree(root)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such permissions on Windows")
def test_a_folder_that_cannot_be_written_is_named(
    as_nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(as_nobody, monkeypatch)
    with pytest.raises(InputFault, match=f"{as_nobody}: nothing can be written here") as told:
        begun()
    assert len(told.value.faults) == 1


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such permissions on Windows")
def test_an_archive_can_be_read(
    as_nobody: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_tracking: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    euid = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    as_nobody.chmod(0o755)
    make_working_folder(as_nobody, empty_tracking)
    enter(as_nobody, monkeypatch)
    with begun() as logger:
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.experiment.log_text(logger.run, "settings", "config.yaml")
    opening._opened.clear()  # as a new process
    for path in (as_nobody / "mlruns").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (as_nobody / "mlruns").chmod(0o555)
    os.seteuid(euid)
    try:
        assert find_run(logger.run).metrics == {"loss": 1.0}
        assert [one.path for one in mlflow_client().list_artifacts(logger.run)] == ["config.yaml"]
        send_left_over(10)
        assert caplog.text.count("can be read only (Permission denied): nothing is recorded") == 1
        with pytest.raises(InputFault, match="nothing can be written here: Permission denied"):
            begun()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in (as_nobody / "mlruns", *(as_nobody / "mlruns").rglob("*")):
            path.chmod(0o755)


def test_a_full_disk_ends_the_run_which_the_next_call_closes(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = begun()

    def fill() -> None:
        with logger:
            logger.log_metrics({"loss": 1.0}, step=0)
            monkeypatch.setenv("MUFNET_WRITE_FAULT", "ENOSPC:1+")
            logger.log_metrics({"loss": 0.5}, step=1)

    with pytest.raises(InputFault, match="No space left on device"):
        fill()
    assert journals(Path("mlruns"))
    monkeypatch.delenv("MUFNET_WRITE_FAULT")
    send_left_over(30)
    assert points(logger.run) == [(0, 1.0)]
    run = find_run(logger.run)
    assert run.status == "FAILED"
    assert "No space left on device" in run.tags["reason"]
    assert "heartbeat" not in run.tags
    assert not journals(Path("mlruns"))


def killed() -> None:
    logger = begun("broken")
    logger.log_metrics({"loss": 1.0}, step=0)
    os.kill(os.getpid(), 9)


def test_a_journal_is_sent_to_the_store_that_it_is_for_and_to_no_other(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_processes(killed, 1) == [-9]
    other = f"sqlite:///{work / 'other.db'}"
    shutil.copyfile(DATABASE, work / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    send_left_over(20)
    assert main(["sync"]) == 2
    assert "the run is of another store than MLFLOW_TRACKING_URI names" in capsys.readouterr().err
    assert tracking_uri() == other  # nor does the process go on in that one
    assert len(journals(Path("mlruns"))) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync"]) == 0
    assert find_run(capsys.readouterr().out.split()[2].rstrip(":")).status == "KILLED"


def test_the_journal_of_a_run_that_lives_elsewhere_stays(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_processes(killed, 1) == [-9]
    (folder,) = journals(Path("mlruns"))
    mlflow_client().set_tag(folder.name, HEARTBEAT, f"elsewhere 1 {time.time():.0f}")
    assert main(["sync"]) == 2
    assert "a process elsewhere still works on the run" in capsys.readouterr().err
    assert find_run(folder.name).status == "RUNNING"
    assert list(journals(Path("mlruns"))) == [folder]


def test_sync_closes_what_was_killed_and_says_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == "nothing to send\n"
    assert in_processes(killed, 1) == [-9]
    (folder,) = journals(Path("mlruns"))
    whole = mlflow_client().get_run(folder.name)  # a request that seemed to fail, and was repeated
    birth = {"journal": whole.data.tags["journal"]}
    twin = mlflow_client().create_run(whole.info.experiment_id, tags=birth).info.run_id
    assert main(["sync"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("run broken ")
    assert line.endswith("sent, KILLED")
    run = find_run(line.split()[2].rstrip(":"))
    assert (run.status, run.tags["reason"]) == ("KILLED", "its process was killed")
    assert points(run.id) == [(0, 1.0)]
    assert mlflow_client().get_run(twin).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize("content", ["[1]", "null", "3", "{", '{"a": {"b": 1}}'])
def test_notes_that_somebody_broke_stop_nothing(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They only help to find what has moved."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns/outbox").mkdir(parents=True)
    for note in ("outbox/ids.json", "stores.json"):
        (tmp_path / "mlruns" / note).write_text(content)
    assert server_id(Path("mlruns"), "of a run") == own_id(Path("mlruns"), "of a run") == "of a run"
    assert noted_store("store") == "store"
    note_id(Path("mlruns"), "here", "there")
    assert server_id(Path("mlruns"), "here") == "there"
