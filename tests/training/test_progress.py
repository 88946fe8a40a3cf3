"""What is told of a training while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.runs import mlflow_client
from mufnet_lightning.training import progress
from mufnet_lightning.training.progress import Progress, progress_sent_to


def test_a_whole_number_of_epochs_comes_with_the_score_of_the_last_one(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0.0)  # after each batch, the last one of an epoch too
    events: list[Progress] = []
    with progress_sent_to(events.append):
        assert main(["fit", *tiny, "--trainer.max_epochs=4"]) == 0
    assert "Epoch" not in capfd.readouterr().err, "no bar is drawn"
    client = mlflow_client()
    (study,) = [one.experiment_id for one in client.search_experiments() if one.name == "demo"]
    (run,) = client.search_runs([study])
    history = client.get_metric_history(run.info.run_id, "val/auc")
    known = {point.step + 1: point.value for point in history}
    assert list(known) == [1, 2, 3, 4]
    training = [event for event in events if not event.scoring]
    assert len(training) > 4 * 2
    assert [event.trained for event in training] == sorted(event.trained for event in training)
    whole = [event for event in training if event.trained.is_integer()]
    assert {event.trained for event in whole} == {0, 1, 2, 3, 4}
    for event in whole:
        assert event.scores.get("val/auc") == known.get(int(event.trained))
    assert {event.epochs for event in events} == {4}
    assert events[-1].scoring
