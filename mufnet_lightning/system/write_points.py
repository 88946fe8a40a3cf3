"""Numbered points at which a write can be made to fail, so that a test can fail each of them once.

Each step of `files` that changes the disk passes a point before it is taken. Nothing happens there
unless the environment asks for it:

    MUFNET_WRITE_FAULT=kill:17      the 17th point ends its process by SIGKILL; `count` only counts
    MUFNET_WRITE_LOG=FILE           counts over all processes of a command, a line of `WIDTH` a point

A fault is `kill` (of the process), `killgroup` (of its process group: the command with its workers),
`torn` (a write or removal is done by half, then `killgroup`), or the name of an error number (ENOSPC,
EIO, EACCES, ...), which is raised; `ENOSPC:17+` fails from the 17th point on, as a disk that is full
does, on which one can still remove.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from pathlib import Path

FAULT, LOG = "MUFNET_WRITE_FAULT", "MUFNET_WRITE_LOG"
WIDTH = 256
"""Bytes of a line of the log: `kind inode modification-time size path`, cut or filled with spaces."""
REMOVE = "remove"
_counted = itertools.count(1)


def write_point(kind: str, path: Path | str, written: int | None = None) -> None:
    """Pass a point; only where the environment asks for it does anything happen.

    Args:
        kind: of the step that comes next: `draft` (a file is opened to be written), `part` (a file of a
            folder that is not in its place yet is written), `sync` (what was written is brought to the
            disk), `rename`, `link`, `append`, `folder` (one is made), `remove`.
        path: what it is done to.
        written: bytes at the end of the file that may be torn here; None: all of them.

    Raises:
        OSError: it was asked for.
    """
    if FAULT not in os.environ:
        return
    asked, _, which = os.environ[FAULT].partition(":")
    number = _number(kind, path)
    if asked == "count":
        return
    first = int(which.removesuffix("+"))
    if number != first and not (which.endswith("+") and number > first):
        return
    if asked == "torn":
        _tear(kind, Path(path), written)
    if asked == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked in ("killgroup", "torn"):
        os.killpg(0, signal.SIGKILL)
    if asked == "ENOSPC" and kind == REMOVE:
        return
    code = getattr(errno, asked)
    raise OSError(code, os.strerror(code), str(path))


def _number(kind: str, path: Path | str) -> int:
    """Of this point, from 1."""
    log = os.environ.get(LOG)
    if log is None:
        return next(_counted)
    try:
        status = os.stat(path)
        seen = f"{kind} {status.st_ino} {status.st_mtime_ns} {status.st_size} "
    except OSError:
        seen = f"{kind} 0 0 0 "
    name = os.fspath(path)[-(WIDTH - len(seen) - 1) :]
    line = f"{seen}{name}".encode("ascii", "replace").ljust(WIDTH - 1) + b"\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
        return os.lseek(descriptor, 0, os.SEEK_CUR) // WIDTH  # the end of our line, whoever else writes
    finally:
        os.close(descriptor)


def _tear(kind: str, path: Path, written: int | None) -> None:
    if kind == "sync":
        length = path.stat().st_size
        os.truncate(path, length - (length if written is None else written + 1) // 2)
    elif kind == "part":
        path.write_bytes(b"\0" * 100)
    elif kind == REMOVE and path.is_dir():
        for file in sorted(file for file in path.rglob("*") if not file.is_dir())[::2]:
            file.unlink()
