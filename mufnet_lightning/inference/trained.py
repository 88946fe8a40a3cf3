"""A past run's network and its data, ready to be looked into."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import torch

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import FoldTable, read_folds
from mufnet_lightning.data.transforms import Augmentation
from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.components import component
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.processes import cores
from mufnet_lightning.tracking.checkpoints import Checkpoint, read_checkpoint

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
    module = component(
        {
            "class_path": checkpoint.configuration.model_class,
            "init_args": dict(checkpoint.hyper_parameters),
        },
        MufNetModule,
        setting=f"{reference}: model",
    )
    module.load_state_dict(dict(checkpoint.state_dict))
    net = module.net.eval().to(_device(device))
    if checkpoint.digest not in (None, data.store.digest):
        log.warning(
            "%s is not the store that this was trained on (has it grown?); its crops must be cut alike",
            data.store.root,
        )
    return Trained(net, data, checkpoint.config)


def _data(checkpoint: Checkpoint, store: str | None) -> RoiPairDataModule:
    trained = checkpoint.config["data"]
    settings = {
        **trained,
        "store": store or trained["store"],
        "folds_from": None,
        "augmentation": Augmentation(**trained["augmentation"]),
        "num_workers": min(trained["num_workers"], cores() - 1),
    }
    # these are of training: whoever only looks need not have their classes
    for_training = {"sampler": "class_balanced", "transform": None}
    settings |= {name: value for name, value in for_training.items() if name in trained}
    data = component(checkpoint.configuration.data_class, RoiPairDataModule, setting="data", **settings)
    if checkpoint.folds is not None:
        source = "the checkpoint"
        data.given_folds = FoldTable(read_folds(io.StringIO(checkpoint.folds), source), source)
    return data


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise InputFault(f"--device {name}: there is no such device here") from None
    return device
