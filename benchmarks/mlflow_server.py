"""`mlflow server` for the benchmarks: a database of its own, and a process group to stop all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

LIGHT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less


class Server:
    """A server that can be started, stopped and started again at the same place.

    Args:
        folder: of its own, which is made: the database, the artifacts, and what it says.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait for its answer."""
        words = ["-m", "mlflow", "server", f"--port={self.port}", "--workers=1"]
        places = ["--backend-store-uri=sqlite:///server.db", "--artifacts-destination=artifacts"]
        with open(self.folder / "said", "ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, *words, *places],
                cwd=self.folder,
                env={**os.environ, **LIGHT},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        await_answer(self.uri, self._process)

    def signal(self, number: int) -> None:
        """Send a signal to all of it."""
        os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait()


def await_answer(uri: str, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Wait until a server answers.

    Raises:
        TimeoutError: it does not, or its process has ended.
    """
    ask = build_opener(ProxyHandler({})).open
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            ask(f"{uri}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(uri)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
