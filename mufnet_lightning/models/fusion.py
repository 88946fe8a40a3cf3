"""Adaptive-weight fusion of two modalities' features."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mufnet_lightning.models.components import component

NORMALIZATIONS: tuple[Literal["softmax", "sigmoid"], ...] = ("softmax", "sigmoid")


def make_fusion(spec: str | dict[str, Any], num_features: int) -> nn.Module:
    """The fusion block that `model.fusion` names.

    Args:
        spec: how `AdaptiveWeightFusion` normalises its weights, or the class path of an own
            `nn.Module` (see `components`): it is made with `num_features`, and maps features
            (N, M, F) of M modalities to fused features (N, F) and weights (N, M).
        num_features: F.

    Raises:
        InputFault: there is no such block.
    """
    for normalize in NORMALIZATIONS:
        if spec == normalize:
            return AdaptiveWeightFusion(num_features, normalize=normalize)
    return component(spec, nn.Module, num_features, setting="model.fusion", names=NORMALIZATIONS)


class AdaptiveWeightFusion(nn.Module):
    """Weighs each modality's features by a scalar that one shared attention block gives it.

    f = α·f_bmode + β·f_ceus, (α, β) from the block's two scores (Zhu et al. 2022, 2025). How the
    scores become weights is not said there: `softmax` over the two (α + β = 1, the default), or a
    `sigmoid` each (both may be near 1, or near 0).

    Args:
        num_features: channels of the features.
        reduction: the block's hidden layer has num_features / reduction units, at least 8.
        normalize: `softmax` or `sigmoid`.
    """

    def __init__(
        self,
        num_features: int,
        reduction: int = 16,
        normalize: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__()
        hidden = max(num_features // reduction, 8)
        self.attention = nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.normalize = normalize

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            features: (N, M, F), M modalities.

        Returns:
            Fused features (N, F) and weights (N, M), each within 0 to 1.
        """
        scores = self.attention(features).squeeze(-1)
        weights = scores.softmax(dim=1) if self.normalize == "softmax" else scores.sigmoid()
        return torch.einsum("nm,nmf->nf", weights, features), weights
