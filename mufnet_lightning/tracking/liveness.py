"""Whether somebody still works on a run.

A process holds a file lock, `mlruns/locks/run-ID`, as long as it writes into a run; the system frees it
however the process ends. Who only sends what an earlier process left holds `mlruns/locks/sender-ID`
too, and is waited for. Other working folders and other machines that share a tracking server see no
such lock: for them the run carries a tag, `heartbeat`, which is renewed every half minute.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.locks import acquired
from mufnet_lightning.tracking.opening import last_outage
from mufnet_lightning.tracking.run_ids import own_id, server_id
from mufnet_lightning.tracking.runs import STORE_FOLDER, mlflow_client, tracking_uri

HEARTBEAT = "heartbeat"
"""The tag: where the process works (a digest, which names nobody's machine), its number, the time."""
RESUMED = "resumed"
"""The tag of a run that was gone on with: where and when that was last, as in a heartbeat."""
PERIOD = 30.0
"""Seconds from one heartbeat to the next."""
_MISSED = 3  # heartbeats, after which nobody is alive
_BACK = 60.0  # seconds after an outage of the server in which everybody has renewed its own
_ENDING = 3.0  # seconds that a process may take to let a run go
_A_LOOK = 1.0  # seconds that another process may hold the lock to see whether it is free
_SENDING = 600.0  # seconds in which a sender must send something
_SOON, _OFTEN = 0.1, 2.0  # seconds from one look at a lock, or at a server, to the next
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_without_lock: set[Path] = set()
"""What this process holds on a drive that has no locks."""
log = logging.getLogger(__name__)


@contextmanager
def held(run_id: str, *, to_send: bool = False) -> Iterator[None]:
    """Work on a run, alone.

    Args:
        run_id: of the run.
        to_send: only to send what an earlier process left: who wants the run meanwhile waits.

    Raises:
        InputFault: somebody else does.
        OSError: the lock cannot be written here.
    """
    if not to_send:
        await_sender(run_id)
        with _taken(_lock(run_id), run_id):
            yield
        return
    with _taken(_lock(run_id, "sender"), run_id), _taken(_lock(run_id), run_id):
        yield


def await_sender(run_id: str) -> None:
    """Wait while a process, this one too, sends what an earlier one left of a run.

    Raises:
        InputFault: it has sent nothing for ten minutes.
    """
    path, told_at = _lock(run_id, "sender"), time.monotonic() + _ENDING
    seen, until = 0.0, time.monotonic() + _SENDING
    while is_sent(run_id):
        now = time.monotonic()
        with suppress(OSError):
            if path.stat().st_mtime != seen:
                seen, until = path.stat().st_mtime, now + _SENDING
        if now > until:
            raise InputFault(_busy(run_id))
        if now > told_at:
            told_at = float("inf")
            log.info("waiting until what an earlier call left of run %s is sent", run_id)
        time.sleep(_SOON)


def is_sent(run_id: str) -> bool:
    """Whether a process just sends what an earlier one left of a run."""
    return bool(is_held(_lock(run_id, "sender")))


def tell_sent(run_id: str) -> None:
    """Say to who waits for a sender that it has sent something."""
    with suppress(OSError):
        os.utime(_lock(run_id, "sender"))


@contextmanager
def beating(beat: Callable[[], object], *, at_once: bool) -> Iterator[None]:
    """Renew a sign of life every half minute, by a thread of its own.

    Args:
        beat: renews it; where it fails, the next one will do.
        at_once: the first one now, else after half a minute.
    """
    over = threading.Event()

    def work() -> None:
        pause = 0.0 if at_once else PERIOD
        while not over.wait(pause):
            with suppress(Exception):
                beat()
            pause = PERIOD

    threading.Thread(target=work, daemon=True, name="mufnet-heartbeat").start()
    try:
        yield
    finally:
        over.set()


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
    return (not elsewhere and locked(run_id)) or _last_beat(run_id) is not None


def refuse_alive(run_id: str) -> None:
    """Let nobody go on with a run that somebody works on; see `await_silence` too.

    Raises:
        InputFault: somebody does.
    """
    await_sender(run_id)
    until = time.monotonic() + _ENDING
    while locked(run_id):
        if time.monotonic() > until:
            raise InputFault(_busy(run_id))
        time.sleep(_SOON)
    await_silence(run_id)


def await_silence(run_id: str) -> None:
    """Where the last sign of life is a heartbeat from elsewhere, wait until it is too old.

    So one that was killed and begins again on another machine, or in another folder, comes to its run.

    Raises:
        InputFault: there is another one meanwhile: somebody works on the run.
    """
    first = beat = _last_beat(run_id)
    if first is None:
        return
    until = time.monotonic() + _MISSED * PERIOD
    log.info(
        "run %s was written in another folder, container or machine a moment ago; waiting until %s at "
        "the latest whether that still works",
        run_id,
        time.strftime("%H:%M:%S", time.localtime(time.time() + _MISSED * PERIOD)),
    )
    while beat is not None and time.monotonic() < until:
        if beat != first:
            raise InputFault(_busy(run_id, " in another folder or on another machine"))
        time.sleep(min(_OFTEN, PERIOD / 10))
        beat = _last_beat(run_id)


def locked(run_id: str) -> bool:
    """Whether a process works on a run in this working folder; no server is asked."""
    return bool(is_held(_lock(run_id)))


def heartbeat() -> str:
    """The tag's value, now."""
    return f"{_here()} {os.getpid()} {time.time():.0f}"


def of_this_process(beat: str) -> bool:
    """Whether a heartbeat is this very process's."""
    return beat.rpartition(" ")[0] == heartbeat().rpartition(" ")[0]


def is_recent(beat: str) -> bool:
    """Whether a heartbeat is believed: no three of them were missed, by the clocks of both machines.

    Nobody can renew one while the server is away: what was young when it went is young until all have
    had the time to.
    """
    now, at = time.time(), time_of(beat)
    since, until = last_outage(tracking_uri())
    away = abs(since - at) < _MISSED * PERIOD and now < until + _BACK
    return away or abs(now - at) < _MISSED * PERIOD


def believed_until(run_id: str) -> str:
    """The time of day when the heartbeat from elsewhere is too old; empty where there is none."""
    beat = _last_beat(run_id)
    if beat is None:
        return ""
    ends = max(
        time_of(beat) + _MISSED * PERIOD, min(last_outage(tracking_uri())[1], time.time()) + _BACK
    )
    return time.strftime("%H:%M:%S", time.localtime(ends))


@contextmanager
def _taken(path: Path, run_id: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)  # a child that is forked does not hold it
    try:
        has = acquired(lock, _A_LOOK)
    except Timeout:
        raise InputFault(_busy(run_id)) from None
    if not has:
        _without_lock.add(path.absolute())
    try:
        yield
    finally:
        _without_lock.discard(path.absolute())
        with suppress(OSError):  # on Windows filelock removes it, when it is free
            if has:  # else others may be at work, too
                path.unlink()
        lock.release()


def is_held(path: Path) -> bool | None:
    """Whether a lock is held; None on a drive without locks, where nobody can tell."""
    if path.absolute() in _without_lock:
        return True
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        free = acquired(lock, 0)
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        return _look_only(path)  # an archive, or somebody else's
    lock.release()
    return False if free else None


def _look_only(path: Path) -> bool:
    """The same, of a file that may not be written."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks there, or nothing that may be seen
        return False
    return False


def _lock(run_id: str, kind: str = "run") -> Path:
    return STORE_FOLDER / "locks" / f"{kind}-{own_id(STORE_FOLDER, run_id)}"


def _last_beat(run_id: str) -> str | None:
    """The heartbeat of a run, where it is believed: young, and from where no lock is seen."""
    from mlflow.exceptions import MlflowException

    try:
        run = mlflow_client().get_run(server_id(STORE_FOLDER, run_id))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        reason = str(error).splitlines()[0]
        raise InputFault(
            f"the tracking store does not say whether run {run_id} goes on: {reason}"
        ) from None
    if run.info.status != "RUNNING":
        return None
    beat = str(run.data.tags.get(HEARTBEAT, ""))
    return beat if is_recent(beat) and _is_unseen(beat, _lock(run_id)) else None


def _is_unseen(beat: str, lock: Path) -> bool:
    """Whether a heartbeat comes from where no lock tells more: from elsewhere, or without locks."""
    place, process = (*beat.split(" "), "", "")[:2]
    if place != _here():
        return True
    # a lock that this process itself holds says nothing of others where there are none
    without = lock.absolute() in _without_lock or is_held(lock) is None
    return without and process != str(os.getpid())


def time_of(beat: str) -> float:
    """Of a heartbeat, in seconds since 1970; of an earlier version, which had none, long ago."""
    try:
        return float(beat.rpartition(" ")[2])
    except ValueError:
        return 0.0


def machine() -> str:
    """This machine, since it was started; all its containers are the same one."""
    try:
        return _BOOT.read_text(encoding="utf-8").strip()
    except OSError:
        return platform.node()


def _here() -> str:
    """This working folder, and the system whose locks are seen in it.

    All containers of one machine have one kernel, and see each other's locks whatever their names are.
    """
    try:
        there = STORE_FOLDER.stat()
        names = f"{machine()} {there.st_dev} {there.st_ino}"
    except OSError:
        names = f"{platform.node()} {STORE_FOLDER.resolve()}"
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _busy(run_id: str, where: str = "") -> str:
    return (
        f"run {run_id} is being written by a process that is alive{where}; wait for its end, or end it "
        "first (in a notebook: close its RunLogger)"
    )
