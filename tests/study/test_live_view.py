"""What is shown of jobs while they run."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from mufnet_lightning.study.engines import JobProgress
from mufnet_lightning.study.job import FoldJob, JobEnd
from mufnet_lightning.study.live_view import LiveView
from mufnet_lightning.training.progress import Progress


def job(fold: int) -> FoldJob:
    return FoldJob("fused", fold, (0, 1, 2), "parent", ())


def shown(view: LiveView) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(view.table())
    return console.export_text()


def test_each_job_has_its_epoch_its_auc_and_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    view = LiveView(2)
    view.add("fused", 3, 1)
    view.begin(job(1))
    view.begin(job(2))
    assert "starts" in shown(view)
    view.show(JobProgress(job(1), Progress(100, 10.0, None), "GPU 3"))
    now += 60.0
    view.show(JobProgress(job(1), Progress(100, 20.5, 0.8125), "GPU 3"))
    text = shown(view)
    assert "1 of 3 folds of 1 of 2 arms done" in text
    row = next(line for line in text.splitlines() if line.startswith("fused fold 1"))
    left = 60 * (100 - 20.5) / (20.5 - 10)  # as fast as since the first word of it
    assert row.split()[-5:] == ["21/100", "0.812", f"{left // 60:.0f}:{left % 60:02.0f}", "GPU", "3"]
    assert view.line().startswith(
        "1 of 3 folds of 1 of 2 arms done; fused fold 1 epoch 21/100, AUC 0.81"
    )
    view.show(JobProgress(job(1), Progress(100, 100.0, 0.8, scoring=True)))
    assert "test" in shown(view)
    view.end(JobEnd(job(1), "done"))
    assert "2 of 3 folds" in shown(view)
    assert "fused fold 1" not in shown(view)
    view.end(JobEnd(job(2), "lost", ("gone",)))
    assert view.line() == "2 of 3 folds of 1 of 2 arms done; no fold runs here"


def test_a_training_without_a_last_epoch_has_no_end_that_could_be_told() -> None:
    view = LiveView(1)
    view.add("fused", 3, 0)
    view.show(JobProgress(job(0), Progress(None, 1.5, None)))
    view.show(JobProgress(job(0), Progress(None, 7.5, 0.5)))
    assert view.line() == "0 of 3 folds done; fused fold 0 epoch 8, AUC 0.500"
    assert "8" in shown(view)
