"""Scores of each image, as the table that `mufnet compare` and other programs read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule


def prediction_table(data: RoiPairDataModule, scores: dict[str, Tensor], split: str) -> pd.DataFrame:
    """A row an image: `pair_id, patient_id, clip_id, frame, label, score, weight_bmode, weight_ceus,
    fold, split`.

    Args:
        data: where the images came from.
        scores: `row` (N,) of the manifest, `score` (N,), `weights` (N, M) in the order of
            `data.modalities`.
        split: the part they belong to; `fold` is left empty for `predict`.
    """
    rows = scores["row"].numpy()
    table = data.store.manifest.iloc[rows][
        ["pair_id", "patient_id", "clip_id", "frame", "label"]
    ].reset_index(drop=True)
    # float32 in full: two files of one run are equal to the last bit
    table["score"] = scores["score"].numpy().astype(np.float64)
    for modality in ("bmode", "ceus"):
        column: np.ndarray | float = np.nan
        if modality in data.modalities:
            column = scores["weights"][:, data.modalities.index(modality)].numpy().astype(float)
        table[f"weight_{modality}"] = column
    table["fold"] = pd.NA if split == "predict" else data.fold
    table["split"] = split
    return table


def gather_predictions(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join what `predict_step` returned for each batch."""
    return {name: torch.cat([batch[name] for batch in batches]).cpu() for name in batches[0]}
