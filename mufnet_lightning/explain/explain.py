"""Where a trained network looks, over a part: measures of every map, checks of the maps, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import check_least
from mufnet_lightning.evaluation.statistics.attention import (
    area_above_half,
    energy_inside,
    hits,
    lesion_ellipse,
    overlap,
)
from mufnet_lightning.explain.choice import choose_patients, typical_image
from mufnet_lightning.explain.faithfulness import deletion_insertion, random_maps
from mufnet_lightning.explain.maps import ActivationMaps, Method, activation_maps
from mufnet_lightning.explain.pictures import Explained, montage_figure, panel_figure
from mufnet_lightning.explain.sanity import randomised_maps, rank_correlation
from mufnet_lightning.explain.summary import Summary, summarise
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.phantom.truth import PhantomTruth
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.vocabulary import STAGES

Target = Literal["predicted", "true", "low", "high"]
Batch = Mapping[str, Tensor]
RANDOM_WEIGHTS = STAGES[-1]


@dataclass(frozen=True)
class ExplainOptions:
    """How maps are made and checked.

    Args:
        method: `gradcam`, `gradcam++` or `layercam`.
        layer: dotted name of a layer of timm's network; the last feature maps unless told.
        target: the class that a map speaks for: the `predicted` or the `true` one, or always `low` or
            `high`.
        seed: of the lots that choose patients, and of random weights and maps.
        draws: random networks of the sanity check; 0 leaves out it and the deletion/insertion score.
        steps: of the deletion and insertion curves.
    """

    method: Method = "gradcam"
    layer: str | None = None
    target: Target = "predicted"
    seed: int = 0
    draws: int = 3
    steps: int = 10

    def __post_init__(self) -> None:
        check_least("explain.draws", self.draws, 0)
        check_least("explain.steps", self.steps, 1)
        check_least("explain.seed", self.seed, 0)

    @property
    def label(self) -> str:
        """Names what is made with these options: `gradcam`, `layercam-blocks.3-high`."""
        target = None if self.target == "predicted" else self.target
        return "-".join(word for word in (self.method, self.layer, target) if word)


@dataclass(frozen=True)
class Explanation:
    """What came of it.

    Attributes:
        table: a row an image: who it is, its score and weights, the class of its maps, and their
            measures (see `explain_images`).
        checks: a row a patient, of that patient's typical image: `deletion`, `insertion` and those of
            random maps; `similarity_...` to randomised weights (see `check_maps`). None where the
            options leave them out.
        summary: see `summarise`.
        figures: `panels`, of the chosen patients.
    """

    table: pd.DataFrame
    checks: pd.DataFrame | None
    summary: Summary
    figures: dict[str, Figure]


def explain(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions | None = None,
    truth: PhantomTruth | None = None,
) -> Explanation:
    """Explain a trained network on some pairs of a store, batch by batch.

    Args:
        net: on any device; left as it is.
        data: of the store, with the network's modalities and image size.
        rows: of the manifest, (N,); all of them need a label.
        options: how.
        truth: of the phantom that the store was made from, to point at.

    Raises:
        InputFault: the encoder has no feature maps there, or no such layer; or the truth is of
            another phantom.
    """
    how = options or ExplainOptions()
    table = explain_images(net, data, rows, how, truth)
    typical = [typical_image(table, str(p)) for p in table["patient_id"].unique()]
    checks = check_maps(net, data, _rows_of(data, typical), how, truth) if how.draws else None
    chosen = choose_patients(table, how.seed)
    pairs = explained_pairs(net, data, _rows_of(data, [c.pair_id for c in chosen]), how)
    shown = [
        replace(pair, title=f"{pair.title} — {c.reason}") for pair, c in zip(pairs, chosen, strict=True)
    ]
    figures = {"panels": panel_figure(shown, data.store.info["margin"])}
    told = {
        **{key: getattr(how, key) for key in ExplainOptions.__dataclass_fields__},
        "lesion_area": float(_lesion(data).mean()),
        "phantom": truth is not None,
        "chosen": [asdict(c) for c in chosen],
    }
    return Explanation(table, checks, summarise(table, checks, data.modalities, told), figures)


def explain_images(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions,
    truth: PhantomTruth | None = None,
) -> pd.DataFrame:
    """A row an image: pair_id, patient_id, clip_id, frame, label, score, weight_..., target, and of
    each modality's map:

    `inside_MODALITY`: share of its energy inside the lesion's central ellipse (outside is the rest);
    `area_MODALITY`: share of its pixels above half of its maximum; with two modalities `iou` and
    `correlation` of their maps (see `overlap`). With a phantom's truth also `signal_area`: share of the
    crop that shows the signal, which is what chance would give; `signal_energy_MODALITY` and
    `signal_hit_MODALITY`: see `energy_inside` and `hits`.
    """
    lesion = _lesion(data)
    parts = []
    with progress_bar("maps", len(rows)) as advance:
        for batch, found in _mapped(net, data, rows, options):
            parts.append(_measures(data, batch, found, lesion, truth))
            for _ in parts[-1].index:
                advance()
    return pd.concat(parts, ignore_index=True)


def check_maps(
    net: MufNet,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    options: ExplainOptions,
    truth: PhantomTruth | None = None,
) -> pd.DataFrame:
    """A row an image: patient_id, pair_id, and

    `deletion`, `insertion`, `deletion_random`, `insertion_random`: see `Curves.areas`, of its maps and
    of maps that mean nothing; `similarity_STAGE_MODALITY`: rank correlation with the maps of randomised
    weights, the mean of several draws. With a phantom's truth also, of the maps with all weights
    random, `random_energy_MODALITY_DRAW` and `random_hit_MODALITY_DRAW`, of each draw.
    """
    parts = []
    with progress_bar("checks", len(rows)) as advance:
        for number, (batch, found) in enumerate(_mapped(net, data, rows, options)):
            images = {modality: batch[modality] for modality in net.modalities}
            size = (data.image_size, data.image_size)
            seed = (options.seed, number)  # noise of its own for every image
            noise = random_maps(net.modalities, len(found.classes), found.grid, size, seed)
            columns: dict[str, Any] = {}
            for word, maps in (("", found.maps), ("_random", noise)):
                curves = deletion_insertion(net, images, found.classes, maps, options.steps, seed)
                columns |= {f"{name}{word}": area for name, area in curves.areas().items()}
            similar, random = _against_random(net, data, batch, found, options, truth)
            part = _who(data, batch)[["pair_id", "patient_id"]]
            parts.append(part.assign(**columns, **similar, **random))
            for _ in part.index:
                advance()
    return pd.concat(parts, ignore_index=True)


def explained_pairs(
    net: MufNet,
    data: RoiPairDataModule,
    rows: Sequence[int] | NDArray[np.int64],
    options: ExplainOptions,
) -> list[Explained]:
    """The pairs of some manifest rows with their maps, in that order; titles say who and how sure."""
    found: dict[int, Explained] = {}
    for batch, mapped in _mapped(net, data, np.unique(rows), options):
        who = _who(data, batch)
        scores = _scores(mapped)
        for i, row in enumerate(batch["row"].tolist()):
            title = _title(who.iloc[i], scores[i], mapped.weights[i], data.modalities)
            crops: dict[str, Any] = {
                m: batch[m][i].permute(1, 2, 0).cpu().numpy() for m in data.modalities
            }
            maps: dict[str, Any] = {m: mapped.maps[m][i] for m in data.modalities}
            found[row] = Explained(title, crops, maps, float(scores[i]))
    return [found[int(row)] for row in rows]


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
    pairs = explained_pairs(net, data, spread.tolist(), options)
    shown = []
    for row, pair in zip(spread, pairs, strict=True):
        at = manifest.iloc[row]
        frame = "" if pd.isna(at["frame"]) else f"frame {at['frame']}, "
        shown.append(replace(pair, title=f"{frame}{pair.score:.2f}"))
    title = f"{patient}: {_grade(manifest.iloc[rows[0]])}; {len(spread)} of {len(rows)} images"
    return montage_figure(shown, title, data.store.info["margin"])


def _mapped(
    net: MufNet, data: RoiPairDataModule, rows: Iterable[int], options: ExplainOptions
) -> Iterator[tuple[Batch, ActivationMaps]]:
    device = next(net.parameters()).device
    for loaded in data.rows_dataloader(np.asarray(rows)):
        batch = {name: values.to(device) for name, values in loaded.items()}
        images = {modality: batch[modality] for modality in net.modalities}
        classes = None
        if options.target == "true":
            classes = batch["label"].tolist()
        elif options.target != "predicted":
            classes = [int(options.target == "high")] * len(batch["row"])
        yield batch, activation_maps(net, images, classes, options.method, options.layer)


def _measures(
    data: RoiPairDataModule,
    batch: Batch,
    found: ActivationMaps,
    lesion: NDArray[np.bool_],
    truth: PhantomTruth | None,
) -> pd.DataFrame:
    table = _who(data, batch).assign(score=_scores(found))
    for modality in ("bmode", "ceus"):
        place = data.modalities.index(modality) if modality in data.modalities else None
        table[f"weight_{modality}"] = np.nan if place is None else found.weights[:, place]
    table["target"] = found.classes
    for modality, maps in found.maps.items():
        table[f"inside_{modality}"] = energy_inside(maps, lesion)
        table[f"area_{modality}"] = area_above_half(maps)
    if len(found.maps) == 2:
        for name, values in overlap(*found.maps.values()).items():
            table[name] = values
    if truth:
        signal = _signal(data, batch, truth)
        table["signal_area"] = signal.mean(axis=(1, 2))
        for modality, maps in found.maps.items():
            table[f"signal_energy_{modality}"] = energy_inside(maps, signal)
            table[f"signal_hit_{modality}"] = hits(maps, signal)
    return table


def _against_random(
    net: MufNet,
    data: RoiPairDataModule,
    batch: Batch,
    found: ActivationMaps,
    options: ExplainOptions,
    truth: PhantomTruth | None,
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    images = {modality: batch[modality] for modality in net.modalities}
    signal = _signal(data, batch, truth) if truth else None
    similar: dict[str, list[NDArray]] = {}
    pointed: dict[str, NDArray] = {}
    for stage, others in randomised_maps(
        net, images, found.classes, options.method, options.layer, options.draws, options.seed
    ):
        for modality, maps in others.items():
            alike = similar.setdefault(f"similarity_{stage}_{modality}", [])
            alike.append(rank_correlation(found.maps[modality], maps))
            if signal is not None and stage == RANDOM_WEIGHTS:
                draw = len(alike) - 1
                pointed[f"random_energy_{modality}_{draw}"] = energy_inside(maps, signal)
                pointed[f"random_hit_{modality}_{draw}"] = hits(maps, signal)
    return {name: np.mean(values, axis=0) for name, values in similar.items()}, pointed


def _signal(data: RoiPairDataModule, batch: Batch, truth: PhantomTruth) -> NDArray[np.bool_]:
    manifest, margin = data.store.manifest.iloc[batch["row"].tolist()], data.store.info["margin"]
    return np.stack([truth.signal(row, margin, data.image_size) for row in manifest.itertuples()])


def _lesion(data: RoiPairDataModule) -> NDArray[np.bool_]:
    return lesion_ellipse(data.image_size, data.image_size, data.store.info["margin"])


def _who(data: RoiPairDataModule, batch: Batch) -> pd.DataFrame:
    columns = ["pair_id", "patient_id", "clip_id", "frame", "grade", "label"]
    return data.store.manifest.iloc[batch["row"].tolist()][columns].reset_index(drop=True)


def _scores(found: ActivationMaps) -> NDArray[np.float32]:
    return torch.from_numpy(found.logits).softmax(dim=1)[:, -1].numpy()


def _rows_of(data: RoiPairDataModule, pairs: Sequence[str]) -> NDArray[np.int64]:
    places = pd.Index(data.store.manifest["pair_id"]).get_indexer(pd.Index(pairs))
    return np.asarray(places, np.int64)


def _title(who: pd.Series, score: float, weights: NDArray, modalities: Sequence[str]) -> str:
    symbols = {"bmode": "α", "ceus": "β"}
    shares = [f"{symbols[m]} {w:.2f}" for m, w in zip(modalities, weights, strict=True)]
    told = [str(who["patient_id"]), _grade(who), f"score {score:.2f}"]
    return " · ".join(told + (shares if len(modalities) > 1 else []))


def _grade(who: pd.Series) -> str:
    if pd.isna(who["label"]):
        return "grade not known"
    name = "high grade" if who["label"] else "low grade"
    return name if pd.isna(who["grade"]) else f"grade {who['grade']} ({name.split()[0]})"
