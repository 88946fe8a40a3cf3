"""What a file from outside may cost: it is looked at before it is read, and refused where it is more.

Whoever opens a file that a user named opens it here: a named pipe would be waited for without end, and
a file of a few kilobytes can claim a picture of gigabytes.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_TABLE = 1 << 27
"""Bytes of a table: a million annotated frames take a third."""
LARGEST_SETTINGS = 1 << 20
"""Bytes of a configuration."""
LARGEST_NOTES = 1 << 28
"""Bytes of what another program wrote of its annotations."""
LARGEST_STILL = 1 << 29
"""Bytes of a picture's file."""
LARGEST_PICTURE = 1 << 26
"""Pixels of one picture or frame, 8192 × 8192: sixteen times what scanners show."""
LARGEST_FILM = 1 << 39
"""Pixels of a whole film: two and a half hours of 1920 × 1080 at 30 frames a second."""
LARGEST_INFLATED = 1 << 30
"""Bytes of what is packed in a file."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> None:
    """Refuse what is no plain file: opening a named pipe waits for somebody to write.

    Raises:
        OSError: it is another thing, or not there; `strerror` says what.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, expected a file", str(path))


def is_loop(path: Path) -> bool:
    """Whether a path leads through a link that leads to itself."""
    try:
        Path(path).resolve()
    except RuntimeError:  # how Python 3.11 and 3.12 say it
        return True
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading, see `check_regular`.

    Raises:
        OSError: it cannot be opened, or is no plain file.
    """
    check_regular(path)
    return open(path, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a plain file of at most `most` bytes.

    Raises:
        OSError: it cannot be read, is no plain file, or larger; `strerror` says so in words.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= most else b""  # no more room than it takes
        if len(content) > size:  # it grows
            content += file.read(most + 1 - len(content))
    if size > most or len(content) > most:
        size = max(size, len(content))
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected at most {most:,}", str(path))
    return content


def read_text(path: Path, most: int) -> str:
    """The content of a plain file in UTF-8, with a byte order mark or without.

    Raises:
        OSError: as of `read_bytes`.
        ValueError: it is other text, or none; the message says so.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8 (byte {error.start:,})") from None


def too_large(width: int, height: int) -> str:
    """Why a picture of this size is refused; empty where it is not.

    >>> too_large(30_000, 30_000)
    'has 30,000 × 30,000 pixels, expected at most 67,108,864 in all'
    >>> too_large(1024, 768)
    ''
    """
    if 0 < width * height <= LARGEST_PICTURE:
        return ""
    expected = f"at most {LARGEST_PICTURE:,} in all" if width * height else "some"
    return f"has {width:,} × {height:,} pixels, expected {expected}"
