"""The learning rate as a curve over epochs, as the others are."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from mufnet_lightning.training.logger import RunLogger


class LearningRate(LearningRateMonitor):
    """Logs each optimiser's rate as `lr-CLASS`, a point an epoch.

    Lightning's own counts batches, so that its curve would end far to the right of all others.
    """

    def __init__(self) -> None:
        super().__init__(logging_interval="epoch")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Log what this epoch is trained with."""
        rates = self._extract_stats(trainer, "any")
        for logger in trainer.loggers if rates else ():
            if isinstance(logger, RunLogger):
                logger.begin_epoch(trainer.current_epoch)
            logger.log_metrics(rates, step=trainer.current_epoch)
