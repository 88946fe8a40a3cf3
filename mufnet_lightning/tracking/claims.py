"""Pieces of a run that several processes share, as the folds of a cross-validation: who has one.

In a working folder a file lock decides, which the system frees however its process ends. Where a
tracking store is shared by several folders or machines, whoever wants a piece also writes its name into
a tag of the run, waits longer than a write takes, and has the piece if its name still stands there
(Fischer's algorithm, L. Lamport, A fast mutual exclusion algorithm, 1987). The name is renewed every
half minute, and nobody heeds it any more after three of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.locks import acquired
from mufnet_lightning.tracking.liveness import (
    PERIOD,
    beating,
    heartbeat,
    is_held,
    is_recent,
    of_this_process,
)
from mufnet_lightning.tracking.mlflow_calls import delete_tag, reason_of
from mufnet_lightning.tracking.runs import STORE_FOLDER, default_uri, mlflow_client, tracking_uri

_SETTLED = 2.0
"""Seconds within which whoever saw no name before has written its own."""


@contextmanager
def claimed(run_id: str, piece: str) -> Iterator[bool]:
    """Have a piece of a run to oneself, if nobody has it.

    Args:
        run_id: of the run.
        piece: name of it, as `fold3`.

    Yields:
        Whether it is this process's now.

    Raises:
        InputFault: the tracking store does not say who has it.
        OSError: the lock cannot be written.
    """
    path = _lock(run_id, piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)  # a child that is forked does not hold it
    try:
        has = acquired(lock, 0)
    except Timeout:
        yield False
        return
    try:
        if has and not is_shared():
            yield True
        else:
            with _named(run_id, piece, has) as mine:
                yield mine
    finally:
        if has:
            with suppress(OSError):  # on Windows filelock removes it, when it is free
                path.unlink()
        lock.release()


def is_claimed(run_id: str, piece: str) -> bool:
    """Whether some process has a piece of a run.

    Raises:
        InputFault: the tracking store does not say.
    """
    held = is_held(_lock(run_id, piece))
    if held or (held is False and not is_shared()):
        return bool(held)
    return _is_foreign(_name(run_id, piece), bool(held is not None))


def is_shared() -> bool:
    """Whether other working folders may record into the same store: no lock tells of them."""
    return tracking_uri() != default_uri()


def settle() -> None:
    """Wait until what others were writing, before they saw what was written here, can be read."""
    if is_shared():
        time.sleep(_SETTLED)


@contextmanager
def _named(run_id: str, piece: str, locked: bool) -> Iterator[bool]:
    client, tag = mlflow_client(), _tag(piece)
    mine = False
    begun = time.monotonic()
    if not _is_foreign(_name(run_id, piece), locked):
        client.set_tag(run_id, tag, heartbeat())
        in_time = time.monotonic() - begun < _SETTLED / 2
        # a name that was written late may stand over that of one who has it, and will renew it
        time.sleep(_SETTLED if in_time else PERIOD + _SETTLED)
        mine = of_this_process(_name(run_id, piece))
    if not mine:
        yield False
        return
    try:
        with beating(lambda: client.set_tag(run_id, tag, heartbeat()), at_once=False):
            yield True
    finally:
        with suppress(Exception):  # nobody heeds it for long
            delete_tag(client, run_id, tag)


def _name(run_id: str, piece: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(mlflow_client().get_run(run_id).data.tags.get(_tag(piece), ""))
    except MlflowException as error:
        raise InputFault(
            f"the tracking store does not say who works on {piece} of run {run_id}: {reason_of(error)}"
        ) from None


def _is_foreign(name: str, locked: bool) -> bool:
    """Whether it is of another process that is alive, as far as one can tell.

    Args:
        name: in the tag.
        locked: whether a lock tells of all processes of this folder.
    """
    if not is_recent(name) or of_this_process(name):
        return False
    return not (locked and name.split(" ")[0] == heartbeat().split(" ")[0])


def _tag(piece: str) -> str:
    return f"claim.{piece}"


def _lock(run_id: str, piece: str) -> Path:
    return STORE_FOLDER / "locks" / f"{piece}-{run_id}"
