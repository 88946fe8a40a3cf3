"""What is refused before a run is opened: a selection without scores, patients seen in training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ReduceLROnPlateau, instantiate_class
from torch import nn

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import (
    StoreCohort,
    TrainedPatients,
    cohort_patients,
    trained_patients,
)
from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.tracking.checkpoints import Checkpoint
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import METRIC_NAMES

log = logging.getLogger(__name__)


def check_selection(selection: SelectedCheckpoint, data: RoiPairDataModule) -> None:
    """Refuse to select by a number that is not there: of a part that is not scored."""
    if selection.keep != "best":
        return
    monitor = selection.monitor
    part, _, name = str(monitor).partition("/")
    if part not in ("val", "test_watched") or name not in METRIC_NAMES:
        raise InputFault(
            f"checkpoint.monitor is {monitor}, expected val/ or test_watched/ "
            f"and one of {', '.join(METRIC_NAMES)}"
        )
    if part == "test_watched" and not data.watch_test:
        raise InputFault(f"checkpoint.monitor is {monitor}, which needs data.watch_test: true")
    if part == "val" and not data.has_validation:
        raise InputFault(
            f"checkpoint.keep is best by {monitor}, but fold {data.fold} has no validation patients to "
            "choose an epoch on; set checkpoint.keep: last or average"
        )


def check_validation(data: RoiPairDataModule, monitors: Iterable[str]) -> None:
    """Refuse to stop, or to lower the rate, by a validation number where nobody validates."""
    for monitor in monitors:
        if monitor.startswith("val/") and not data.has_validation:
            raise InputFault(
                f"something follows {monitor}, but fold {data.fold} has no validation patients; "
                "leave out EarlyStopping and ReduceLROnPlateau, or have them follow train/loss"
            )


def followed(trainer: Trainer, schedule: Namespace | None) -> list[str]:
    """The numbers that an early stop or the learning rate follows."""
    stops = [str(one.monitor) for one in trainer.early_stopping_callbacks]
    follows = ((schedule or Namespace()).get("init_args") or Namespace()).get("monitor")
    follows = follows or (schedule or Namespace()).get("monitor")
    return [*stops, *([str(follows)] if follows else [])]


def check_optimisation(optimizer: Namespace | None, schedule: Namespace | None) -> None:
    """Refuse an optimiser and a schedule that cannot take a step, on a weight of their own.

    Args:
        optimizer, schedule: `class_path` and `init_args`; None for the network's own.
    """
    if optimizer is None:
        if schedule is not None:
            raise InputFault("lr_scheduler is given without an optimizer: name both")
        return
    for section, given in (("optimizer", optimizer), ("lr_scheduler", schedule)):
        check_finite({section: (given.get("init_args") or Namespace()).as_dict() if given else {}})
    section = "optimizer"
    try:
        made = instantiate_class([nn.Parameter(torch.zeros(1))], optimizer.as_dict())
        made.step(lambda: torch.zeros(()))
        for group in made.param_groups:
            if float(group["lr"]) <= 0:
                raise ValueError(f"lr is {group['lr']}, expected more than 0")
            if group.get("momentum", 0) >= 1:
                raise ValueError(f"momentum is {group['momentum']}, expected less than 1")
        section = "lr_scheduler"
        if schedule is not None:
            steps = instantiate_class(made, schedule.as_dict())
            if getattr(steps, "gamma", 1) <= 0:
                raise ValueError(f"gamma is {steps.gamma}, expected more than 0")
            made.step(lambda: torch.zeros(()))  # it warns where its optimiser made no step since
            if not isinstance(steps, ReduceLROnPlateau):
                steps.step()
    except Exception as error:  # each class has its own ways
        raise InputFault(f"{section} cannot be used as given: {error}") from None


def check_unseen(
    data: RoiPairDataModule, parts: tuple[str, ...], sources: Mapping[str, Checkpoint]
) -> None:
    """Refuse to score patients on whom the weights were trained.

    Args:
        data: that is to be scored.
        parts: which of it, `val` and `test`.
        sources: of the weights, by the option that named them.

    Raises:
        InputFault: one of them is in one of `parts` of this fold.
    """
    table = data.folds[(data.folds["fold"] == data.fold) & data.folds["part"].isin(parts)]
    for name, checkpoint in sources.items():
        trained = seen_patients(checkpoint, data)
        seen = table[table["patient_id"].isin(trained.certain)]
        if not seen.empty:
            first = seen.iloc[0]
            raise InputFault(
                f"{name}: patient {first['patient_id']} of the {first['part']} part of fold "
                f"{data.fold} trained this checkpoint, {len(seen)} of its {len(table)} "
                f"{' and '.join(parts)} patients in all, and the score would flatter (a patient of "
                "another cohort needs another id)"
            )
        _warn_of_doubt(name, trained, set(table["patient_id"]))


def seen_patients(checkpoint: Checkpoint, data: RoiPairDataModule) -> TrainedPatients:
    """The patients of a store on whom a checkpoint was, or may have been, trained."""
    return trained_patients(checkpoint.trained, StoreCohort.of(data.store))


def state_start(trainer: Trainer, checkpoint: Checkpoint | None, data: RoiPairDataModule) -> None:
    """Say, and write into the run, that weights of an earlier training may have seen these patients."""
    if checkpoint is None:
        return
    sentence = start_sentence(checkpoint, data)
    log.warning("%s", sentence)
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.state_start(sentence)


def start_sentence(checkpoint: Checkpoint, data: RoiPairDataModule) -> str:
    """What must be known of a training that begins with the weights of an earlier one.

    Args:
        checkpoint: of the earlier one, see `model.init_from`; none of the patients that are scored is
            known to have trained it (see `check_unseen`).
        data: that is to be trained on and scored.
    """
    here = data.folds[(data.folds["fold"] == data.fold) & data.folds["part"].isin(("val", "test"))]
    scored = set(here["patient_id"])
    begins = (
        "the training begins with weights of an earlier one (model.init_from), which may have seen "
        "these very patients"
    )
    if not checkpoint.trained:
        return f"{begins}: that checkpoint does not say who trained it, so nobody can tell"
    cohort = StoreCohort.of(data.store)
    earlier = {(one["digest"], patient) for one in checkpoint.trained for patient in one["train"]}
    known = f"of the {len(scored)} validation and test patients of fold {data.fold}"
    if scored & cohort_patients(checkpoint.trained, cohort):
        return (
            f"{begins}: it is of the same cohort, and none {known} is among the {len(earlier)} who "
            "trained it"
        )
    doubtful = len(trained_patients(checkpoint.trained, cohort).doubtful & scored)
    alike = f"{doubtful} {known} bear" if doubtful else f"none {known} bears"
    return (
        f"{begins}: {len(earlier)} patients of another cohort trained it, and {alike} the id and the "
        "grade of one of them; under another id nobody can tell, so compare the lists of patients"
    )


def _warn_of_doubt(name: str, trained: TrainedPatients, scored: set[str]) -> None:
    doubtful = sorted(trained.doubtful & scored)
    if doubtful:
        log.warning(
            "%s: %s of the scored patients bear the id and the grade of a patient of another cohort "
            "that trained it (%s, ...); if they are the same persons, the score flatters",
            name,
            len(doubtful),
            doubtful[0],
        )


def check_same_store(checkpoint: Checkpoint, data: RoiPairDataModule) -> None:
    """Refuse to go on with a training on other data."""
    if checkpoint.digest not in (None, data.store.digest):
        raise InputFault(
            f"{data.store_path} is not the one that this checkpoint was trained on; "
            "start a new run with model.init_from"
        )
