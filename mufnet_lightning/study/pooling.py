"""What the folds of a cross-validation give together: pooled scores, means over folds, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.pooling import PooledPredictions, pool_predictions
from mufnet_lightning.evaluation.risks import with_risks
from mufnet_lightning.evaluation.roc_figures import roc_folds_figure
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.intervals import fold_spread
from mufnet_lightning.evaluation.text import interval_text, markdown_table, number_text
from mufnet_lightning.system.sheets import as_meant, csv_text
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import (
    beside_baseline,
    log_figures,
    log_json,
    record_part,
    record_risks,
)
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import TrackedRun, mlflow_client, resolve_artifact
from mufnet_lightning.vocabulary import CHOSEN_HERE, FOLD_METRICS, PREDICTIONS, Part

PRINTED = tuple(
    f"test/{name}" for name in ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")
)
CHOSEN_FROM = "chosen_from_trials"
"""Tag of a cross-validation: by how many trials of a sweep its settings were chosen."""
CHOSEN_IN = "chosen_in"
"""Tag beside it: `folds` where each fold has settings of its own."""
FOLDS_RESULTS = "folds_results.csv"
SUMMARY = {"mean": "fold_mean", "sd": "fold_sd", "min": "fold_min", "max": "fold_max"}
"""The rows below the folds, and how their numbers are called as metrics."""


def fold_results(runs: Mapping[int, TrackedRun]) -> pd.DataFrame:
    """A row a fold, a column a metric (`FOLD_METRICS`); NaN where a fold does not define it."""
    rows = [{name: run.metrics.get(name, np.nan) for name in FOLD_METRICS} for run in runs.values()]
    return pd.DataFrame(rows, index=pd.Index([str(fold) for fold in runs], name="fold"), dtype=float)


def with_summary(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `fold_results` with rows mean, sd, min and max below (see `fold_spread`).

    They are NaN for a metric that some fold does not define, and where there is a single fold.
    """
    below = pd.DataFrame(np.nan, pd.Index(list(SUMMARY), name="fold"), table.columns)
    for name, values in table.items():
        if not values.isna().any() and len(values) > 1:
            spread = fold_spread(values)
            below[name] = [spread.mean, spread.sd, spread.low, spread.high]
    return pd.concat([table, below])


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
        The table, `with_summary`.
    """
    store, run_id = mlflow_client(), parent.id
    table = with_summary(table)
    children = {fold: read_arm(run.id) for fold, run in runs.items()}
    pooled = pool_predictions({fold: child.table for fold, child in children.items()})
    risks = with_risks(pooled.table)
    pooled = replace(pooled, table=risks.table)
    record_risks(store, run_id, risks)
    store.log_text(run_id, csv_text(pooled.table), PREDICTIONS)
    store.log_text(run_id, csv_text(table, index=True), FOLDS_RESULTS)
    numbers = _summary_numbers(table)
    numbers |= _record_part(parent, "test", pooled, baseline, risks.doubt)
    if pooled.out_of_fold:
        try:
            numbers |= _record_part(parent, "val", pooled, baseline)
        except EvaluationError:  # a baseline of one fold, say
            numbers |= _record_part(parent, "val", pooled, None)
    if len(children) > 1:
        tests = [child.part("test") for child in children.values()]
        figure = roc_folds_figure([(rows["label"], rows["score"]) for rows in tests])
        log_figures(store, run_id, {"test_roc_folds": figure})
    known = store.get_run(run_id).data.metrics  # of a call that was killed behind this
    for name, value in numbers.items():
        if not np.array_equal(known.get(name, ()), value, equal_nan=True):
            store.log_metric(run_id, name, value)
    store.set_tag(run_id, NOTE, _note(parent, table, pooled, numbers, risks.notes))
    log_json(store, run_id, {str(fold): run.id for fold, run in runs.items()}, "folds.json")
    return table


def read_results(run_id: str) -> pd.DataFrame:
    """The results by fold, and below them mean, sd, min, max, of a finished parent run."""
    path = resolve_artifact(run_id, FOLDS_RESULTS)
    return as_meant(pd.read_csv(path, dtype={"fold": str})).set_index("fold")


def _summary_numbers(table: pd.DataFrame) -> dict[str, float]:
    summary = {str(name): table[name].loc[list(SUMMARY)].to_numpy(float) for name in table}
    return {
        f"{name}_{word}": float(value)
        for name, values in summary.items()
        if np.isfinite(values).all()
        for word, value in zip(SUMMARY.values(), values, strict=True)
    }


def _record_part(
    parent: TrackedRun,
    part: Part,
    pooled: PooledPredictions,
    baseline: ScoredArm | None,
    doubt: str = "",
) -> dict[str, float]:
    rows = pooled.table[pooled.table["split"] == part].reset_index(drop=True)
    arms = beside_baseline(parent.arm, rows, baseline, part)
    chosen = parent.chosen_on == part
    numbers = record_part(mlflow_client(), parent.id, part, arms, rows, chosen=chosen, doubt=doubt)
    return {f"{part}/{name}": value for name, value in numbers.items()}


def begun_note(arm: str, folds: int, protocol: str) -> str:
    """What the MLflow UI shows before the folds are pooled."""
    return (
        f"A cross-validation of arm **{arm}**: {folds} folds (protocol `{protocol}`), each a child of "
        "this run. It has no numbers of its own: some folds are still to be run, or it stopped."
    )


def chosen_from_note(parent: TrackedRun) -> str:
    """By how many trials a sweep chose what a cross-validation trained with, without its arm."""
    where = "in each fold " if parent.tags.get(CHOSEN_IN) == "folds" else ""
    trials = parent.tags[CHOSEN_FROM]
    return (
        f"chosen {where}from {trials} trials by the validation patients (`mufnet sweep`), whose "
        "own scores therefore flatter; no test patient was looked at"
    )


def _note(
    parent: TrackedRun,
    table: pd.DataFrame,
    pooled: PooledPredictions,
    numbers: Mapping[str, float],
    risk_notes: Sequence[str],
) -> str:
    """What the MLflow UI shows as the parent run's description."""

    def with_interval(name: str) -> str:
        if f"{name}_ci_low" not in numbers:
            return f"{number_text(numbers[name])} ({CHOSEN_HERE})"
        limits = numbers[f"{name}_ci_low"], numbers[f"{name}_ci_high"]
        return interval_text(numbers[name], limits, " to ")

    parts = pooled.table.groupby("split")["patient_id"].nunique()
    test = (
        f"the mean score of all folds' models (fold ensemble) on the {parts['test']} test patients"
        if pooled.ensemble
        else f"each of {parts['test']} patients once, by the fold's model that never saw that patient"
    )
    folds = len(table) - len(SUMMARY)
    interval = "" if parent.chosen_on == "test" else " with its interval"
    protocol = f" (protocol `{parent.protocol}`)" if parent.protocol else ""
    chosen = "selected on these very patients"
    flatters = f"; **each fold's epoch was {chosen}, so these numbers flatter**"
    lines = [
        f"A cross-validation of arm **{parent.arm}**: {folds} folds{protocol}, each a child of this "
        f"run. The number to look at is `test/patient_auc`{interval}; "
        f"`test/...` is pooled: {test}{flatters if parent.is_optimistic else ''}.",
        "",
        f"- AUC over patients {with_interval('test/patient_auc')}",
        f"- AUC over images {with_interval('test/auc')}, with the patient as the cluster",
    ]
    if pooled.out_of_fold:
        selection = f"; each fold's epoch was {chosen}" if parent.chosen_on == "val" else ""
        lines.append(
            f"- `val/...` is pooled out of fold, over {parts['val']} patients: AUC over patients "
            f"{with_interval('val/patient_auc')}{selection}"
        )
    if CHOSEN_FROM in parent.tags:
        lines.append(f"- Settings: {chosen_from_note(parent)}")
    lines += [f"- Risks: {note}" for note in risk_notes]
    shown = table[list(PRINTED)].rename(columns=lambda name: name.removeprefix("test/"))
    texts = shown.map("{:.3f}".format).reset_index()
    explained = "Below the folds how much they differ: that is no interval of the AUC."
    return "\n".join([*lines, "", markdown_table(texts), "", explained])
