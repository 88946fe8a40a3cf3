"""What selecting the epoch on the test set would have gained, from curves that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.selection import SelectionGain, selection_optimism
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.runs import TrackedRun, find_run, mlflow_client, open_study

CURVES = {
    # validation is best at epoch 1, and again at 3; the test set's accuracy at epoch 2
    "val/auc": [0.6, 0.8, 0.7, 0.8],
    "val/loss": [0.4, 0.5, 0.3, 0.6],
    "test_watched/accuracy": [0.5, 0.6, 0.9, 0.8],
    "test_watched/auc": [0.55, 0.65, 0.75, 0.85],
    "test_watched/patient_auc": [0.5, 0.7, 0.6, 0.9],
}


def leave_run(
    curves: dict[str, list[float]], parent: str | None = None, fold: int = 0, **params: str
) -> TrackedRun:
    client = mlflow_client()
    tags = {"verb": "fit", "fold": str(fold), **({"mlflow.parentRunId": parent} if parent else {})}
    run_id = client.create_run(open_study("demo"), tags=tags, run_name=f"fused-fold{fold}").info.run_id
    for name, setting in params.items():
        client.log_param(run_id, name.replace("_", ".", 1), setting)
    for name, points in {"train/loss": [1.0] * 4, **curves}.items():
        for epoch, value in enumerate(points):
            client.log_metric(run_id, name, value, step=epoch)
        # the part is scored once more after training, behind the last epoch
        if name != "train/loss":
            client.log_metric(run_id, name, 1.0, step=4)
    client.set_terminated(run_id)
    return find_run(run_id)


def arm_of(run: TrackedRun | None) -> ScoredArm:
    return ScoredArm("runs:/somewhere", "fused", pd.DataFrame(), run)


@pytest.mark.usefixtures("work")
def test_one_run_is_taken_at_the_first_best_epoch_of_either_choice() -> None:
    optimism = selection_optimism(arm_of(leave_run(CURVES)))
    assert (optimism.name, optimism.runs) == ("fused", 1)
    accuracy, auc = optimism.metrics["accuracy"], optimism.metrics["auc"]
    assert (accuracy.validation, accuracy.test) == (0.6, 0.9)
    assert np.isnan(accuracy.sd)
    assert (auc.validation, auc.test) == (0.65, 0.75)
    assert optimism.metrics["patient_auc"].optimism == pytest.approx(-0.1)
    assert list(optimism.as_json()) == ["name", "runs", "metrics"]
    assert SelectionGain(0.5, 0.75, 0.25, 0.1).as_json() == {
        "validation": 0.5,
        "test": 0.75,
        "optimism": 0.25,
        "sd": 0.1,
    }


@pytest.mark.usefixtures("work")
def test_the_metric_that_chose_the_epoch_chooses_it_here() -> None:
    run = leave_run(CURVES, checkpoint_monitor="val/loss", checkpoint_mode="min")
    assert selection_optimism(arm_of(run)).metrics["accuracy"].validation == 0.9  # epoch 2
    watched = leave_run(CURVES, checkpoint_monitor="test_watched/accuracy")
    assert selection_optimism(arm_of(watched)).metrics["accuracy"].validation == 0.6


@pytest.mark.usefixtures("work")
def test_of_a_cross_validation_it_is_the_mean_over_folds_with_its_spread() -> None:
    parent = mlflow_client().create_run(open_study("demo"), tags={"verb": "cv"}).info.run_id
    leave_run(CURVES, parent, 0)
    leave_run({**CURVES, "test_watched/accuracy": [0.5, 0.6, 0.7, 0.7]}, parent, 1)
    optimism = selection_optimism(arm_of(find_run(parent)))
    accuracy = optimism.metrics["accuracy"]
    assert optimism.runs == 2
    assert accuracy.optimism == pytest.approx(0.2)
    assert accuracy.sd == pytest.approx(np.std([0.3, 0.1], ddof=1))


@pytest.mark.usefixtures("work")
def test_what_has_no_such_curves_is_refused() -> None:
    with pytest.raises(InputFault, match="--selection needs runs, and runs:/somewhere is a file"):
        selection_optimism(arm_of(None))
    unwatched = {name: points for name, points in CURVES.items() if name.startswith("val/")}
    with pytest.raises(
        InputFault, match=r"fused-fold0 has no test_watched/accuracy .*watch_test: true"
    ):
        selection_optimism(arm_of(leave_run(unwatched)))
