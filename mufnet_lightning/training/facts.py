"""What a run says of itself before anything is trained: settings, data, split, machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.system.files import portable_path
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.artifacts import log_json
from mufnet_lightning.tracking.configuration import Configuration
from mufnet_lightning.tracking.provenance import environment
from mufnet_lightning.tracking.stores import note_store
from mufnet_lightning.vocabulary import PARTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST = 6000  # signs of a parameter that MLflow takes
_BATCH = 100  # parameters that it takes at once


def record_files(
    client: MlflowClient, run_id: str, config: Mapping[str, Any], data: RoiPairDataModule
) -> None:
    """Write config.yaml, folds.csv and environment.json into a run.

    Args:
        client: of the store.
        run_id: the run.
        config: composed, as plain values.
        data: that is trained on.
    """
    client.log_text(run_id, yaml.safe_dump(dict(config), sort_keys=False), "config.yaml")
    client.log_text(run_id, csv_text(data.folds), "folds.csv")
    log_json(client, run_id, environment(), "environment.json")


def record_parameters(
    client: MlflowClient,
    run_id: str,
    config: Mapping[str, Any],
    data: RoiPairDataModule,
    *,
    of_all_folds: bool = False,
) -> None:
    """Write the settings as parameters and the store as the run's data set; MLflow takes them once.

    Args:
        client, run_id, config, data: see `record_files`.
        of_all_folds: the run is a cross-validation's parent, which has `folds` where a fit has
            `data.fold`, and whose tested patients are those of all its folds.
    """
    settings = dict(_flatten(Configuration.of(config).settings))
    left_alone = () if data.with_test else ("test",)
    counts = {part: data.part_rows(part) for part in PARTS if part not in left_alone}
    if of_all_folds:
        settings.pop("data.fold", None)
        settings["folds"] = data.folds["fold"].nunique()
        tested = data.folds.loc[data.folds["part"] == "test", "patient_id"]
        usable = data.store.manifest["patient_id"].iloc[data.usable_rows]
        counts = {"test": data.usable_rows[usable.isin(tested).to_numpy()]}
    for part, rows in counts.items():
        settings[f"images_{part}"] = len(rows)
        settings[f"patients_{part}"] = data.store.manifest["patient_id"].iloc[rows].nunique()
    _log_parameters(client, run_id, settings)
    record_dataset(client, run_id, data.store, "cross-validation")
    note_store(data.store.root)


def _log_parameters(client: MlflowClient, run_id: str, settings: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    rows = [Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
    for start in range(0, len(rows), _BATCH):
        client.log_batch(run_id, params=rows[start : start + _BATCH])


def _flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append((f"{prefix}{key}", value))
    return rows


def record_dataset(client: MlflowClient, run_id: str, store: CropStore, context: str) -> None:
    """Write a store as a run's data set, for what it was used."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = store.manifest
    profile = {"pairs": len(manifest), "patients": int(manifest["patient_id"].nunique())}
    client.log_inputs(
        run_id,
        [
            DatasetInput(
                Dataset(
                    name=store.root.name,
                    digest=store.digest[:36],  # MLflow takes no more
                    source_type="local",
                    source=json.dumps({"uri": portable_path(store.root)}),
                    profile=json.dumps(profile),
                ),
                [InputTag("mlflow.data.context", context)],
            )
        ],
    )
