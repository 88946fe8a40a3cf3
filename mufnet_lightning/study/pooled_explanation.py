"""What the folds of a cross-validation say together about where their networks look."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from mufnet_lightning import tracking
from mufnet_lightning.callbacks.explained_tables import (
    ExplainedTables,
    labels_of,
    read_tables,
    record_tables,
)
from mufnet_lightning.explain.summary import summarise

if TYPE_CHECKING:
    from mlflow.entities import Run

OWN = ("chosen",)  # what each fold has for itself
ALIKE = ("method", "layer", "target", "seed", "draws", "steps", "phantom")


def pool_explanations(folds: Mapping[int, ExplainedTables]) -> ExplainedTables:
    """All folds' images in one table, with a column `fold`; the patient stays the unit.

    Args:
        folds: of each fold, made with the same options.
    """
    table = pd.concat([found.table.assign(fold=fold) for fold, found in folds.items()])
    parts = [f.checks.assign(fold=fold) for fold, f in folds.items() if f.checks is not None]
    checks = pd.concat(parts, ignore_index=True) if len(parts) == len(folds) else None
    first = next(iter(folds.values())).summary
    pooled = {"by_grade", "sanity", "faithfulness", "pointing", "verdicts", "images", "patients"}
    told = {key: value for key, value in first.items() if key not in pooled and key not in OWN}
    told["folds"] = list(folds)
    table = table.reset_index(drop=True)
    return ExplainedTables(table, checks, summarise(table, checks, first["modalities"], told))


def record_pooled_explanations(parent: Run, runs: Mapping[int, Run]) -> dict[str, ExplainedTables]:
    """Write what all folds were explained alike into the parent run; returns it by label."""
    store = tracking.client()
    labels = [set(labels_of(store, run.info.run_id)) for run in runs.values()]
    found = {}
    for label in sorted(set.intersection(*labels)) if labels else []:
        folds = {fold: read_tables(run.info.run_id, label) for fold, run in runs.items()}
        if len({tuple(f.summary[name] for name in ALIKE) for f in folds.values()}) > 1:
            print(
                f"mufnet: {label}: the folds were explained differently, and are not pooled",
                file=sys.stderr,
            )
            continue
        found[label] = pool_explanations(folds)
        record_tables(store, parent.info.run_id, label, found[label])
    return found
