"""Scores of each image, as the table that `mufnet compare` and other programs read."""

from __future__ import annotations

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.data.prediction_table import prediction_table
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import PREDICTIONS


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
