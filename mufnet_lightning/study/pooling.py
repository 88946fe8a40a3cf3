"""What the folds of a cross-validation give together: pooled scores, means over folds, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.figures import roc_folds_figure
from mufnet_lightning.evaluation.pooling import PooledPredictions, pool_predictions
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import mean_t
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import (
    beside_baseline,
    log_figures,
    log_json,
    record_part,
)
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact
from mufnet_lightning.vocabulary import PREDICTIONS

if TYPE_CHECKING:
    from mufnet_lightning.tracking.runs import TrackedRun

RATES = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")
METRICS = tuple(f"test/{prefix}{name}" for prefix in ("", "patient_") for name in RATES)
PRINTED = tuple(
    f"test/{name}" for name in ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")
)
FOLDS_RESULTS = "folds_results.csv"


def fold_results(runs: Mapping[int, TrackedRun]) -> pd.DataFrame:
    """A row a fold, a column a metric (see `METRICS`); NaN where a fold does not define it."""
    rows = [{name: run.metrics.get(name, np.nan) for name in METRICS} for run in runs.values()]
    return pd.DataFrame(rows, index=pd.Index([str(fold) for fold in runs], name="fold"), dtype=float)


def record_pooled(
    parent: TrackedRun, table: pd.DataFrame, runs: Mapping[int, TrackedRun], baseline: ScoredArm | None
) -> pd.DataFrame:
    """Write what the folds give together into the parent run.

    Args:
        parent: the cross-validation's run.
        table: of `fold_results`.
        runs: of every fold.
        baseline: an arm that the pooled scores are tested against.

    Returns:
        The table, with rows mean, sd, ci_low and ci_high below (see `mean_t`).
    """
    store, run_id = mlflow_client(), parent.id
    arm = parent.tags["arm"]
    numbers: dict[str, float] = {}
    summary: dict[str, list[float]] = {}
    for name in METRICS:
        values = table[name]
        if values.isna().any() or len(values) < 2:  # a rate that some fold does not define
            summary[name] = [np.nan] * 4
            continue
        mean = mean_t(values)
        summary[name] = [mean.value, float(values.std()), mean.low, mean.high]
        told = ("fold_mean", "fold_sd", "fold_ci_low", "fold_ci_high")
        numbers |= {f"{name}_{key}": value for key, value in zip(told, summary[name], strict=True)}
    below = pd.DataFrame(summary, index=pd.Index(["mean", "sd", "ci_low", "ci_high"], name="fold"))
    table = pd.concat([table, below])

    children = {fold: read_arm(run.id) for fold, run in runs.items()}
    pooled = pool_predictions({fold: child.table for fold, child in children.items()})
    store.log_text(run_id, pooled.table.to_csv(index=False), PREDICTIONS)
    store.log_text(run_id, table.to_csv(), FOLDS_RESULTS)
    for part in ("test", "val") if pooled.out_of_fold else ("test",):
        rows = pooled.table[pooled.table["split"] == part].reset_index(drop=True)
        try:
            arms = beside_baseline(arm, rows, baseline, part)
        except EvaluationError:
            if part == "test":
                raise
            arms = beside_baseline(arm, rows, None, part)  # a baseline of one fold, say
        found = record_part(store, run_id, part, arms, rows)
        numbers |= {f"{part}/{name}": value for name, value in found.items()}
    if len(children) > 1:
        tests = [child.part("test") for child in children.values()]
        figure = roc_folds_figure([(rows["label"], rows["score"]) for rows in tests])
        log_figures(store, run_id, {"test_roc_folds": figure})
    for name, value in numbers.items():
        store.log_metric(run_id, name, value)
    store.set_tag(run_id, "mlflow.note.content", _note(arm, table, pooled, numbers))
    log_json(store, run_id, {str(f): run.id for f, run in runs.items()}, "folds.json")
    return table


def _note(
    arm: str, table: pd.DataFrame, pooled: PooledPredictions, numbers: Mapping[str, float]
) -> str:
    """What the MLflow UI shows as the parent run's description."""

    def with_interval(name: str) -> str:
        low, high = numbers[f"{name}_ci_low"], numbers[f"{name}_ci_high"]
        return f"{numbers[name]:.3f} ({low:.3f} to {high:.3f})"

    test = (
        "the mean score of all folds' models (fold ensemble) on the test patients"
        if pooled.ensemble
        else "every patient once, by the fold's model that never saw that patient"
    )
    lines = [
        f"Cross-validation of arm **{arm}**. `test/...` is pooled: {test}.",
        "",
        f"- AUC over patients {with_interval('test/patient_auc')}, DeLong",
        f"- AUC over images {with_interval('test/auc')}, clustered by patient (Obuchowski)",
    ]
    if pooled.out_of_fold:
        lines.append(
            f"- `val/...` is pooled out of fold: AUC over patients {with_interval('val/patient_auc')}; "
            "each fold's epoch was selected on these patients"
        )
    shown = table[list(PRINTED)].rename(columns=lambda name: name.removeprefix("test/"))
    head = ["fold", *shown.columns]
    lines += ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [
        f"| {fold} | {' | '.join(f'{value:.3f}' for value in row)} |"
        for fold, row in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    return "\n".join([*lines, "", "`ci_low`, `ci_high`: mean ± t over the folds, as in the paper."])


def read_results(run_id: str) -> pd.DataFrame:
    """The results by fold, and below them mean, sd, ci_low, ci_high, of a finished parent run."""
    path = resolve_artifact(run_id, FOLDS_RESULTS)
    return pd.read_csv(path, dtype={"fold": str}).set_index("fold")
