"""Scores of each image, as the table that `mufnet compare` and other programs read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.prediction_table import gather_predictions, prediction_table
from mufnet_lightning.evaluation.predictions import patient_summary
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.tracking.checkpoints import Checkpoint
from mufnet_lightning.training.checks import seen_patients
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import PREDICTIONS

log = logging.getLogger(__name__)


def part_table(trainer: Trainer, pl_module: LightningModule, part: str) -> pd.DataFrame:
    """The predictions of the last pass over a part."""
    scores = pl_module.latest[part]  # type: ignore[operator, index]
    return prediction_table(trainer.datamodule, scores, part)  # type: ignore[attr-defined, arg-type]


class PredictionWriter(Callback):
    """Writes predictions.csv into the run after validation and after test, both in one file."""

    def __init__(self) -> None:
        self._parts: dict[str, pd.DataFrame] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `validate`; the passes inside training are not written."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After `test`."""
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, pl_module: LightningModule, part: str) -> None:
        if not isinstance(trainer.logger, RunLogger) or not trainer.is_global_zero:
            return
        self._parts[part] = part_table(trainer, pl_module, part)
        text = pd.concat(self._parts.values()).to_csv(index=False)
        trainer.logger.experiment.log_text(trainer.logger.run, text, PREDICTIONS)


def write_predictions(
    batches: Sequence[dict[str, Tensor]], data: RoiPairDataModule, checkpoint: Checkpoint, file: Path
) -> None:
    """Write a row an image, and print a row a patient.

    Patients who trained the checkpoint are marked `train` in the file: `compare` leaves them out.

    Args:
        batches: what `predict_step` returned, see `MufNetModule`.
        data: that was scored.
        checkpoint: that scored it.
        file: to write, whole or not at all.
    """
    table = prediction_table(data, gather_predictions(list(batches)), "predict")
    seen = seen_patients(checkpoint, data)
    trained = table["patient_id"].isin(seen.certain)
    if trained.any():
        table["split"] = table["split"].mask(trained, "train")
        log.warning(
            "%s of these patients trained this checkpoint, so their scores flatter (split `train` "
            "in the file)",
            table.loc[trained, "patient_id"].nunique(),
        )
    doubtful = table.loc[table["patient_id"].isin(seen.doubtful), "patient_id"].nunique()
    if doubtful:
        log.warning(
            "%s of these patients bear the id and the grade of a patient of another cohort that "
            "trained this checkpoint; if they are the same persons, their scores flatter",
            doubtful,
        )
    write_atomic(file, table.to_csv(index=False))
    print(patient_summary(table).to_string(index=False))
    print(f"scores of {len(table)} images: {file}")
