"""The processes of one training (ranks): where one dies, all end at once and say so.

Lightning's own way kills the first process too, which then closes no run; and its handler of SIGTERM
waits for the next batch, and for the other processes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.signals import stopping
from mufnet_lightning.training.logger import RunLogger

_A_LOOK = 0.5
_STARTED_BY = "MUFNET_STARTED_BY"
"""Environment variable of the processes that the first one starts: its number."""
_PASSES = "MUFNET_PASSES"
"""Environment variable: the folder in which each of them notes how many passes it has been through."""
_TO_NOTICE = 3.0
"""Seconds that the first process may wait for one that is dead; a collective call may wait for ever."""
log = logging.getLogger(__name__)


def watch_ranks(trainer: Trainer) -> None:
    """Let a trainer's processes end together, and a signal end them now and not after the batch."""
    trainer._signal_connector = _Signals(trainer)
    launcher = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        environment = launcher.cluster_environment
        trainer.strategy._launcher = _Launcher(environment, launcher.num_processes, launcher.num_nodes)


class _Signals(_SignalConnector):
    """Passes SIGTERM on to the other processes; the handler that was there does the rest."""

    def _sigterm_notifier_fn(self, signum: Any, _: FrameType) -> None:
        launcher = self.trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signum)


class _Launcher(_SubprocessScriptLauncher):
    """Starts the other processes as Lightning does, and watches them in its own way."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._failed = threading.Event()
        self._lost: str | None = None
        self._parent: int | None = None
        self._begun = self._ended = 0
        self._notes: Path | None = None

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any
    ) -> Any:
        """Start the other processes, the first time, and call the function.

        Raises:
            InputFault: one of them was ended from outside.
        """
        self.cluster_environment.validate_settings(
            num_devices=self.num_processes, num_nodes=self.num_nodes
        )
        if not self.cluster_environment.creates_processes_externally:
            os.environ[_STARTED_BY] = str(os.getpid())
            notes = TemporaryDirectory(prefix="mufnet-")
            weakref.finalize(self, notes.cleanup)
            os.environ[_PASSES] = notes.name
            self._notes = Path(notes.name)
            self._call_children_scripts()
            self._start(self._watch_children, trainer)
        elif self._parent is None and os.environ.get(_STARTED_BY) == str(os.getppid()):
            self._parent = os.getppid()
            self._start(_end_with, self._parent)
            self._notes = Path(os.environ[_PASSES])
        dead = self._dead()
        if dead:  # ended behind the last pass, and missed in this one
            self._end_all(*dead[0])
            raise InputFault(str(self._lost))
        _set_num_threads_if_needed(num_processes=self.num_processes)
        self._begun += 1
        try:
            given = function(*args, **kwargs)
            self._ended += 1
            if self._parent is not None and self._notes is not None:
                with suppress(OSError):  # the first process has ended
                    (self._notes / str(os.getpid())).write_text(str(self._ended))
            return given
        except Exception as error:
            self._failed.set()
            if isinstance(error, InputFault) or stopping():
                raise
            lost = self._whoever_died()
            if lost is None:
                raise
            raise InputFault(lost) from None
        except BaseException:
            self._failed.set()
            raise

    @staticmethod
    def _start(watch: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=watch, args=arguments, daemon=True, name="mufnet-ranks").start()

    def _whoever_died(self) -> str | None:
        """A collective call fails as soon as a process is gone; its end is known a bit later."""
        until = time.monotonic() + _TO_NOTICE
        while time.monotonic() < until:
            if self._lost is not None:
                return self._lost
            if self._parent is not None and os.getppid() != self._parent:
                until += _TO_NOTICE  # the watch of the parent ends this process
            time.sleep(0.1)
        return None

    def _dead(self) -> list[tuple[int, int]]:
        """Number and exit code of the processes that did not end well."""
        codes = enumerate((one.poll() for one in self.procs), 1)
        return [(rank, code) for rank, code in codes if code]

    def _is_missed(self, rank: int) -> bool:
        """Whether this process is in a pass that one of the others has not been through."""
        try:
            assert self._notes is not None
            passes = int((self._notes / str(self.procs[rank - 1].pid)).read_text())
        except (OSError, ValueError):
            passes = 0
        return self._begun > self._ended and passes < self._begun

    def _end_all(self, rank: int, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._lost = (
            f"process {rank} (of 0 to {self.num_processes - 1}) of this training ended {how}, so the "
            "others end too; was the memory full? The run can be gone on with (--ckpt_path)"
        )
        for one in self.procs:
            _kill(one)

    def _watch_children(self, trainer: Trainer) -> None:
        warned = False
        while not (missed := [one for one in self._dead() if self._is_missed(one[0])]):
            if all(one.poll() is not None for one in self.procs):
                for rank, code in () if warned else self._dead():
                    warned = True
                    log.warning(
                        "warning: process %s of this training ended with exit code %s, behind its part "
                        "of the work",
                        rank,
                        code,
                    )
                if not self._dead():
                    return
            time.sleep(_A_LOOK)
        if stopping():
            return
        self._end_all(*missed[0])
        if self._failed.wait(_TO_NOTICE):
            return  # it closes its run, and says why
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger) and self._begun > self._ended:
                logger.close("FAILED", self._lost)
        if self._begun > self._ended:  # it waits for a process that is gone
            log.error("%s", self._lost)
            os._exit(2)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def _end_with(parent: int) -> None:
    """In one of the others: it ends when the process that started it has ended."""
    while os.getppid() == parent:
        time.sleep(_A_LOOK)
    if not stopping():
        log.error("the first process of this training has ended, so this one ends too")
    os._exit(1)
