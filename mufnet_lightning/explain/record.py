"""What an explanation writes into a run, and reads from it; needs no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from mufnet_lightning.explain.summary import Summary, summarise
from mufnet_lightning.tracking.artifacts import log_json
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    from mufnet_lightning.explain.explain import Explanation
    from mufnet_lightning.tracking.runs import TrackedRun


FOLDER = "explain"
IMAGES, CHECKS, SUMMARY = "images.csv", "checks.csv", "summary.json"
DPI = 150
NO_MEASURES = ["target", "frame", "grade", "label", "score", "fold"]
IDS = {"pair_id": str, "patient_id": str, "clip_id": str}


@dataclass(frozen=True)
class ExplainedTables:
    """The tables of an explanation, see `Explanation`."""

    table: pd.DataFrame
    checks: pd.DataFrame | None
    summary: Summary


def record_tables(client: MlflowClient, run_id: str, label: str, found: ExplainedTables) -> None:
    """Write tables and summary into a run, and their means over patients as metrics `explain/...`.

    Args:
        client: of the store.
        run_id: the run.
        label: of the options; names the folder.
        found: what to write.
    """
    folder = f"{FOLDER}/{label}"
    client.log_text(run_id, found.table.to_csv(index=False), f"{folder}/{IMAGES}")
    if found.checks is not None:
        client.log_text(run_id, found.checks.to_csv(index=False), f"{folder}/{CHECKS}")
    log_json(client, run_id, found.summary, f"{folder}/{SUMMARY}")
    for name, value in _numbers(found.table, found.checks).items():
        client.log_metric(run_id, f"{FOLDER}/{label}/{name}".replace("+", "p"), value)


def labels_of(client: MlflowClient, run_id: str) -> list[str]:
    """The explanations that a run has."""
    folders = [entry.path for entry in client.list_artifacts(run_id, FOLDER) if entry.is_dir]
    # montages alone are no explanation of the test part
    files = {entry.path for folder in folders for entry in client.list_artifacts(run_id, folder)}
    return sorted(Path(folder).name for folder in folders if f"{folder}/{SUMMARY}" in files)


def read_tables(run_id: str, label: str) -> ExplainedTables:
    """Read what `record_tables` wrote.

    Raises:
        InputFault: the run has no such explanation.
    """
    folder = f"{FOLDER}/{label}"
    path = resolve_artifact(run_id, f"{folder}/{SUMMARY}")
    summary = json.loads(path.read_text(encoding="utf-8"))
    table = _read(run_id, f"{folder}/{IMAGES}")
    # a summary without checks was made without them, though an older file may lie there
    checks = _read(run_id, f"{folder}/{CHECKS}") if summary["sanity"] else None
    return ExplainedTables(table, checks, summary)


def log_pictures(
    client: MlflowClient, run_id: str, label: str, figures: Mapping[str, Figure], folder: str = ""
) -> None:
    """Write pictures of an explanation into a run as PNG and PDF."""
    with TemporaryDirectory() as scratch:
        write_pictures(figures, Path(scratch))
        client.log_artifacts(run_id, scratch, f"{FOLDER}/{label}{folder}")


def write_pictures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write pictures as PNG and PDF into a folder."""
    for name, figure in figures.items():
        for form in ("png", "pdf"):
            figure.savefig(folder / f"{name}.{form}", dpi=DPI)


def _numbers(table: pd.DataFrame, checks: pd.DataFrame | None) -> dict[str, float]:
    frames = [table] if checks is None else [table, checks]
    numbers: dict[str, Any] = {}
    for frame in frames:
        columns = frame.select_dtypes("number").columns.difference(NO_MEASURES)
        kept = [c for c in columns if not str(c).startswith("weight_")]
        means = frame.groupby("patient_id")[kept].mean().mean()
        numbers |= {str(name).replace(" ", "_"): float(v) for name, v in means.dropna().items()}
    return numbers


def _read(run_id: str, artifact: str) -> pd.DataFrame:
    path = resolve_artifact(run_id, artifact)
    return pd.read_csv(path, dtype=IDS, keep_default_na=False, na_values=[""])


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


def record_pooled_explanations(
    parent: TrackedRun, runs: Mapping[int, TrackedRun]
) -> dict[str, ExplainedTables]:
    """Write what all folds were explained alike into the parent run; returns it by label."""
    store = mlflow_client()
    labels = [set(labels_of(store, run.id)) for run in runs.values()]
    found = {}
    for label in sorted(set.intersection(*labels)) if labels else []:
        folds = {fold: read_tables(run.id, label) for fold, run in runs.items()}
        if len({tuple(f.summary[name] for name in ALIKE) for f in folds.values()}) > 1:
            print(
                f"mufnet: {label}: the folds were explained differently, and are not pooled",
                file=sys.stderr,
            )
            continue
        found[label] = pool_explanations(folds)
        record_tables(store, parent.id, label, found[label])
    return found


NOT_EXPLAINED = "not_explained"


def record_explanation(client: MlflowClient, run_id: str, label: str, found: Explanation) -> None:
    """Write tables, numbers and pictures of an explanation into a run, see `record_tables`."""
    if NOT_EXPLAINED in client.get_run(run_id).data.tags:  # after test, say, with another layer
        client.delete_tag(run_id, NOT_EXPLAINED)
    record_tables(client, run_id, label, ExplainedTables(found.table, found.checks, found.summary))
    log_pictures(client, run_id, label, found.figures)
