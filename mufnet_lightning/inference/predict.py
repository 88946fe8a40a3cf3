"""A model over a crop store: a row an image, a row a patient, and who could not be graded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import (
    StoreCohort,
    TrainedPatients,
    of_another_key,
    trained_patients,
)
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.risks import with_risk
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader, ImageGrades, spread
from mufnet_lightning.store.cut_apart import LeftOut
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES

IDS = ["pair_id", "patient_id", "clip_id", "frame", "label"]


@dataclass(frozen=True, eq=False)
class StorePredictions:
    """What a model says of a store.

    Attributes:
        table: a row an image: `pair_id, patient_id, clip_id, frame, label, score, risk,
            weight_bmode, weight_ceus, fold, split, spread, missing`; `risk` is the patient's; `split`
            is `train` for patients who trained the model, else `predict`; a weight is empty for a
            modality that is not there or not looked at; `missing` names what was not there.
        patients: a row a patient: `patient_id, label, images, score` (the mean of the images'),
            `risk` (probability of high grade, see `Recalibration`; empty where the model knows none),
            `spread` (SD over the networks of that mean), `class, threshold, weight_bmode, weight_ceus`
            (means of the images that have it), `missing`, `trained` (`yes`, `perhaps`, `unknown` or
            empty), `looks_like` (id of somebody who trained the model and whose crops look the same).
        ungraded: who, or of whom some images, could not be graded.
        notes: what must be read with care about all of them, a sentence each.
    """

    table: pd.DataFrame
    patients: pd.DataFrame
    ungraded: Sequence[LeftOut] = ()
    notes: Sequence[str] = ()


def predict_store(
    grader: Grader,
    data: RoiPairDataModule,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> StorePredictions:
    """Grade every pair of a store that the model can grade.

    Args:
        grader: the model.
        data: of `Grader.open_store`.
        left_out: who is not in the store.
        notes: what is known beside it, to be read with care.

    Raises:
        InputFault: there is no such pair, with the reasons; the crops were cut in another way than
            those that trained the model; or the networks give no number.
    """
    notes = [*notes, *crop_notes(grader.card, data.store)]
    if grader.trained is None:
        notes.append(
            f"{grader.card.name} is a saved model whose run is not at hand: nobody can tell whether "
            "these patients trained it"
        )
    elif of_another_key(grader.trained, StoreCohort.of(data.store)):
        notes.append(
            f"ids do not tell whether these patients trained {grader.card.name}: its training or these "
            "tables have pseudonyms, and not by the same key (--pseudonymize KEYFILE)"
        )
    ungraded = [*left_out, *lacking_modalities(grader.card, data)]
    if not len(data.usable_rows):
        raise InputFault([str(one) for one in ungraded])
    seen = patients_seen(grader, data)
    grades = grader.grade_rows(data, data.usable_rows)
    table = image_table(grader.card, data, data.usable_rows, grades, seen)
    patients = patient_table(grader.card, table, grades.members, seen)
    return StorePredictions(table, patients, ungraded, notes)


def patients_seen(grader: Grader, data: RoiPairDataModule) -> TrainedPatients | None:
    """Who of a store's patients trained a model; None where nobody can tell."""
    if grader.trained is None:
        return None
    return trained_patients(grader.trained, StoreCohort.of(data.store, looks=True))


def crop_notes(card: ModelCard, store: CropStore) -> list[str]:
    """What is to be said of how a store's crops were cut.

    Raises:
        InputFault: with another margin than those that trained the model: the scores would mean little.
    """
    own = store.info.margin
    if not store.manifest["box_width"].notna().any():
        return [
            "the pictures came cropped: that they show as much context as those that trained "
            f"{card.name} is not known"
        ]
    if card.margin is not None and own != card.margin:
        raise InputFault(
            f"{store.root} was cut with a margin of {own}, and what trained {card.name} with "
            f"{card.margin}: prepare it again with --margin {card.margin}"
        )
    return []


def printed(predictions: StorePredictions) -> str:
    """The patients as a table of text."""
    shown = predictions.patients.dropna(axis=1, how="all").drop(columns=["label"], errors="ignore")
    empty = [name for name in ("missing", "trained", "looks_like") if not shown[name].any()]
    return str(shown.drop(columns=empty).to_string(index=False, float_format="{:.3f}".format))


def lacking_modalities(card: ModelCard, data: RoiPairDataModule) -> list[LeftOut]:
    """Pairs of a store that a model cannot grade, since they lack a modality; by patient."""
    manifest = data.store.manifest
    unusable = manifest.drop(index=manifest.index[data.usable_rows])
    helps = len(card.modalities) > 1 and not card.takes_missing
    way = "; one trained with model.modality_dropout grades without it" if helps else ""
    counts: dict[tuple[str, tuple[str, ...]], int] = {}
    for row in unusable.to_dict("records"):
        names = tuple(name for name in card.modalities if not row[f"{name}_path"])
        key = str(row["patient_id"]), names
        counts[key] = counts.get(key, 0) + 1
    return [
        LeftOut(
            patient,
            pairs,
            f"no {' and no '.join(MODALITY_NAMES.get(n, n) for n in names)} picture, which "
            f"{card.name} needs{way}",
        )
        for (patient, names), pairs in counts.items()
    ]


def image_table(
    card: ModelCard,
    data: RoiPairDataModule,
    rows: NDArray[np.int64],
    grades: ImageGrades,
    seen: TrainedPatients | None,
) -> pd.DataFrame:
    """A row an image, see `StorePredictions`; `rows` (N,) are of the manifest."""
    table = data.store.manifest.iloc[rows][IDS].reset_index(drop=True)
    table["score"] = grades.score
    table = with_risk(table, card.recalibration)
    for name in MODALITIES:
        table[f"weight_{name}"] = np.nan
        if name in grades.modalities:
            place = grades.modalities.index(name)
            there = grades.present[:, place]
            table[f"weight_{name}"] = np.where(there, grades.weights[:, place], np.nan)
    table["fold"] = pd.NA
    certain = seen.certain if seen else frozenset()
    predicted = "predict" if seen else "unknown"  # which no arm takes as a test part
    table["split"] = np.where(table["patient_id"].isin(certain), "train", predicted)
    table["spread"] = grades.spread
    table["missing"] = _missing(grades)
    return table


def patient_table(
    card: ModelCard, table: pd.DataFrame, members: NDArray[np.float64], seen: TrainedPatients | None
) -> pd.DataFrame:
    """A row a patient, see `StorePredictions`.

    Args:
        card: of the model.
        table: of `image_table`.
        members: (K, N), each network's scores of its images.
        seen: who trained the model.
    """
    groups = table.groupby("patient_id", sort=False)
    ids = table["patient_id"]
    means = np.stack([pd.Series(one).groupby(ids, sort=False).mean() for one in members])
    patients = groups.agg(label=("label", "first"), images=("score", "size")).reset_index()
    patients["score"] = means.mean(axis=0)
    patients["risk"] = groups["risk"].first().to_numpy()
    patients["spread"] = spread(means)
    patients["class"] = [card.called(score) for score in patients["score"]]
    patients["threshold"] = card.threshold
    for name in MODALITIES:
        patients[f"weight_{name}"] = groups[f"weight_{name}"].mean().to_numpy()
    patients["missing"] = groups["missing"].agg(_missing_of).to_numpy()
    if seen is None:
        return patients.assign(trained="unknown", looks_like="")
    known = {**dict.fromkeys(seen.doubtful, "perhaps"), **dict.fromkeys(seen.certain, "yes")}
    patients["trained"] = [known.get(patient, "") for patient in patients["patient_id"]]
    patients["looks_like"] = [seen.alike.get(patient, "") for patient in patients["patient_id"]]
    return patients


def _missing_of(images: pd.Series) -> str:
    """`ceus`, or of how many images it is missing."""
    words = []
    for name in MODALITIES:
        count = int(images.str.split(" and ").map(lambda names, name=name: name in names).sum())
        if count:
            words.append(name if count == len(images) else f"{name} in {count} of {len(images)} images")
    return ", ".join(words)


def _missing(grades: ImageGrades) -> list[str]:
    return [
        " and ".join(name for name, there in zip(grades.modalities, of_pair, strict=True) if not there)
        for of_pair in grades.present
    ]
