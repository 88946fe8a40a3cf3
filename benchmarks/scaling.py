"""How a study grows with the GPUs that it has: measured with two workers here, simulated beyond.

    python benchmarks/scaling.py [--patients 40] [--epochs 4] [--folds 4] [--parts idle ...]

idle        seconds from the start of a process to its first training step: of a `mufnet fit` called
            anew for each fold, as a script would, and of the folds of one `mufnet cv`, whose processes
            start from a warm one. What is read from the disk has been read before.
workers     a study of two arms with one worker and with two, one thread each: seconds, and efficiency
            (how much of twice the speed there is).
simulated   the scheduler itself, with an engine that only lets a clock run, on 1 to 64 GPUs: a study
            of 15 arms by 5 folds, of jobs of `--hours` (10% more or less). What it costs to look at an
            arm, to pool its folds and to start a job is measured here first, in a small study.

Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psutil
from lightning.pytorch import Callback

HERE = Path(__file__).resolve()
TREE = HERE.parents[1]
STARTS = "MUFNET_STARTS"
"""Environment variable: the folder that each job notes its first step in."""
GPUS = (1, 2, 4, 8, 16, 32, 64)
ARMS, FOLDS = 15, 5


class FirstStep(Callback):
    """Notes the seconds from the start of this process to its first training step."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """At the first one."""
        if trainer.global_step == 0:
            own = psutil.Process()
            note = Path(os.environ[STARTS], f"{own.pid}.json")
            note.write_text(json.dumps(time.time() - own.create_time()))


def main() -> None:
    """Measure, then simulate."""
    parts = {"idle": idle, "workers": workers, "simulated": simulated}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--hours", type=float, default=2.0, help="of a job, to simulate [2]")
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="mufnet-scaling-") as scratch:
        folder = Path(scratch)
        os.chdir(folder)
        size = ["--patients", str(asked.patients), "--high-share", "0.5", "--frames", "6"]
        mufnet("phantom", "cohort", *size, "--clip-length", "12", "--pane-size", "128")
        mufnet("prepare", "cohort", "store")
        for part in asked.parts:
            print(f"\n### {part}\n", flush=True)
            parts[part](asked)


def words(asked: argparse.Namespace, *more: str) -> list[str]:
    """Options of a small fit."""
    return [
        "--config=fused",
        "--config=demo",
        "--data.store=store",
        f"--data.n_folds={asked.folds}",
        f"--trainer.max_epochs={asked.epochs}",
        "--trainer.accelerator=cpu",
        "--explain.enabled=false",
        "--tracking.figures=false",
        *more,
    ]


def mufnet(*line: str, **environment: str) -> float:
    """Seconds that a command takes."""
    path = os.pathsep.join([str(TREE), str(HERE.parent)])
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mufnet_lightning", *line],
        check=True,
        env={**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def idle(asked: argparse.Namespace) -> None:
    """What a job costs before its first step."""
    noted = "--trainer.callbacks+=scaling.FirstStep"
    rows = {}
    for name in ("a command each", "folds of one command"):
        starts = Path(name.replace(" ", "-")).absolute()
        starts.mkdir()
        note = {STARTS: str(starts), "OMP_NUM_THREADS": "1"}
        if name == "a command each":
            for fold in range(asked.folds):
                mufnet("fit", *words(asked, noted, f"--data.fold={fold}"), **note)
        else:
            mufnet("cv", *words(asked, noted), "--jobs=1", **note)
        rows[name] = sorted(json.loads(file.read_text()) for file in starts.glob("*.json"))
    print("| | to the first step, s | each |\n|---|---|---|")
    for name, seconds in rows.items():
        each = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"| {name} | {statistics.median(seconds):.1f} | {each} |")
    before, after = (statistics.median(seconds) for seconds in rows.values())
    print(f"| ratio | {after / before:.2f} | |", flush=True)


def workers(asked: argparse.Namespace) -> None:
    """One and two at once."""
    seconds = {}
    for jobs in (1, 2):
        study = [f"--tracking.study=workers{jobs}", f"--jobs={jobs}", "--threads=1"]
        shared = [word for word in words(asked, *study) if word != "--config=fused"]
        out = f"--out=results{jobs}"
        begun = time.perf_counter()
        mufnet("study", "--arms", "bmode", "fused", *shared, out)
        seconds[jobs] = time.perf_counter() - begun
    print("| workers | seconds | efficiency |\n|---|---|---|")
    for jobs, one in seconds.items():
        print(f"| {jobs} | {one:.0f} | {seconds[1] / one / jobs:.2f} |", flush=True)


@dataclass
class Clock:
    """Of a simulation, in seconds."""

    now: float = 0.0


@dataclass
class SimulatedEngine:
    """Jobs that take as long as they are said to."""

    gpus: int
    clock: Clock
    seconds: Callable[[], float]
    running: list[tuple[float, int, Any]] = field(default_factory=list)
    busy: float = 0.0
    last: float = 0.0

    def reach(self, folders: Any) -> None:
        """All is here."""

    def takes(self, job: Any) -> bool:
        """Whether a GPU is free, at the time that it is now."""
        return sum(end > self.clock.now for end, _, _ in self.running) < self.gpus

    def begin(self, job: Any) -> None:
        """Let it run."""
        seconds = self.seconds()
        self.busy += seconds
        heapq.heappush(self.running, (self.clock.now + seconds, id(job), job))

    def events(self, seconds: float) -> list[Any]:
        """The next one that ends."""
        from mufnet_lightning.study.job import JobEnd

        if not self.running:
            return []
        end, _, job = heapq.heappop(self.running)
        self.clock.now = max(self.clock.now, end)
        self.last = max(self.last, end)
        return [JobEnd(job, "done")]

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class SimulatedArm:
    """What the scheduler asks of a cross-validation."""

    arm: str
    clock: Clock
    pooling: float
    folds: tuple[int, ...] = tuple(range(FOLDS))
    store: Path = Path("store")

    @property
    def wanted(self) -> tuple[int, ...]:
        """All."""
        return self.folds

    @property
    def parent(self) -> Any:
        """Known by the arm."""
        return SimpleNamespace(id=self.arm)

    def begin(self) -> list[int]:
        """All."""
        return list(self.folds)

    def job(self, fold: int) -> Any:
        """Of a fold."""
        from mufnet_lightning.study.job import FoldJob

        return FoldJob(self.arm, fold, self.folds, self.arm, (), 1)

    def finish(self) -> None:
        """Takes its time."""
        self.clock.now += self.pooling

    def done(self) -> set[int]:
        """None is told of elsewhere."""
        return set()


def costs(asked: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds to look at an arm, to pool its folds, and to start a job; of one arm, figures drawn."""
    from mufnet_lightning.study.cross_validate import cross_validate
    from mufnet_lightning.study.cross_validation import CrossValidation
    from mufnet_lightning.study.local_engine import LocalEngine

    seconds: dict[str, float] = {}
    find, finish = CrossValidation.find, CrossValidation.finish

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                seconds[name] = time.perf_counter() - begun

        return call

    CrossValidation.find = timed("find", find)  # type: ignore[method-assign]
    CrossValidation.finish = timed("finish", finish)  # type: ignore[method-assign]
    starts = Path("starts").absolute()
    starts.mkdir()
    os.environ[STARTS] = str(starts)
    sys.path.insert(0, str(HERE.parent))  # for the folds, which import this file
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TREE), str(HERE.parent)])
    given = [word for word in words(asked) if "figures" not in word]
    noted = ["--trainer.callbacks+=scaling.FirstStep", "--tracking.study=costs"]
    with contextlib.redirect_stdout(None):
        cross_validate([*given, *noted], engine=LocalEngine(1), threads=1)
    started = [json.loads(file.read_text()) for file in starts.glob("*.json")]
    return seconds["find"], seconds["finish"], statistics.median(started)


