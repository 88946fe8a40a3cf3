"""Files and folders that are whole or not there: drafted beside their place, then renamed.

The one place for writes that a user's work depends on. Before something takes its name it is on the
disk, and no longer only in the system's memory; each step passes a numbered point (`write_points`).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mufnet_lightning.system.drafts import draft_of, remove_quietly
from mufnet_lightning.system.write_points import REMOVE, write_point

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SYNCING_THREADS = 8  # 2,000 crops of 40 KB: 0.25 s; one thread takes 0.6 s, more than 8 gain nothing


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A draft to write in place of `path`, which takes that name when the block ends.

    Somebody who reads `path` meanwhile sees what was there before, all of it. Where the block is
    left by an exception the draft is removed and `path` stays as it was. What a process of this machine
    that was killed left in the folder is removed, too.

    Args:
        path: a file, to be replaced where it exists; or a folder, which must not exist or be empty.
            The folder that it lies in must exist.

    Yields:
        A name that is not there yet, in the same folder, with the same ending: to be made a file or a
        folder.

    Raises:
        OSError: it cannot be renamed, as when nothing was written.

    >>> from tempfile import mkdtemp
    >>> table = Path(mkdtemp()) / "table.csv"
    >>> with atomic_path(table) as draft:
    ...     _ = draft.write_text("a,b")
    ...     table.exists()
    False
    >>> table.read_text()
    'a,b'
    """
    path = Path(path)
    draft = draft_of(path)
    write_point("draft", draft)
    try:
        yield draft
        move_into_place(draft, path)
    finally:
        remove_quietly(draft)


def move_into_place(draft: Path, path: Path) -> None:
    """Rename a whole file, or a whole folder, to a name in the same folder; see `atomic_path`.

    Raises:
        OSError: it cannot be renamed, as where `path` is a folder that is not empty.
    """
    if draft.is_dir():
        _sync_inside(draft)
    elif draft.exists():
        sync_file(draft)
    write_point("rename", path)
    if os.name == "nt" and path.is_dir():
        path.rmdir()  # elsewhere an empty folder is replaced
    os.replace(draft, path)
    sync_folder(path.parent)


def write_part(path: Path, content: bytes | str) -> None:
    """Write a file of a folder that is not in its place yet: `move_into_place` brings it to the disk.

    Raises:
        OSError: it cannot be written; there may be half of it.
    """
    write_point("part", path)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_file(path: Path) -> None:
    """Remove a file, where it is there.

    Raises:
        OSError: it cannot be removed.
    """
    write_point(REMOVE, path)
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it.

    Raises:
        OSError: something in it cannot be removed.
    """
    write_point(REMOVE, path)
    shutil.rmtree(path)


def sync_file(path: Path, written: int | None = None) -> None:
    """Bring a file to the disk: until then a power cut may leave zeros in it, or nothing.

    Args:
        path: of the file.
        written: bytes that were added at its end; None: all of them.

    Raises:
        OSError: it cannot be done.
    """
    write_point("sync", path, written)
    _sync(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk, where the system can: Windows opens no folders."""
    if os.name == "posix":
        with suppress(OSError):  # some network drives sync none
            _sync(path, os.O_RDONLY)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file, or leave what is there; text in UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: str, mode: int = 0o666) -> None:
    """Write a whole file where there is none; of several processes one does.

    Args:
        path: its place.
        content: text, in UTF-8.
        mode: of the file, from its first byte on.

    Raises:
        FileExistsError: there is one by now.
        OSError: it cannot be written.
    """
    draft = draft_of(path)
    write_point("draft", draft)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(content)
        sync_file(draft)
        write_point("link", path)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        try:
            os.link(draft, path)
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
            os.replace(draft, path)  # a disk without links
        sync_folder(path.parent)
    finally:
        remove_quietly(draft)


def append_line(path: Path, text: str) -> None:
    """Add a line to a file, which is made where it is not there; it is on the disk when this returns.

    Several processes may add lines to one file, one after the other. What a crash left of a
    last line is cut off first, and so is what a full disk leaves of this one.

    Args:
        path: in a folder that exists.
        text: of the line, without a line end in it.

    Raises:
        OSError: it cannot be written; the file is as it was.
        ValueError: the text has a line end in it.

    >>> from tempfile import mkdtemp
    >>> journal = Path(mkdtemp()) / "journal"
    >>> append_line(journal, "first")
    >>> _ = journal.write_text(journal.read_text() + "torn by a cra")
    >>> list(read_lines(journal))
    ['first']
    >>> append_line(journal, "second")
    >>> list(read_lines(journal))
    ['first', 'second']
    """
    if "\n" in text:
        raise ValueError(f"a line with a line end in it: {text!r}")
    line = f"{text}\n".encode()
    write_point("append", path)
    made = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    written = 0
    try:
        _lock(descriptor)  # a line that is being written looks torn to others
        _cut_torn_line(descriptor)
        while written < len(line):
            written += os.write(descriptor, line[written:])
        write_point("sync", path, len(line))
        os.fsync(descriptor)
    except OSError:
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if written and os.fstat(descriptor).st_size == end:  # else somebody's line is behind ours
            os.ftruncate(descriptor, end - written)
        raise
    finally:
        _lock(descriptor, release=True)  # closing is not enough: a fork may have it too
        os.close(descriptor)
    if made:
        sync_folder(path.parent)


def read_lines(path: Path) -> Iterator[str]:
    """The whole lines of a file that `append_line` writes; none where there is no such file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: a line is no UTF-8, so it is damaged.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1].decode()


def portable_path(path: str | Path) -> str:
    """A path as it is seen from the working folder: what is logged names neither a machine nor a user.

    Where the way from here leads through the user's own folder, the last name alone.

    >>> portable_path(Path.cwd() / "store")
    'store'
    """
    try:
        seen = os.path.relpath(path, Path.cwd())
    except ValueError:  # another drive, on Windows
        return Path(path).name
    home = Path.home()
    return Path(path).name if home.name and home.name in Path(seen).parts else Path(seen).as_posix()


def portable_paths(values: Any) -> Any:
    """Plain values with every absolute path made portable, and every relative one that leads home."""
    if isinstance(values, Mapping):
        return {portable_paths(name): portable_paths(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(portable_paths(value) for value in values)
    if isinstance(values, Path):
        return Path(portable_paths(str(values)))
    if isinstance(values, str) and (os.path.isabs(values) or values.startswith(f"..{os.sep}")):
        return portable_path(values)
    return values


def cache_folder() -> Path:
    """Where this user's caches lie: `~/.cache/mufnet`, or mufnet/ in `XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mufnet"


def _sync(path: Path, access: int) -> None:
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, release: bool = False) -> None:
    """Let nobody else add a line meanwhile; without locks, as on some drives, nobody is kept out."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN if release else fcntl.LOCK_EX)


def _cut_torn_line(descriptor: int) -> None:
    """What is behind the last line end is of a process that was killed."""
    end = length = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        place = os.read(descriptor, end - start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < length:
        os.ftruncate(descriptor, end)


def _sync_inside(folder: Path) -> None:
    """All that is in a folder that nobody else writes to."""
    folders = [Path(root) for root, _, _ in os.walk(folder)]
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in sorted(names)]
    with ThreadPoolExecutor(SYNCING_THREADS) as threads:
        list(threads.map(sync_file, (file for file in files if not file.is_symlink())))
    for one in reversed(folders):
        sync_folder(one)
