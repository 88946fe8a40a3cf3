"""Encoders and fusions as somebody outside the package writes them, to be explained or refused."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Stages(nn.Module):
    """Three convolutions and a scale of its own; pools by the mean."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.num_features = width
        self.scale = nn.Parameter(torch.full((1, width, 1, 1), 1.5))
        self.first = nn.Conv2d(3, width, 3, stride=2)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, stride=2), nn.BatchNorm2d(width))
        self.third = nn.Conv2d(width, width, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.first(images.to(self.scale.dtype) / 255).relu()
        maps = self.second(maps).relu()
        maps = self.third(maps).relu()
        return self.scale * maps

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


class ChannelsLast(Stages):
    """Maps as (N, H, W, C)."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).permute(0, 2, 3, 1)

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(1, 2))


class Flat(Stages):
    """No maps, but a vector of each image."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(dim=(2, 3))

    def pool(self, maps: Tensor) -> Tensor:
        return maps


class Again(Stages):
    """Passes its last convolution twice."""

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.third(super().forward(images))
        return maps


class Halves(nn.Module):
    """Each modality by half."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.share * features.new_ones(features.shape[:2])
        return (weights[..., None] * features).sum(dim=1), weights


class OfEachFeature(Halves):
    """A weight for every feature."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.full_like(features, 0.5)
        return (weights * features).sum(dim=1), weights


class Cut(Halves):
    """Lets no gradient through."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(features.detach())
