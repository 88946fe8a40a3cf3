"""A phantom's arms beside what the truth behind it reaches.

An arm above its ceiling, beyond chance, leaks; one far below it, with many patients, does not learn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.auc import delong
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.phantom.truth import read_truth
from mufnet_lightning.study.job import TRIAL
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.runs import find_runs, find_study
from mufnet_lightning.vocabulary import ARMS


def beside_the_truth(cohort: Path, study: str) -> pd.DataFrame:
    """Patient-level test AUC of each arm's latest run, and of b, c or both on the same patients.

    Args:
        cohort: folder that `mufnet phantom` wrote.
        study: MLflow experiment of the runs.

    Returns:
        A row an arm: `patients`, `auc` (mean score of each patient's images), `truth` (of the best
        reader, who knows b, c or both), `difference`, `ceiling` (of that reader on endless
        patients), and `ci_low`, `ci_high` (95%, of `auc`; NaN where the test patients chose the
        epoch, so that its AUC flatters).

    Raises:
        InputFault: no truth, no such study, or an arm has no finished run in it.
    """
    truth = read_truth(cohort)
    arms = {arm: _latest(study, arm) for arm in ARMS}
    chosen = [arm for arm, scored in arms.items() if scored.chosen_by("test")]
    tables = {arm: scored.part("test") for arm, scored in arms.items()}
    return truth_table(truth, tables, str(cohort), chosen)


def truth_table(
    truth: Mapping[str, Any],
    arms: Mapping[str, pd.DataFrame],
    name: str = "the phantom",
    chosen: Collection[str] = (),
    kinds: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The table of `beside_the_truth`, of any arms' test predictions.

    Args:
        truth: of the phantom, see `read_truth`.
        arms: predictions of the test part, by arm.
        name: what messages call the phantom.
        chosen: names of arms whose epoch these patients chose: they have no interval.
        kinds: `bmode`, `ceus` or `fused` of each arm that has another name.

    Raises:
        InputFault: somebody was scored who is not in the phantom.
    """
    patients = pd.DataFrame(truth["patients"]).set_index("patient_id")
    patients["bmode"], patients["ceus"] = patients["b"], patients["c"]
    # the log likelihood ratio of two unit normals at ±d/2 is d·b
    patients["fused"] = truth["d"]["bmode"] * patients["b"] + truth["d"]["ceus"] * patients["c"]
    rows = []
    for arm, table in arms.items():
        kind = (kinds or {}).get(arm, arm)
        means = table.groupby("patient_id")[["label", "score"]].mean()
        strange = means.index.difference(patients.index)
        if len(strange):
            raise InputFault(f"{name}: truth.json has no patient {strange[0]}, whom {arm} scored")
        scores = Scores.of(means["label"], means["score"], means.index)
        known = patients.loc[means.index]
        auc, best = (
            float(delong(known["label"], values).aucs[0]) for values in (scores.scores[0], known[kind])
        )
        low, high = (np.nan, np.nan) if arm in chosen else auc_limits(scores)
        rows.append(
            {
                "arm": arm,
                "patients": len(means),
                "auc": auc,
                "truth": best,
                "difference": auc - best,
                "ceiling": truth["ceilings"][kind],
                "ci_low": low,
                "ci_high": high,
            }
        )
    return pd.DataFrame(rows).set_index("arm")


def _latest(study: str, arm: str) -> ScoredArm:
    fits = find_runs(find_study(study), finished=True, arm=arm, verb="fit")
    runs = [run for run in fits if TRIAL not in run.tags]  # a trial tests nobody
    if not runs:
        raise InputFault(f"study {study!r} has no finished run of arm {arm}")
    return read_arm(runs[0].id)
