"""A piece of a run has one process at a time, among several folders too; a dead one has none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mufnet_lightning.tracking import claims
from mufnet_lightning.tracking.claims import claimed, is_claimed
from mufnet_lightning.tracking.liveness import heartbeat
from mufnet_lightning.tracking.runs import mlflow_client, open_study

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def run_id(work: Path) -> str:
    return str(mlflow_client().create_run(open_study("claims")).info.run_id)


@pytest.fixture
def shared(run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run in a store that other working folders know too."""
    there = tmp_path / "mlruns" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{there}")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setattr(claims, "_SETTLED", 0.5)
    return run_id


def hold(run_id: str, ready: str) -> None:
    with claimed(run_id, "fold0") as mine:
        Path(ready).write_text(str(mine))
        time.sleep(60)


def count(run_id: str, folder: Path, log: str) -> None:
    """From a working folder of its own, note when it has the piece."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    with claimed(run_id, "fold0") as mine:
        if mine:
            with open(log, "a") as file:
                file.write("+")
            time.sleep(4)
            with open(log, "a") as file:
                file.write("-")


def wait_for(path: Path) -> str:
    until = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


def test_a_piece_has_one_process_until_that_ends_however_it_ends(run_id: str) -> None:
    assert not is_claimed(run_id, "fold0")
    process = FORK.Process(target=hold, args=(run_id, "ready"))
    process.start()
    assert wait_for(Path("ready")) == "True"
    assert is_claimed(run_id, "fold0")
    assert not is_claimed(run_id, "fold1")
    with claimed(run_id, "fold0") as mine, claimed(run_id, "fold1") as other:
        assert not mine
        assert other
        assert is_claimed(run_id, "fold1")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_claimed(run_id, "fold0")
    with claimed(run_id, "fold0") as mine:
        assert mine
    assert not is_claimed(run_id, "fold0")
    assert not [tag for tag in mlflow_client().get_run(run_id).data.tags if tag.startswith("claim")]


def test_of_several_working_folders_that_share_a_store_one_has_it(shared: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [
        FORK.Process(target=count, args=(shared, tmp_path / f"folder{number}", str(log)))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert log.read_text() == "+-"
    assert not [tag for tag in mlflow_client().get_run(shared).data.tags if tag.startswith("claim")]


def test_the_name_of_another_machine_is_heeded_for_a_minute_and_a_half(shared: str) -> None:
    client = mlflow_client()
    client.set_tag(shared, "claim.fold0", f"elsewhere 1 {time.time() - 60:.0f}")
    assert is_claimed(shared, "fold0")
    with claimed(shared, "fold0") as mine:
        assert not mine
    client.set_tag(shared, "claim.fold0", f"elsewhere 1 {time.time() - 91:.0f}")
    assert not is_claimed(shared, "fold0")
    with claimed(shared, "fold0") as mine:
        assert mine
        assert client.get_run(shared).data.tags["claim.fold0"].split()[:2] == heartbeat().split()[:2]
    # of a process of this folder that was killed: its lock is free, and says more than its name
    place = heartbeat().split()[0]
    client.set_tag(shared, "claim.fold0", f"{place} 1 {time.time():.0f}")
    with claimed(shared, "fold0") as mine:
        assert mine


@pytest.mark.parametrize("alive", [True, False])
def test_a_name_that_is_written_late_over_another_one_gives_nothing_if_that_one_is_alive(
    shared: str, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    """It arrives when the other one has looked, and found its own name."""
    monkeypatch.setattr(claims, "PERIOD", 1.0)
    client = mlflow_client()
    write = type(client).set_tag
    renewed = threading.Timer(1.0, client.set_tag, (shared, "claim.fold0", other_name()))

    def late(self: MlflowClient, run_id: str, key: str, value: str) -> None:
        time.sleep(0.4)
        write(self, run_id, key, value)
        if alive and not renewed.is_alive():
            monkeypatch.setattr(type(client), "set_tag", write)
            renewed.start()

    monkeypatch.setattr(type(client), "set_tag", late)
    with claimed(shared, "fold0") as mine:
        assert mine is not alive


def other_name() -> str:
    return f"elsewhere 1 {time.time():.0f}"
