"""The pairs that are shown, with their maps over them: of chosen patients, or all of one patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.explain.batches import MappedBatch, mapped_batches
from mufnet_lightning.explain.choice import Chosen
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.pictures import Explained, montage_figure, panel_figure
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.vocabulary import CLASS_NAMES

SYMBOLS = {"bmode": "α", "ceus": "β"}


def panels(
    net: MufNet, data: RoiPairDataModule, chosen: Sequence[Chosen], options: ExplainOptions
) -> Figure:
    """A row a chosen patient: the image that stands for the patient, with its maps."""
    rows = rows_of(data, [one.pair_id for one in chosen])
    shown = [
        replace(pair, title=f"{pair.title} — {one.reason}")
        for pair, one in zip(explained_pairs(net, data, rows, options), chosen, strict=True)
    ]
    return panel_figure(shown, data.store.info.margin)


def montage(
    net: MufNet,
    data: RoiPairDataModule,
    patient: str,
    options: ExplainOptions,
    images: int = 12,
) -> Figure:
    """Images of one patient, evenly spread over those in the store, with their maps."""
    manifest = data.store.manifest
    usable = data.usable_rows
    rows = usable[(manifest["patient_id"] == patient).to_numpy()[usable]]
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, min(images, len(rows))).round().astype(int))]
    pairs = explained_pairs(net, data, spread, options)
    shown = []
    for row, pair in zip(spread, pairs, strict=True):
        at = manifest.iloc[row]
        frame = "" if pd.isna(at["frame"]) else f"frame {at['frame']}, "
        shown.append(replace(pair, title=f"{frame}{pair.score:.2f}"))
    title = f"{patient}: {_grade(manifest.iloc[rows[0]])}; {len(spread)} of {len(rows)} images"
    return montage_figure(shown, title, data.store.info.margin)


def explained_pairs(
    net: MufNet, data: RoiPairDataModule, rows: NDArray[np.int64], options: ExplainOptions
) -> list[Explained]:
    """The pairs of some manifest rows (N,) with their maps, in that order; titles say who they are."""
    pairs: dict[int, Explained] = {}
    for batch in mapped_batches(net, data, np.unique(rows), options):
        pairs |= zip(batch.rows.tolist(), _explained(batch, data), strict=True)
    return [pairs[int(row)] for row in rows]


def rows_of(data: RoiPairDataModule, pairs: Sequence[str]) -> NDArray[np.int64]:
    """Manifest rows of some pairs, by pair_id."""
    places = pd.Index(data.store.manifest["pair_id"]).get_indexer(pd.Index(pairs))
    return np.asarray(places, np.int64)


def _explained(batch: MappedBatch, data: RoiPairDataModule) -> Iterable[Explained]:
    who, scores = batch.who(data), batch.scores
    for i in range(len(batch.rows)):
        title = _title(who.iloc[i], scores[i], batch.maps.weights[i], data.modalities)
        crops: dict[str, Any] = {
            m: batch.images[m][i].permute(1, 2, 0).cpu().numpy() for m in data.modalities
        }
        maps: dict[str, Any] = {m: batch.maps.maps[m][i] for m in data.modalities}
        yield Explained(title, crops, maps, float(scores[i]))


def _title(
    who: pd.Series, score: float, weights: NDArray[np.float32], modalities: Sequence[str]
) -> str:
    shares = [f"{SYMBOLS[m]} {w:.2f}" for m, w in zip(modalities, weights, strict=True)]
    words = [str(who["patient_id"]), _grade(who), f"score {score:.2f}"]
    return " · ".join(words + (shares if len(modalities) > 1 else []))


def _grade(who: pd.Series) -> str:
    if pd.isna(who["label"]):
        return "grade not known"
    name = CLASS_NAMES[int(who["label"])]
    return f"{name} grade" if pd.isna(who["grade"]) else f"grade {who['grade']} ({name})"
