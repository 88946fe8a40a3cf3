"""Signals that end a command: SIGTERM, as from a cluster's scheduler, and SIGHUP act as Ctrl-C does.

One handler stands over a whole command. Its first signal raises KeyboardInterrupt in the main thread.
Where that is lost (Python drops what is raised in a finalizer, a library may swallow it, compiled code
may not come back), a thread raises it again, and ends the process in the end. Who closes something says
so (`closing`): nothing is raised again then, and another signal ends the process at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was stopped."""
_AGAIN = 3.0
"""Seconds after which a signal that had no effect is raised again."""
_MOST = 15.0
"""Seconds for whatever is at work to let go, then for what is closed to be closed."""
_IMPATIENT = 1.0
"""Seconds after which another signal is somebody's who waits, and not the same stop sent twice."""


class _Stop:
    """The stop of this process, as far as it got."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.asked_at: float | None = None
        self.closing = False
        self.ended = threading.Event()


_current: _Stop | None = None


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP (a terminal that is closed) end what is in the block as Ctrl-C does.

    Within another such block, and outside the main thread, nothing is changed. A signal that was
    ignored when the process was started, as by `nohup`, stays ignored.

    Raises:
        KeyboardInterrupt: there was a signal.
    """
    global _current
    main = threading.current_thread() is threading.main_thread()
    if not main or (_current is not None and _current.process == os.getpid()):
        yield
        return
    _current = stop = _Stop()
    before = {
        number: handler
        for number in _numbers()
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, _interrupt)
    watched = _watch_arrivals(stop)
    try:
        yield
    finally:
        stop.ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        watched()
        _current = None


def stopping() -> bool:
    """Whether this process was asked to end: what fails from then on fails for that reason."""
    return _current is not None and _current.process == os.getpid() and _current.asked_at is not None


def closing() -> None:
    """Say that the stop has been seen, and that what is left is being closed.

    Lightning lets Ctrl-C be ignored when it has seen one; from here on it counts again.
    """
    if _current is None or threading.current_thread() is not threading.main_thread():
        return
    _current.asked_at = _current.asked_at or time.monotonic()
    _current.closing = True
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and not _ignored_from_start():
        signal.signal(signal.SIGINT, _interrupt)


_started_with = signal.getsignal(signal.SIGINT)


def _ignored_from_start() -> bool:
    return _started_with == signal.SIG_IGN


def _numbers() -> list[signal.Signals]:
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _interrupt(number: int, frame: FrameType | None) -> None:
    stop = _current
    if stop is None or stop.process != os.getpid():  # a forked child: it ends as if nothing were here
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    now = time.monotonic()
    if stop.asked_at is None:
        stop.asked_at = now
        threading.Thread(target=_insist, args=(stop,), daemon=True, name="mufnet-stop").start()
        raise KeyboardInterrupt
    if now - stop.asked_at > _IMPATIENT:
        _end()
    if not stop.closing:
        raise KeyboardInterrupt


def _insist(stop: _Stop) -> None:
    """Raise it again until somebody has seen it; in the end, end the process."""
    begun = time.monotonic()
    while not stop.closing and time.monotonic() - begun < _MOST:
        if stop.ended.wait(_AGAIN):
            return
        if not stop.closing:
            _raise_again(stop)
    if not stop.ended.wait(_MOST):
        _end()


def _raise_again(stop: _Stop) -> None:
    stop.asked_at = time.monotonic()  # not the impatience of a user
    if hasattr(signal, "pthread_kill"):
        with suppress(OSError):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _end() -> None:
    """At once: whatever is left open is closed by the next call."""
    os._exit(INTERRUPTED)


def _watch_arrivals(stop: _Stop) -> Callable[[], None]:
    """Note signals that the main thread, in the middle of compiled code, does not come to handle.

    Returns:
        What ends the watch.
    """
    if os.name != "posix":
        return lambda: None
    here, there = os.pipe()
    os.set_blocking(there, False)
    before = signal.set_wakeup_fd(there, warn_on_full_buffer=False)
    awaited = bytes(_numbers())

    def watch() -> None:
        while (arrived := os.read(here, 1)) != _NOTHING_MORE:
            if arrived in awaited:
                stop.ended.wait(_MOST)
                if stop.asked_at is None and not stop.ended.is_set():
                    _end()
        os.close(here)

    def end() -> None:
        signal.set_wakeup_fd(before)
        os.write(there, _NOTHING_MORE)
        os.close(there)

    threading.Thread(target=watch, daemon=True, name="mufnet-signals").start()
    return end


_NOTHING_MORE = b"\0"


def _let_go_of_pipe() -> None:
    """In a forked child: its signals are not this process's."""
    if _current is not None:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_pipe)
