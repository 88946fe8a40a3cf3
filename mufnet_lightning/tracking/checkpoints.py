"""Checkpoints: where a run keeps them, and what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    pass
from mufnet_lightning.tracking.runs import STORE_FOLDER, resolve_artifact

CHECKPOINT = "checkpoints/selected.ckpt"


def checkpoint_folder(run_id: str) -> Path:
    """Where a run keeps its checkpoints while it goes on."""
    return (STORE_FOLDER / "checkpoints" / run_id).resolve()


def resolve_checkpoint(reference: str, unfinished: bool = False) -> Path:
    """The checkpoint file that a path or an MLflow run names (see `resolve_artifact`).

    With `unfinished`, a run that did not come to its end gives its last epoch, to go on from.
    """
    try:
        return resolve_artifact(reference, CHECKPOINT)
    except InputFault:
        last = checkpoint_folder(reference.removeprefix("runs:/").strip("/")) / "last.ckpt"
        if unfinished and last.is_file():
            return last
        raise


def read_checkpoint(reference: str, unfinished: bool = False) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU; no code in it is run.

    Raises:
        InputFault: it is not there, or not a checkpoint of mufnet.
    """
    import pickle

    import torch

    path = resolve_checkpoint(reference, unfinished)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = "it holds code" if "GLOBAL" in str(error) else "it cannot be read"
        raise InputFault(f"{reference}: not a checkpoint of mufnet: {reason}") from None
    if not isinstance(content, dict) or not {"state_dict", "mufnet_config"} <= content.keys():
        raise InputFault(f"{reference}: not a checkpoint of mufnet: no weights and configuration in it")
    return content
