"""Which patients are shown: by rule and seed, never by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mufnet_lightning.vocabulary import CLASS_NAMES, THRESHOLD


@dataclass(frozen=True)
class Chosen:
    """A patient to show.

    Attributes:
        patient_id: who.
        reason: why this one, in words.
        pair_id: the image to show: the one whose score is nearest to the patient's mean.
    """

    patient_id: str
    reason: str
    pair_id: str


def choose_patients(table: pd.DataFrame, seed: int = 0) -> list[Chosen]:
    """A correct and a wrong patient of each class, drawn by lot; the most and the least certain.

    A patient's score is the mean over images; what nobody is, is left out. A patient who is chosen
    twice is shown twice.

    Args:
        table: a row an image: pair_id, patient_id, label, score.
        seed: of the lots.
    """
    patients = table.groupby("patient_id", sort=True).agg(
        label=("label", "first"), score=("score", "mean")
    )
    right = (patients["score"] > THRESHOLD) == (patients["label"] == 1)
    rng = np.random.default_rng(seed)
    reasons: list[tuple[str, str]] = []
    for label, name in enumerate(CLASS_NAMES):
        for is_right, word in ((True, "correct"), (False, "wrong")):
            among = patients.index[(patients["label"] == label) & (right == is_right)]
            lot = rng.random()  # drawn in any case: no lot shifts another
            if len(among):
                who = str(among[int(lot * len(among))])
                reasons.append((who, f"{name} grade, {word} (drawn of {len(among)})"))
    certainty = (patients["score"] - THRESHOLD).abs()
    reasons.append((str(certainty.idxmax()), "most certain"))
    reasons.append((str(certainty.idxmin()), "least certain"))
    return [Chosen(patient, why, typical_image(table, patient)) for patient, why in reasons]


def typical_image(table: pd.DataFrame, patient: str) -> str:
    """The pair_id of a patient's image whose score is nearest to the patient's mean."""
    rows = table[table["patient_id"] == patient]
    nearest = (rows["score"] - rows["score"].mean()).abs().to_numpy().argmin()
    return str(rows["pair_id"].iloc[nearest])
