"""The callbacks that make a training a whole run, for a trainer that the command did not build."""

from __future__ import annotations

from lightning.pytorch import Callback

from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.training.callbacks.evaluation import Evaluation
from mufnet_lightning.training.callbacks.predictions import PredictionWriter
from mufnet_lightning.training.callbacks.record import RunRecord


def run_callbacks() -> list[Callback]:
    """What records a run and keeps its best epoch, beside a `RunLogger`.

        with RunLogger() as run:
            trainer = Trainer(max_epochs=100, logger=run, callbacks=run_callbacks())

    Returns:
        `RunRecord` (configuration, folds, environment), `PredictionWriter` (predictions.csv),
        `Evaluation` (metrics and figures) and `SelectedCheckpoint` (the best validation AUC).
    """
    return [RunRecord(), PredictionWriter(), Evaluation(), SelectedCheckpoint()]
