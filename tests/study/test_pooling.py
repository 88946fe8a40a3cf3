"""What the folds give together, written into their parent run: from folds whose scores are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.evaluation.statistics.intervals import fold_spread
from mufnet_lightning.study.compare import compare
from mufnet_lightning.study.pooling import fold_results, read_results, record_pooled, with_summary
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    find_run,
    finished_folds,
    mlflow_client,
    open_study,
    resolve_artifact,
)
from mufnet_lightning.vocabulary import FOLD_METRICS

TESTED = np.repeat(np.arange(12), 3)


@pytest.fixture
def parent(work: object) -> TrackedRun:
    """A cross-validation of two folds that tested the same 12 patients and validated 6 each."""
    client = mlflow_client()
    tags = {"verb": "cv", "arm": "fused"}
    parent_id = client.create_run(open_study("demo"), tags=tags, run_name="fused-cv").info.run_id
    rng = np.random.default_rng(4)
    for fold in (0, 1):
        patients = np.concatenate([TESTED, 100 + 6 * fold + np.repeat(np.arange(6), 2)])
        label = patients % 2
        score = 1 / (1 + np.exp(0.5 - label - rng.normal(size=len(label))))
        table = pd.DataFrame(
            {
                "pair_id": [f"{patient}-{row}" for row, patient in enumerate(patients)],
                "patient_id": [f"P{patient}" for patient in patients],
                "label": label,
                "score": score,
                "weight_bmode": 0.4,
                "weight_ceus": 0.6,
                "fold": fold,
                "split": np.where(patients < 100, "test", "val"),
            }
        )
        tags = {"verb": "fit", "arm": "fused", "fold": str(fold), "mlflow.parentRunId": parent_id}
        run_id = client.create_run(open_study("demo"), tags=tags).info.run_id
        client.log_text(run_id, table.to_csv(index=False), "predictions.csv")
        test = table[table["split"] == "test"]
        numbers = part_numbers(test["label"], test["score"], test["patient_id"])
        for name, value in numbers.items():
            client.log_metric(run_id, f"test/{name}", value)
        client.set_terminated(run_id)
    return find_run(parent_id)


@pytest.mark.slow
def test_the_parent_has_the_ensembles_numbers_and_the_means_over_folds(parent: TrackedRun) -> None:
    folds = finished_folds(parent)
    table = record_pooled(parent, fold_results(folds), folds, None)
    run = find_run(parent.id)
    pooled = pd.read_csv(resolve_artifact(parent.id, "predictions.csv")).query("split == 'test'")
    assert run.metrics["test/auc"] == pytest.approx(roc_auc_score(pooled["label"], pooled["score"]))
    aucs = [fold.metrics["test/auc"] for fold in folds.values()]
    assert run.metrics["test/auc_fold_mean"] == pytest.approx(np.mean(aucs))
    assert run.metrics["test/auc_fold_sd"] == pytest.approx(np.std(aucs, ddof=1))
    assert run.metrics["test/auc_fold_min"] == min(aucs)
    assert not [name for name in run.metrics if "fold_ci" in name]  # their spread is no interval
    assert "val/patient_auc" in run.metrics  # each validation patient once, and none of the tested
    assert json.loads(resolve_artifact(parent.id, "folds.json").read_text()) == {
        str(fold): child.id for fold, child in folds.items()
    }
    pd.testing.assert_frame_equal(read_results(parent.id), table, check_dtype=False)
    note = run.tags["mlflow.note.content"]
    assert "fold ensemble" in note
    assert f"| mean | {np.mean(aucs):.3f} |" in note


@pytest.mark.slow
def test_the_comparison_of_a_cross_validation_has_its_means_over_folds(parent: TrackedRun) -> None:
    folds = finished_folds(parent)
    record_pooled(parent, fold_results(folds), folds, None)
    comparison = compare([f"a={parent.id}", f"b={parent.id}"])
    over_folds = comparison.result.arms[0].over_folds
    assert over_folds is not None
    assert over_folds["test/auc"] == fold_spread([fold.metrics["test/auc"] for fold in folds.values()])
    assert "AUC of the folds, mean ± SD (range)" in comparison.table()


def test_what_a_fold_does_not_define_has_no_mean_over_folds() -> None:
    index = pd.Index(["0", "1"], name="fold")
    table = pd.DataFrame(0.5, index, list(FOLD_METRICS))
    table.loc["1", "test/ppv"] = np.nan
    summary = with_summary(table).loc[["mean", "sd", "min", "max"]]
    assert summary["test/ppv"].isna().all()
    assert summary["test/npv"].notna().all()
    alone = with_summary(table.iloc[:1])
    assert alone.loc[["mean", "sd", "min", "max"]].isna().all(axis=None)
