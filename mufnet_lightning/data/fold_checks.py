"""Whether the patients of a store can be split at all, and as somebody split them before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mufnet_lightning.data.folds import FoldTable
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.vocabulary import CLASS_NAMES, Modality


def check_classes(labels: np.ndarray, where: str) -> None:
    """Refuse a part of a fold whose images, of `labels` (N,), are not of both classes.

    Raises:
        InputFault: it names the class that `where` lacks.
    """
    missing = [name for label, name in enumerate(CLASS_NAMES) if not (labels == label).any()]
    if missing:
        raise InputFault(
            f"{where} has no image of {' and '.join(missing)} grade; both classes are needed"
        )


def check_scored(fold: int, parts: Sequence[str]) -> None:
    """Refuse a fold of whose `parts` none is scored.

    Raises:
        InputFault: the test part is left alone, and there are no validation patients.
    """
    if "val" not in parts and "test" not in parts:
        raise InputFault(
            f"data.with_test is false, and fold {fold} has no validation patients: nobody is left "
            "to score"
        )


def usable_modalities(store: CropStore, asked: Sequence[Modality], some: bool) -> tuple[Modality, ...]:
    """The modalities of a store that a network is given.

    Args:
        store: of the crops.
        asked: by the configuration.
        some: whether those that are there are enough, where any is.

    Raises:
        InputFault: the store has none of one that is asked for.
    """
    there = tuple(modality for modality in asked if modality in store.modalities)
    if not (some and there):
        for modality in asked:
            if modality not in there:
                raise InputFault(
                    f"{store.root}: this store has no {modality} crops, only "
                    f"{', '.join(store.modalities)}; set data.modalities to what it has"
                )
    return there


def check_graded(patients: pd.DataFrame, store: str) -> None:
    """Refuse to split patients of whom not everybody has a grade.

    Args:
        patients: of the store, a row each: `patient_id, label`.
        store: what messages call it.

    Raises:
        InputFault: it says how many lack one.
    """
    lacking = patients.loc[patients["label"].isna(), "patient_id"].tolist()
    if lacking and len(lacking) == len(patients):
        raise InputFault(f"{store}: this store has no grades; it serves predict only")
    if lacking:
        raise InputFault(
            f"{store}: {len(lacking)} of its {len(patients)} patients have no grade, the first "
            f"of them {lacking[0]}; it serves predict only (`mufnet prepare` without --without-grades "
            "says whose are missing)"
        )


def check_folds_fit(given: FoldTable, patients: pd.DataFrame, store: str) -> None:
    """Refuse a split that was not made of a store's patients.

    Args:
        given: the split.
        patients: of the store, a row each: `patient_id, label`.
        store: what messages call it.

    Raises:
        InputFault: somebody in the split is not in the store, or has another label there.
    """
    known = dict(zip(patients["patient_id"], patients["label"], strict=True))
    named = given.table.drop_duplicates("patient_id")
    strangers = [p for p in named["patient_id"] if p not in known]
    if strangers:
        raise InputFault(
            f"{given.source}: patient {strangers[0]} is not in store {store}"
            + (f", nor are {len(strangers) - 1} others" if len(strangers) > 1 else "")
        )
    for patient, label in zip(named["patient_id"], named["label"], strict=True):
        if pd.isna(known[patient]):
            raise InputFault(
                f"{given.source}: patient {patient} has label {label}, but no grade in store {store}"
            )
        if known[patient] != label:
            raise InputFault(
                f"{given.source}: patient {patient} has label {label}, but {known[patient]} in store "
                f"{store}"
            )
