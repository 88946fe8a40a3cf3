"""What a training's run says of itself in the MLflow UI, in two sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mufnet_lightning.evaluation.text import interval_text
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.vocabulary import MODALITY_NAMES, Part, arm_name

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch import LightningModule, Trainer

    from mufnet_lightning.data.datamodule import RoiPairDataModule

PART_NAMES: Mapping[Part, str] = {"train": "training", "val": "validation", "test": "test"}
FLATTERS = "**selected on the test patients themselves, so the test numbers flatter**"


def run_note(data: RoiPairDataModule, protocol: str, part: Part | None = None) -> str:
    """The first sentence.

    Args:
        data: of the run.
        protocol: how its patients were split.
        part: that a trained network is scored on; None where the run trains one.
    """
    arm = f"**{arm_name(data.modalities)}** ({_pictures(data)})"
    fold = f"fold {data.fold} of {data.folds['fold'].nunique()} (protocol `{protocol}`)"
    if part is not None:
        scored = f"The {PART_NAMES[part]} part of {fold}"
        return f"{scored}, scored by a network of arm {arm} that was trained before."
    counts = {part: _count(data, part) for part in PART_NAMES}
    patients = {part: number for part, (number, _) in counts.items()}
    return (
        f"A training of arm {arm} on {fold}, with {patients['train']} patients "
        f"({counts['train'][1]} images) to train on, {patients['val']} to validate and "
        f"{patients['test']} to test on."
    )


def nothing_yet() -> str:
    """The second sentence of a run that begins."""
    return "It has no final numbers: it still goes on, or it stopped before it had any."


def scored_note(part: Part, prefix: str, table: pd.DataFrame, numbers: Mapping[str, float]) -> str:
    """What the number to look at is, without a full stop.

    Args:
        part: that was scored.
        prefix: of the metrics' names.
        table: of its images.
        numbers: of `arm_numbers`.
    """
    limits = numbers.get("patient_auc_ci_low"), numbers.get("patient_auc_ci_high")
    both = (limits[0], limits[1]) if limits[0] is not None and limits[1] is not None else None
    text = interval_text(numbers.get("patient_auc"), both, " to ", "(undefined)")
    interval = " with its 95% interval" if both else ""
    return (
        f"`{prefix}/patient_auc` {text} is the AUC{interval} over the "
        f"{table['patient_id'].nunique()} {PART_NAMES[part]} patients"
    )


def weights_note(trainer: Trainer, pl_module: LightningModule, part: Part, optimistic: bool) -> str:
    """Which epoch was scored, what chose it, and whether that flatters the scores.

    Args:
        trainer: that has scored.
        pl_module: a `MufNetModule`.
        part: that was scored.
        optimistic: whether the run is tagged so.
    """
    epoch, trained = f"epoch {pl_module.weights_epoch} (counted from 0)", trainer.current_epoch
    if trained:
        for selection in trainer.checkpoint_callbacks:
            if isinstance(selection, SelectedCheckpoint) and _is_scored(trainer, selection):
                best = "highest" if selection.mode == "max" else "lowest"
                flatters = f": {FLATTERS}" if selection.kind == "optimistic" else ""
                chosen = f"which had the {best} `{selection.monitor}`{flatters}"
                return f"{epoch} of the {trained} trained, {chosen}"
        return f"{epoch} of the {trained} trained"
    if trainer.ckpt_path is None:
        return "weights that came from no checkpoint"
    flatters = ""
    if part == "val":
        flatters = "; it flatters where these patients selected that epoch"
    elif optimistic:
        flatters = ", **selected on its run's test patients, so numbers over them flatter**"
    return f"{epoch} of the checkpoint's training{flatters}"


def _is_scored(trainer: Trainer, selection: SelectedCheckpoint) -> bool:
    return trainer.ckpt_path is not None and str(trainer.ckpt_path) == selection.best_model_path


def _pictures(data: RoiPairDataModule) -> str:
    names = [MODALITY_NAMES.get(modality, modality) for modality in data.modalities]
    return " and ".join(names) + (", or one of them" if data.missing_allowed else "")


def _count(data: RoiPairDataModule, part: Part) -> tuple[int, int]:
    rows = data.part_rows(part)
    return int(data.store.manifest["patient_id"].iloc[rows].nunique()), len(rows)
