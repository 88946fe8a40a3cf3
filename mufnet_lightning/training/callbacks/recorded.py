"""The callbacks that make a training a whole run, for a trainer that the command did not build."""

from __future__ import annotations

from lightning.pytorch import Callback

from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint, SelectedCheckpoint
from mufnet_lightning.training.callbacks.evaluation import Evaluation
from mufnet_lightning.training.callbacks.predictions import PredictionWriter
from mufnet_lightning.training.callbacks.record import RunRecord
from mufnet_lightning.vocabulary import Keep


def run_callbacks(keep: Keep = "best") -> list[Callback]:
    """What records a run and keeps its weights, beside a `RunLogger`.

        with RunLogger() as run:
            trainer = Trainer(max_epochs=100, logger=run, callbacks=run_callbacks())

    Args:
        keep: which weights, see `SelectedCheckpoint`. Without validation batches: `last` or `average`.

    Returns:
        `RunRecord` (configuration, folds, environment), `PredictionWriter` (predictions.csv),
        `Evaluation` (metrics and figures) and `SelectedCheckpoint`; `selected()` of the last one is the
        file that is kept.
    """
    selection = SelectedCheckpoint(keep)
    averaging = selection.averaging()
    last: list[Callback] = [] if keep == "best" else [LastCheckpoint()]
    return [
        RunRecord(),
        PredictionWriter(),
        Evaluation(),
        *([averaging] if averaging else []),
        *last,
        selection,
    ]
