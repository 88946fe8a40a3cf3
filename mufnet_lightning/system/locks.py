"""Work that only one process may do at a time.

The operating system frees a lock when its process ends, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mufnet_lightning.errors import InputFault


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
    with FileLock(path), _removed(path, remove):
        yield


@contextmanager
def _held(path: Path, fault: str, remove: bool = False) -> Iterator[None]:
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(blocking=False)
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
