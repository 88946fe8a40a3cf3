"""A real fit whose tracking server is stopped for a minute, killed and restarted, or absent at first.

    python benchmarks/server_gone.py [--seconds 60] [--epochs 150] [--out FOLDER]

Four fits by the command on a small phantom, each with `mlflow server` of its own: undisturbed; the
server stopped (SIGSTOP) for a minute in mid-fit; killed in mid-fit and started again a minute later on
the same port and database; absent when the fit begins and until it has ended, then `mufnet sync`. Each
run is compared with the undisturbed one: every point of every metric (but for those of the machine),
tags, parameters, data sets, and the bytes of the artifacts that do not name the run.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow_server import Server  # type: ignore[import-not-found]

HERE = Path(__file__).parents[1]
SAME_BYTES = ("config.yaml", "folds.csv", "predictions.csv")


def main() -> None:
    """Run all four and print a line each; exit 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        root = asked.out or Path(scratch)
        root.mkdir(exist_ok=True)
        size = ["--frames", "3", "--clip-length", "6", "--pane-size", "128", "--high-share", "0.5"]
        mufnet(root, None, "phantom", "cohort", "--patients", "30", *size, "--frames-spread", "0")
        mufnet(root, None, "prepare", "cohort", "store")
        whole: dict[str, Any] = {}
        good = True
        for way in ("undisturbed", "stopped", "absent", "restarted"):
            seen, line = one_fit(root, way, asked.seconds, asked.epochs)
            whole = whole or seen
            differences = [name for name in whole if seen[name] != whole[name]]
            good &= not differences
            print(
                f"{way:12} {line}; {'differs in ' + ', '.join(differences) if differences else 'same'}"
            )
            for name in differences:
                print(json.dumps({name: [whole[name], seen[name]]})[:2000], file=sys.stderr)
    sys.exit(0 if good else 1)


def one_fit(root: Path, way: str, seconds: float, epochs: int) -> tuple[dict[str, Any], str]:
    """What a fit left on its server, and what happened."""
    folder = root / way
    folder.mkdir()
    server = Server(folder / "server")
    if way != "absent":
        server.start()
    words = [
        "fit",
        "--config=fused",
        "--config=demo",
        f"--data.store={root / 'store'}",
        "--data.image_size=32",
        "--data.batch_size=16",
        f"--trainer.max_epochs={epochs}",
        "--trainer.accelerator=cpu",
        "--explain.enabled=false",
        "--tracking.figures=false",
    ]
    begin = time.monotonic()
    told = open(folder / "told", "w", encoding="utf-8")  # noqa: SIM115
    fit = subprocess.Popen(
        command(words), cwd=folder, env=environment(server.uri), stdout=told, stderr=told
    )
    at = ""
    if way in ("stopped", "restarted"):
        while not list(folder.glob("mlruns/checkpoints/*/last.ckpt")):
            time.sleep(0.2)
            assert fit.poll() is None, (folder / "told").read_text()
        time.sleep(3)
        server.signal(signal.SIGSTOP if way == "stopped" else signal.SIGKILL)
        gone = time.monotonic()
        time.sleep(seconds)
        at = "still training when it was back" if fit.poll() is None else "over when it was back"
        at = f", gone for {time.monotonic() - gone:.0f} s, the fit {at}"
        if way == "stopped":
            server.signal(signal.SIGCONT)
        else:
            server.start()
    assert fit.wait() == 0, (folder / "told").read_text()
    took = time.monotonic() - begin
    if way == "absent":
        server.start()
        at = f", `mufnet sync`: {mufnet(folder, server.uri, 'sync').strip()}"
    else:
        mufnet(folder, server.uri, "sync")
    seen, gap = left(server.uri)
    server.signal(signal.SIGKILL)
    return seen, f"fit {took:.0f} s{at}; longest time between two epochs {gap:.2f} s"


def left(uri: str) -> tuple[dict[str, Any], float]:
    """All that the only run on a server says, but for the time; the longest gap between its epochs."""
    from mlflow import MlflowClient

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    client = MlflowClient(uri)
    (study,) = [one for one in client.search_experiments() if one.name == "demo"]
    (run,) = client.search_runs([study.experiment_id])
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    points = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    times = [point.timestamp for point in points["train/loss"]]
    own = ("journal", "git_commit", "mlflow.source.git.commit")
    tags = {name: value for name, value in run.data.tags.items() if name not in own}
    files: dict[str, str] = {}
    with TemporaryDirectory() as scratch:
        local = Path(client.download_artifacts(run.info.run_id, "", scratch))
        for path in sorted(path for path in local.rglob("*") if path.is_file()):
            name = path.relative_to(local).as_posix()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[name] = digest if name in SAME_BYTES else "there"
    models = client.search_logged_models([study.experiment_id])
    seen = {
        "points": {name: [[p.step, p.value] for p in history] for name, history in points.items()},
        "tags": tags,
        "params": run.data.params,
        "data": [one.dataset.digest for one in run.inputs.dataset_inputs] if run.inputs else [],
        "files": files,
        "status": run.info.status,
        "models": [[model.name, str(model.status)] for model in models],
    }
    gap = max(later - earlier for earlier, later in itertools.pairwise(times)) / 1000
    return seen, gap


def command(words: list[str]) -> list[str]:
    """Of a verb."""
    return [sys.executable, "-m", "mufnet_lightning", *words]


def environment(uri: str | None) -> dict[str, str]:
    """With the server, and this checkout's package."""
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    given = {**os.environ, **quiet, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    given.pop("MLFLOW_TRACKING_URI", None)
    return given if uri is None else {**given, "MLFLOW_TRACKING_URI": uri}


def mufnet(folder: Path, uri: str | None, *words: str) -> str:
    """Run a verb; what it prints."""
    done = subprocess.run(
        command(list(words)), cwd=folder, env=environment(uri), check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode()


if __name__ == "__main__":
    main()
