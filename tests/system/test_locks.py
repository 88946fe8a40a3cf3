"""A lock has one holder at a time, among processes, and its holder's end frees it, not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.locks import alone, waiting
from mufnet_lightning.system.signals import terminated_as_interrupted

HOLDER = """
import sys, time
from pathlib import Path
from mufnet_lightning.system.locks import alone
with alone(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def started(code: str, path: Path, lines: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has printed so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for _ in range(lines):
            assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_holder_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "cv"
    with started(HOLDER, path, 1) as process:
        start = time.monotonic()
        with pytest.raises(InputFault, match=r"^a run goes on$"), alone(path, "a run goes on"):
            pass
        assert time.monotonic() - start < 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with alone(path, "a run goes on"):
        pass


def test_a_stopped_holder_still_holds(tmp_path: Path) -> None:
    with started(HOLDER, tmp_path / "lock", 1) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(InputFault), alone(tmp_path / "lock", "busy"):
            pass


def test_the_same_process_is_no_exception(tmp_path: Path) -> None:
    with alone(tmp_path / "lock", "busy"):
        with pytest.raises(InputFault), alone(tmp_path / "lock", "busy"):
            pass
        with pytest.raises(InputFault), alone(tmp_path / "lock", "busy"):
            pass  # the refusal did not free it


def test_a_lock_can_leave_no_file(tmp_path: Path) -> None:
    for _ in range(2):
        with alone(tmp_path / "lock", "busy", remove=True):
            assert (tmp_path / "lock").exists()
        assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), alone(tmp_path / "lock", "busy", remove=True):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("remove", [False, True])
def test_never_two_at_once(tmp_path: Path, remove: bool) -> None:
    inside, most, entered = 0, 0, 0

    def enter(_: int) -> None:
        nonlocal inside, most, entered
        for _ in range(50):
            try:
                with alone(tmp_path / "lock", "busy", remove=remove):
                    inside += 1
                    most, entered = max(most, inside), entered + 1
                    time.sleep(0.001)
                    inside -= 1
            except InputFault:
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert most == 1
    assert entered > 4


def test_waiting_waits(tmp_path: Path) -> None:
    with started(HOLDER, tmp_path / "lock", 1) as process:
        threading.Timer(0.3, process.kill).start()
        start = time.monotonic()
        with waiting(tmp_path / "lock"):
            assert process.wait() == -signal.SIGKILL
        assert time.monotonic() - start > 0.25


def test_waiting_lets_all_in_one_by_one_and_may_leave_no_file(tmp_path: Path) -> None:
    inside, most, entered = 0, 0, 0

    def enter(_: int) -> None:
        nonlocal inside, most, entered
        with waiting(tmp_path / "lock", remove=True):
            inside += 1
            most, entered = max(most, inside), entered + 1
            time.sleep(0.001)
            inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(20)))
    assert (most, entered) == (1, 20)
    assert not list(tmp_path.iterdir())


def test_where_no_lock_can_be_made_the_system_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), waiting(tmp_path / "file" / "lock"):
        pass
    with pytest.raises(OSError, match="file"), alone(tmp_path / "file" / "lock", "busy"):
        pass


def test_terminated_ends_as_interrupted_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> object:
        with terminated_as_interrupted():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is before
