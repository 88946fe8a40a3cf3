"""Several networks of one arm, as the folds of a cross-validation give them, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mufnet_lightning.models.mufnet import MufNet


class EnsembleOutput(NamedTuple):
    """What each of K networks says of a batch."""

    scores: Tensor
    """(K, N), probability of the positive class, float32."""
    weights: Tensor
    """(K, N, M), of each modality, float32."""


class Ensemble(nn.Module):
    """Networks that see the same pairs; a single one is an ensemble too.

    >>> nets = [MufNet(encoder="test_efficientnet") for _ in range(2)]
    >>> ensemble = Ensemble(nets).eval()
    >>> images = {name: torch.zeros(3, 3, 64, 64, dtype=torch.uint8) for name in ("bmode", "ceus")}
    >>> ensemble(images).scores.shape, ensemble(images).weights.shape
    (torch.Size([2, 3]), torch.Size([2, 3, 2]))

    Args:
        nets: of the same modalities.

    Raises:
        ValueError: there are none, or their modalities differ.
    """

    def __init__(self, nets: Iterable[MufNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        kinds = {net.modalities for net in self.members}
        if len(kinds) != 1:
            raise ValueError(f"an ensemble of networks of {len(kinds)} kinds: {sorted(kinds)}")

    @property
    def members(self) -> Sequence[MufNet]:
        """The networks, K of them."""
        return cast("Sequence[MufNet]", list(self.nets))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of the pairs, in the order of the weights."""
        return self.members[0].modalities

    def forward(self, images: Mapping[str, Tensor]) -> EnsembleOutput:
        """Score a batch, see `MufNet`."""
        outputs = [net(images) for net in self.members]
        return EnsembleOutput(
            torch.stack([output.logits.float().softmax(dim=1)[:, -1] for output in outputs]),
            torch.stack([output.weights.float() for output in outputs]),
        )
