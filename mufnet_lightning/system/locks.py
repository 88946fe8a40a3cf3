"""Work that only one process may do at a time.

The operating system frees a lock when its process ends, however that ends.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Lock:
    """A lock that is held here, and what a child process needs to hold it as well. It can be pickled.

    A second file, `path` with `.child` behind it, says that a child works: who asks for the lock later
    looks at both, so a child that outlives its killed parent keeps others out until it ends.
    """

    path: Path
    fault: str

    @contextmanager
    def in_child(self) -> Iterator[None]:
        """In the child process: hold the lock too, whatever becomes of the parent.

        Raises:
            InputFault: a child of somebody else works.
        """
        with _held(_of_child(self.path), self.fault):
            yield


@contextmanager
def alone(path: Path, fault: str, *, remove: bool = False) -> Iterator[Lock]:
    """Hold a lock, or refuse at once.

    Args:
        path: its file; the folder is made where it is not there.
        fault: what to say where somebody else holds it.
        remove: leave no file behind.

    Yields:
        The lock, for child processes to hold as well (`Lock.in_child`).

    Raises:
        InputFault: another process holds it, or a child of one that was killed does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path, fault, remove):
        child = _of_child(path)
        if child.exists():
            with _held(child, fault, remove=True):
                pass
        yield Lock(path, fault)


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
def _held(path: Path, fault: str, remove: bool = False) -> Iterator[None]:
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
def _removed(path: Path, remove: bool) -> Iterator[None]:
    """While it is held: who waits for the file that goes notices, and makes a new one."""
    try:
        yield
    finally:
        if remove:
            with suppress(OSError):  # on Windows filelock removes it, when it is free
                path.unlink()


def _of_child(path: Path) -> Path:
    return path.with_name(f"{path.name}.child")
