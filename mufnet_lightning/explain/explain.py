"""Where a trained network looks, over a part: measures of every map, checks of the maps, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.evaluation.statistics.attention import (
    area_above_half,
    energy_inside,
    hits,
    lesion_ellipse,
    overlap,
)
from mufnet_lightning.explain.batches import MappedBatch, Signal, mapped_batches
from mufnet_lightning.explain.checks import check_maps
from mufnet_lightning.explain.choice import choose_patients, typical_image
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.shown import panels, rows_of
from mufnet_lightning.explain.summarise import summarise
from mufnet_lightning.explain.summary import Origin, Summary
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.vocabulary import MODALITIES


@dataclass(frozen=True)
class Explanation:
    """What came of it.

    Attributes:
        table: a row an image: who it is, its score and weights, the class of its maps, and their
            measures (see `explain_images`).
        checks: a row a patient, of that patient's typical image: `deletion`, `insertion` and those of
            random maps; `similarity_...` to randomised weights (see `check_maps`). None where the
            options leave them out.
        summary: their numbers.
        figures: `panels`, of the chosen patients.
    """

    table: pd.DataFrame
    checks: pd.DataFrame | None
    summary: Summary
    figures: Mapping[str, Figure]


def explain(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions | None = None,
    signal: Signal | None = None,
) -> Explanation:
    """Explain a trained network on some pairs of a store, batch by batch.

    Args:
        net: on any device; left as it is.
        data: of the store, with the network's modalities and image size.
        rows: of the manifest, (N,); all of them need a label.
        options: how.
        signal: where it lies in each crop, to point at, as the truth of a phantom knows.

    Raises:
        InputFault: the encoder has no feature maps there, or no such layer; or the signal is of other
            crops.
    """
    how = options or ExplainOptions()
    table = explain_images(net, data, rows, how, signal)
    typical = [typical_image(table, str(p)) for p in table["patient_id"].unique()]
    checks = check_maps(net, data, rows_of(data, typical), how, signal) if how.draws else None
    chosen = choose_patients(table, how.seed)
    origin = Origin(
        how,
        float(_lesion(data).mean()),
        signal is not None,
        tuple(data.modalities),
        tuple(chosen),
    )
    figures = {"panels": panels(net, data, chosen, how)}
    return Explanation(table, checks, summarise(table, checks, origin), figures)


def explain_images(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions,
    signal: Signal | None = None,
) -> pd.DataFrame:
    """A row an image: pair_id, patient_id, clip_id, frame, label, score, weight_..., target, and of
    each modality's map:

    `inside_MODALITY`: share of its energy inside the lesion's central ellipse (outside is the rest);
    `area_MODALITY`: share of its pixels above half of its maximum; with two modalities `iou` and
    `correlation` of their maps (see `overlap`). With a signal also `signal_area`: share of the crop
    that shows it, which is what chance would give; `signal_energy_MODALITY` and
    `signal_hit_MODALITY`: see `energy_inside` and `hits`.
    """
    lesion = _lesion(data)
    parts = []
    with progress_bar("maps", len(rows)) as advance:
        for batch in mapped_batches(net, data, rows, options):
            parts.append(_measures(data, batch, lesion, signal))
            for _ in parts[-1].index:
                advance()
    return pd.concat(parts, ignore_index=True)


def _measures(
    data: RoiPairDataModule, batch: MappedBatch, lesion: NDArray[np.bool_], signal: Signal | None
) -> pd.DataFrame:
    own = batch.maps
    table = batch.who(data).assign(score=batch.scores)
    for modality in MODALITIES:
        place = data.modalities.index(modality) if modality in data.modalities else None
        table[f"weight_{modality}"] = np.nan if place is None else own.weights[:, place]
    table["target"] = own.classes
    for name, maps in own.maps.items():
        table[f"inside_{name}"] = energy_inside(maps, lesion)
        table[f"area_{name}"] = area_above_half(maps)
    if len(own.maps) == 2:
        for measure, values in overlap(*own.maps.values()).items():
            table[measure] = values
    if signal:
        region = batch.signal(data, signal)
        table["signal_area"] = region.mean(axis=(1, 2))
        for name, maps in own.maps.items():
            table[f"signal_energy_{name}"] = energy_inside(maps, region)
            table[f"signal_hit_{name}"] = hits(maps, region)
    return table


def _lesion(data: RoiPairDataModule) -> NDArray[np.bool_]:
    return lesion_ellipse(data.image_size, data.image_size, data.store.info.margin)
