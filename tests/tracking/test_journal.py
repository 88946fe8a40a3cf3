"""A run's journal: killed at any write and taken up again, it says what an undisturbed one says."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from working_folder import enter, make_working_folder

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.tracking import liveness
from mufnet_lightning.tracking.journal import Journal, Waiting, journals
from mufnet_lightning.tracking.left_over import send_left_over
from mufnet_lightning.tracking.liveness import RESUMED, alive, held
from mufnet_lightning.tracking.outbox import PAUSE
from mufnet_lightning.tracking.runs import Tracking, find_run, mlflow_client
from mufnet_lightning.training.logger import RunLogger

EPOCHS = 4
LAST = Path("last")  # in place of a checkpoint: run and epoch


def train(fault: str) -> None:
    """A training as the callbacks tell it to the logger, killed where `fault` says.

    From its last checkpoint, or anew where there is none.
    """
    os.environ["MUFNET_WRITE_FAULT"] = fault
    begin = 0
    if LAST.exists():
        run_id, _, trained = LAST.read_text().partition(" ")
        begin = int(trained) + 1
        logger = RunLogger(Tracking(study="law"), resumed_run=run_id)
    else:
        logger = RunLogger(Tracking(study="law"), "one")
    logger.experiment.log_text(logger.run, "settings", "config.yaml")
    logger.log_hyperparams({"lr": 0.1})
    logger.start_training(begin, holds=True)
    for epoch in range(begin, EPOCHS):
        logger.begin_epoch(epoch)
        logger.log_metrics({"lr": 1 / (epoch + 1)}, step=epoch)
        logger.log_metrics({"val/auc": epoch / 10, "epoch": epoch}, step=epoch)
        logger.log_metrics({"train/loss": -epoch, "epoch": epoch}, step=epoch)
        write_atomic(LAST, f"{logger.run} {epoch}")
        logger.confirm(epoch)
        logger.log_metrics({"train/loss": -epoch, "epoch": epoch}, step=epoch)  # Lightning's own
        logger.experiment.outbox.flush(5)
    logger.end_training()
    logger.log_metrics({"test/auc": 0.9, "epoch": EPOCHS}, step=EPOCHS)
    logger.experiment.set_tag(logger.run, "note", "scored")
    logger.close("FINISHED")


def in_process(fault: str) -> int:
    """The exit code of `train` in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(fault,))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def said(run_id: str) -> dict[str, object]:
    """All that a run says, but for the time, and for where and when it was gone on with."""
    store, run = mlflow_client(), mlflow_client().get_run(run_id)
    histories = {
        name: [(point.step, point.value) for point in store.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    course = ("journal", RESUMED)
    tags = {k: v for k, v in run.data.tags.items() if k not in course and not k.startswith("mlflow.")}
    files = [entry.path for entry in store.list_artifacts(run_id)]
    return {
        "histories": histories,
        "tags": tags,
        "params": run.data.params,
        "files": files,
        "status": run.info.status,
    }


def all_runs() -> dict[str, str]:
    """The status of each run."""
    store: MlflowClient = mlflow_client()
    ids = [experiment.experiment_id for experiment in store.search_experiments()]
    return {run.info.run_id: run.info.status for run in store.search_runs(ids)}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, empty_tracking: bytes
) -> tuple[dict[str, object], int]:
    """What a whole training says, and how many write points it passes."""
    folder = make_working_folder(tmp_path_factory.mktemp("whole"), empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        patch.setenv("MUFNET_WRITE_LOG", "points")
        assert in_process("count") == 0
        ((run_id, _),) = all_runs().items()
        return said(run_id), len(Path("points").read_text().splitlines())


@pytest.mark.parametrize("seed", range(3))
def test_a_training_that_is_killed_anywhere_says_what_an_undisturbed_one_says(
    work: Path, undisturbed: tuple[dict[str, object], int], seed: int
) -> None:
    expected, points = undisturbed
    assert points > 40
    assert expected["status"] == "FINISHED"
    assert expected["histories"]["train/loss"] == [(e, -e) for e in range(EPOCHS)]  # type: ignore[index]

    draws = np.random.default_rng(seed)
    for point in draws.integers(1, points, 3):
        assert in_process(f"kill:{point}") in (-signal.SIGKILL, 0)  # a resume has fewer points
    assert in_process("count") == 0
    send_left_over(60)
    statuses = all_runs()
    finished = [run for run, status in statuses.items() if status == "FINISHED"]
    assert finished
    for run in finished:
        assert said(run) == expected
    for run in statuses.keys() - set(finished):  # before the first checkpoint a run begins anew
        assert statuses[run] == "KILLED"
        histories = said(run)["histories"]
        assert not any(points for points in histories.values() if len(points) > 1)  # type: ignore[attr-defined]
    assert not journals(Path("mlruns"))


def test_points_wait_for_the_checkpoint_of_their_epoch() -> None:
    draws = np.random.default_rng(0)
    for _ in range(300):
        waiting, sent, here = Waiting(), Counter[tuple[str, int]](), 0
        confirmed = -1
        for _ in range(30):
            what = draws.choice(["log", "checkpoint", "crash"], p=[0.6, 0.3, 0.1])
            if what == "log":
                point = ["loss", float(here), 0, here]
                ready = waiting.passed({"op": "metrics", "points": [point], "epoch": here})
                assert not ready
                continue
            if what == "checkpoint":
                # killed between the checkpoint and its confirmation in one case of four
                ready = (
                    waiting.passed({"op": "confirm", "epoch": here}) if draws.random() < 0.75 else []
                )
                confirmed, here = here, here + 1
                if not ready and waiting.records:
                    ready = waiting.passed({"op": "resume", "epoch": here})
            else:
                here = confirmed + 1
                ready = waiting.passed({"op": "resume", "epoch": here})
                assert not waiting.records
            for record in ready:
                sent[("loss", record["epoch"])] += 1
                assert record["epoch"] <= confirmed
        assert not any(one["epoch"] <= confirmed for one in waiting.records)


def test_a_torn_end_and_zeros_are_no_records(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.append("tag", name="a", value="1")
    with open(journal.path, "ab") as file:
        file.write(b"\0" * 30 + b"\n" + b'{"op": "ta')
    assert [record["op"] for _, record in journal.records()] == ["tag"]
    journal.append("tag", name="b", value="2")
    assert [record["name"] for _, record in journal.records()] == ["a", "b"]


def test_a_run_that_is_alive_is_not_opened_twice(work: Path) -> None:
    with RunLogger(Tracking(study="law"), "one") as logger:
        logger.log_metrics({"loss": 1.0}, step=0)
        with pytest.raises(InputFault, match="is being written by a process that is alive"):
            _ = RunLogger(Tracking(study="law"), resumed_run=logger.run).experiment
    again = RunLogger(Tracking(study="law"), resumed_run=logger.run)
    with again:
        again.log_metrics({"loss": 1.0}, step=0)
        again.log_metrics({"loss": 0.5}, step=1)
    points = mlflow_client().get_metric_history(logger.run, "loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.5)]


def hold_and_fork(ready: Event) -> None:
    """Hold a run, as a training with a loading process does."""
    with held("a" * 32):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
        child.start()
        Path("child").write_text(str(child.pid))
        ready.set()
        time.sleep(60)


def test_a_run_is_free_when_its_process_is_killed_whatever_its_children_do(work: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold_and_fork, args=(ready,))
    process.start()
    assert ready.wait(60)
    assert alive("a" * 32)
    process.kill()
    process.join()
    try:
        os.kill(int(Path("child").read_text()), 0)  # it lives
        assert not alive("a" * 32)
    finally:
        os.kill(int(Path("child").read_text()), signal.SIGKILL)


def test_the_heartbeat_of_another_folder_is_believed_for_a_while(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLogger(Tracking(study="law"), "one") as logger:
        store, run_id = mlflow_client(), logger.run
        beat = store.get_run(run_id).data.tags["heartbeat"]
        assert os.uname().nodename not in beat
        monkeypatch.setattr(liveness, "locked", lambda run_id: False)  # as it is elsewhere
        assert not alive(run_id)  # our own folder's word is its lock's
        for place, seconds, expected in (("0" * 12, 60, True), ("0" * 12, 100, False)):
            store.set_tag(run_id, "heartbeat", f"{place} 1 {time.time() - seconds:.0f}")
            assert alive(run_id) is expected
    assert "heartbeat" not in find_run(run_id).tags


def test_logging_does_not_wait_and_reading_does(work: Path) -> None:
    with RunLogger(Tracking(study="law"), "one") as logger:
        assert PAUSE > 1  # so that nothing of this is sent by itself
        logger.log_metrics({"loss": 1.0}, step=0)
        assert logger.experiment.get_run(logger.run).data.metrics == {"loss": 1.0}
        logger.log_metrics({"loss": 2.0}, step=0)  # outside a training another value is another score
        logger.log_metrics({"loss": 2.0}, step=0)
    assert find_run(logger.run).metrics == {"loss": 2.0}
    assert len(mlflow_client().get_metric_history(logger.run, "loss")) == 2
