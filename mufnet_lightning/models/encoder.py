"""Image encoders: out of timm, or somebody's own."""

from __future__ import annotations

import logging
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.components import component


def make_encoder(spec: str | dict[str, Any]) -> nn.Module:
    """The encoder that `model.encoder` names.

    Args:
        spec: a timm name, or the class path of an own `nn.Module` (see `components`), which has

            - `num_features`, an int: channels of its maps;
            - `forward(images)`: (N, 3, H, W) of 0 to 255, uint8 or floating point, to maps;
            - `pool(maps)`: maps to (N, num_features);
            - where `model.pretrained` is true, `load_pretrained()`.

    Raises:
        InputFault: there is no such encoder, or it lacks one of these.
    """
    if isinstance(spec, str) and ("." not in spec or timm.is_model(spec)):
        return Encoder(spec)
    encoder = component(spec, nn.Module, setting="model.encoder")
    if not isinstance(getattr(encoder, "num_features", None), int) or not callable(
        getattr(encoder, "pool", None)
    ):
        raise InputFault(
            f"model.encoder: {type(encoder).__name__} needs `num_features` (an int) and `pool(maps)`"
        )
    return encoder


class Encoder(nn.Module):
    """A timm network without its head: images to feature maps.

    Scaling from 8 bits and normalisation with the encoder's own mean and deviation happen here, so
    that a checkpoint carries them and a batch travels to the GPU as bytes.

    Args:
        name: timm model name; `efficientnet_b3` is the paper's.

    Raises:
        InputFault: timm has no such model.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.backbone = _create(name, pretrained=False)
        self.num_features = int(getattr(self.backbone, "head_hidden_size", self.backbone.num_features))
        config = self.backbone.pretrained_cfg
        for key in ("mean", "std"):
            values = torch.tensor(config[key], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(key, values)

    def load_pretrained(self) -> None:
        """Load timm's published weights, from its cache or the network.

        Raises:
            InputFault: they cannot be had. Random weights never stand in for them in silence.
        """
        # the hub's client tells of every retry; one sentence at the end says it all
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self.backbone.load_state_dict(_create(self.name, pretrained=True).state_dict())

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: (N, 3, H, W), uint8 or floating point on the same scale of 0 to 255.

        Returns:
            Feature maps; for efficientnet_b3 at 300×300, (N, 1536, 10, 10).
        """
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        # (images / 255 - mean) / std in two passes over the pixels; the first reads bytes
        pixels = images.to(mean.dtype) if images.is_floating_point() else images
        normalised = (pixels * (1 / (255 * std))).sub_(mean / std)
        maps: Tensor = self.backbone.forward_features(normalised)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Pool feature maps as the encoder does (the mean, for most): (N, num_features)."""
        features: Tensor = self.backbone.forward_head(maps, pre_logits=True)
        return features


def _create(name: str, pretrained: bool) -> Any:  # timm's models share methods, but no base class
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('_')[0]}*")[:3]
        raise InputFault(
            f"model.encoder is {name!r}, which timm does not have"
            + (f"; it has {', '.join(close)}" if close else "")
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:
        if not pretrained:
            raise
        reason = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
        raise InputFault(
            f"the pretrained weights of {name} could not be loaded ({reason}); connect to the "
            "network once, or set model.pretrained to false to start from random weights"
        ) from None
