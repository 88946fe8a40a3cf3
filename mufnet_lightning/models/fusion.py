"""Adaptive-weight fusion of two modalities' features."""

from __future__ import annotations

import inspect
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
            (N, M, F) of M modalities to fused features (N, F) and weights (N, M). If it also takes
            `present`, (N, M) bool, patients who lack a modality can be graded.
        num_features: F.

    Raises:
        InputFault: there is no such block.
    """
    for normalize in NORMALIZATIONS:
        if spec == normalize:
            return AdaptiveWeightFusion(num_features, normalize=normalize)
    return component(spec, nn.Module, num_features, setting="model.fusion", names=NORMALIZATIONS)


def takes_present(fusion: nn.Module) -> bool:
    """Whether a fusion block can be told which modalities are there."""
    return "present" in inspect.signature(fusion.forward).parameters


def drop_modalities(count: int, modalities: int, share: float, device: torch.device) -> Tensor:
    """Which modalities stay there when a share of the pairs lose one: (count, modalities) bool.

    Drawn from torch's stream: each pair loses one with probability `share`, each as likely.
    """
    loses = torch.rand(count, device=device) < share
    which = torch.randint(modalities, (count,), device=device)
    lost = which[:, None] == torch.arange(modalities, device=device)
    return ~(lost & loses[:, None])


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

    def forward(self, features: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fuse.

        A modality that is not there has weight 0; with `softmax` the weights of the others sum to 1
        all the same, with `sigmoid` they are what they would be beside it.

        Args:
            features: (N, M, F), M modalities; of one that is not there any finite numbers.
            present: (N, M) bool, which modalities are there, at least one of each; all unless given.

        Returns:
            Fused features (N, F) and weights (N, M), each within 0 to 1.
        """
        scores = self.attention(features).squeeze(-1)
        if present is not None:
            scores = scores.masked_fill(~present, -torch.inf)
        weights = scores.softmax(dim=1) if self.normalize == "softmax" else scores.sigmoid()
        return torch.einsum("nm,nmf->nf", weights, features), weights
