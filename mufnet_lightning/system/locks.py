"""One cross-validation at a time, ended as its user would end it."""

from __future__ import annotations

import fcntl
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mufnet_lightning.errors import InputFault


@contextmanager
def alone(path: Path) -> Iterator[int]:
    """Hold the lock of a cross-validation; its folds hold it too, so one that outlives us is known.

    Yields:
        The lock's file descriptor, for the folds' processes.

    Raises:
        InputFault: somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputFault(
                "this cross-validation is running already, or a fold of one that was killed still is "
                f"(a process holds {file.name})"
            ) from None
        yield file.fileno()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as from a cluster's scheduler, ends the run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
