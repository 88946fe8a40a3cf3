"""What chose the weights that are scored: nobody, the validation patients, or the test patients."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import read_folds
from mufnet_lightning.data.leakage import StoreCohort, trained_patients
from mufnet_lightning.evaluation.risks import RecordedRecalibration
from mufnet_lightning.tracking.artifacts import recorded_recalibration
from mufnet_lightning.tracking.checkpoints import Checkpoint
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.vocabulary import CHOSEN_ON, Selection


def what_chose(selection: SelectedCheckpoint | None, callbacks: Iterable[Callback] = ()) -> Selection:
    """What chose the epoch; the part that stops a training early (`EarlyStopping`) chooses too.

    Args:
        selection: None where a trainer has none: what is kept then is the last epoch.
        callbacks: of the trainer.
    """
    stops = [str(one.monitor) for one in callbacks if isinstance(one, EarlyStopping)]
    return _chosen_with(selection.kind if selection is not None else "last", stops)


def choosers(data: RoiPairDataModule, selection: str) -> frozenset[str]:
    """The patients of a training's fold who choose its epoch."""
    here = (data.folds["fold"] == data.fold) & (data.folds["part"] == CHOSEN_ON.get(selection, ""))
    return frozenset(data.folds.loc[here, "patient_id"].astype(str))


def choosers_of(checkpoint: Checkpoint, selection: str, data: RoiPairDataModule) -> frozenset[str]:
    """The patients of a store who chose a checkpoint's epoch; none where it is of another cohort.

    Args:
        checkpoint: that is scored.
        selection: what chose it, see `selection_of`.
        data: whose store holds the patients that are scored.
    """
    if selection not in CHOSEN_ON or checkpoint.folds is None or not checkpoint.trained:
        return frozenset()
    table = read_folds(io.StringIO(checkpoint.folds), "the checkpoint")
    fold = checkpoint.config.get("data", {}).get("fold", 0)
    here = (table["fold"] == fold) & (table["part"] == CHOSEN_ON[selection])
    own = {**checkpoint.trained[-1], "train": [str(one) for one in table.loc[here, "patient_id"]]}
    return trained_patients([own], StoreCohort.of(data.store)).certain


def unseen_recalibration(
    reference: str, checkpoint: Checkpoint, data: RoiPairDataModule
) -> RecordedRecalibration:
    """How a model's own run made risks, if none of the patients to be tested was in that fit.

    Args:
        reference: of the model; a run, or a checkpoint file, of which nobody can tell it.
        checkpoint: of the model.
        data: whose test part is scored.
    """
    recorded = recorded_recalibration(reference)
    tested = {str(one) for one in data.store.manifest["patient_id"].iloc[data.part_rows("test")]}
    both = choosers_of(checkpoint, "validation", data) & tested
    if recorded.recalibration is None or not both:
        return recorded
    return RecordedRecalibration(None, f"{len(both)} of the patients were in the fit of the risks.")


def _chosen_with(kind: Selection, stops: Iterable[str]) -> Selection:
    """What chose the epoch, where also the metrics `stops` could end the training early."""
    stops = list(stops)
    if kind == "optimistic" or any(monitor.startswith("test_watched/") for monitor in stops):
        return "optimistic"
    return "validation" if any(monitor.startswith("val/") for monitor in stops) else kind


def _stops(checkpoint: Checkpoint) -> list[str]:
    """What the callbacks `EarlyStopping` of a checkpoint's configuration follow."""
    given = (checkpoint.config.get("trainer") or {}).get("callbacks") or []
    callbacks = given if isinstance(given, list) else [given]
    return [
        str((one.get("init_args") or {}).get("monitor"))
        for one in callbacks
        if isinstance(one, Mapping)
        and str(one.get("class_path")).rpartition(".")[2] == EarlyStopping.__name__
    ]


def selection_of(checkpoint: Checkpoint) -> Selection:
    """What chose a checkpoint's epoch, as its configuration says; those of before say no `keep`."""
    settings: Mapping[str, Any] = checkpoint.config.get("checkpoint") or {}
    if settings.get("keep", "best") != "best":
        kind: Selection = settings["keep"]
    else:
        watched = str(settings.get("monitor")).startswith("test_watched/")
        kind = "optimistic" if watched else "validation"
    return _chosen_with(kind, _stops(checkpoint))
