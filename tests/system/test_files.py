"""A file is as it was or as it shall be; a stop in between leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mufnet_lightning.system.files import append_line, atomic_path, read_lines, write_atomic


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomic(tmp_path / "text.csv", "α,β\r\n1,2\n")
    assert (tmp_path / "text.csv").read_bytes() == "α,β\r\n1,2\n".encode()
    write_atomic(tmp_path / "text.csv", b"\0\1")
    assert (tmp_path / "text.csv").read_bytes() == b"\0\1"
    assert [path.name for path in tmp_path.iterdir()] == ["text.csv"]


def test_the_name_shows_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_text("old")
    with atomic_path(path) as draft:
        assert draft.parent == tmp_path
        assert draft.suffix == ".png"  # who writes by the ending still does
        assert not draft.exists()
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("stop", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_stop_leaves_what_was_there(tmp_path: Path, stop: type[BaseException], kind: str) -> None:
    (tmp_path / "out").write_text("old")

    def write(draft: Path) -> None:
        if kind == "folder":
            draft.mkdir()
            draft /= "inside"
        draft.write_text("half")
        raise stop

    with pytest.raises(stop), atomic_path(tmp_path / "out") as draft:
        write(draft)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with atomic_path(tmp_path / name) as draft:
            (draft / "clips").mkdir(parents=True)
            (draft / "clips" / "1.avi").write_text("film")
            assert not list((tmp_path / name).glob("*"))
        assert (tmp_path / name / "clips" / "1.avi").read_text() == "film"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").write_text("mine")
    with pytest.raises(OSError, match="out"), atomic_path(tmp_path / "out") as draft:
        draft.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis"]


def test_a_new_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomic(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_where_nothing_can_be_written_the_fault_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_atomic(tmp_path / "nowhere" / "file", "text")


def test_many_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda text: write_atomic(path, text), texts * 4):
            assert path.read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


WRITER = """
import sys
from pathlib import Path
from mufnet_lightning.system.files import write_atomic
print("ready", flush=True)
while True:
    for letter in "ab":
        write_atomic(Path(sys.argv[1]), letter * 3_000_000)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(50):
        if path.exists():
            break
        time.sleep(0.1)
    process.kill()
    process.communicate()
    text = path.read_text()
    assert text in ("a" * 3_000_000, "b" * 3_000_000)


def test_lines_are_added_whole_by_many_and_a_torn_one_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert list(read_lines(journal)) == []
    texts = [f"{number} α" * 1500 for number in range(40)]  # of pages that come one after the other
    for _ in range(10):
        journal.unlink(missing_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: append_line(journal, text), texts))
        assert sorted(read_lines(journal)) == sorted(texts)
    with open(journal, "ab") as file:
        file.write(bytes(10_000))  # what a power cut may leave
    assert sorted(read_lines(journal)) == sorted(texts)
    append_line(journal, "next")
    assert list(read_lines(journal))[-1] == "next"
    assert journal.stat().st_size == sum(len(text.encode()) + 1 for text in texts) + 5
    with pytest.raises(ValueError, match="line end"):
        append_line(journal, "a\nb")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_that_lives_on_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader's worker may be forked while another thread adds a line."""
    journal, children = tmp_path / "journal", list[int]()
    sync = os.fsync

    def forking(descriptor: int) -> None:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", forking)
        append_line(journal, "first")
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(append_line, journal, "second").result(timeout=20)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert list(read_lines(journal)) == ["first", "second"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_line_that_cannot_be_written_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    journal = tmp_path / "journal"
    append_line(journal, "first")
    monkeypatch.setenv("MUFNET_WRITE_FAULT", f"ENOSPC:{number}+")
    monkeypatch.setenv("MUFNET_WRITE_LOG", str(tmp_path / "log"))
    with pytest.raises(OSError, match=r"No space left on device.*journal"):
        append_line(journal, "second")
    assert journal.read_text() == "first\n"
    monkeypatch.undo()
    append_line(journal, "third")
    assert list(read_lines(journal)) == ["first", "third"]
