"""Files from outside are looked at before they are read."""

from __future__ import annotations

import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from mufnet_lightning.system.guards import check_regular, read_bytes, read_text


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    for name, kind in (
        ("pipe", "a named pipe"),
        ("socket", "a socket"),
        ("/dev/zero", "a device"),
        (".", "Is a directory"),
        ("loop", "Too many levels"),
        ("absent", "No such file"),
    ):
        for read in (check_regular, lambda path: read_bytes(path, 10)):
            with pytest.raises(OSError, match=kind):
                read(tmp_path / name)


def test_a_file_is_read_as_far_as_it_may_go(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffäb".encode())
    assert read_text(tmp_path / "a", 6) == "äb"
    with pytest.raises(OSError, match="it has 6 bytes, expected at most 5"):
        read_text(tmp_path / "a", 5)
    (tmp_path / "a").write_bytes("ab\xe4".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is no text in UTF-8 \(byte 2\)"):
        read_text(tmp_path / "a", 5)


def test_a_small_file_takes_little_room_however_much_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "small", 1 << 29) == b"12345"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
