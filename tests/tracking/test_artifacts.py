"""What is written into a run: of a part, beside a baseline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import beside_baseline, record_part
from mufnet_lightning.tracking.runs import mlflow_client, open_study, resolve_artifact
from mufnet_lightning.vocabulary import Part


def scored(seed: int, part: Part) -> pd.DataFrame:
    """Scores of 20 patients of a part, some right and some wrong."""
    labels = np.arange(20) % 2
    scores = np.clip(0.3 * labels + np.random.default_rng(seed).uniform(0, 0.7, 20), 0, 1)
    names = [f"p{number}" for number in range(20)]
    return pd.DataFrame({"patient_id": names, "label": labels, "score": scores, "split": part})


def run_with(table: pd.DataFrame, **tags: str) -> ScoredArm:
    run = mlflow_client().create_run(open_study("s"), tags={"arm": "ceus", "verb": "fit", **tags})
    mlflow_client().log_text(run.info.run_id, table.to_csv(index=False), "predictions.csv")
    mlflow_client().set_terminated(run.info.run_id)
    return read_arm(run.info.run_id)


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("selection", ["last", "validation", "optimistic"])
def test_of_a_baseline_that_these_patients_chose_nothing_is_tested(
    work: Path, part: Part, selection: str
) -> None:
    baseline = run_with(scored(1, part), selection=selection)
    table = scored(0, part)
    run = mlflow_client().create_run(open_study("s")).info.run_id
    arms = beside_baseline("fused", table, baseline, part)
    numbers = record_part(mlflow_client(), run, part, arms, table, draw=False)
    report = json.loads(resolve_artifact(run, f"evaluation/{part}.json").read_text())["patient"]
    own, other = report["arms"]
    (test,) = report["tests"]
    chosen = {"val": "validation", "test": "optimistic"}[part] == selection
    assert own["auc_ci"] is not None
    assert (other["auc_ci"] is None) == (test["p"] is None) == chosen
    assert ("patient_auc_difference_p" in numbers) != chosen
    assert "patient_auc_ci_low" in numbers
