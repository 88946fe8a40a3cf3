"""What an explanation writes into a run, and reads from it; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from mufnet_lightning import tracking
from mufnet_lightning.callbacks.artifacts import log_json
from mufnet_lightning.explain.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

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
    path = tracking.resolve_artifact(run_id, f"{folder}/{SUMMARY}")
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
    path = tracking.resolve_artifact(run_id, artifact)
    return pd.read_csv(path, dtype=IDS, keep_default_na=False, na_values=[""])
