"""What a training's run says of itself in the MLflow UI, in two sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mufnet_lightning.evaluation.text import interval_text
from mufnet_lightning.training.callbacks.averaging import first_averaged_epoch
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.vocabulary import CHOSEN_HERE, MODALITY_NAMES, Part, arm_name

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch import LightningModule, Trainer

    from mufnet_lightning.data.datamodule import RoiPairDataModule

PART_NAMES: Mapping[Part, str] = {"train": "training", "val": "validation", "test": "test"}
FLATTERS: Mapping[Part, str] = {
    "val": "**selected on these validation patients, so their numbers flatter and carry no interval**",
    "test": "**selected on the test patients themselves, so the test numbers flatter**",
}


def run_note(data: RoiPairDataModule, protocol: str, arm: str, part: Part | None = None) -> str:
    """The first sentence.

    Args:
        data: of the run.
        protocol: how its patients were split.
        arm: its name; bmode, ceus or fused where that is empty.
        part: that a trained network is scored on; None where the run trains one.
    """
    arm = f"**{arm or arm_name(data.modalities)}** ({_pictures(data)})"
    fold = f"fold {data.fold} of {data.folds['fold'].nunique()} (protocol `{protocol}`)"
    if part is not None:
        scored = f"The {PART_NAMES[part]} part of {fold}"
        return f"{scored}, scored by a network of arm {arm} that was trained before."
    counts = {part: _count(data, part) for part in PART_NAMES if part != "test" or data.with_test}
    patients = {part: number for part, (number, _) in counts.items()}
    tested = f"{patients['test']} to test on" if data.with_test else "no test patient was looked at"
    return (
        f"A training of arm {arm} on {fold}, with {patients['train']} patients "
        f"({counts['train'][1]} images) to train on, {patients['val'] or 'none'} to validate"
        f"{' and ' if data.with_test else '; '}{tested}."
    )


def nothing_yet() -> str:
    """The second sentence of a run that begins."""
    return "It has no final numbers: it still goes on, or it stopped before it had any."


def scored_note(
    part: Part, prefix: str, table: pd.DataFrame, numbers: Mapping[str, float], chosen: bool = False
) -> str:
    """What the number to look at is, without a full stop.

    Args:
        part: that was scored.
        prefix: of the metrics' names.
        table: of its images.
        numbers: of `arm_numbers`.
        chosen: whether these patients chose the epoch.
    """
    limits = numbers.get("patient_auc_ci_low"), numbers.get("patient_auc_ci_high")
    both = (limits[0], limits[1]) if limits[0] is not None and limits[1] is not None else None
    text = interval_text(numbers.get("patient_auc"), both, " to ", "(undefined)")
    interval = " with its 95% interval" if both else ""
    text += f" ({CHOSEN_HERE})" if chosen else ""
    return (
        f"`{prefix}/patient_auc` {text} is the AUC{interval} over the "
        f"{table['patient_id'].nunique()} {PART_NAMES[part]} patients"
    )


def weights_note(trainer: Trainer, pl_module: LightningModule, chosen_on: Part | None) -> str:
    """Which weights were scored, what chose them, and whether that flatters the scores.

    Args:
        trainer: that has scored.
        pl_module: a `MufNetModule`.
        chosen_on: the part that was scored, where its patients chose them.
    """
    epoch, trained = f"epoch {pl_module.weights_epoch} (counted from 0)", trainer.current_epoch
    flatters = f": {FLATTERS[chosen_on]}" if chosen_on else ""
    if not trained:
        if trainer.ckpt_path is None:
            return "weights that came from no checkpoint"
        before = ", **selected on its run's test patients, so numbers over them flatter**"
        return f"{epoch} of the checkpoint's training{before if chosen_on == 'test' else flatters}"
    selection = scored_selection(trainer)
    if selection is None:
        return f"{epoch} of the {trained} trained{flatters}"
    if selection.keep == "average":
        first = first_averaged_epoch(trainer.max_epochs, selection.average_share)
        return (
            f"the mean of the weights over epochs {first} to {pl_module.weights_epoch} "
            f"(counted from 0) of the {trained} trained{flatters}"
        )
    if selection.keep == "last":
        return f"{epoch}, the last of the {trained} trained{flatters}"
    best = "highest" if selection.mode == "max" else "lowest"
    return f"{epoch} of the {trained} trained, which had the {best} `{selection.monitor}`{flatters}"


def scored_selection(trainer: Trainer) -> SelectedCheckpoint | None:
    """The rule by which the weights that a trainer has just scored were kept; None for any others."""
    for selection in trainer.checkpoint_callbacks:
        if isinstance(selection, SelectedCheckpoint) and trainer.ckpt_path is not None:
            kept = selection.selected()
            if kept is not None and str(trainer.ckpt_path) == str(kept):
                return selection
    return None


def _pictures(data: RoiPairDataModule) -> str:
    names = [MODALITY_NAMES.get(modality, modality) for modality in data.modalities]
    return " and ".join(names) + (", or one of them" if data.missing_allowed else "")


def _count(data: RoiPairDataModule, part: Part) -> tuple[int, int]:
    rows = data.part_rows(part)
    return int(data.store.manifest["patient_id"].iloc[rows].nunique()), len(rows)
