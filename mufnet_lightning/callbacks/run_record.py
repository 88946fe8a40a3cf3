"""What every run says of itself: configuration, code, data, split, machine, and how it ended."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from mufnet_lightning import tracking
from mufnet_lightning.callbacks.artifacts import log_json
from mufnet_lightning.cohort.processes import cores
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGES = (
    "mufnet-lightning",
    "torch",
    "lightning",
    "timm",
    "torchmetrics",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "scikit-learn",
    "mlflow",
)


class RunLogger(MLFlowLogger):
    """An MLflow run that is closed once, by whoever opened it.

    Lightning would close it after `fit`, before validation and test are scored; a run that broke off
    there would look finished.
    """

    def __init__(
        self,
        where: Tracking,
        run_name: str,
        tags: Mapping[str, str],
        resumed_run: str | None = None,
    ) -> None:
        super().__init__(
            experiment_name=where.study,
            run_name=where.run_name or run_name,
            tracking_uri=tracking.tracking_uri(),
            tags=dict(tags),
            run_id=resumed_run,
        )
        self.resumed = resumed_run is not None
        self._monitor: Any = None

    @property
    def experiment(self) -> MlflowClient:
        """The client; on first use the run is opened."""
        if not self._initialized and getattr(rank_zero_only, "rank", 0) == 0:
            if self.resumed:
                store, run_id = self._mlflow_client, str(self._run_id)
                store.update_run(run_id, status="RUNNING")
                if "reason" in store.get_run(run_id).data.tags:
                    store.delete_tag(run_id, "reason")  # why it broke off; it goes on
            else:
                tracking.open_study(self._experiment_name)
        return super().experiment

    @property
    def run(self) -> str:
        """The run's id, on the process that records."""
        return str(self.run_id)

    @property
    def opened(self) -> bool:
        """Whether there is a run yet; it is created on first use."""
        return self._initialized

    @rank_zero_only
    def watch_machine(self) -> None:
        """Log CPU, memory, disk and GPU use every few seconds until the run is closed."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if self._monitor is None:
            self._monitor = SystemMetricsMonitor(self.run, sampling_interval=5)
            self._monitor.start()

    def finalize(self, status: str = "success") -> None:
        """Lightning calls this after each of its passes; the run goes on."""

    @rank_zero_only
    def close(self, status: str, reason: str | None = None) -> None:
        """End the run as `FINISHED`, `FAILED` or `KILLED` (interrupted), with the reason as a tag."""
        if not self.opened:
            return
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        if reason:
            with contextlib.suppress(Exception):  # the status matters more than its reason
                self.experiment.set_tag(self.run, "reason", reason[:5000])
        self.experiment.set_terminated(self.run, status)


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


def environment() -> dict[str, str]:
    """Versions of what computes, and on what; nothing that names a machine or a person."""
    found = {"Python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # another build of OpenCV, say
            found[name] = version(name)
    gpu = torch.cuda.is_available()
    found["device"] = torch.cuda.get_device_name(0) if gpu else f"CPU, {cores()} cores"
    return found


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
