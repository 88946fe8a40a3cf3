"""What is left of a run is sent, whatever is in the way: senders, refused files, full disks."""

from __future__ import annotations

import inspect
import io
import itertools
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gateway import gateway
from mlflow import MlflowClient

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.cross_validation import state_of
from mufnet_lightning.study.job import sent_folds
from mufnet_lightning.system import write_points
from mufnet_lightning.tracking import liveness, outbox, uploads
from mufnet_lightning.tracking.checkpoints import last_checkpoint
from mufnet_lightning.tracking.journal import Journal, journals
from mufnet_lightning.tracking.left_over import run_behind, send_left_over
from mufnet_lightning.tracking.liveness import HEARTBEAT, RESUMED, locked
from mufnet_lightning.tracking.mlflow_calls import Unsent
from mufnet_lightning.tracking.outbox_client import OutboxClient
from mufnet_lightning.tracking.run_id_calls import AT_THE_STORE
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    Tracking,
    find_run,
    find_runs,
    mlflow_client,
    open_study,
)
from mufnet_lightning.tracking.sending import Sender
from mufnet_lightning.training.logger import RunLogger

DATABASE = Path("mlruns/mlflow.db")
KEPT = Path("mlruns")


def begun(name: str = "one", **tags: str) -> RunLogger:
    """A logger whose run has been opened."""
    logger = RunLogger(Tracking(study="sending"), name, tags)
    assert logger.run
    return logger


def killed_at(work: Callable[[], object], fault: str = "count") -> int | None:
    """The exit code of a process that does it, with a fault at a write point."""

    def run() -> None:
        os.environ["MUFNET_WRITE_FAULT"] = fault
        write_points._counted = itertools.count(1)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return process.exitcode


