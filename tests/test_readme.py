"""Every line of the README's verb block works as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

from mlflow import MlflowClient
from readme import verb_lines

from mufnet_lightning.cli import LIGHTNING_VERBS, main
from mufnet_lightning.tracking.runs import mlflow_client


def fits() -> list[str]:
    """Ids of the trained runs, the latest first."""
    store: MlflowClient = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return [run.info.run_id for run in store.search_runs(ids, "tags.verb = 'fit'")]


def test_every_verb_has_a_line_and_every_line_works(work: Path) -> None:
    lines = verb_lines()
    others = {"phantom", "prepare", "cv", "compare", "characteristics", "explain", "report"}
    assert {line.split()[1] for line in lines} == {*LIGHTNING_VERBS, *others}
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "mufnet"
        if words[0] == "cv":
            continue  # tests/study runs it, on less
        known = dict(zip(("RUN", "OTHER"), fits(), strict=False)) if "runs:/" in line else {}
        for name, run in known.items():
            words = [word.replace(f"runs:/{name}", f"runs:/{run}") for word in words]
        assert main(words) == 0, line
    assert Path("scores.csv").is_file()
    assert Path("try/compared/table2.tex").is_file()
    assert "Simulated patients" in Path("try/report.html").read_text()
