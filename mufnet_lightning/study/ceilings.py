"""A phantom's arms beside what the truth behind it reaches.

    python -m mufnet_lightning.study.ceilings COHORT --study NAME

An arm above its ceiling, beyond chance, leaks; one far below it, with many patients, does not learn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.evaluation.statistics.bootstrap import bootstrap_aucs
from mufnet_lightning.phantom.truth import read_truth
from mufnet_lightning.tracking.runs import find_runs, mlflow_client, resolve_artifact, tracking_uri
from mufnet_lightning.vocabulary import ARMS, PREDICTIONS


def beside_the_truth(cohort: Path, study: str) -> pd.DataFrame:
    """Patient-level test AUC of each arm's latest run, and of b, c or both on the same patients.

    Args:
        cohort: folder that `mufnet phantom` wrote.
        study: MLflow experiment of the runs.

    Returns:
        A row an arm: `patients`, `auc` (mean score of each patient's images), `truth` (of the best
        reader, who knows b, c or both), `difference`, `ceiling` (of that reader on endless
        patients), and `ci_low`, `ci_high` (95%, bootstrap over patients of each class).

    Raises:
        InputFault: no truth, no such study, or an arm has no finished run in it.
    """
    truth = read_truth(cohort)
    return truth_table(truth, {arm: _test_scores(study, arm) for arm in ARMS}, str(cohort))


def truth_table(
    truth: Mapping[str, Any], arms: Mapping[str, pd.DataFrame], name: str = "the phantom"
) -> pd.DataFrame:
    """The table of `beside_the_truth`, of any arms' test predictions.

    Args:
        truth: of the phantom, see `read_truth`.
        arms: predictions of the test part, by arm.
        name: what messages call the phantom.

    Raises:
        InputFault: somebody was scored who is not in the phantom.
    """
    patients = pd.DataFrame(truth["patients"]).set_index("patient_id")
    patients["bmode"], patients["ceus"] = patients["b"], patients["c"]
    # the log likelihood ratio of two unit normals at ±d/2 is d·b
    patients["fused"] = truth["d"]["bmode"] * patients["b"] + truth["d"]["ceus"] * patients["c"]
    rows = []
    for arm, table in arms.items():
        scores = table.groupby("patient_id")[["label", "score"]].mean()
        strange = scores.index.difference(patients.index)
        if len(strange):
            raise InputFault(f"{name}: truth.json has no patient {strange[0]}, whom {arm} scored")
        known = patients.loc[scores.index]
        auc = roc_auc_score(scores["label"], scores["score"])
        best = roc_auc_score(known["label"], known[arm])
        drawn = bootstrap_aucs(scores["label"], scores["score"], scores.index).interval()
        rows.append(
            {
                "arm": arm,
                "patients": len(scores),
                "auc": auc,
                "truth": best,
                "difference": auc - best,
                "ceiling": truth["ceilings"][arm],
                "ci_low": drawn.low,
                "ci_high": drawn.high,
            }
        )
    return pd.DataFrame(rows).set_index("arm")


def _test_scores(study: str, arm: str) -> pd.DataFrame:
    experiment = mlflow_client().get_experiment_by_name(study)
    if experiment is None:
        raise InputFault(f"there is no study {study!r} in {tracking_uri()}")
    runs = find_runs(experiment.experiment_id, finished=True, most=1, arm=arm, verb="fit")
    if not runs:
        raise InputFault(f"study {study!r} has no finished run of arm {arm}")
    path = resolve_artifact(runs[0].id, PREDICTIONS)
    table = read_predictions(path)
    return table[table["split"] == "test"]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--study", default="demo")
    options = parser.parse_args()
    try:
        print(beside_the_truth(options.cohort, options.study).round(3).to_string())
    except InputFault as fault:
        print(f"mufnet: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
