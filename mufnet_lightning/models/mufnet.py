"""MUF-Net: encoders, adaptive-weight fusion and a head; with one modality, the encoder and the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from mufnet_lightning.models.encoder import Encoder
from mufnet_lightning.models.fusion import AdaptiveWeightFusion


class MufNetOutput(NamedTuple):
    """What the network says of a batch."""

    logits: Tensor
    """(N, C), before softmax; the last class is high grade."""
    weights: Tensor
    """(N, M), of each modality; all ones with a single modality."""


class MufNet(nn.Module):
    """The Multimodal Ultrasound Fusion Network (Zhu et al. 2022, 2025).

    Args:
        modalities: names of the modalities, in the order of their weights; with one of them this is
            the single arm: no fusion block.
        encoder: timm name.
        share_encoder: one set of weights for all modalities (2025), or an encoder each (2022).
        fusion: how the weights are normalised, see `AdaptiveWeightFusion`.
        dropout: probability before the head.
        num_classes: C.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("bmode", "ceus"),
        encoder: str = "efficientnet_b3",
        share_encoder: bool = True,
        fusion: Literal["softmax", "sigmoid"] = "softmax",
        dropout: float = 0.3,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.share_encoder = share_encoder
        count = 1 if share_encoder else len(self.modalities)
        self.encoders = nn.ModuleList(Encoder(encoder) for _ in range(count))
        features = self._encoders[0].num_features
        self.fusion = (
            AdaptiveWeightFusion(features, normalize=fusion) if len(self.modalities) > 1 else None
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)

    def load_pretrained(self) -> None:
        """Load timm's published weights into every encoder (see `Encoder.load_pretrained`)."""
        for encoder in self._encoders:
            encoder.load_pretrained()

    def forward(self, images: Mapping[str, Tensor]) -> MufNetOutput:
        """Score a batch.

        Args:
            images: for each modality (N, 3, H, W), 0 to 255; other keys are not looked at.

        Raises:
            KeyError: a modality is not there.
        """
        features = self.encode(images)
        if self.fusion is None:
            fused, weights = features[:, 0], features.new_ones(len(features), 1)
        else:
            fused, weights = self.fusion(features)
        return MufNetOutput(self.head(self.dropout(fused)), weights)

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Pooled features of each modality, (N, M, F).

        A shared encoder runs once, on all modalities stacked along the batch: batch normalisation
        then sees in training the same mixture that its running statistics describe.
        """
        batches = [images[modality] for modality in self.modalities]
        if self.share_encoder:
            (shared,) = self._encoders
            return torch.stack(shared.pool(shared(torch.cat(batches))).chunk(len(batches)), dim=1)
        return torch.stack(
            [e.pool(e(batch)) for e, batch in zip(self._encoders, batches, strict=True)], dim=1
        )

    @property
    def _encoders(self) -> list[Encoder]:
        return cast("list[Encoder]", list(self.encoders))
