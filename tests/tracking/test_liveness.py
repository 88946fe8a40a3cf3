"""Who works on a run: in containers, on drives without locks, in archives; the killed are closed."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import platform
import signal
import threading
import time
from pathlib import Path

import pytest
from gateway import gateway

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system import locks
from mufnet_lightning.system.locks import alone, waiting
from mufnet_lightning.tracking import liveness, opening, written_directly
from mufnet_lightning.tracking.left_over import left_over, send_left_over
from mufnet_lightning.tracking.liveness import (
    HEARTBEAT,
    await_sender,
    heartbeat,
    held,
    locked,
    refuse_alive,
)
from mufnet_lightning.tracking.runs import find_run, mlflow_client, open_study
from mufnet_lightning.tracking.written_directly import at_work, close_killed, left_directly, new_run

RUN = "a" * 32


def begun(**tags: str) -> str:
    """The id of a run of the store."""
    return str(mlflow_client().create_run(open_study("liveness"), tags=tags).info.run_id)


def test_who_wants_a_run_waits_for_its_sender(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sending, over = threading.Event(), threading.Event()

    def send() -> None:
        with held(RUN, to_send=True):
            sending.set()
            over.wait(30)

    thread = threading.Thread(target=send)
    thread.start()
    assert sending.wait(30)
    with pytest.raises(InputFault, match="a process that is alive"), held(RUN, to_send=True):
        pass  # another sender does not wait
    threading.Timer(0.5, over.set).start()
    begin = time.monotonic()
    refuse_alive(RUN)
    with held(RUN):
        assert 0.3 < time.monotonic() - begin < 5
    thread.join()

    monkeypatch.setattr(liveness, "_SENDING", 0.2)  # one that sends nothing
    with held(RUN, to_send=True), pytest.raises(InputFault, match="a process that is alive"):
        await_sender(RUN)


def test_a_container_that_was_started_again_sees_the_locks_of_the_former_one(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = begun(heartbeat=heartbeat())
    monkeypatch.setattr(platform, "node", lambda: "another name")
    begin = time.monotonic()
    refuse_alive(run_id)
    assert time.monotonic() - begin < 2
    # elsewhere there is another kernel
    monkeypatch.setattr(liveness, "_BOOT", Path("boot"))
    Path("boot").write_text("of another machine")
    assert liveness.alive(run_id)


@pytest.mark.parametrize("again", [False, True])
def test_a_heartbeat_from_elsewhere_is_waited_out(
    work: Path, monkeypatch: pytest.MonkeyPatch, again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(liveness, "PERIOD", 10.0 if again else 0.4)
    elsewhere = "0" * 12
    run_id = begun(heartbeat=f"{elsewhere} 1 {time.time():.3f}")
    if not again:
        refuse_alive(run_id)
    else:
        client = mlflow_client()
        beat = f"{elsewhere} 2 {time.time():.0f}"
        threading.Timer(0.1, lambda: client.set_tag(run_id, HEARTBEAT, beat)).start()
        with pytest.raises(InputFault, match="alive in another folder or on another machine"):
            refuse_alive(run_id)
    assert "waiting until " in caplog.text


def test_who_is_alive_stays_so_while_the_server_is_away_and_until_it_has_heard_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, now = time.time(), 0.0
    monkeypatch.setattr(time, "time", lambda: began + now)
    monkeypatch.setattr(opening, "_FRESH", 0.0)
    monkeypatch.setattr(opening, "_ABSENT", 0.0)
    young, old = (f"elsewhere 1 {began - age:.0f}" for age in (60, 100))
    with gateway() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert opening.absent(uri) is None
        assert liveness.is_recent(young)
        assert not liveness.is_recent(old)
    assert opening.absent(uri) is not None
    now = 300.0
    assert opening.absent(uri) is not None
    with gateway(health=502, port=int(uri.rpartition(":")[2])):  # its proxy is back
        assert opening.absent(uri) == "its proxy answers 502"
    with gateway(port=int(uri.rpartition(":")[2])):
        assert opening.absent(uri) is None
    assert liveness.is_recent(young)
    assert not liveness.is_recent(old)
    now = 361.0
    assert not liveness.is_recent(young)


def test_on_a_drive_without_locks_work_goes_on_and_heartbeats_are_believed(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place, _, when = heartbeat().split(" ")
    run_id = begun(heartbeat=f"{place} 1 {when}")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_warned", set())
    with held(run_id):
        assert locked(run_id)  # by this process
        with waiting(Path("mlruns/locks/ids")), alone(Path("mlruns/locks/cv"), "busy"):
            pass
    assert not locked(run_id)
    assert Path(f"mlruns/locks/run-{run_id}").exists()  # another process may work, too
    assert liveness.alive(run_id)
    with held(run_id, to_send=True):
        assert liveness.alive(run_id, elsewhere=True)
    mlflow_client().set_tag(run_id, HEARTBEAT, heartbeat())
    assert not liveness.alive(run_id)  # one's own
    mlflow_client().set_tag(run_id, HEARTBEAT, f"{place} 1 1")
    assert not liveness.alive(run_id)
    assert caplog.text.count("has no file locks (No locks available)") == 1


def test_locks_of_an_archive_and_of_others_are_seen(work: Path) -> None:
    path = Path(f"mlruns/locks/run-{RUN}")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    path.chmod(0o444)
    if os.geteuid() == 0:
        for folder in (path.parent, path.parent.parent, work, *work.parents[:-2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        os.seteuid(65534)
    else:
        path.parent.chmod(0o555)
    try:
        assert not locked(RUN)
        with open(path, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert locked(RUN)
        with pytest.raises(OSError, match="Permission denied"), held(RUN):
            pass
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        path.parent.chmod(0o755)


def killed_at_work(ready: Path) -> None:
    """A comparison and a cross-validation, in the middle."""
    with new_run(open_study("liveness"), "comparison", {"verb": "compare"}) as run_id, at_work(begun()):
        ready.write_text(run_id)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_without_a_journal_whose_process_was_killed_is_closed_by_the_next_call(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = multiprocessing.get_context("fork").Process(target=killed_at_work, args=(Path("ready"),))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    run_id = Path("ready").read_text()
    assert find_run(run_id).status == "RUNNING"
    # one that goes on is left alone, and so is one of another store
    with new_run(open_study("liveness"), "alive", {}) as other:
        assert HEARTBEAT in find_run(other).tags
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/other.db")
            assert close_killed() == []
        assert len(close_killed()) == 2
        assert find_run(other).status == "RUNNING"
    run = find_run(run_id)
    assert (run.status, run.tags["reason"]) == ("KILLED", "its process was killed")
    assert find_run(other).status == "FINISHED"
    assert HEARTBEAT not in {**find_run(other).tags, **run.tags}
    assert left_directly() == []
    assert left_over() == []

    # of two that go at once each sees the other, and leaves the run's end to it
    run_id = begun()
    mlflow_client().update_run(run_id, status="RUNNING")
    with monkeypatch.context() as patch:
        patch.setattr(written_directly, "others_at_work", lambda *_, **__: True)
        with at_work(run_id, shared=True), at_work(run_id, shared=True):
            pass
    assert len(close_killed()) == 1
    assert find_run(run_id).status == "KILLED"
    assert left_directly() == []

    with at_work(begun()):  # and nobody closes it, as where the store is away then
        (note,) = Path("mlruns/direct").iterdir()
    name = note.name
    assert main(["sync"]) == 0
    assert capsys.readouterr().out.endswith("its process was killed; it is closed as KILLED\n")
    note.write_text("")
    send_left_over(30)  # it is closed already: nothing happens
    assert find_run(name).status == "KILLED"
    assert not note.exists()
