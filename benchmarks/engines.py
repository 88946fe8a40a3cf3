"""Does a study give the same to the bit, wherever its jobs run and whatever is killed meanwhile?

    python benchmarks/engines.py [--patients 160] [--epochs 3] [--folds 2] [--only CASE ...]

Three arms by two encoders on a phantom, by the real command, with one thread a job:

    local 1             one job after another
    local 2             two jobs at once
    ray                 Ray on this machine, two workers
    two calls           two commands on the same study at once, one job each
    driver killed       SIGKILL to `local 2` in its midst, then the same command again
    fold killed         SIGKILL to the process of a fold
    ray driver killed   SIGKILL to `ray` in its midst
    ray worker killed   SIGKILL to a Ray worker, which Ray's own retry would begin from the start
    ray node stopped    a cluster of two nodes on this machine loses one of them

Where a command does not end with 0 it is called again, as its user would. Of each case the predictions
of every fold and of each arm's folds together are held against those of `local 1`, byte for byte; every
fold must have been trained once (no metric point twice, one finished run of each), and no run may be
left RUNNING. Prints a line a case; exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

State = dict[str, Any]
STUDY = """\
study: engines
config: [demo]
settings:
  data.store: store
  data.n_folds: {folds}
  trainer.max_epochs: {epochs}
  trainer.accelerator: cpu
  explain.enabled: false
  tracking.figures: false
arms: {{bmode: bmode, ceus: ceus, fused: fused}}
grid:
  model.encoder: [test_efficientnet, test_resnet]