def killed() -> None:
    logger = begun("broken")
    logger.log_metrics({"loss": 1.0}, step=0)
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def database_locked() -> Iterator[None]:
    """Another program writes into it."""
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def soon(work: Callable[[], object]) -> None:
    """Do it in a moment, beside this thread."""
    threading.Timer(0.4, work).start()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_run_is_waited_for_that_a_thread_of_this_process_still_sends(work: Path) -> None:
    assert killed_at(killed) == -9
    (folder,) = journals(KEPT)
    mlflow_client()
    with closing(sqlite3.connect(DATABASE, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        soon(lambda: other.execute("ROLLBACK"))
        send_left_over(0.2)
        assert locked(folder.name)
        run = run_behind(folder.name)
    assert run is not None
    assert run.status == "KILLED"
    assert not journals(KEPT)


def test_what_was_killed_on_another_machine_a_moment_ago_is_waited_for(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert killed_at(killed) == -9
    (folder,) = journals(KEPT)
    ahead = time.time() + 0.5  # by that machine's clock
    mlflow_client().set_tag(folder.name, HEARTBEAT, f"{'0' * 12} 1 {ahead}")
    monkeypatch.setattr(liveness, "PERIOD", 0.3)
    run = run_behind(folder.name)
    assert run is not None
    assert run.status == "KILLED"


def test_a_fold_whose_end_was_not_sent_yet_is_done(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = mlflow_client()
    parent = TrackedRun.of(client.create_run(open_study("sending"), tags={"verb": "cv"}))
    fold = begun(fold="1", **{"mlflow.parentRunId": parent.id})
    fold.experiment.flush()
    monkeypatch.setattr(outbox, "_TO_CLOSE", 0.2)

    def away(*_: object) -> None:
        raise Unsent("away")

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", away)
        fold.close("FINISHED")
        requests_end()
    assert "`mufnet sync` sends them" in caplog.text
    assert find_run(fold.run).status == "RUNNING"
    assert list(sent_folds(parent)) == [1]
    assert state_of(parent) == "folds 1 are done"
    # where nobody answers, nobody is waited for
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    begin = time.monotonic()
    assert state_of(parent) == "the tracking server does not answer, and knows which folds are done"
    assert time.monotonic() - begin < 5


def requests_end() -> None:
    """A run is held as long as a request of it is on its way, whoever has given up waiting."""
    for thread in threading.enumerate():
        if thread.name == "mufnet-outbox":
            thread.join(60)


class Artifacts(ThreadingHTTPServer):
    """A store of artifacts behind the tracking server, which refuses some of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.status, self.delay = 403, 0.0
        self.kept: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Asked(BaseHTTPRequestHandler):
    server: Artifacts

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        refused = self.server.status if "refused" in self.path else 200
        time.sleep(self.server.delay)
        if refused == 200:
            self.server.kept[self.path.rpartition("/artifacts/")[2]] = content
        self.send_response(refused)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:
        pass


@pytest.fixture
def artifacts(work: Path) -> Iterator[Artifacts]:
    """Where the runs of the study `sending` keep them."""
    server = Artifacts()
    mlflow_client().create_experiment("sending", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [403, 404, 501])
def test_a_file_that_the_store_of_artifacts_refuses_holds_nothing_up(
    artifacts: Artifacts,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifacts.status = status
    monkeypatch.setattr(outbox, "_TO_CLOSE", 0.3)
    with begun() as logger:
        client = logger.experiment
        client.log_text(logger.run, "first", "refused.txt")
        client.log_text(logger.run, "settings", "config.yaml")
        logger.log_metrics({"loss": 1.0}, step=0)
        assert client.get_run(logger.run).data.metrics == {"loss": 1.0}
        client.log_text(logger.run, "second", "refused.txt")
    run = find_run(logger.run)
    assert (run.status, run.metrics) == ("FINISHED", {"loss": 1.0})
    assert HEARTBEAT not in run.tags
    assert artifacts.kept == {"config.yaml": b"settings"}
    told = [text for text in caplog.messages if "does not take refused.txt" in text]
    assert len(told) == 1
    assert str(status) in told[0]
    assert "`mufnet sync` sends them" in caplog.text
    assert main(["sync"]) == 2
    assert "1 of them are kept" in capsys.readouterr().err
    artifacts.status = 200
    assert main(["sync"]) == 0
    assert artifacts.kept["refused.txt"] == b"second"  # the later one
    assert not journals(KEPT)


def test_files_wait_while_a_proxy_answers_in_place_of_the_server(work: Path) -> None:
    run_id = "0" * 32
    journal = Journal(KEPT / "outbox" / run_id)
    Path("scores.csv").write_text("score\n0.5\n")
    journal.append_file(Path("scores.csv"), None)
    ((_, record),) = journal.records()
    sent = uploads.Uploads(journal, ())
    with gateway(status=404) as uri:
        sent.send(MlflowClient(uri), run_id, record, lambda: None)
    assert sent.later == (record["file"],)


def test_a_model_that_is_still_to_be_logged_is_told(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def ended() -> None:
        logger = begun()
        with database_locked():
            logger.experiment.end("FINISHED", {}, [None])
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(ended) == -9
    for _ in range(2):
        caplog.clear()
        send_left_over(60)
        (told,) = [text for text in caplog.messages if "left by an earlier call" in text]
        assert "its model is still to be logged: `mufnet sync` does that" in told
    (run,) = _runs()
    assert run.is_finished


def test_what_is_left_of_a_run_that_went_on_elsewhere_does_not_change_it(
    work: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/mlruns/mlflow.db")
    monkeypatch.setattr(liveness, "PERIOD", 0.4)

    def stopped() -> None:
        logger = begun()
        with database_locked():
            logger.log_metrics({"loss": 1.0}, step=0)
            logger.experiment.end("KILLED", {"reason": "interrupted"})
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(stopped) == -9
    (run,) = _runs()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    time.sleep(1.1)  # times are in seconds
    for loss in (0.5, 0.25):  # twice: its own resume is none of somebody else's
        with RunLogger(Tracking(study="sending"), resumed_run=run.id) as logger:
            logger.log_metrics({"loss": loss}, step=int(1 / loss))
    monkeypatch.chdir(work)
    assert main(["sync"]) == 0
    assert "FINISHED; went on elsewhere, nothing is sent" in capsys.readouterr().out
    assert "was gone on with in another folder" in caplog.text
    run = find_run(run.id)
    assert (run.status, run.metrics) == ("FINISHED", {"loss": 0.25})
    points = mlflow_client().get_metric_history(run.id, "loss")
    assert [(one.step, one.value) for one in points] == [(2, 0.5), (4, 0.25)]
    assert "reason" not in run.tags
    assert not journals(KEPT)
    # a resume here is later than that one
    with RunLogger(Tracking(study="sending"), resumed_run=run.id) as logger:
        logger.log_metrics({"loss": 0.125}, step=8)
    assert find_run(run.id).metrics == {"loss": 0.125}


def test_a_checkpoint_behind_the_runs_last_epoch_is_gone_on_with_where_it_is_the_runs_own(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with begun() as logger:
        for epoch in range(4):
            logger.log_metrics({"train/loss": 1.0}, step=epoch)
    with RunLogger(Tracking(study="sending"), resumed_run=logger.run) as again:
        with pytest.raises(InputFault, match="has 4 epochs, and this checkpoint goes on behind 2"):
            again.start_training(2, True, "earlier.ckpt")
        assert RESUMED not in find_run(logger.run).tags
        again.start_training(2, True, str(last_checkpoint(logger.run)))
        assert "its last checkpoint here is behind 2 of them" in caplog.text
    assert RESUMED in find_run(logger.run).tags


def test_a_large_file_that_is_refused_again_and_again_is_not_waited_for(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.delay = 0.3
    monkeypatch.setattr(outbox, "_TO_CLOSE", 0.3)
    monkeypatch.setattr(uploads, "_LARGE", 0)
    logger = begun()
    logger.experiment.log_text(logger.run, "large", "refused.txt")
    closing = threading.Thread(target=logger.close, args=("FINISHED",), daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert find_run(logger.run).status == "FINISHED"


def test_sync_on_a_full_disk_says_so_in_a_sentence(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert killed_at(killed) == -9
    monkeypatch.setenv("MUFNET_WRITE_FAULT", "ENOSPC:1+")
    assert main(["sync"]) == 2
    err = capsys.readouterr().err
    assert "nothing can be written here: No space left on device" in err
    assert "Traceback" not in err


@contextmanager
def under_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunLogger]:
    """A run that was begun while the store was away, and is there now."""
    mlflow_client()
    monkeypatch.setattr(outbox, "_FOR_A_DATABASE", 0.1)
    with database_locked():
        logger = begun()
    with logger:
        logger.experiment.flush()
        assert logger.run != logger.experiment.outbox.sender.run_id
        yield logger


def test_a_run_has_its_own_id_in_every_call_of_mlflow(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes_a_run = {
        name
        for name, call in inspect.getmembers(MlflowClient, inspect.isfunction)
        if {"run_id", "run_ids", "source_run_id"} & set(inspect.signature(call).parameters)
        and not name.startswith("_")
    }
    by_others = {"log_dict", "log_figure", "log_image", "log_stream", "log_table", "log_text"}
    assert takes_a_run - by_others - set(AT_THE_STORE) - set(vars(OutboxClient)) == set()

    with under_an_id_of_its_own(monkeypatch) as logger:
        client, own = logger.experiment, logger.run
        there = str(client.outbox.sender.run_id)
        assert client.get_parent_run(own) is None
        child = client.create_run(logger.experiment_id, tags={"mlflow.parentRunId": own}).info.run_id
        parent = client.get_parent_run(child)
        assert parent is not None
        assert parent.info.run_id == there
        client.log_outputs(own, models=[])
        client.log_stream(own, io.BytesIO(b"content"), "stream.bin")
        client.log_table(own, {"a": [1]}, "table.json")
        assert list(client.load_table(logger.experiment_id, "table.json", [own])["a"]) == [1]
        assert {entry.path for entry in client.list_artifacts(own)} == {"stream.bin", "table.json"}
        client.delete_run(own)
    assert mlflow_client().get_run(there).info.lifecycle_stage == "deleted"


def test_of_a_run_that_was_deleted_one_warning_says_so(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with begun() as logger:
        logger.experiment.flush()
        mlflow_client().delete_run(logger.run)
        for step in range(20):
            logger.log_metrics({"loss": 1.0}, step=step)
        logger.experiment.flush()
        logger.log_hyperparams({"lr": 0.1})
    told = [text for text in caplog.messages if "refuses" in text or "was deleted" in text]
    assert len(told) == 1
    assert "takes nothing more of it" in told[0]
    assert not journals(KEPT)


@pytest.mark.parametrize("when", ["begin", "close"])
def test_an_interrupt_lets_the_run_go(work: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    logger = begun()
    logger.experiment.flush()
    with database_locked():
        soon(interrupt)
        with pytest.raises(KeyboardInterrupt):
            begun("other") if when == "begin" else logger.close("FINISHED")
    logger.close("FINISHED")
    requests_end()
    send_left_over(30)
    assert not list(KEPT.glob("locks/run-*"))
    assert not journals(KEPT)
    statuses = sorted((run.name, run.status) for run in _runs())
    assert statuses == [("one", "FINISHED")] + [("other", "KILLED")] * (when == "begin")


def _runs() -> list[TrackedRun]:
    studies = [one.experiment_id for one in mlflow_client().search_experiments()]
    return [run for study in studies for run in find_runs(study)]


def test_no_run_goes_on_for_ever_that_a_full_disk_kept_from_beginning(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_study("sending")
    faults: list[str] = []
    for point in range(1, 12):
        monkeypatch.setattr(write_points, "_counted", itertools.count(1))
        monkeypatch.setenv("MUFNET_WRITE_FAULT", f"ENOSPC:{point}")
        try:
            logger = begun()
        except InputFault as fault:
            faults += fault.faults
        else:
            monkeypatch.delenv("MUFNET_WRITE_FAULT")
            logger.close("FINISHED")
    monkeypatch.delenv("MUFNET_WRITE_FAULT", raising=False)
    assert len(faults) > 2
    assert all("No space left on device" in fault for fault in faults)
    send_left_over(30)
    assert not journals(KEPT)
    assert "RUNNING" not in {run.status for run in _runs()}


def test_a_resume_that_is_killed_at_any_write_may_be_repeated(work: Path) -> None:
    with begun() as logger:
        logger.log_metrics({"loss": 1.0}, step=0)

    def resume() -> None:
        with RunLogger(Tracking(study="sending"), resumed_run=logger.run) as again:
            again.log_metrics({"later": 1.0}, step=1)

    for point in range(1, 7):
        assert killed_at(resume, f"kill:{point}") == -9
    resume()
    send_left_over(30)
    run = find_run(logger.run)
    assert (run.status, run.metrics) == ("FINISHED", {"loss": 1.0, "later": 1.0})


def test_a_run_that_is_taken_up_again_has_a_heartbeat_at_once(work: Path) -> None:
    with begun() as logger:
        pass
    with RunLogger(Tracking(study="sending"), resumed_run=logger.run) as again:
        assert again.experiment
        until = time.monotonic() + 10
        while HEARTBEAT not in find_run(logger.run).tags:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert HEARTBEAT not in find_run(logger.run).tags


def test_the_first_records_of_a_journal_are_there_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.begin_with([{"op": "create"}, {"op": "params"}], "there")
    assert [record["op"] for _, record in journal.records()] == ["create", "params"]
    assert not list(journal.records(journal.position.offset))
    journal.append("tag", name="a", value="1")
    assert [record["op"] for _, record in journal.records(journal.position.offset)] == ["tag"]
