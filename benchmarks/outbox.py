"""What the outbox costs a training, against Lightning's own MLFlowLogger and no logger at all.

    python benchmarks/outbox.py [--rounds 5] [--epochs 40] [--slow-epochs 12] [--delay 0.5]

The same training (a small encoder, crops of 96 px, many short epochs, a checkpoint an epoch) in one
process, alternating between the three: into a SQLite store, where the first epochs are left out; then
`RunLogger` against no logger with a real `mlflow server` that answers each request half a second late.
Prints the median seconds of an epoch and the ratios of the rounds: by the clock, and by the processor
time of the whole process, the sending thread included, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socket
import statistics
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger, MLFlowLogger
from mlflow_server import Server  # type: ignore[import-not-found]

from mufnet_lightning.cli import main as mufnet
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.tracking.runs import Tracking
from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint
from mufnet_lightning.training.callbacks.record import RunRecord
from mufnet_lightning.training.logger import RunLogger

WARM_UP = 3
"""Epochs of each training that are left out."""


class Clock(Callback):
    """The time at the end of each epoch."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch lasts from begin to begin: what is logged behind its end counts."""
        self.times.append((time.perf_counter(), time.process_time()))


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--slow-epochs", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.5)
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        size = ["--frames", "3", "--clip-length", "6", "--pane-size", "128", "--high-share", "0.5"]
        size += ["--frames-spread", "0"]
        for words in (["phantom", "cohort", "--patients=30", *size], ["prepare", "cohort", "store"]):
            if mufnet(words) != 0:
                raise SystemExit(f"mufnet {' '.join(words)} failed")
        train("none", 2)
        print("SQLite in the working folder")
        compare(("none", "MLFlowLogger", "RunLogger"), asked.rounds, asked.epochs)
        with SlowServer(Path(scratch), asked.delay) as uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri
            print(f"a server that answers {asked.delay:g} s late")
            compare(("none", "RunLogger"), asked.rounds, asked.slow_epochs)
            seconds = [clock for clock, _ in train("MLFlowLogger", WARM_UP + 3)]
            print(f"  MLFlowLogger, two epochs: {statistics.mean(seconds):.4f} s an epoch")


def compare(kinds: tuple[str, ...], rounds: int, epochs: int) -> None:
    """Print a line a kind."""
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 else reversed(kinds):
            epoch = train(kind, epochs)
            clocks, cpus = zip(*epoch, strict=True)
            seconds[kind].append((statistics.median(clocks), statistics.mean(cpus)))
    for kind in kinds:
        clock, cpu = (statistics.median(row[place] for row in seconds[kind]) for place in (0, 1))
        text = f"  {kind:13} {clock:.4f} s an epoch ({cpu:.4f} s of processor time)"
        for other in kinds[: kinds.index(kind)]:
            for place, name in enumerate(("", " by processor time")):
                pairs = zip(seconds[kind], seconds[other], strict=True)
                ratios = [ours[place] / theirs[place] for ours, theirs in pairs]
                text += f"; {statistics.median(ratios):.4f} of {other}{name}"
                text += f" ({min(ratios):.3f} to {max(ratios):.3f})"
        print(text, flush=True)


def train(kind: str, epochs: int) -> list[tuple[float, float]]:
    """The seconds of each epoch but the first ones, by the clock and of the processor."""
    seed_everything(0, verbose=False)
    data = RoiPairDataModule(store="store", image_size=96, batch_size=16, num_workers=0)
    module = MufNetModule(encoder="test_efficientnet", pretrained=False)
    last = LastCheckpoint()
    clock = Clock()
    callbacks: list[Callback] = [clock, last]
    logger: Logger | bool = False
    if kind == "MLFlowLogger":
        uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
        logger = MLFlowLogger("plain", tracking_uri=uri)
        Path("mlruns").mkdir(exist_ok=True)
    elif kind == "RunLogger":
        logger = RunLogger(Tracking(study="outbox"), "one")
        callbacks.append(RunRecord())
    if kind != "RunLogger":
        last.dirpath = str(Path("checkpoints", kind).resolve())
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=logger,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module, datamodule=data)
    if isinstance(logger, RunLogger):
        logger.close("FINISHED")
    times = clock.times[WARM_UP:]
    return [(end[0] - begin[0], end[1] - begin[1]) for begin, end in itertools.pairwise(times)]


class SlowServer:
    """`mlflow server` behind a proxy that keeps each request for a while."""

    def __init__(self, folder: Path, delay: float) -> None:
        self.server, self.delay = Server(folder / "server"), delay

    def __enter__(self) -> str:
        """Start both; the address of the proxy."""
        self.server.start()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(self.server.port,), daemon=True).start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.listener.close()
        self.server.signal(signal.SIGKILL)

    def _accept(self, port: int) -> None:
        with suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server, self.delay), (server, client, 0.0)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()


def pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    """What one side says, to the other, late."""
    with suppress(OSError):
        while content := source.recv(1 << 20):
            time.sleep(delay)
            target.sendall(content)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
