"""How much choosing the epoch on the test set flatters: the paper's way against validation's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.intervals import finite, fold_spread
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.runs import finished_folds, mlflow_client

if TYPE_CHECKING:
    from mufnet_lightning.tracking.runs import TrackedRun

METRICS = ("accuracy", "auc", "patient_auc")
TEST_MONITOR = "test_watched/accuracy"  # "the highest accuracy on the testing cohort"


@dataclass(frozen=True)
class SelectionGain:
    """Of one metric of the test part, means over the runs.

    Attributes:
        validation: at the epochs that validation selects.
        test: at those that the test set would.
        optimism: their difference.
        sd: of it over the runs; NaN for a single run.
    """

    validation: float
    test: float
    optimism: float
    sd: float

    def as_json(self) -> dict[str, object]:
        """By the attributes' names."""
        return {
            "validation": self.validation,
            "test": self.test,
            "optimism": self.optimism,
            "sd": finite(self.sd),
        }


@dataclass(frozen=True)
class SelectionOptimism:
    """Of one arm.

    Attributes:
        name: of the arm.
        runs: how many.
        metrics: accuracy, auc and patient_auc, by name.
    """

    name: str
    runs: int
    metrics: Mapping[str, SelectionGain]

    def as_json(self) -> dict[str, object]:
        """By the attributes' names."""
        metrics = {name: gain.as_json() for name, gain in self.metrics.items()}
        return {"name": self.name, "runs": self.runs, "metrics": metrics}


def selection_optimism(arm: ScoredArm) -> SelectionOptimism:
    """Test results at the epoch that validation selects, and at the one that the test set would.

    From the curves of runs that watched the test part (`data.watch_test`). Of equal epochs the first
    is taken, as a checkpoint is.

    Args:
        arm: a run, or a cross-validation: then of each of its folds.

    Raises:
        InputFault: it is a file, or its runs did not watch the test part.
    """
    if arm.run is None:
        raise InputFault(f"--selection needs runs, and {arm.reference} is a file")
    pairs = np.array([_both_ways(run, arm.reference) for run in _runs(arm.run)])  # (R, 2, metrics)
    metrics = {}
    for column, name in enumerate(METRICS):
        validation, test = pairs[:, 0, column], pairs[:, 1, column]
        gain = test - validation
        spread = fold_spread(gain)
        metrics[name] = SelectionGain(
            float(validation.mean()), float(test.mean()), spread.mean, spread.sd
        )
    return SelectionOptimism(arm.name, len(pairs), metrics)


def _runs(run: TrackedRun) -> list[TrackedRun]:
    return list(finished_folds(run).values()) if run.is_cv else [run]


def _both_ways(run: TrackedRun, reference: str) -> list[list[float]]:
    """METRICS of the test part at the epoch of validation's choice, and of the test set's."""
    monitor, mode = run.params.get("checkpoint.monitor", "val/auc"), "max"
    if monitor.startswith("val/"):
        mode = run.params.get("checkpoint.mode", "max")
    else:
        monitor = "val/auc"
    chosen = [
        _best_epoch(run, monitor, mode, reference),
        _best_epoch(run, TEST_MONITOR, "max", reference),
    ]
    curves = [_curve(run, f"test_watched/{name}", reference) for name in METRICS]
    return [[curve[epoch] for curve in curves] for epoch in chosen]


def _best_epoch(run: TrackedRun, metric: str, mode: str, reference: str) -> int:
    curve = _curve(run, metric, reference)
    sign = -1 if mode == "max" else 1
    return min(curve, key=lambda epoch: (sign * curve[epoch], epoch))


def _curve(run: TrackedRun, metric: str, reference: str) -> dict[int, float]:
    store, run_id = mlflow_client(), run.id
    # earlier versions logged the scores after training too, behind the last epoch
    trained = {point.step for point in store.get_metric_history(run_id, "train/loss")}
    points = [point for point in store.get_metric_history(run_id, metric) if point.step in trained]
    curve = {point.step: point.value for point in reversed(points)}
    if not curve and metric.startswith("val/"):
        raise InputFault(f"{reference}: run {run.name} has no {metric}: nobody validated in it")
    if not curve:
        raise InputFault(
            f"{reference}: run {run.name} has no {metric} of each epoch; "
            "--selection needs runs with data.watch_test: true"
        )
    return curve
