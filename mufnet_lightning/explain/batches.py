"""Pairs of a store as a network sees them, with their maps, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.explain.maps import ActivationMaps, activation_maps
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.models.mufnet import MufNet

COLUMNS = ["pair_id", "patient_id", "clip_id", "frame", "grade", "label"]


class Signal(Protocol):
    """Knows where in a crop the signal lies that a network should look at, as of a phantom."""

    def signal(self, row: Any, margin: float, size: int) -> NDArray[np.bool_]:
        """Pixels (size, size) of a crop that show it.

        Args:
            row: of the store's manifest, a named tuple.
            margin: of the store.
            size: side that the crop is resized to.

        Raises:
            InputFault: nothing is known of this crop.
        """
        ...


@dataclass(frozen=True)
class MappedBatch:
    """Some pairs and their maps.

    Attributes:
        rows: of the manifest, (N,).
        images: for each modality (N, 3, H, W), 0 to 255, on the network's device.
        maps: and what the network said.
    """

    rows: NDArray[np.int64]
    images: Mapping[str, Tensor]
    maps: ActivationMaps

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probability of high grade, (N,)."""
        scores: NDArray[np.float32] = torch.from_numpy(self.maps.logits).softmax(dim=1)[:, -1].numpy()
        return scores

    def who(self, data: RoiPairDataModule) -> pd.DataFrame:
        """A row a pair: pair_id, patient_id, clip_id, frame, grade, label."""
        return data.store.manifest.iloc[self.rows][COLUMNS].reset_index(drop=True)

    def signal(self, data: RoiPairDataModule, signal: Signal) -> NDArray[np.bool_]:
        """Where the signal lies in each crop, (N, H, W)."""
        manifest, margin = data.store.manifest.iloc[self.rows], data.store.info.margin
        return np.stack([signal.signal(row, margin, data.image_size) for row in manifest.itertuples()])


def mapped_batches(
    net: MufNet, data: RoiPairDataModule, rows: Iterable[int], options: ExplainOptions
) -> Iterator[MappedBatch]:
    """The maps of some manifest rows, in that order.

    Raises:
        InputFault: the encoder has no feature maps there, or no such layer.
    """
    device = next(net.parameters()).device
    for loaded in data.rows_dataloader(np.asarray(rows)):
        images = {modality: loaded[modality].to(device) for modality in net.modalities}
        classes = None
        if options.target == "true":
            classes = loaded["label"].tolist()
        elif options.target != "predicted":
            classes = [int(options.target == "high")] * len(loaded["row"])
        maps = activation_maps(net, images, classes, options.method, options.layer)
        yield MappedBatch(loaded["row"].numpy(), images, maps)
