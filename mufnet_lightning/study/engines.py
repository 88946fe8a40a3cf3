"""Where a fold runs: in a process of its own, started from a warm one, so that it costs its training.

A fold leaves nothing behind for the next one to start from, and one that fails takes nobody with it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import mufnet_lightning
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.locks import Lock
from mufnet_lightning.system.log import start_logging
from mufnet_lightning.system.processes import warm_context
from mufnet_lightning.system.signals import INTERRUPTED, closing, terminated_as_interrupted

PRELOAD = (  # the last two a run would import itself, each fold anew: a second
    "mufnet_lightning.training.run",
    "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.backends.backend_pdf",
)
SECONDS_TO_CLOSE = 12.0  # less than `signals` leaves this process
_A_LOOK = 0.5
log = logging.getLogger(__name__)


def run_fold(fold: int, arguments: Sequence[str], lock: Lock) -> None:
    """Run `mufnet fit` with these arguments; what it prints goes to standard error.

    Args:
        fold: that it runs, for messages.
        arguments: of `fit`.
        lock: of the cross-validation, which the process holds too.

    Raises:
        InputFault: the fold could not be run as asked, or its process was killed.
        KeyboardInterrupt: it was stopped.
        RuntimeError: it failed.
    """
    context = warm_context(PRELOAD)
    here, there = context.Pipe(duplex=False)
    process = context.Process(
        target=_fit, args=(list(arguments), lock, dict(os.environ), there), name=f"fold {fold}"
    )
    process.start()
    there.close()
    try:
        try:
            faults: list[str] | None = here.recv()  # waits for its end
        except EOFError:  # it ended without a word
            faults = None
        process.join()
    except KeyboardInterrupt:
        closing()
        process.terminate()  # a terminal has interrupted it too, a scheduler perhaps this process alone
        try:
            process.join(SECONDS_TO_CLOSE)  # it closes its run
        finally:
            if process.is_alive():
                process.kill()  # its run is closed by the next call
            process.join()
        raise
    if faults:
        raise InputFault([f"fold {fold}: {fault}" for fault in faults])
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if (code := process.exitcode) and code < 0:
        raise InputFault(
            f"fold {fold} was ended from outside (signal {-code}): is the memory full? "
            "the same command goes on with it"
        )
    if code:
        raise RuntimeError(f"fold {fold} failed (exit code {code}); it can be gone on with")


def _fit(
    arguments: list[str], lock: Lock, environment: Mapping[str, str], connection: Connection
) -> None:
    """In the new process: its exit code is the command's."""
    os.environ.clear()
    os.environ.update(environment)  # the warm process was started in an earlier one
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), 1)
    # Lightning starts further processes of a fold with these words
    sys.argv = [str(Path(mufnet_lightning.__file__).with_name("__main__.py")), "fit", *arguments]
    start_logging()
    threading.Thread(target=_stop_with_parent, daemon=True, name="mufnet-parent").start()
    from mufnet_lightning.training.run import run_lightning

    faults: list[str] = []
    code = 0
    try:
        with terminated_as_interrupted(), lock.in_child():
            run_lightning(["fit", *arguments])
    except InputFault as fault:
        faults, code = list(fault.faults), 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(OSError):  # nobody waits for it any more
        connection.send(faults)
    connection.close()
    sys.exit(code)


def _stop_with_parent() -> None:
    """The fold is stopped, and its run closed, where the process that waits for it has ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while parent.is_alive():
        time.sleep(_A_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
