"""A past run's network and its data, ready to be looked into."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mufnet_lightning.data.augmentation import Augmentation
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import FoldTable, read_folds
from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.components import component
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.processes import cores
from mufnet_lightning.tracking.checkpoints import Checkpoint, read_checkpoint
from mufnet_lightning.tracking.configuration import DATA_CLASS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds.

    Attributes:
        net: in evaluation mode, on the device asked for.
        data: the store that it was trained on, split as it was then.
        config: the settings of its run, by section and name.
    """

    net: MufNet
    data: RoiPairDataModule
    config: dict[str, Any]


def load_trained(reference: str, store: str | None = None, device: str = "auto") -> Trained:
    """Load the selected checkpoint of a run.

        trained = load_trained("runs:/4f2c...", store="/data/next_patients")
        for batch in trained.data.rows_dataloader(trained.data.usable_rows):
            logits, weights = trained.net(batch)

    Args:
        reference: a checkpoint file, or `runs:/ID` or `ID` of a run.
        store: where the crop store lies now; where it lay in training unless given.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Raises:
        InputFault: there is no such run, it has no checkpoint, its store is not there, a class of its
            configuration is not there, or there is no such device.
    """
    checkpoint = read_checkpoint(reference)
    data = _data(checkpoint, store)
    net = module_of(checkpoint, reference).net.eval().to(find_device(device))
    if checkpoint.digest not in (None, data.store.digest):
        log.warning(
            "%s is not the store that this was trained on (has it grown?); its crops must be cut alike",
            data.store.root,
        )
    return Trained(net, data, checkpoint.config)


def module_of(checkpoint: Checkpoint, reference: str) -> MufNetModule:
    """The module of a checkpoint with its weights, on the CPU.

    Raises:
        InputFault: a class of its configuration is not there, or its settings or weights do not fit it.
    """
    try:
        module = component(
            {
                "class_path": checkpoint.configuration.model_class,
                "init_args": dict(checkpoint.hyper_parameters),
            },
            MufNetModule,
            setting=f"{reference}: model",
        )
        module.load_state_dict(dict(checkpoint.state_dict))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise InputFault(f"{reference}: its settings and its weights do not fit: {reason}") from None
    return module


def data_to_look_at(
    settings: Mapping[str, Any], store: str | Path, data_class: str = DATA_CLASS
) -> RoiPairDataModule:
    """A store as a trained network was given its own, to be looked at and not trained on.

    Args:
        settings: of the datamodule in training.
        store: the crop store's folder.
        data_class: of the datamodule.
    """
    changed = {
        **settings,
        "store": str(store),
        "folds_from": None,
        "augmentation": Augmentation(**settings["augmentation"]),
        "num_workers": min(settings["num_workers"], cores() - 1),
    }
    # these are of training: whoever only looks need not have their classes
    for_training = {"sampler": "class_balanced", "transform": None}
    changed |= {name: value for name, value in for_training.items() if name in settings}
    return component(data_class, RoiPairDataModule, setting="data", **changed)


def _data(checkpoint: Checkpoint, store: str | None) -> RoiPairDataModule:
    trained = checkpoint.config["data"]
    data = data_to_look_at(trained, store or trained["store"], checkpoint.configuration.data_class)
    if checkpoint.folds is not None:
        source = "the checkpoint"
        data.given_folds = FoldTable(read_folds(io.StringIO(checkpoint.folds), source), source)
    return data


def find_device(name: str) -> torch.device:
    """The device that `--device` names; `auto`: a GPU where there is one.

    Raises:
        InputFault: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise InputFault(f"--device {name}: there is no such device here") from None
    return device
