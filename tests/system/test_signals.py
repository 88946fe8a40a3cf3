"""Signals: SIGTERM as Ctrl-C, the second one at once, a lost one again, none for a forked child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mufnet_lightning.system import signals
from mufnet_lightning.system.signals import closing, stopping, terminated_as_interrupted

PARTS = {
    "closing is not disturbed by the same stop": """
try:
    with terminated_as_interrupted():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            closing()
            os.kill(os.getpid(), signal.SIGTERM)  # a terminal and a parent both send it
            time.sleep(0.1)
            sys.exit(7)
finally:
    pass
""",
    "a second one while it is closed ends at once": """
with terminated_as_interrupted():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except KeyboardInterrupt:
        closing()
        signals._IMPATIENT = 0
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
""",
    "Ctrl-C counts again where Lightning lets it be ignored": """
with terminated_as_interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        closing()
        signals._IMPATIENT = 0
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
""",
    "one that is swallowed each time": """
with terminated_as_interrupted():
    signals._AGAIN, signals._MOST = 0.05, 0.2
    until = time.monotonic() + 5
    first = True
    while time.monotonic() < until:
        try:
            if first:
                first = False
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        except KeyboardInterrupt:
            pass
""",
    "the main thread in compiled code": """
import ctypes, threading
with terminated_as_interrupted():
    signals._MOST = 0.2
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):  # the second waits for ever, and no signal ends that
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
""",
    "a forked child ends as if nothing were here": """
with terminated_as_interrupted():
    child = os.fork()
    if child == 0:
        time.sleep(5)
        os._exit(9)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    time.sleep(0.1)
    sys.exit(7 if os.WTERMSIG(status) == signal.SIGTERM and not signals.stopping() else 8)
""",
}
CODES = dict.fromkeys(PARTS, signals.INTERRUPTED)
CODES["closing is not disturbed by the same stop"] = 7
CODES["a forked child ends as if nothing were here"] = 7
BEGIN = """
import os, signal, sys, time
from mufnet_lightning.system import signals
from mufnet_lightning.system.signals import closing, terminated_as_interrupted
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("part", PARTS)
def test_a_signal_ends_a_process(part: str) -> None:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BEGIN + PARTS[part]], timeout=30, check=False)
    assert done.returncode == CODES[part]
    assert time.monotonic() - begun < 4.5


def test_a_signal_is_an_interrupt_and_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def stopped() -> None:
        with terminated_as_interrupted():
            assert not stopping()
            with terminated_as_interrupted():  # the inner one changes nothing
                pass
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                assert stopping()
                closing()

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert not stopping()
