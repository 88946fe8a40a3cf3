"""Processes and memory of MLflow's server as `mlflow ui` starts it, and as `mufnet ui` does.

Both serve the same new, empty store, one after the other, each until it answers and then ten seconds
more. Memory is PSS: what processes share is divided among them (Linux; elsewhere USS, which leaves out
what is shared).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from mlflow_server import await_answer, free_port  # type: ignore[import-not-found]

SECONDS_MORE = 10
COMMANDS = {"mlflow ui": ["-m", "mlflow", "ui"], "mufnet ui": ["-m", "mufnet_lightning", "ui"]}


def main() -> None:
    """Print a line a command."""
    print(f"{'':12}{'processes':>10}{'memory (MB)':>13}")
    with TemporaryDirectory() as folder:
        Path(folder, "mlruns").mkdir()
        store = f"sqlite:///{folder}/mlruns/mlflow.db"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
        code = f"from mlflow import MlflowClient; MlflowClient({store!r}).search_experiments()"
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
        for name, words in COMMANDS.items():
            port = free_port()
            command = [sys.executable, *words, f"--port={port}"]
            if "mlflow" in words:
                command.append(f"--backend-store-uri={store}")
            server = psutil.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                await_answer(f"http://127.0.0.1:{port}", server)
                time.sleep(SECONDS_MORE)
                family = [server, *server.children(recursive=True)]
                memory = sum(memory_of(process) for process in family) / 1e6
                print(f"{name:12}{len(family):>10}{memory:>13.0f}", flush=True)
            finally:
                family = [server, *server.children(recursive=True)]
                server.terminate()
                _, alive = psutil.wait_procs(family, 15)
                for process in alive:
                    process.kill()


def memory_of(process: psutil.Process) -> int:
    """Bytes."""
    used = process.memory_full_info()
    return int(getattr(used, "pss", used.uss))


if __name__ == "__main__":
    main()
