"""Work that only one process may do at a time.

The operating system frees a lock when its process ends, however that ends.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mufnet_lightning.errors import InputFault

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What some shared drives say of every file lock."""
_warned: set[Path] = set()
log = logging.getLogger(__name__)


def acquired(lock: FileLock, seconds: float = -1) -> bool:
    """Acquire a lock; where the drive knows no file locks a warning says so, once, and work goes on.

    Args:
        lock: to be released by the caller, whatever this returns.
        seconds: to wait for whoever holds it; negative: for ever.

    Returns:
        Whether it is held; False on a drive without locks.

    Raises:
        Timeout: somebody else holds it.
        OSError: its file cannot be made.
    """
    try:
        lock.acquire(timeout=seconds, poll_interval=0.05)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        folder = Path(lock.lock_file).parent.resolve()
        if folder not in _warned:
            _warned.add(folder)
            log.warning(
                "warning: the drive of %s has no file locks (%s): nothing keeps two processes from "
                "writing there at once; let only one work at a time",
                folder,
                error.strerror,
            )
        return False
    return True


@contextmanager
def alone(path: Path, fault: str, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock, or refuse at once.

    Args:
        path: its file; the folder is made where it is not there.
        fault: what to say where somebody else holds it.
        remove: leave no file behind.

    Raises:
        InputFault: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while True:
        try:
            acquired(lock, 0)
            break
        except Timeout:
            if path.exists():  # else its owner removed it between the lock's two steps
                raise InputFault(fault) from None
    try:
        with _removed(path, remove):
            yield
    finally:
        lock.release()


@contextmanager
def waiting(path: Path, *, remove: bool = False) -> Iterator[None]:
    """Hold a lock, after whoever holds it now.

    Args:
        path: its file; the folder is made where it is not there.
        remove: leave no file behind.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    acquired(lock)
    try:
        with _removed(path, remove):
            yield
    finally:
        lock.release()


@contextmanager
def _removed(path: Path, remove: bool) -> Iterator[None]:
    """While it is held: who waits for the file that goes notices, and makes a new one."""
    try:
        yield
    finally:
        if remove:
            with suppress(OSError):  # on Windows filelock removes it, when it is free
                path.unlink()
