"""A past run's network and its data, ready to be looked into."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.transforms import Augmentation
from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.processes import cores
from mufnet_lightning.tracking.checkpoints import read_checkpoint


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds.

    Attributes:
        net: in evaluation mode, on the device asked for.
        data: the store that it was trained on, split as it was then.
        config: the composed configuration of its run.
    """

    net: MufNet
    data: RoiPairDataModule
    config: dict[str, Any]


def load_trained(reference: str, store: str | None = None, device: str = "auto") -> Trained:
    """Load the selected checkpoint of a run.

    Args:
        reference: a checkpoint file, or `runs:/ID` or `ID` of a run.
        store: where the crop store lies now; where it lay in training unless told.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Raises:
        InputFault: there is no such run, it has no checkpoint, its store is not there, or there is no
            such device.
    """
    checkpoint = read_checkpoint(reference)
    config = yaml.safe_load(checkpoint["mufnet_config"])
    settings = {**config["data"], "folds_from": None, "store": store or config["data"]["store"]}
    settings["augmentation"] = Augmentation(**settings["augmentation"])
    settings["num_workers"] = min(settings["num_workers"], cores() - 1)
    data = RoiPairDataModule(**settings)
    data.checkpoint_folds = checkpoint.get("mufnet_folds")
    parameters = {k: v for k, v in checkpoint["hyper_parameters"].items() if not k.startswith("_")}
    module = MufNetModule(**parameters)
    module.load_state_dict(checkpoint["state_dict"])
    net = module.net.eval().to(_device(device))
    if data.store.digest != checkpoint.get("mufnet_digest", data.store.digest):
        print(
            f"mufnet: {data.store.root} is not the store that this was trained on (has it grown?); its "
            "crops must be cut alike",
            file=sys.stderr,
        )
    return Trained(net, data, config)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise InputFault(f"--device {name}: there is no such device here") from None
    return device
