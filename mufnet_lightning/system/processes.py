"""Many jobs on all cores, with a progress bar and an end that leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.log import console

if TYPE_CHECKING:
    from ctypes import c_byte
    from multiprocessing.context import ForkServerContext, SpawnContext

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_WORKERS = 61 if sys.platform == "win32" else sys.maxsize  # Windows waits for no more handles


def in_processes(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    title: str,
    lost: Callable[[Job], Result] | None = None,
) -> list[Result]:
    """Do all jobs, a process a core, with a progress bar on standard error.

    An exception (Ctrl-C too) stops the workers within a fraction of a second, and so does the end
    of this process, however it ends. Where a worker dies (the system is out of memory, a decoder
    crashes) what it was at is tried once more, alone, and the other jobs go on.

    Args:
        work: of one job.
        jobs: what is to be done.
        title: of the bar.
        lost: the result of a job during which the worker died twice.

    Returns:
        What `work` returned, in the order of the jobs.

    Raises:
        InputFault: a worker died, and nobody says what its job would have given.
    """
    if not jobs:
        return []
    context = start_early([_module_of(work)])  # a fork of this process's threads might hang
    results: dict[int, Result] = {}
    workers = min(cores(), len(jobs), MOST_WORKERS)
    with progress_bar(title, len(jobs)) as advance:
        begun = _begin(context, workers, work, dict(enumerate(jobs)), results, advance)
        while begun:  # at the time when a worker died
            if lost is None:
                raise InputFault(
                    "a worker process was ended from outside: is the memory full? (the system's log "
                    "says why)"
                )
            for number in begun:
                alone = {number: jobs[number]}
                if _begin(context, 1, work, alone, results, advance):
                    results[number] = lost(jobs[number])
                    advance()
            left = {number: job for number, job in enumerate(jobs) if number not in results}
            begun = _begin(context, workers, work, left, results, advance) if left else []
    return [results[number] for number in range(len(jobs))]


def _begin(
    context: ForkServerContext | SpawnContext,
    workers: int,
    work: Callable[[Job], Result],
    jobs: Mapping[int, Job],
    results: dict[int, Result],
    advance: Callable[[], object],
) -> list[int]:
    """Do jobs as far as no worker dies; those that were begun when one did, and are not done."""
    stop = context.RawValue("b", 0)  # no Event: to set one waits for whoever sleeps on it, dead or not
    places = {number: place for place, number in enumerate(jobs)}
    states = context.RawArray("b", len(jobs))
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (stop, states))
    try:
        with _interrupts_blocked():
            futures = {
                number: pool.submit(_do, work, places[number], job) for number, job in jobs.items()
            }
        for future in futures.values():
            future.add_done_callback(lambda one: one.cancelled() or one.exception() or advance())
        for number, future in futures.items():
            results[number] = future.result()
    except BrokenProcessPool:
        for number, future in futures.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                results[number] = future.result()
        left = [number for number in jobs if number not in results]
        # one that died before its first job leaves no trace: then any may be to blame
        return [number for number in left if states[places[number]]] or left
    except BaseException:
        stop.value = 1
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return []


def start_early(preload: Sequence[str]) -> ForkServerContext | SpawnContext:
    """Begin to import what the workers of `in_processes` will need, while this process does other work.

    Args:
        preload: modules, see `warm_context`.
    """
    context = warm_context(preload)
    if context.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        try:
            with _interrupts_blocked():  # Ctrl-C is this process's to handle
                ensure_running()
        except OSError:  # of a temporary folder whose name is too long for its socket, say
            return multiprocessing.get_context("spawn")
    return context


def warm_context(preload: Sequence[str]) -> ForkServerContext | SpawnContext:
    """How to start processes that have the modules `preload` imported already, where that can be.

    The first process waits for the imports; each later one is a fork of that state, in a fraction of
    a second: the fork of a server process that runs nothing else. What starts a thread, opens a file
    or touches the GPU when it is imported has no place in `preload`. The environment and `preload`
    count as they were when the first process started. Windows has no fork: there each process
    imports what it needs.

    >>> warm_context(["numpy"]).Process(target=print).exitcode is None
    True
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], object]]:
    """A bar on standard error; yields what advances it by 1. Silent where that is no terminal, or
    where there is nothing to do."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console().is_terminal or not total
    with Progress(*columns, console=console(), transient=True, disable=hidden) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def _module_of(work: Callable[..., object]) -> str:
    while isinstance(work, partial):
        work = work.func
    return work.__module__


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Workers inherit the mask, so Ctrl-C cannot catch one that is just starting; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


_states: MutableSequence[int] = []
"""Of this worker's pool, shared with its parent: 1 for a job that was begun."""


def _do(work: Callable[[Job], Result], place: int, job: Job) -> Result:
    _states[place] = 1
    return work(job)


def _begin_worker(stop: c_byte, states: MutableSequence[int]) -> None:
    """Ctrl-C is the parent's to handle; libraries' lines about damaged files go nowhere."""
    import cv2

    global _states
    _states = states
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()


def _end_with_parent(stop: c_byte) -> None:
    parent = multiprocessing.parent_process()
    while not stop.value and parent is not None and parent.is_alive():
        time.sleep(0.2)
    os._exit(1)
