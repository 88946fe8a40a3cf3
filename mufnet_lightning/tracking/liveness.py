"""Whether somebody still works on a run.

A process holds a file lock, `mlruns/locks/run-ID`, as long as it writes into a run; the system frees it
however the process ends. Other working folders and other machines that share a tracking server see
no such lock: for them the run carries a tag, `heartbeat`, which is renewed every half minute.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.run_ids import own_id, server_id
from mufnet_lightning.tracking.runs import STORE_FOLDER, mlflow_client

HEARTBEAT = "heartbeat"
"""The tag: where the process works (a digest, which names nobody's machine), its number, the time."""
PERIOD = 30.0
"""Seconds from one heartbeat to the next."""
_MISSED = 3  # heartbeats, after which nobody is alive
_A_SENDER = 3.0  # that it may be held to send what an earlier process left
_A_LOOK = 1.0  # seconds that another process may hold the lock to see whether it is free


@contextmanager
def held(run_id: str) -> Iterator[None]:
    """Work on a run, alone.

    Raises:
        InputFault: somebody else does.
    """
    path = _lock(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)  # a child that is forked does not hold it
    try:
        lock.acquire(timeout=_A_LOOK, poll_interval=0.05)
    except Timeout:
        raise InputFault(_busy(run_id)) from None
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows filelock removes it, when it is free
            path.unlink()
        lock.release()


def alive(run_id: str, *, elsewhere: bool = False) -> bool:
    """Whether a process works on a run: here, or where its heartbeat comes from.

    In this working folder the lock alone decides. The heartbeat of another one is believed for 90
    seconds, by the clocks of both machines.

    Args:
        run_id: of the run; where the store has no such run, the lock alone is looked at.
        elsewhere: look at other working folders alone.

    Raises:
        InputFault: the tracking server does not answer.
    """
    return (not elsewhere and locked(run_id)) or _beats_elsewhere(run_id)


def refuse_alive(run_id: str) -> None:
    """Let nobody go on with a run that somebody works on.

    Raises:
        InputFault: somebody does.
    """
    until = time.monotonic() + _A_SENDER
    while locked(run_id) and time.monotonic() < until:
        time.sleep(0.1)
    if alive(run_id):
        raise InputFault(_busy(run_id))


def locked(run_id: str) -> bool:
    """Whether a process works on a run in this working folder; no server is asked."""
    path = _lock(run_id)
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True


def heartbeat() -> str:
    """The tag's value, now."""
    return f"{_here()} {os.getpid()} {time.time():.0f}"


def _lock(run_id: str) -> Path:
    return STORE_FOLDER / "locks" / f"run-{own_id(STORE_FOLDER, run_id)}"


def _beats_elsewhere(run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        run = mlflow_client().get_run(server_id(STORE_FOLDER, run_id))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if run.info.status != "RUNNING":
        return False
    place, _, rest = run.data.tags.get(HEARTBEAT, "").partition(" ")
    try:
        age = time.time() - float(rest.rpartition(" ")[2])
    except ValueError:  # of an earlier version, which had none
        return False
    return place != _here() and abs(age) < _MISSED * PERIOD


def _here() -> str:
    """This machine and this working folder: who is in both sees the lock."""
    names = f"{platform.node()} {STORE_FOLDER.resolve()}"
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _busy(run_id: str) -> str:
    return (
        f"run {run_id} is being written by a process that is alive; wait for its end, or end it first "
        "(in a notebook: close its RunLogger)"
    )
