"""What was read out of runs is not left behind on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

from mufnet_lightning.tracking.runs import mlflow_client, open_study, resolve_artifact


def test_copies_of_artifacts_go_with_the_process(work: Path, tmp_path: Path) -> None:
    labels, ids = np.arange(20) % 2, []
    for arm, seed in (("bmode", 1), ("fused", 2)):
        scores = np.clip(0.3 * labels + np.random.default_rng(seed).uniform(0, 0.7, 20), 0, 1)
        names = [f"p{number}" for number in range(20)]
        table = pd.DataFrame({"patient_id": names, "label": labels, "score": scores, "split": "test"})
        run = mlflow_client().create_run(
            open_study("s"), run_name=arm, tags={"arm": arm, "verb": "fit"}
        )
        mlflow_client().log_text(run.info.run_id, table.to_csv(index=False), "predictions.csv")
        mlflow_client().set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "mufnet_lightning", "compare", *ids, "--study=s"]
    made = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "fused" in made.stdout
    assert list(scratch.iterdir()) == []


def test_each_reading_is_of_its_own_time(work: Path) -> None:
    run = mlflow_client().create_run(open_study("s")).info.run_id
    mlflow_client().log_text(run, "first", "words.txt")
    first = resolve_artifact(run, "words.txt")
    mlflow_client().log_text(run, "second", "words.txt")
    second = resolve_artifact(run, "words.txt")
    assert (first.read_text(), second.read_text()) == ("first", "second")


def test_copies_go_with_a_worker_process_too(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(
        "import sys\n"
        "from mufnet_lightning.system.processes import warm_context\n"
        "def work():\n"
        "    from mufnet_lightning.tracking import downloads\n"
        "    print(downloads._scratch().name)\n"
        "if __name__ == '__main__':\n"
        "    process = warm_context([]).Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    scratch = Path(mkdtemp())  # a short name: the worker's socket lies in there
    made = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
    )
    assert str(scratch) in made.stdout
    assert [path for path in scratch.iterdir() if path.name.startswith("mufnet-")] == []
    shutil.rmtree(scratch)
