"""Arms beside the truth of a phantom: who knows the truth reaches it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.ceilings import beside_the_truth
from mufnet_lightning.tracking.runs import mlflow_client, open_study


def leave_run(arm: str, table: pd.DataFrame, study: str = "demo", **tags: str) -> None:
    tags = {"arm": arm, "verb": "fit", **tags}
    run = mlflow_client().create_run(open_study(study), tags=tags)
    mlflow_client().log_text(run.info.run_id, table.to_csv(index=False), "predictions.csv")
    mlflow_client().set_terminated(run.info.run_id)


@pytest.mark.slow
def test_an_arm_that_knows_the_truth_reaches_it_and_an_older_run_is_not_taken(
    work: Path, phantom_store: Path
) -> None:
    cohort = phantom_store.parent / "cohort"
    truth = json.loads((cohort / "truth.json").read_text())
    patients = pd.DataFrame(truth["patients"])
    tested = patients.iloc[::2]
    d = truth["d"]
    known = {"bmode": tested["b"], "ceus": tested["c"]}
    known["fused"] = d["bmode"] * tested["b"] + d["ceus"] * tested["c"]
    for arm, signal in known.items():
        rows = tested[["patient_id", "label"]].assign(split="test")
        leave_run(arm, rows.assign(score=0.5))  # an older run
        # two images a patient, whose mean is the truth; the scores of validation do not count
        score = 1 / (1 + np.exp(-signal))
        images = [rows.assign(score=score - 0.01), rows.assign(score=score + 0.01)]
        others = patients.iloc[1::2][["patient_id", "label"]].assign(split="val", score=0.0)
        leave_run(arm, pd.concat([*images, others]))
    table = beside_the_truth(cohort, "demo")
    assert list(table.index) == ["bmode", "ceus", "fused"]
    for arm in known:
        row = table.loc[arm]
        assert row["patients"] == 15
        assert row["auc"] == pytest.approx(roc_auc_score(tested["label"], known[arm]))
        assert row["difference"] == pytest.approx(0)
        assert row["ceiling"] == truth["ceilings"][arm]
        assert row["ci_low"] <= row["auc"] <= row["ci_high"]
    leave_run("fused", pd.concat([*images, others]), selection="optimistic")
    later = beside_the_truth(cohort, "demo")
    pd.testing.assert_frame_equal(later.drop("fused"), table.drop("fused"))
    assert later.loc["fused", ["ci_low", "ci_high"]].isna().all()


def test_what_is_missing_is_told(work: Path, phantom_store: Path, tmp_path: Path) -> None:
    cohort = phantom_store.parent / "cohort"
    with pytest.raises(InputFault, match="there is no study 'nowhere'"):
        beside_the_truth(cohort, "nowhere")
    open_study("demo")
    with pytest.raises(InputFault, match="has no finished run of arm bmode"):
        beside_the_truth(cohort, "demo")
    Path("real").mkdir()
    shutil.copy(cohort / "patients.csv", "real")
    with pytest.raises(InputFault, match=r"no truth.json; only a phantom has one"):
        beside_the_truth(Path("real"), "demo")
