"""Every line of the README's verb block works as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from mlflow import MlflowClient
from readme import verb_lines

from mufnet_lightning.cli import main
from mufnet_lightning.commands.verbs import VERBS
from mufnet_lightning.tracking.runs import mlflow_client

ELSEWHERE = {"cv", "study", "ui"}  # on less, or only until interrupted: tests/study and tests/commands


def fits() -> list[str]:
    """Ids of the trained runs, the latest first."""
    store: MlflowClient = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return [run.info.run_id for run in store.search_runs(ids, "tags.verb = 'fit'")]


@pytest.mark.slow
def test_every_verb_has_a_line_and_every_line_works(work: Path) -> None:
    lines = verb_lines()
    assert {line.split()[1] for line in lines} == set(VERBS)
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "mufnet"
        if words[0] in ELSEWHERE:
            continue
        known = dict(zip(("RUN", "OTHER"), fits(), strict=False)) if "runs:/" in line else {}
        for name, run in known.items():
            words = [word.replace(f"runs:/{name}", f"runs:/{run}") for word in words]
        assert main(words) == 0, line
    assert Path("scores.csv").is_file()
    assert Path("try/compared/table2.tex").is_file()
    assert "Simulated patients" in Path("try/report.html").read_text()
