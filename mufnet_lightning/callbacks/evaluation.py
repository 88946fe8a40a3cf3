"""What a reviewer asks of each part: clustered intervals, figures, and the test against a baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.callbacks.predictions import part_table
from mufnet_lightning.callbacks.run_record import RunLogger
from mufnet_lightning.callbacks.scored_arm import ScoredArm
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.evaluation.figures import figure_files
from mufnet_lightning.evaluation.matching import MatchedScores, match_predictions
from mufnet_lightning.evaluation.summary import (
    WEIGHT_NAMES,
    arm_figures,
    arm_numbers,
    arm_report,
    paired_numbers,
)
from mufnet_lightning.models.scores import METRIC_NAMES
from mufnet_lightning.tracking import arm_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


class Evaluation(Callback):
    """After validation and after test: metrics, `evaluation/PART.json` and `figures/PART_*`.

    Each image counts once, whatever the number of processes; the first one does it.

    Args:
        baseline: an arm to test against (DeLong over patients, Obuchowski over images); the metrics
            are then also `auc_difference` (this arm minus the baseline) and `auc_difference_p`.
    """

    def __init__(self, baseline: ScoredArm | None = None) -> None:
        self._baseline = baseline

    def check_baseline(self, data: RoiPairDataModule, *parts: str) -> None:
        """Refuse a baseline that was not scored on the images of this run's parts.

        Raises:
            InputFault: it says in which image, patient or label they differ.
        """
        for part in parts if self._baseline else ():
            rows = data.store.manifest.iloc[data.part_rows(part)]
            columns = ["pair_id", "patient_id", "clip_id", "frame", "label"]
            expected = rows[columns].reset_index(drop=True).assign(score=0.5)
            self._matched(expected, part, data)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `validate`, not after the passes inside training."""
        if trainer.state.fn == "validate":
            self._record(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `test`."""
        self._record(trainer, pl_module, "test")

    def _record(self, trainer: Trainer, pl_module: LightningModule, part: str) -> None:
        logger = trainer.logger
        if not isinstance(logger, RunLogger) or not trainer.is_global_zero:
            return
        table = part_table(trainer, pl_module, part)
        arms = self._matched(table, part, trainer.datamodule)  # type: ignore[attr-defined]
        numbers = record_part(logger.experiment, logger.run, part, arms, table)
        # the module has logged the others
        added = {f"{part}/{k}": v for k, v in numbers.items() if k not in METRIC_NAMES}
        logger.log_metrics(added, step=trainer.current_epoch)

    def _matched(self, table: pd.DataFrame, part: str, data: RoiPairDataModule) -> MatchedScores:
        tables = {arm_name(data.modalities): table}
        if self._baseline:
            name = self._baseline.name
            tables[name if name not in tables else f"{name} (baseline)"] = self._baseline.part(
                part, data.fold
            )
        return match_predictions(tables)


def record_part(
    client: MlflowClient, run_id: str, part: str, arms: MatchedScores, table: pd.DataFrame
) -> dict[str, float]:
    """Write the report and figures of a part into a run; returns its numbers, to be logged.

    Args:
        client: of the store.
        run_id: the run.
        part: `val` or `test`; names begin with it.
        arms: the run's arm first, then a baseline if there is one.
        table: the predictions of the run's arm, for the weights of its modalities.
    """
    report = arm_report(arms)
    numbers = arm_numbers(arms, report)
    if len(arms.names) > 1:
        numbers |= paired_numbers(report)
    weights = {
        column: table[column].to_numpy()[arms.rows[0]]
        for column in WEIGHT_NAMES
        if column in table and table[list(WEIGHT_NAMES)].notna().all(axis=None)
    }
    log_json(client, run_id, report, f"evaluation/{part}.json")
    figures = arm_figures(arms, report, weights)
    log_figures(client, run_id, {f"{part}_{name}": figure for name, figure in figures.items()})
    return numbers


def log_json(client: MlflowClient, run_id: str, content: Any, name: str) -> None:
    """Write an artifact of strict JSON."""
    client.log_text(run_id, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False), name)


def log_figures(client: MlflowClient, run_id: str, figures: Mapping[str, Figure]) -> None:
    """Write each figure as PNG and as PDF under figures/."""
    with TemporaryDirectory() as folder:
        for name, figure in figures.items():
            for file, content in figure_files(figure, name).items():
                (Path(folder) / file).write_bytes(content)
        client.log_artifacts(run_id, folder, "figures")
