"""How long do a comparison and the report take with many arms, and how large are they?

    python benchmarks/many_arms.py [--arms 3 10 100] [--patients 161] [--work FOLDER]

Cross-validates one arm on a phantom by the real command (two folds, one epoch of the tiny encoder), and
writes copies of its runs as further arms: own names, scores that differ by chance, and the rest as it
is. Of each number of arms, each command in a process of its own: `mufnet compare` of the first arm
with every other (`--planned`), and of each two where that is at most a thousand tests; `mufnet report`,
which tests each two of up to 14 arms and none of more, as no study file planned any. Prints seconds,
the peak of memory, and the size of what is written.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import psutil
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

FIT = (
    "--config=fused --config=demo --data.store=store --data.n_folds=2 --data.protocol=nested "
    "--data.image_size=32 --data.batch_size=16 --trainer.max_epochs=1 --trainer.accelerator=cpu "
    "--explain.enabled=false --tracking.figures=false"
)
PARENT = "mlflow.parentRunId"
ALL_PAIRS = 1000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", type=int, nargs="+", default=[3, 10, 100])
    parser.add_argument("--patients", type=int, default=161)
    parser.add_argument("--work", type=Path, help="keep everything here, and go on with it")
    asked = parser.parse_args()
    print("| arms | | s | MB of memory | MB written |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as scratch:
        work = (asked.work or Path(scratch)).resolve()
        work.mkdir(exist_ok=True)
        if not (work / "mlruns").is_dir():
            size = f"--patients {asked.patients} --high-share 0.4 --pane-size 128"
            timed(f"phantom cohort {size} --frames 2 --clip-length 4".split(), work)
            timed(["prepare", "cohort", "store"], work)
            timed(["cv", *FIT.split(), "--tracking.arm=arm-000", "--tracking.study=many"], work)
        for arms in sorted(asked.arms):
            ids = with_arms(work, arms)
            for name, (words, written) in commands(ids).items():
                seconds, memory = timed(words, work)
                size_mb = (
                    sum(path.stat().st_size for path in work.glob(written) if path.is_file()) / 1e6
                )
                print(
                    f"| {arms} | {name} | {seconds:.1f} | {memory:.0f} | {size_mb:.1f} |",
                    flush=True,
                )


def commands(ids: Sequence[str]) -> dict[str, tuple[list[str], str]]:
    """What is timed: words, and the files that they write."""
    planned = ",".join(f"arm-000:arm-{number:03d}" for number in range(1, len(ids)))
    compare = ["compare", *ids, "--level=patient"]
    made = {"compare, planned": ([*compare, f"--planned={planned}", "--out=planned"], "planned/*")}
    if len(ids) * (len(ids) - 1) // 2 <= ALL_PAIRS:
        made["compare, each two"] = ([*compare, "--out=pairs"], "pairs/*")
    made["report"] = (["report", "many", "--cohort=cohort"], "report-many.html")
    return made


def with_arms(work: Path, count: int) -> list[str]:
    """The ids of so many cross-validations; those that lack are written."""
    client = MlflowClient(f"sqlite:///{work}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("many")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "status = 'FINISHED'", max_results=50_000)
    known = {run.data.tags["arm"]: run for run in runs if run.data.tags["verb"] == "cv"}
    first = known["arm-000"]
    folds = [run for run in runs if run.data.tags.get(PARENT) == first.info.run_id]
    rng = np.random.default_rng(count)
    for number in range(len(known), count):
        arm = f"arm-{number:03d}"
        parent = copied(client, work, first, arm, None, rng)
        for fold in folds:
            copy = copied(client, work, fold, arm, parent.info.run_id, rng)
            client.set_terminated(copy.info.run_id)
        client.set_terminated(parent.info.run_id)  # the last of all: an arm that was begun is not one
        known[arm] = parent
    return [known[f"arm-{number:03d}"].info.run_id for number in range(count)]


def copied(
    client: MlflowClient,
    work: Path,
    run: Run,
    arm: str,
    parent: str | None,
    rng: np.random.Generator,
) -> Run:
    """A run like another one, of another arm, whose scores differ by chance; still to be ended."""
    tags = {**run.data.tags, "arm": arm, **({PARENT: parent} if parent else {})}
    name = str(run.info.run_name).replace("arm-000", arm)
    tags["mlflow.runName"] = name
    made = client.create_run(run.info.experiment_id, tags=tags, run_name=name)
    metrics = [Metric(key, value, run.info.end_time, 0) for key, value in run.data.metrics.items()]
    params = [Param(key, value) for key, value in run.data.params.items()]
    client.log_batch(made.info.run_id, metrics, params)
    client.log_inputs(made.info.run_id, run.inputs.dataset_inputs)
    artifacts = work / "mlruns/artifacts"
    folder = artifacts / made.info.run_id / "artifacts"
    shutil.copytree(artifacts / run.info.run_id / "artifacts", folder, dirs_exist_ok=True)
    file = folder / "predictions.csv"
    table = pd.read_csv(file, dtype={"patient_id": str, "pair_id": str, "clip_id": str})
    shift = dict(zip(table["patient_id"].unique(), rng.normal(0, 0.3, len(table)), strict=False))
    logit = np.log(table["score"] / (1 - table["score"])) + table["patient_id"].map(shift)
    table.assign(score=1 / (1 + np.exp(-logit))).to_csv(file, index=False)
    return made


def timed(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Seconds of a command, and its memory at the peak in MB; it must end well."""
    begun, peak = time.perf_counter(), 0
    line = [sys.executable, "-m", "mufnet_lightning", *words]
    with (folder / "said.txt").open("w+") as said:
        process = psutil.Popen(line, cwd=folder, stdout=said, stderr=said)
        while process.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.05)
        if process.wait():
            said.seek(0)
            raise SystemExit(
                f"mufnet {words[0]} ended with {process.returncode}:\n{said.read()[-3000:]}"
            )
    return time.perf_counter() - begun, peak / 1e6


if __name__ == "__main__":
    main()
