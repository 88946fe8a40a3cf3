"""A real tracking server that is absent, stopped and back again: nothing is lost, nobody waits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking import outbox
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.journal import journals
from mufnet_lightning.tracking.left_over import run_behind
from mufnet_lightning.tracking.opening import absent
from mufnet_lightning.tracking.runs import Tracking, find_run, find_runs, find_study, mlflow_client
from mufnet_lightning.tracking.views import COLOURS
from mufnet_lightning.training import cli as training_cli
from mufnet_lightning.training.logger import RunLogger


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` on a database in a folder: a group of its own, to be stopped as a whole."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1"]
    places = ["--backend-store-uri=sqlite:///server.db", f"--artifacts-destination={folder}/artifacts"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes less
    with open(folder / "said", "ab") as said:
        server = subprocess.Popen(
            [*command, *places],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while absent(f"http://127.0.0.1:{port}"):
            assert server.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def record(logger: RunLogger, pause: float = 0.0) -> float:
    """Say something of every kind; returns the seconds that the longest of it took."""
    longest = 0.0
    for step in range(6):
        begin = time.monotonic()
        logger.log_metrics({"val/auc": step / 10, "train/loss": -step}, step=step)
        longest = max(longest, time.monotonic() - begin)
        time.sleep(pause)
    begin = time.monotonic()
    logger.log_hyperparams({"lr": 0.1, "epochs": 6})
    logger.experiment.set_tag(logger.run, "note", "scored")
    logger.experiment.set_tag(logger.run, "wrong", "yes")
    logger.experiment.delete_tag(logger.run, "wrong")
    logger.experiment.log_text(logger.run, "pair_id\n", "tables/predictions.csv")
    return max(longest, time.monotonic() - begin)


def said(run_id: str) -> dict[str, object]:
    """All that a run says, but for the time."""
    store, run = MlflowClient(), find_run(run_id)
    names = [name for name in run.metrics if not name.startswith("system/")]
    histories = {
        name: [(p.step, p.value) for p in store.get_metric_history(run.id, name)] for name in names
    }
    tags = {
        name: value for name, value in run.tags.items() if name not in ("journal", "mlflow.runName")
    }
    files = [entry.path for entry in store.list_artifacts(run.id, "tables")]
    return {"points": histories, "tags": tags, "params": run.params, "files": files, "end": run.status}


@pytest.mark.slow
def test_a_server_that_is_away_loses_nothing_and_holds_nobody_up(
    work: Path,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"http://127.0.0.1:{free_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(outbox, "_TO_CLOSE", 2.0)

    # absent at the start
    begin = time.monotonic()
    with RunLogger(Tracking(study="away"), "first") as logger:
        first = logger.run
        assert record(logger) < 0.5
    assert time.monotonic() - begin < 15
    assert any("`mufnet sync` sends them" in text for text in caplog.messages)
    assert [path.name for path in journals(Path("mlruns"))] == [first]
    folder = checkpoint_folder(first)

    # what has to be read from it is refused in seconds
    begin = time.monotonic()
    for read in (mlflow_client, lambda: find_run(first)):
        with pytest.raises(InputFault, match="does not answer"):
            read()
    assert main(["sync"]) == 2
    assert "does not take the records of run first: the connection is refused" in caplog.messages[-1]
    assert main(["report", "away"]) == 2
    assert time.monotonic() - begin < 15
    with pytest.raises(InputFault, match="does not answer"):
        run_behind(first)  # else a training that is to go on would begin anew in silence

    with serving(work / "server", free_port) as server:
        with pytest.raises(InputFault, match="yet; `mufnet sync` sends it"):
            find_run(first)
        assert main(["sync"]) == 0
        assert "run first " in capsys.readouterr().out
        assert not journals(Path("mlruns"))
        run = find_run(first)  # by the id that it had here
        assert run.id != first
        assert checkpoint_folder(run.id) == folder

        with RunLogger(Tracking(study="away"), "undisturbed") as logger:
            whole = logger.run
            record(logger)
        assert said(first) == said(whole)

        # stopped in mid-run
        with RunLogger(Tracking(study="away"), "second") as logger:
            second = logger.run
            os.killpg(server.pid, signal.SIGSTOP)
            longest = record(logger, 0.2)
            os.killpg(server.pid, signal.SIGCONT)
        assert longest < 0.5
        assert said(second) == said(whole)
        assert not journals(Path("mlruns"))


@pytest.mark.slow
def test_a_server_that_is_back_before_a_fit_has_ended_shows_its_page(
    work: Path,
    tiny: list[str],
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
    with serving(work / "server", free_port) as server:

        def gone_for_a_while(*_: object) -> None:
            os.killpg(server.pid, signal.SIGSTOP)
            threading.Timer(8.0, os.killpg, (server.pid, signal.SIGCONT)).start()

        monkeypatch.setattr(training_cli, "print_numbers", gone_for_a_while)  # a fit's last words
        assert main(["fit", *tiny]) == 0
        *_, link = capfd.readouterr().out.splitlines()
        (run,) = find_runs(find_study("demo"))
        assert link.startswith(f"http://127.0.0.1:{free_port}/#/experiments/{run.experiment_id}/runs")
        assert "viewStateShareKey=mufnet-arms" in link
        assert run.tags["mlflow.runColor"] == COLOURS["fused"]
