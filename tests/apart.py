"""The command in a process of its own, forked from a warm one: its imports are made already."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import mufnet_lightning
from mufnet_lightning.study.local_engine import PRELOAD
from mufnet_lightning.system.processes import warm_context


def warm_up() -> None:
    """Start the process that later ones are forked from, and let it import what a training needs."""
    if warm_context(PRELOAD).get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()


class Apart:
    """`mufnet WORDS`, here and with this environment.

    >>> with Apart("fit", *words) as command:
    ...     command.wait_for(checkpoint.is_file)
    ...     command.send(signal.SIGTERM)
    ...     assert command.wait(60) == 130
    """

    def __init__(self, *words: str) -> None:
        number, name = tempfile.mkstemp(".txt", "printed-", os.getcwd())
        os.close(number)
        self._printed = Path(name)
        arguments = (list(words), dict(os.environ), name)
        self.process = warm_context(PRELOAD).Process(target=_run, args=arguments)
        self.process.start()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self.process.pid is not None
        return self.process.pid

    def printed(self) -> str:
        """What it, and what it started, has written to standard output and error so far."""
        return self._printed.read_text(encoding="utf-8")

    def wait_for(self, there: Callable[[], object], seconds: float = 240) -> None:
        """Wait until something is there; the command runs as long."""
        deadline = time.monotonic() + seconds
        while not there():
            assert self.process.exitcode is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.05)

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended; it must within some seconds."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s: {self.printed()}"
        return self.process.exitcode


def _run(words: list[str], environment: Mapping[str, str], printed: str) -> None:
    """In the new process: as `python -m mufnet_lightning WORDS` has it."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, os.getcwd())
    # Lightning starts further processes with these words
    sys.argv = [str(Path(mufnet_lightning.__file__).with_name("__main__.py")), *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    file = os.open(printed, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    from mufnet_lightning.cli import main

    sys.exit(main(words))
