"""Are the maps of the network at all? Each patient's typical image beside random weights and maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.evaluation.statistics.attention import energy_inside, hits
from mufnet_lightning.explain.batches import MappedBatch, Signal, mapped_batches
from mufnet_lightning.explain.faithfulness import deletion_insertion, random_maps
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.sanity import RankedMaps, randomised_maps
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.vocabulary import STAGES

Columns = dict[str, NDArray[np.float64]]


def check_maps(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions,
    signal: Signal | None = None,
) -> pd.DataFrame:
    """A row an image: patient_id, pair_id, and

    `deletion`, `insertion`, `deletion_random`, `insertion_random`: see `Curves.areas`, of its maps and
    of maps that mean nothing; `similarity_STAGE_MODALITY`: rank correlation with the maps of randomised
    weights, the mean of several draws. With a signal also, of the maps with all weights random,
    `random_energy_MODALITY_DRAW` and `random_hit_MODALITY_DRAW`, of each draw.
    """
    parts = []
    with progress_bar("checks", len(rows)) as advance:
        for number, batch in enumerate(mapped_batches(net, data, rows, options)):
            seed = (options.seed, number)  # noise of its own for every image
            part = batch.who(data)[["pair_id", "patient_id"]].assign(
                **_faithfulness(net, batch, options.steps, seed, data.image_size),
                **_against_random(net, data, batch, options, signal),
            )
            parts.append(part)
            for _ in part.index:
                advance()
    return pd.concat(parts, ignore_index=True)


def _faithfulness(
    net: MufNet, batch: MappedBatch, steps: int, seed: tuple[int, int], size: int
) -> Columns:
    own = batch.maps
    noise = random_maps(net.modalities, len(own.classes), own.grid, (size, size), seed)
    columns: Columns = {}
    ordered = {"": own.maps, "_random": noise}
    for word, curves in zip(
        ordered,
        deletion_insertion(net, batch.images, own.classes, list(ordered.values()), steps, seed),
        strict=True,
    ):
        columns |= {f"{name}{word}": area for name, area in curves.areas().items()}
    return columns


def _against_random(
    net: MufNet,
    data: RoiPairDataModule,
    batch: MappedBatch,
    options: ExplainOptions,
    signal: Signal | None,
) -> Columns:
    own = batch.maps
    region = batch.signal(data, signal) if signal else None
    device = batch.images[net.modalities[0]].device
    ranked = {modality: RankedMaps(maps, device) for modality, maps in own.maps.items()}
    similar: dict[str, list[NDArray[np.float64]]] = {}
    pointed: Columns = {}
    for stage, others in randomised_maps(
        net, batch.images, own.classes, options.method, options.layer, options.draws, options.seed
    ):
        for modality, maps in others.items():
            alike = similar.setdefault(f"similarity_{stage}_{modality}", [])
            alike.append(ranked[modality].correlation(RankedMaps(maps, device)))
            if region is not None and stage == STAGES[-1]:
                draw = len(alike) - 1
                pointed[f"random_energy_{modality}_{draw}"] = energy_inside(maps, region)
                pointed[f"random_hit_{modality}_{draw}"] = hits(maps, region)
    return {name: np.mean(values, axis=0) for name, values in similar.items()} | pointed
