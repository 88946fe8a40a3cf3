"""Files and folders that are whole or not there: drafted beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A draft to write in place of `path`, which takes that name when the block ends.

    Somebody who reads `path` meanwhile sees what was there before, all of it. Where the block is
    left by an exception the draft is removed and `path` stays as it was. A file is on the disk, and
    no longer only in the system's memory, before it is renamed.

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
    draft = path.with_name(f".partial-{os.getpid()}-{threading.get_ident()}-{path.name}")
    _remove(draft)  # of a process of the same number that was killed
    try:
        yield draft
        move_into_place(draft, path)
    finally:
        _remove(draft)


def move_into_place(draft: Path, path: Path) -> None:
    """Rename a whole file, or a whole folder, to a name in the same folder; see `atomic_path`.

    Raises:
        OSError: it cannot be renamed, as where `path` is a folder that is not empty.
    """
    if draft.is_file():
        _sync(draft, os.O_RDWR)
    if os.name == "nt" and path.is_dir():
        path.rmdir()  # elsewhere an empty folder is replaced
    os.replace(draft, path)
    if os.name == "posix":  # the new name, too; Windows opens no folders
        with suppress(OSError):  # some network drives sync none
            _sync(path.parent, os.O_RDONLY)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file, or leave what is there; text in UTF-8, its line ends as they are.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
