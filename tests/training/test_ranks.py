"""The first process of a training, when another one ends: told where it is missed, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.runs import Tracking, find_run
from mufnet_lightning.training import ranks
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.training.ranks import _Launcher

OTHER = """
import os, pathlib, sys, time
note = pathlib.Path(os.environ["MUFNET_PASSES"], str(os.getpid()))
for passes in sys.argv[2:]:
    note.write_text(passes)
sys.exit(int(sys.argv[1]))
"""


class Training:
    """Two processes: this one, and one that says how many passes it has been through, and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exits: list[int] = []
        self.launcher = _Launcher(LightningEnvironment(), 2, 1)
        self.logger = RunLogger(Tracking(study="ranks"), "one")
        assert self.logger.run
        monkeypatch.setattr(ranks, "_TO_NOTICE", 0.3)
        monkeypatch.setattr(ranks, "_A_LOOK", 0.02)
        monkeypatch.setattr(os, "_exit", self.exits.append)
        monkeypatch.setattr(self.launcher, "_call_children_scripts", self._start)
        self.words: tuple[str, ...] = ()

    def _start(self) -> None:
        words = [sys.executable, "-c", OTHER, *self.words]
        self.launcher.procs = [subprocess.Popen(words)]
        os.environ["LOCAL_RANK"] = "0"  # as Lightning does: the next pass starts nobody

    def one_pass(self, work: Callable[[], Any]) -> Any:
        """As `Trainer.fit` and `Trainer.test` are."""
        return self.launcher.launch(work, trainer=Trainer(logger=self.logger, accelerator="cpu"))

    def other_has_ended(self) -> None:
        self.launcher.procs[0].wait(60)
        time.sleep(0.2)  # some looks of the watch


@pytest.fixture
def training(work: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """One in a process that knows of no other."""
    for name in ("LOCAL_RANK", "MUFNET_STARTED_BY", "MUFNET_PASSES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return Training(monkeypatch)


def test_one_that_ends_badly_behind_its_work_does_not_fail_the_run(
    training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    training.words = ("3", "1")
    # it has been through the only pass, in which the first one still writes pictures
    training.one_pass(training.other_has_ended)
    training.logger.close("FINISHED")
    time.sleep(0.5)
    assert find_run(training.logger.run).status == "FINISHED"
    assert training.exits == []
    assert "process 1 of this training ended with exit code 3, behind its part" in caplog.text


def test_one_that_is_gone_is_told_of_before_a_pass_that_needs_it(training: Training) -> None:
    training.words = ("3", "1")
    training.one_pass(training.other_has_ended)
    with pytest.raises(InputFault, match=r"process 1 .* ended with exit code 3, so the others end too"):
        training.one_pass(lambda: None)
    assert training.exits == []


def test_one_that_is_missed_fails_the_run(training: Training) -> None:
    training.words = ("3",)

    def wait_for_it() -> None:
        until = time.monotonic() + 30
        while not training.exits and time.monotonic() < until:  # as a collective call for ever
            time.sleep(0.02)

    training.one_pass(wait_for_it)
    assert training.exits == [2]
    run = find_run(training.logger.run)
    assert run.status == "FAILED"
    assert "process 1 (of 0 to 1) of this training ended with exit code 3" in run.tags["reason"]


def test_a_run_is_closed_by_one_of_two_threads(training: Training) -> None:
    training.logger.log_metrics({"loss": 1.0}, step=0)
    barrier = threading.Barrier(2)

    def close(status: str) -> None:
        barrier.wait(30)
        training.logger.close(status, status)

    threads = [threading.Thread(target=close, args=(status,)) for status in ("FINISHED", "FAILED")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run = find_run(training.logger.run)
    assert run.status == run.tags["reason"]
