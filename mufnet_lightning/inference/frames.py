"""The images of a patient that count most, and where the networks look in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.explain.maps import activation_maps
from mufnet_lightning.explain.pictures import Explained, panel_figure
from mufnet_lightning.explain.shown import SYMBOLS
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.vocabulary import MODALITIES

FRAMES = 3
"""Images of each patient that are shown."""


def telling_images(card: ModelCard, images: pd.DataFrame, most: int = FRAMES) -> pd.DataFrame:
    """The images of one patient that speak most for the class that the patient is called.

    Args:
        card: of the model.
        images: rows of `image_table`, of one patient.
        most: as many of them.

    Returns:
        Rows of `images`, the most telling first.
    """
    high = images["score"].mean() > card.threshold
    return images.sort_values("score", ascending=not high, kind="stable").head(most)


def ensemble_maps(
    ensemble: Ensemble, images: Mapping[str, Tensor], classes: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """Grad-CAM of several networks together: the mean of their maps.

    Each network's maps of an image are first divided by the largest value in any of its modalities, so
    that none outweighs the others by the scale of its features alone, while a modality that hardly
    counts stays faint.

    Args:
        ensemble: the networks.
        images: see `activation_maps`.
        classes: (N,), that the maps are for.

    Returns:
        For each modality (N, H, W), 0 to 1.

    Raises:
        InputFault: an encoder has no feature maps.
    """
    total: dict[str, NDArray[np.float32]] = {}
    for net in ensemble.members:
        maps = activation_maps(net, images, classes).maps
        top = np.stack([one.max(axis=(1, 2)) for one in maps.values()]).max(axis=0)
        scale = np.where(top > 0, top, 1)[:, None, None]
        for name, values in maps.items():
            share = (values / scale / len(ensemble.members)).astype(np.float32)
            total[name] = total[name] + share if name in total else share
    return total


def patient_figures(
    grader: Grader, data: RoiPairDataModule, images: pd.DataFrame
) -> list[tuple[Figure, tuple[str, ...]]]:
    """The crops of some images of one patient, each beside the crop with its map.

    Images that lack a modality are in a figure of their own.

    Args:
        grader: the model.
        data: of the store.
        images: rows of `image_table`, in the order to show; the maps speak for the class that their
            column `class` names.

    Returns:
        Figures, and the modalities that each shows.

    Raises:
        InputFault: an encoder has no feature maps.
    """
    rows = pd.Index(data.store.manifest["pair_id"]).get_indexer(pd.Index(images["pair_id"]))
    shown: dict[tuple[str, ...], list[Explained]] = {}
    classes = [grader.card.classes.index(name) for name in images["class"]]
    start = 0
    for batch in data.rows_dataloader(rows):
        count = len(batch["row"])
        wanted = [*grader.card.modalities, *(["present"] if "present" in batch else [])]
        pictures = {name: batch[name].to(grader.device) for name in wanted}
        maps = ensemble_maps(grader.ensemble, pictures, classes[start : start + count])
        for place in range(count):
            row = images.iloc[start + place]
            there = tuple(
                name
                for column, name in enumerate(grader.card.modalities)
                if "present" not in batch or bool(batch["present"][place, column])
            )
            crops = {name: _picture(batch[name][place]) for name in there}
            own = {name: maps[name][place] for name in there}
            pair = Explained(_title(row), crops, own, float(row["score"]))
            shown.setdefault(there, []).append(pair)
        start += count
    margin = data.store.info.margin
    return [(panel_figure(pairs, margin), modalities) for modalities, pairs in shown.items()]


def _picture(image: Tensor) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = image.permute(1, 2, 0).to(torch.uint8).numpy()
    return picture


def _title(row: pd.Series) -> str:
    where = [] if pd.isna(row["frame"]) else [f"frame {row['frame']}"]
    shares = [
        f"{SYMBOLS[name]} {row[f'weight_{name}']:.2f}"
        for name in MODALITIES
        if not pd.isna(row[f"weight_{name}"])
    ]
    spread = "" if pd.isna(row["spread"]) else f" ± {row['spread']:.2f}"
    return " · ".join([*where, f"score {row['score']:.2f}{spread}", *shares])
