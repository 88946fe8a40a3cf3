"""What an explanation writes into a run, and reads from it; needs no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mufnet_lightning.errors import NotRecorded
from mufnet_lightning.evaluation.statistics.intervals import finite
from mufnet_lightning.explain.summarise import summarise
from mufnet_lightning.explain.summary import Summary
from mufnet_lightning.system.sheets import as_meant, csv_text
from mufnet_lightning.tracking.artifacts import (
    artifact_files,
    artifact_folders,
    artifact_text,
    log_figures,
    log_json,
)
from mufnet_lightning.tracking.outbox_client import OutboxClient
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact
from mufnet_lightning.vocabulary import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from mufnet_lightning.explain.explain import Explanation
    from mufnet_lightning.tracking.runs import TrackedRun

log = logging.getLogger(__name__)

FOLDER = "explain"
IMAGES, CHECKS, SUMMARY, PANELS = "images.csv", "checks.csv", "summary.json", "panels.png"
MONTAGES = "patients"
NOT_EXPLAINED = "not_explained"  # a tag: why
DPI = 150  # of pictures of pixels
IDS = {"pair_id": str, "patient_id": str, "clip_id": str}


@dataclass(frozen=True)
class ExplainedTables:
    """The tables of an explanation, see `Explanation`."""

    table: pd.DataFrame
    checks: pd.DataFrame | None
    summary: Summary


def record_explanation(client: MlflowClient, run_id: str, label: str, explanation: Explanation) -> None:
    """Write tables, numbers and pictures of an explanation into a run, see `record_tables`."""
    known = client.tags if isinstance(client, OutboxClient) else client.get_run(run_id).data.tags
    if NOT_EXPLAINED in known:  # after test, say, with another layer
        client.delete_tag(run_id, NOT_EXPLAINED)
    tables = ExplainedTables(explanation.table, explanation.checks, explanation.summary)
    record_tables(client, run_id, label, tables)
    log_figures(client, run_id, explanation.figures, f"{FOLDER}/{label}", DPI)


def record_tables(client: MlflowClient, run_id: str, label: str, tables: ExplainedTables) -> None:
    """Write tables and summary into a run, and a handful of their numbers as metrics `explain/...`.

    See `headline`; everything else is in the files.

    Args:
        client: of the store.
        run_id: the run.
        label: of the options; names the folder.
        tables: what to write.
    """
    folder = f"{FOLDER}/{label}"
    client.log_text(run_id, csv_text(tables.table), f"{folder}/{IMAGES}")
    if tables.checks is not None:
        client.log_text(run_id, csv_text(tables.checks), f"{folder}/{CHECKS}")
    log_json(client, run_id, tables.summary.as_json(), f"{folder}/{SUMMARY}")
    for name, value in headline(tables).items():
        client.log_metric(run_id, f"{FOLDER}/{label}/{name}".replace("+", "p"), value)


def headline(tables: ExplainedTables) -> dict[str, float]:
    """The numbers to compare runs by, means over patients; five at most.

    `inside_MODALITY`: share of a map's energy inside the lesion. `similarity_all_weights`: rank
    correlation with maps of random weights, of the modality where it is largest (near 1, the maps show
    the image and not what was learned). `deletion_gain`, `insertion_gain`: how much better than random
    maps they tell what the score depends on (above 0). What is not defined is left out.
    """
    summary = tables.summary
    inside = [f"inside_{modality}" for modality in summary.origin.modalities]
    means = tables.table.groupby("patient_id")[inside].mean().mean()
    numbers: dict[str, float | None] = {name: finite(means[name]) for name in inside}
    alike = [row.value for row in summary.sanity if row.stage == STAGES[-1] and row.value is not None]
    numbers["similarity_all_weights"] = max(alike, default=None)
    numbers |= {f"{row.curve}_gain": row.gain.value for row in summary.faithfulness}
    return {name: value for name, value in numbers.items() if value is not None}


def record_montage(client: MlflowClient, run_id: str, label: str, name: str, figure: Figure) -> None:
    """Write a patient's montage into a run, as `explain/LABEL/patients/NAME.png` and `.pdf`."""
    log_figures(client, run_id, {name: figure}, f"{FOLDER}/{label}/{MONTAGES}", DPI)


def labels_of(run_id: str) -> list[str]:
    """The explanations that a run has."""
    # montages alone are no explanation of the test part
    return sorted(
        Path(folder).name
        for folder in artifact_folders(run_id, FOLDER)
        if f"{folder}/{SUMMARY}" in artifact_files(run_id, folder)
    )


def read_tables(run_id: str, label: str) -> ExplainedTables:
    """Read what `record_tables` wrote, also with version 0.1.

    Raises:
        InputFault: the run has no such explanation.
    """
    folder = f"{FOLDER}/{label}"
    summary = Summary.from_json(json.loads(artifact_text(run_id, f"{folder}/{SUMMARY}")))
    table = _read(run_id, f"{folder}/{IMAGES}")
    # a summary without checks was made without them, though an older file may lie there
    checks = _read(run_id, f"{folder}/{CHECKS}") if summary.sanity else None
    return ExplainedTables(table, checks, summary)


def read_panels(run_id: str, label: str) -> bytes | None:
    """The picture of the chosen patients as PNG; None where a run has none."""
    try:
        return resolve_artifact(run_id, f"{FOLDER}/{label}/{PANELS}").read_bytes()
    except NotRecorded:
        return None


def pool_explanations(folds: Mapping[int, ExplainedTables]) -> ExplainedTables:
    """All folds' images in one table, with a column `fold`; the patient stays the unit.

    Args:
        folds: of each fold, made with the same options.
    """
    table = pd.concat([one.table.assign(fold=fold) for fold, one in folds.items()], ignore_index=True)
    parts = [one.checks.assign(fold=fold) for fold, one in folds.items() if one.checks is not None]
    checks = pd.concat(parts, ignore_index=True) if len(parts) == len(folds) else None
    first = next(iter(folds.values())).summary.origin
    origin = replace(first, chosen=None, folds=tuple(folds))
    return ExplainedTables(table, checks, summarise(table, checks, origin))


def record_pooled_explanations(
    parent: TrackedRun, runs: Mapping[int, TrackedRun]
) -> dict[str, ExplainedTables]:
    """Write what all folds were explained alike into the parent run; returns it by label."""
    client = mlflow_client()
    labels = [set(labels_of(run.id)) for run in runs.values()]
    pooled = {}
    for label in sorted(set.intersection(*labels)) if labels else []:
        folds = {fold: read_tables(run.id, label) for fold, run in runs.items()}
        first, *others = (tables.summary.origin for tables in folds.values())
        if not all(first.is_alike(other) for other in others):
            log.warning("%s: the folds were explained differently, and are not pooled", label)
            continue
        pooled[label] = pool_explanations(folds)
        record_tables(client, parent.id, label, pooled[label])
    return pooled


def _read(run_id: str, artifact: str) -> pd.DataFrame:
    path = resolve_artifact(run_id, artifact)
    return as_meant(pd.read_csv(path, dtype=IDS, keep_default_na=False, na_values=[""]))
