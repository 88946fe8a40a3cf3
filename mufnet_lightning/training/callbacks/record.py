"""What every run says of itself: configuration, code, data, split, machine, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.tracking.artifacts import log_json
from mufnet_lightning.tracking.provenance import environment
from mufnet_lightning.training.logger import RunLogger

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RunRecord(Callback):
    """Records, as soon as a run starts: configuration, split, environment, data digest.

    Args:
        config: the composed configuration, as `config.yaml` will say it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)
        self._recorded = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record, once a run."""
        logger = trainer.logger
        if self._recorded or not isinstance(logger, RunLogger) or not trainer.is_global_zero:
            return
        self._recorded = True
        data: RoiPairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        logger.watch_machine()
        client, run_id = logger.experiment, logger.run
        client.log_text(run_id, yaml.safe_dump(self._config, sort_keys=False), "config.yaml")
        client.log_text(run_id, data.folds.to_csv(index=False), "folds.csv")
        log_json(client, run_id, environment(), "environment.json")
        if not logger.resumed:  # MLflow's parameters are written once
            logger.log_hyperparams(dict(_flatten(self._config)))
            _log_dataset(client, run_id, data)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint says how to run it, whom it was trained on, and in which run to go on."""
        checkpoint["mufnet_config"] = yaml.safe_dump(self._config, sort_keys=False)
        data = getattr(trainer, "datamodule", None)
        if data is not None:
            checkpoint["mufnet_folds"] = data.folds.to_csv(index=False)
            checkpoint["mufnet_digest"] = data.store.digest
            own, before = _trained_cohort(data), pl_module.trained_before
            checkpoint["mufnet_trained"] = [*(c for c in before if c != own), own]  # type: ignore[union-attr]
        if isinstance(trainer.logger, RunLogger):
            checkpoint["mufnet_run"] = trainer.logger.run


def _trained_cohort(data: RoiPairDataModule) -> dict[str, Any]:
    """The store's digest, its patients with their labels, and those of the training part."""
    patients = data.store.manifest.drop_duplicates("patient_id")
    here = data.folds[(data.folds["fold"] == data.fold) & (data.folds["part"] == "train")]
    return {
        "digest": data.store.digest,
        "patients": {
            str(p): int(v) for p, v in zip(patients["patient_id"], patients["label"], strict=True)
        },
        "train": [str(patient) for patient in here["patient_id"]],
    }


def _flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows += _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append((f"{prefix}{key}", value))
    return rows


def _log_dataset(client: MlflowClient, run_id: str, data: RoiPairDataModule) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = data.store.manifest
    profile = {"pairs": len(manifest), "patients": int(manifest["patient_id"].nunique())}
    client.log_inputs(
        run_id,
        [
            DatasetInput(
                Dataset(
                    name=data.store.root.name,
                    digest=data.store.digest[:36],  # MLflow takes no more
                    source_type="local",
                    source=json.dumps({"uri": str(data.store.root)}),
                    profile=json.dumps(profile),
                ),
                [InputTag("mlflow.data.context", "cross-validation")],
            )
        ],
    )
    for part in ("train", "val", "test"):
        rows = data.part_rows(part)
        client.log_param(run_id, f"images_{part}", len(rows))
        client.log_param(run_id, f"patients_{part}", manifest["patient_id"].iloc[rows].nunique())
