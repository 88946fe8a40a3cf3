"""Blocks as somebody outside the package writes them; the tests name them by class path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Sampler

from mufnet_lightning.data.sampler import Draw
from mufnet_lightning.data.transforms import Transform
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNetOutput

MADE: list[str] = []
"""Classes that were called, to see that what is refused is not."""


class Encoder(nn.Module):
    """One convolution; pools by the maximum."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.num_features = width
        self.convolution = nn.Conv2d(3, width, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.convolution(images.to(self.convolution.weight.dtype) / 255)
        return maps.relu()

    def pool(self, maps: Tensor) -> Tensor:
        return maps.amax(dim=(2, 3))


class PretrainedEncoder(Encoder):
    def load_pretrained(self) -> None:
        nn.init.constant_(self.convolution.weight, 0.25)


class LooksFirst(Encoder):
    """Goes another way for bright pictures, which cannot be traced."""

    def forward(self, images: Tensor) -> Tensor:
        if images.float().mean() > 128:
            images = 255 - images
        return super().forward(images)


class ExportsOtherwise(Encoder):
    """Is another network once it is exported."""

    def forward(self, images: Tensor) -> Tensor:
        maps = super().forward(images)
        return maps + 1 if torch.compiler.is_exporting() else maps


class NotAnEncoder(nn.Module):
    num_features = 4


class Fusion(nn.Module):
    """The mean of all modalities, weighed by one learned number."""

    def __init__(self, num_features: int, start: float = 1.0) -> None:
        super().__init__()
        self.num_features = num_features
        self.scale = nn.Parameter(torch.tensor(start))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weights = features.new_full(features.shape[:2], 1 / features.shape[1])
        return self.scale * features.mean(dim=1), weights


class Loss(nn.Module):
    """Cross entropy, weighed by inverse frequency."""

    def __init__(self, class_counts: Sequence[int], smoothing: float = 0.0) -> None:
        super().__init__()
        counts = torch.as_tensor(class_counts, dtype=torch.float32)
        self.register_buffer("weights", counts.sum() / counts)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        weights = self.get_buffer("weights")
        return F.cross_entropy(
            logits, labels, weights, reduction=reduction, label_smoothing=self.smoothing
        )


class EveryImage(Sampler[Draw]):
    """Each image once, in order, or only the first `limit`."""

    def __init__(
        self,
        labels: np.ndarray,
        patients: np.ndarray,
        seed: int,
        num_replicas: int,
        rank: int,
        limit: int | None = None,
    ) -> None:
        assert len(labels) == len(patients)
        self.count = len(labels) if limit is None else limit
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(image, self.seed + image) for image in range(self.count))


class Shift(Transform):
    """Adds the draw's seed to every pixel."""

    def __init__(self, image_size: int, step: int = 1) -> None:
        self.image_size, self.step = image_size, step

    def __call__(self, pair: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        assert all(crop.shape == (self.image_size, self.image_size, 3) for crop in pair.values())
        return {name: crop + np.uint8(self.step * seed % 256) for name, crop in pair.items()}


class ScoresOtherwise(MufNetModule):
    """Its answer is not its network's."""

    def forward(self, batch: dict[str, Tensor]) -> MufNetOutput:
        output = super().forward(batch)
        return output._replace(logits=-output.logits)


class NotATransform:
    def __init__(self, image_size: int) -> None:
        MADE.append("NotATransform")


def function(*args: object, **options: object) -> nn.Module:
    MADE.append("function")
    return nn.Identity()
