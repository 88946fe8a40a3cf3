"""Scores of each image, as the table that `mufnet compare` and other programs read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mufnet_lightning.callbacks.run_record import RunLogger
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.tracking import PREDICTIONS


def prediction_table(data: RoiPairDataModule, scores: dict[str, Tensor], split: str) -> pd.DataFrame:
    """A row an image: `pair_id, patient_id, clip_id, frame, label, score, weight_bmode, weight_ceus,
    fold, split`.

    Args:
        data: where the images came from.
        scores: `row` (N,) of the manifest, `score` (N,), `weights` (N, M) in the order of
            `data.modalities`.
        split: the part they belong to; `fold` is left empty for `predict`.
    """
    rows = scores["row"].numpy()
    table = data.store.manifest.iloc[rows][
        ["pair_id", "patient_id", "clip_id", "frame", "label"]
    ].reset_index(drop=True)
    # float32 in full: two files of one run are equal to the last bit
    table["score"] = scores["score"].numpy().astype(np.float64)
    for modality in ("bmode", "ceus"):
        column: np.ndarray | float = np.nan
        if modality in data.modalities:
            column = scores["weights"][:, data.modalities.index(modality)].numpy().astype(float)
        table[f"weight_{modality}"] = column
    table["fold"] = pd.NA if split == "predict" else data.fold
    table["split"] = split
    return table


def part_table(trainer: Trainer, pl_module: LightningModule, part: str) -> pd.DataFrame:
    """The predictions of the last pass over a part."""
    scores = pl_module.latest[part]  # type: ignore[operator, index]
    return prediction_table(trainer.datamodule, scores, part)  # type: ignore[attr-defined, arg-type]


def gather_predictions(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join what `predict_step` returned for each batch."""
    return {name: torch.cat([batch[name] for batch in batches]).cpu() for name in batches[0]}


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