def simulated(asked: argparse.Namespace) -> None:
    """The scheduler on 1 to 64 GPUs."""
    from mufnet_lightning.study.schedule import run_jobs

    finding, pooling, starting = costs(asked)
    print(
        f"Jobs of {asked.hours:g} h (10% more or less); to look at an arm takes {finding:.1f} s, "
        f"to pool it {pooling:.1f} s, to start a job {starting:.1f} s. {ARMS} arms of {FOLDS} folds.\n"
    )
    print("| GPUs | hours | efficiency | best that whole jobs allow | scheduler's own seconds |")
    print("|---|---|---|---|---|")
    for gpus in GPUS:
        clock, draw = Clock(), random.Random(0)
        engine = SimulatedEngine(
            gpus, clock, lambda draw=draw: starting + asked.hours * 3600 * draw.uniform(0.9, 1.1)
        )

        def finder(number: int, clock: Clock = clock) -> Any:
            def find() -> Any:
                clock.now += finding
                return SimulatedArm(f"arm{number}", clock, pooling)

            return find

        begun = time.perf_counter()
        run_jobs([finder(number) for number in range(ARMS)], ARMS, engine)
        own = time.perf_counter() - begun
        waves = -(-ARMS * FOLDS // gpus) * gpus
        print(
            f"| {gpus} | {clock.now / 3600:.1f} | {engine.busy / clock.now / gpus:.2f} | "
            f"{ARMS * FOLDS / waves:.2f} | {own:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
