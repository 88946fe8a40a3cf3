"""Every line of the README's verb block works as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from annotation_files import Drawn, cvat_project
from mlflow import MlflowClient
from readme import verb_lines

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.commands.verbs import VERBS
from mufnet_lightning.tracking.runs import mlflow_client

ELSEWHERE = {
    "cv",
    "study",
    "sweep",
    "ui",
}  # on less, or only until interrupted


def fits() -> list[str]:
    """Ids of the trained runs, the latest first."""
    store: MlflowClient = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return [run.info.run_id for run in store.search_runs(ids, "tags.verb = 'fit'")]


def write_export(path: Path, cohort: Path) -> None:
    """The cohort's own boxes as CVAT exports them, for `mufnet import` to read."""
    tables = read_cohort(cohort)
    assert tables.clips is not None
    assert tables.boxes is not None
    _, frame = next(iter_frames(cohort / tables.clips["path"].iloc[0], [0]))
    columns = ["clip_id", "frame", "x", "y", "width", "height"]
    boxes = [Drawn(*row) for row in tables.boxes[columns].itertuples(index=False)]
    cvat_project(path, boxes, (frame.shape[1], frame.shape[0]))


@pytest.mark.slow
def test_every_verb_has_a_line_and_every_line_works(work: Path) -> None:
    lines = verb_lines()
    assert {line.split()[1] for line in lines} == set(VERBS)
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "mufnet"
        if words[0] in ELSEWHERE:
            continue
        if words[0] == "import":
            write_export(Path(words[1]), Path(words[2]))
        known = dict(zip(("RUN", "OTHER"), fits(), strict=False)) if "runs:/" in line else {}
        for name, run in known.items():
            words = [word.replace(f"runs:/{name}", f"runs:/{run}") for word in words]
        assert main(words) == 0, line
    assert Path("scores.csv").is_file()
    assert Path("try/compared/table2.tex").is_file()
    assert "Simulated patients" in Path("try/report.html").read_text()
