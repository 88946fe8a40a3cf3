"""Many jobs on all cores, with a progress bar and an end that leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2

Job = TypeVar("Job")


def in_processes(work: Callable[[Job], list[str]], jobs: Sequence[Job], title: str) -> list[list[str]]:
    """Do all jobs, a process a core, with a progress bar on standard error.

    An exception (Ctrl-C too) stops the workers within a fraction of a second, and so does the end
    of this process, however it ends.

    Returns:
        What `work` returned, in the order of the jobs.
    """
    if not jobs:
        return []
    context = multiprocessing.get_context("spawn")  # a fork of threads (progress, torch) may hang
    stop = context.Event()
    pool = ProcessPoolExecutor(min(cores(), len(jobs)), context, _begin_worker, (stop,))
    try:
        with progress_bar(title, len(jobs)) as advance:
            # workers inherit the mask, so Ctrl-C cannot catch one that is just starting
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                results = [pool.submit(work, job) for job in jobs]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            for result in results:
                result.add_done_callback(lambda _: advance())
            return [result.result() for result in results]
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], object]]:
    """A bar on standard error, silent where that is no terminal; yields what advances it by 1."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def _begin_worker(stop: Any) -> None:
    """Ctrl-C is the parent's to handle; libraries' lines about damaged files go nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()


def _end_with_parent(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while not stop.wait(0.2) and parent is not None and parent.is_alive():
        pass
    os._exit(1)
