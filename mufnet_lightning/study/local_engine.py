"""Jobs on this machine: as many at once as there are GPUs, or as the CPU's cores are shared out.

Each runs in a process of its own, started from a warm one, so that it costs its training. It leaves
nothing behind for the next one to start from, and one that fails takes nobody with it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.engines import JobEvent, JobProgress
from mufnet_lightning.study.job import FoldJob, JobEnd, do_job
from mufnet_lightning.system.log import start_logging
from mufnet_lightning.system.processes import cores, warm_context
from mufnet_lightning.training.progress import progress_sent_to

PRELOAD = (  # the last two a run would import itself, each fold anew: a second
    "mufnet_lightning.training.run",
    "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.backends.backend_pdf",
)
SECONDS_TO_CLOSE = 12.0  # less than `signals` leaves this process
MEMORY_OF_A_JOB = 3 * 2**30
"""Bytes that are left for each job on the CPU, where nobody says how many there may be."""
_A_LOOK = 0.5
log = logging.getLogger(__name__)


@dataclass
class _Running:
    job: FoldJob
    process: BaseProcess
    events: Connection
    output: threading.Thread
    gpus: tuple[str, ...]
    threads: int
    ended: JobEnd | None = None

    @property
    def place(self) -> str:
        return f"GPU {', '.join(self.gpus)}" if self.gpus else ""


class LocalEngine:
    """See the top of this module.

    Args:
        jobs: at once; None: as many as the GPUs, or cores and memory, are enough for.
        say: takes what jobs print, a line at a time; to the log unless given.
        work: what is done of a job, in its process: a function of a module.
    """

    def __init__(
        self,
        jobs: int | None = None,
        say: Callable[[str], object] | None = None,
        work: Callable[[FoldJob], JobEnd] = do_job,
    ) -> None:
        self._free_gpus = visible_gpus()
        self._gpus = len(self._free_gpus)
        self._jobs = jobs
        self._say = say or (lambda line: log.info("%s", line))
        self._work = work
        self._in_memory = _jobs_in_memory()
        self._running: list[_Running] = []

    def reach(self, folders: Sequence[Path]) -> None:
        """All is on this machine."""

    def takes(self, job: FoldJob) -> bool:
        """Whether there is a free place, and as many free GPUs, or cores, as it needs."""
        if not self._running:
            return True
        needed = self._needed(job)
        if self._jobs is not None and len(self._running) >= self._jobs:
            return False
        if needed or self._jobs is not None:
            return needed <= len(self._free_gpus)
        taken = sum(one.threads for one in self._running)
        return taken + job.threads <= cores() and len(self._running) < self._in_memory

    def begin(self, job: FoldJob) -> None:
        """Start its process.

        Raises:
            InputFault: it asks for more GPUs than there are.
        """
        needed = self._needed(job)
        if needed > self._gpus:
            raise InputFault(f"{job.name} asks for {needed} GPUs, and there are {self._gpus}")
        gpus, self._free_gpus = tuple(self._free_gpus[:needed]), self._free_gpus[needed:]
        at_once = min(self._jobs or self._gpus, self._gpus) or 1
        threads = max(1, cores() // at_once) if needed else job.threads
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        context = warm_context(PRELOAD)
        here, there = context.Pipe(duplex=False)
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(
            target=_in_process,
            args=(self._work, job, threads, environment, there, writer),
            name=job.name,
        )
        process.start()
        there.close()
        writer.close()
        output = threading.Thread(
            target=_forward, args=(job, reader, self._say), daemon=True, name=job.name
        )
        output.start()
        self._running.append(_Running(job, process, here, output, gpus, threads))

    def events(self, seconds: float) -> list[JobEvent]:
        """See `Engine`."""
        events: list[JobEvent] = []
        ready = wait([one.events for one in self._running], seconds)
        for one in [one for one in self._running if one.events in ready]:
            try:
                while one.events.poll():
                    event = one.events.recv()
                    if isinstance(event, JobEnd):
                        one.ended = event
                    else:
                        events.append(JobProgress(one.job, event, one.place))
            except (EOFError, OSError):  # its process ends
                events.append(self._let_go(one))
        return events

    def stop(self, job: FoldJob) -> None:
        """See `Engine`."""
        for one in self._running:
            if one.job == job:
                one.process.terminate()

    def close(self) -> None:
        """Stop all jobs; a terminal has interrupted them too, a cluster perhaps this process alone."""
        for one in self._running:
            one.process.terminate()
        until = time.monotonic() + SECONDS_TO_CLOSE
        try:
            for one in self._running:
                one.process.join(max(0.0, until - time.monotonic()))  # it closes its run
        finally:
            for one in self._running:
                if one.process.is_alive():
                    one.process.kill()  # its run is closed by the next call
            while self._running:
                self._let_go(self._running[0])

    def _needed(self, job: FoldJob) -> int:
        """GPUs of a job."""
        return job.devices if self._gpus else 0

    def _let_go(self, one: _Running) -> JobEnd:
        one.process.join()
        one.output.join(1.0)  # what a process of its own still says is not waited for
        one.events.close()
        self._running.remove(one)
        self._free_gpus = [*self._free_gpus, *one.gpus]
        if one.ended is not None:
            return one.ended
        code = one.process.exitcode or 0
        if code < 0:
            text = f"was ended from outside (signal {-code}; is the memory full?)"
        else:
            text = f"ended by itself (exit code {code})"
        return JobEnd(one.job, "lost", (f"{text}; the same command goes on with it",))


def visible_gpus() -> list[str]:
    """The GPUs that a job may be given, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    count = torch.cuda.device_count()  # what is named and is not there does not count
    if not count and torch.backends.mps.is_available():
        return ["0"]  # of a Mac
    names = [name.strip() for name in named.split(",")] if named else list(map(str, range(count)))
    return names[:count]


def _jobs_in_memory() -> int:
    import psutil

    return max(1, int(psutil.virtual_memory().available // MEMORY_OF_A_JOB))


def _forward(job: FoldJob, output: Connection, say: Callable[[str], object]) -> None:
    """What a job prints, line by line, with its name."""
    rest = b""
    with suppress(OSError), output:
        while block := os.read(output.fileno(), 1 << 16):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                say(f"{job.name}: {line.decode(errors='replace').rstrip()}")
        if rest:
            say(f"{job.name}: {rest.decode(errors='replace').rstrip()}")


def _in_process(
    work: Callable[[FoldJob], JobEnd],
    job: FoldJob,
    threads: int,
    environment: Mapping[str, str],
    events: Connection,
    output: Connection,
) -> None:
    """In the new process."""
    os.environ.clear()
    os.environ.update(environment)  # the warm process was started in an earlier one
    sys.stdout.flush()
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    start_logging()
    compute_with(threads)
    threading.Thread(target=_stop_with_parent, daemon=True, name="mufnet-parent").start()

    def send(event: object) -> None:
        with suppress(OSError):  # nobody waits for it any more
            events.send(event)

    with progress_sent_to(send):
        end = work(job)
    sys.stdout.flush()
    sys.stderr.flush()
    send(end)
    events.close()


def compute_with(threads: int) -> None:
    """Let this process compute with so many threads; their number decides the last bits of a result."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _stop_with_parent() -> None:
    """The fold is stopped, and its run closed, where the process that waits for it has ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while parent.is_alive():
        time.sleep(_A_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


def default_threads(jobs: int, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of each of so many jobs on the CPU: of OMP_NUM_THREADS, or a share of the cores."""
    given = environment.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, cores() // max(1, jobs))
