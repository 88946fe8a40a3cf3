"""Scores of each image, as the table that `mufnet compare` and other programs read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.prediction_table import gather_predictions, prediction_table
from mufnet_lightning.evaluation.risks import RecordedRecalibration, with_risks
from mufnet_lightning.inference.grader import Grader, ImageGrades
from mufnet_lightning.inference.predict import (
    StorePredictions,
    image_table,
    lacking_modalities,
    patient_table,
    patients_seen,
    printed,
)
from mufnet_lightning.store.cut_apart import LeftOut
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.sheets import csv_text
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
        self.recorded: RecordedRecalibration | None = None
        """What gives test patients who are scored alone their risks; without, validation patients."""
        self._parts: dict[str, pd.DataFrame] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Another training has other weights, and maybe other patients."""
        if stage == "fit":
            self._parts = {}

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
        table = pd.concat(self._parts.values())
        risks = self.recorded.risks(table) if self.recorded else with_risks(table)
        text = csv_text(risks.table)
        trainer.logger.experiment.log_text(trainer.logger.run, text, PREDICTIONS)


def write_predictions(
    passes: Sequence[Sequence[dict[str, Tensor]]], data: RoiPairDataModule, grader: Grader, file: Path
) -> list[LeftOut]:
    """Write a row an image, and print a row a patient.

    Patients who trained the model are marked `train` in the file: `compare` leaves them out.

    Args:
        passes: of each network what `predict_step` returned for each batch, see `MufNetModule`.
        data: that was scored.
        grader: the networks, and what is known of them.
        file: to write, whole or not at all.

    Returns:
        Who was not scored.

    Raises:
        InputFault: the networks give no number.
    """
    card = grader.card
    rows, grades = _grades(passes, data)
    grades.checked(card.name)
    seen = patients_seen(grader, data)
    table = image_table(card, data, rows, grades, seen)
    patients = patient_table(card, table, grades.members, seen)
    _warn_of_trained(patients, "this checkpoint" if card.members == 1 else "one of the folds")
    predictions = StorePredictions(table, patients, lacking_modalities(card, data))
    write_atomic(file, csv_text(table))
    print(printed(predictions))
    print(f"scores of {len(table)} images: {file}")
    return list(predictions.ungraded)


def _grades(
    passes: Sequence[Sequence[dict[str, Tensor]]], data: RoiPairDataModule
) -> tuple[NDArray[np.int64], ImageGrades]:
    """The rows of the manifest that were scored (N,), and their grades."""
    scores = [gather_predictions(list(batches)) for batches in passes]
    rows = scores[0]["row"].numpy()
    weights = [one["weights"].numpy().astype(np.float64) for one in scores]
    paths = data.store.manifest.iloc[rows][[f"{name}_path" for name in data.modalities]]
    return rows, ImageGrades(
        tuple(data.modalities),
        np.stack([one["score"].numpy().astype(np.float64) for one in scores]),
        np.mean(weights, axis=0),
        (paths.notna() & (paths != "")).to_numpy(),
    )


def _warn_of_trained(patients: pd.DataFrame, whom: str) -> None:
    certain, doubtful = ((patients["trained"] == word).sum() for word in ("yes", "perhaps"))
    if certain:
        log.warning(
            "%s of these patients trained %s, so their scores flatter (split `train` in the file)",
            certain,
            whom,
        )
    if doubtful:
        log.warning(
            "%s of these patients bear the id and the grade of a patient of another cohort that "
            "trained %s; if they are the same persons, their scores flatter",
            doubtful,
            whom,
        )