reference: fused
"""
JOBS = 6  # arms, times the folds


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    asked = parser.parse_args()
    wrong = 0
    with TemporaryDirectory(prefix="mufnet-engines-") as scratch:
        template = Path(scratch, "template")
        template.mkdir()
        size = ["--patients", str(asked.patients), "--high-share", "0.4", "--frames", "6"]
        run(["phantom", "cohort", *size, "--clip-length", "12", "--pane-size", "224"], template)
        run(["prepare", "cohort", "store"], template)
        (template / "study.yaml").write_text(STUDY.format(folds=asked.folds, epochs=asked.epochs))
        expected: State = {}
        print(
            "| case | jobs | seconds | calls | same bytes | trained once | left RUNNING |", flush=True
        )
        print("|---|---|---|---|---|---|---|")
        for name in dict.fromkeys(["local 1", *asked.only]):
            folder = shutil.copytree(template, Path(scratch, "work"))
            begun = time.perf_counter()
            calls = CASES[name](folder, JOBS * asked.folds)
            seconds = time.perf_counter() - begun
            state = state_of(folder)
            expected = expected or state
            same = state["files"] == expected["files"] and len(state["files"]) == JOBS * (
                asked.folds + 1
            )
            once = not state["doubled"] and state["finished"] == JOBS * asked.folds
            wrong += not (same and once and state["running"] == 0)
            print(
                f"| {name} | {state['finished']} | {seconds:.0f} | {calls} | {yes(same)} | "
                f"{yes(once)} | {state['running']} |",
                flush=True,
            )
            if not same:
                for file in sorted(expected["files"].keys() | state["files"].keys()):
                    if state["files"].get(file) != expected["files"].get(file):
                        print(f"    differs: {file}", flush=True)
            shutil.rmtree(folder)
    return int(wrong > 0)


def yes(flag: bool) -> str:
    """In words."""
    return "yes" if flag else "**no**"


def study(*options: str) -> list[str]:
    """The command."""
    return ["study", "study.yaml", "--threads", "1", *options]


def run(words: list[str], folder: Path) -> None:
    """A command that must end well."""
    done = subprocess.run(line(words), cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"mufnet {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
        )


def line(words: list[str]) -> list[str]:
    """Of a command."""
    return [sys.executable, "-m", "mufnet_lightning", *words]


def environment() -> dict[str, str]:
    """Of all commands: this very tree."""
    tree = str(Path(__file__).parents[1])
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**os.environ, "PYTHONPATH": tree, **quiet}


@contextlib.contextmanager
def begun(words: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own."""
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(
            line(words), cwd=folder, env=environment(), stdout=said, stderr=said, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def again(words: list[str], folder: Path, calls: int) -> int:
    """Call it until it ends with 0, three times at most; how many calls there were."""
    for _ in range(3):
        calls += 1
        done = subprocess.run(
            line(words), cwd=folder, env=environment(), capture_output=True, text=True
        )
        if done.returncode == 0:
            return calls
        print(done.stderr[-1500:], flush=True)
    raise SystemExit(f"mufnet {' '.join(words)} does not end well")


def plain(*options: str) -> Callable[[Path, int], int]:
    """Undisturbed."""

    def case(folder: Path, jobs: int) -> int:
        run(study(*options), folder)
        return 1

    return case


def two_calls(folder: Path, jobs: int) -> int:
    """Both at once."""
    words = study("--jobs", "1")
    with begun(words, folder) as first, begun(words, folder) as second:
        codes = first.wait(), second.wait()
    if codes != (0, 0):
        raise SystemExit(f"two calls ended with {codes}:\n{(folder / 'said.txt').read_text()[-3000:]}")
    return 2


def driver_killed(*options: str) -> Callable[[Path, int], int]:
    """When half of the jobs are done."""

    def case(folder: Path, jobs: int) -> int:
        words = study(*options)
        with begun(words, folder) as process:
            wait_until(lambda: finished(folder) >= jobs // 2 or process.poll() is not None)
            process.kill()
            process.wait()
        return again(words, folder, 1)

    return case


def killed(options: list[str], title: str) -> Callable[[Path, int], int]:
    """One process of the command, by what its title, or command line, has in it."""

    def case(folder: Path, jobs: int) -> int:
        words = study(*options)
        with begun(words, folder) as process:
            wait_until(lambda: finished(folder) >= 2 or process.poll() is not None)
            time.sleep(random.Random(0).uniform(1, 4))
            below = children(process.pid)
            victims = [one for one in below if title in " ".join(one.cmdline())]
            if title == "forkserver":  # its children are the folds
                victims = [fold for server in victims for fold in server.children()]
            if not victims:
                raise SystemExit(f"no process of {title} to kill")
            victims[-1].kill()
            code = process.wait()
        return 1 if code == 0 else again(words, folder, 1)

    return case


def node_stopped(folder: Path, jobs: int) -> int:
    """A cluster of two nodes, one core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        words = study("--ray-address", cluster.address)
        with begun(words, folder) as process:
            wait_until(lambda: finished(folder) >= 2 or process.poll() is not None)
            time.sleep(2)
            cluster.remove_node(node, allow_graceful=False)
            code = process.wait()
        return 1 if code == 0 else again(words, folder, 1)
    finally:
        cluster.shutdown()


def children(pid: int) -> list[psutil.Process]:
    """All below a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_until(there: Callable[[], object], seconds: float = 3600) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            raise SystemExit("nothing happens")
        time.sleep(0.2)


def finished(folder: Path) -> int:
    """Fits that came to their end."""
    return int(sum(status == "FINISHED" for _, _, status, verb in runs(folder) if verb == "fit"))


def runs(folder: Path) -> list[tuple[str, str, str, str]]:
    """Id, name, status, verb."""
    file = folder / "mlruns/mlflow.db"
    if not file.is_file():
        return []
    asked = (
        "SELECT run_uuid, name, status, value FROM runs JOIN tags USING (run_uuid) "
        "WHERE key = 'verb' AND lifecycle_stage = 'active'"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as db:
            return db.execute(asked).fetchall()
    except sqlite3.Error:  # its tables are being made
        return []


def state_of(folder: Path) -> State:
    """What is there in the end."""
    state: State = {"files": {}, "doubled": [], "finished": 0, "running": 0}
    names: Counter[str] = Counter()
    with contextlib.closing(sqlite3.connect(folder / "mlruns/mlflow.db", timeout=60)) as database:
        for run_id, name, status, verb in runs(folder):
            state["running"] += status == "RUNNING"
            if verb not in ("fit", "cv") or status != "FINISHED":
                continue
            names[name] += 1
            state["finished"] += verb == "fit"
            for file in (folder / "mlruns/artifacts" / run_id).rglob("predictions.csv"):
                state["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
            rows = database.execute(
                "SELECT key, step, COUNT(*) FROM metrics WHERE run_uuid = ? "
                "AND key NOT LIKE 'system/%' GROUP BY key, step HAVING COUNT(*) > 1",
                (run_id,),
            ).fetchall()
            state["doubled"] += [f"{name} {key} {step}" for key, step, _ in rows]
    state["doubled"] += [name for name, count in names.items() if count > 1]
    return state


CASES: dict[str, Callable[[Path, int], int]] = {
    "local 1": plain("--jobs", "1"),
    "local 2": plain("--jobs", "2"),
    "ray": plain("--engine", "ray", "--jobs", "2"),
    "two calls": two_calls,
    "driver killed": driver_killed("--jobs", "2"),
    "fold killed": killed(["--jobs", "2"], "forkserver"),
    "ray driver killed": driver_killed("--engine", "ray", "--jobs", "2"),
    "ray worker killed": killed(["--engine", "ray", "--jobs", "2"], " fold "),
    "ray node stopped": node_stopped,
}

if __name__ == "__main__":
    sys.exit(main())
