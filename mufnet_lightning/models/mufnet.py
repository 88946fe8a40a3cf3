"""MUF-Net: encoders, adaptive-weight fusion and a head; with one modality, the encoder and the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.encoder import Encoder, make_encoder
from mufnet_lightning.models.fusion import make_fusion, takes_present


class MufNetOutput(NamedTuple):
    """What the network says of a batch."""

    logits: Tensor
    """(N, C), before softmax; the last class is high grade."""
    weights: Tensor
    """(N, M), of each modality; all ones with a single modality."""


class MufNet(nn.Module):
    """The Multimodal Ultrasound Fusion Network (Zhu et al. 2022, 2025).

    >>> net = MufNet(encoder="test_efficientnet").eval()
    >>> images = {name: torch.zeros(4, 3, 64, 64, dtype=torch.uint8) for name in ("bmode", "ceus")}
    >>> logits, weights = net(images)
    >>> logits.shape, weights.sum(dim=1).round().tolist()
    (torch.Size([4, 2]), [1.0, 1.0, 1.0, 1.0])

    Args:
        modalities: names of the modalities, in the order of their weights; with one of them this is
            the single arm: no fusion block.
        encoder: timm name, or an own class (see `make_encoder`).
        share_encoder: one set of weights for all modalities (2025), or an encoder each (2022).
        fusion: how the weights are normalised (see `AdaptiveWeightFusion`), or an own class (see
            `make_fusion`).
        dropout: probability before the head.
        num_classes: C.

    Raises:
        InputFault: there is no such encoder or fusion.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("bmode", "ceus"),
        encoder: str | dict[str, Any] = "efficientnet_b3",
        share_encoder: bool = True,
        fusion: str | dict[str, Any] = "softmax",
        dropout: float = 0.3,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "modalities": list(modalities),
            "encoder": encoder,
            "share_encoder": share_encoder,
            "fusion": fusion,
            "dropout": dropout,
            "num_classes": num_classes,
        }
        """What it was made with, as plain data."""
        self.modalities = tuple(modalities)
        self.share_encoder = share_encoder
        count = 1 if share_encoder else len(self.modalities)
        self.encoders = nn.ModuleList(make_encoder(encoder) for _ in range(count))
        features = self._encoders[0].num_features
        self.fusion = make_fusion(fusion, features) if len(self.modalities) > 1 else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)

    def fresh(self) -> MufNet:
        """A network made as this one was, on the CPU, with weights drawn anew from torch's stream."""
        return MufNet(**self.arguments)

    def load_pretrained(self) -> None:
        """Load published weights into every encoder (see `Encoder.load_pretrained`).

        Raises:
            InputFault: they cannot be had, or an own encoder has none.
        """
        for encoder in self.encoders:
            load = getattr(encoder, "load_pretrained", None)
            if load is None:
                raise InputFault(
                    f"model.pretrained is true, but model.encoder {type(encoder).__name__} has no "
                    "load_pretrained(); set model.pretrained to false"
                )
            load()

    def forward(self, images: Mapping[str, Tensor]) -> MufNetOutput:
        """Score a batch.

        Args:
            images: for each modality (N, 3, H, W), 0 to 255, and, where some pairs lack a modality,
                `present`, (N, M) bool: which of them are there, at least one of each pair (the
                picture of one that is not may hold anything). Other keys are not looked at.

        Raises:
            KeyError: a modality has no pictures at all.
            InputFault: pairs lack a modality, and the fusion block cannot be told so.
        """
        features = self.encode(images)
        present = images.get("present")
        if self.fusion is None:
            fused, weights = features[:, 0], features.new_ones(features.shape[0], 1)
        elif present is None:
            fused, weights = self.fusion(features)
        elif self.takes_present:
            fused, weights = self.fusion(features, present=present)
        else:
            raise InputFault(
                f"model.fusion {type(self.fusion).__name__} takes no `present`, so it cannot grade who "
                "lacks a modality"
            )
        return MufNetOutput(self.head(self.dropout(fused)), weights)

    @property
    def takes_present(self) -> bool:
        """Whether pairs may lack a modality: the fusion block can be told so."""
        return self.fusion is not None and takes_present(self.fusion)

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Pooled features of each modality, (N, M, F).

        A shared encoder runs once, on all modalities stacked along the batch: batch normalisation
        then sees in training the same mixture that its running statistics describe.
        """
        batches = [images[modality] for modality in self.modalities]
        if self.share_encoder:
            (shared,) = self._encoders
            features = shared.pool(shared(torch.cat(batches)))
            # not `chunk`, and no `len`: an exported graph takes a batch of any size
            return torch.stack(torch.split(features, [one.shape[0] for one in batches]), dim=1)
        return torch.stack(
            [e.pool(e(batch)) for e, batch in zip(self._encoders, batches, strict=True)], dim=1
        )

    @property
    def _encoders(self) -> list[Encoder]:
        # an own encoder has what `make_encoder` asks for
        return cast("list[Encoder]", list(self.encoders))
