"""Who of a store's patients trained a checkpoint: a pure decision, on what the two say of themselves.

A checkpoint keeps each cohort that trained it as plain data (see `training_cohort`); a store says its
digest, its cohort's id and its patients' labels (`StoreCohort`). Patients are compared by their ids,
and two cohorts may use the same ids for different people, so first it is decided whether the cohorts
are the same:

- equal digests or equal cohort ids: the same patients, whatever was added or mended since;
- else, and also with ids that differ (a cohort that was exported anew gets another): the same where
  nine in ten of the shared patients have the same label, or where no label is known;
- of two cohorts whose ids differ and that share fewer than ten patients, or agree less, one who bears
  the same id and the same label in both may still be the same person, which is worth a warning.

Under whatever id, somebody whose crops look like those of one who trained it may be that one, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mufnet_lightning.store.known_looks import Looks, alike, store_looks

if TYPE_CHECKING:
    from mufnet_lightning.data.datamodule import RoiPairDataModule
    from mufnet_lightning.store.store import CropStore

SAME_COHORT = 0.9
"""Share of equal labels from which two cohorts are taken for the same."""
ENOUGH_SHARED = 10
"""Patients that two cohorts of different ids must share for their labels to say anything."""


@dataclass(frozen=True)
class StoreCohort:
    """What a store says of its patients.

    Attributes:
        digest: of the store's inputs.
        cohort: id of the cohort, which stays when the cohort grows; None for an older store.
        labels: 0 or 1 for each patient id; None where the grade is not known.
        looks: hashes of the crops (see `store.known_looks`); empty where nobody asked.
    """

    digest: str
    cohort: str | None
    labels: Mapping[str, int | None]
    looks: Looks = field(default_factory=dict)

    @classmethod
    def of(cls, store: CropStore, looks: bool = False) -> StoreCohort:
        """That of an opened store; how its crops look where that is asked for."""
        patients = store.manifest.drop_duplicates("patient_id")
        known = patients["label"].notna()
        return cls(
            store.digest,
            store.cohort,
            {
                str(patient): int(label) if is_known else None
                for patient, label, is_known in zip(
                    patients["patient_id"], patients["label"], known, strict=True
                )
            },
            store_looks(store) if looks else {},
        )


@dataclass(frozen=True)
class TrainedPatients:
    """Patients of a store by what a checkpoint knows of them.

    Attributes:
        certain: these trained it.
        doubtful: of another cohort, but with the id and the label of one that trained it.
        alike: neither of them, but whose crops look like those of one that trained it, under whatever
            id; with that one's id.
    """

    certain: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    alike: Mapping[str, str] = field(default_factory=dict)


def trained_patients(trained: Iterable[Mapping[str, Any]], store: StoreCohort) -> TrainedPatients:
    """The patients of a store on whom a checkpoint was trained, also by way of its `init_from`.

    >>> cohort = {"digest": "d1", "cohort": "a", "patients": {"P1": 0, "P2": 1}, "train": ["P1"]}
    >>> trained_patients([cohort], StoreCohort("d2", "a", {"P1": 0, "P2": 1})).certain
    frozenset({'P1'})
    >>> trained_patients([cohort], StoreCohort("d2", "b", {"P1": 0, "P2": 1})).doubtful
    frozenset({'P1'})

    Args:
        trained: the cohorts that a checkpoint keeps, see `training_cohort`.
        store: that is to be scored.
    """
    certain: set[str] = set()
    doubtful: set[str] = set()
    look_alikes: dict[str, str] = {}
    for cohort in trained:
        likenesses = alike(store.looks, cohort.get("looks", {}))
        look_alikes |= {patient: likeness.patient for patient, likeness in likenesses.items()}
        labels: Mapping[str, int | None] = cohort["patients"]
        shared = store.labels.keys() & labels.keys() & set(cohort["train"])
        if _same_cohort(cohort, store):
            certain |= shared
        elif cohort.get("cohort") is not None and store.cohort is not None:
            doubtful |= {p for p in shared if store.labels[p] in (None, labels[p])}
    others = {patient: twin for patient, twin in look_alikes.items() if patient not in certain}
    return TrainedPatients(frozenset(certain), frozenset(doubtful - certain), others)


def cohort_patients(trained: Iterable[Mapping[str, Any]], store: StoreCohort) -> frozenset[str]:
    """The patients of a store who belong to a cohort that trained a checkpoint, in whichever part.

    >>> cohort = {"digest": "d1", "cohort": "a", "patients": {"P1": 0, "P2": 1}, "train": ["P1"]}
    >>> sorted(cohort_patients([cohort], StoreCohort("d2", "a", {"P1": 0, "P2": 1, "P3": 1})))
    ['P1', 'P2']

    Args:
        trained: the cohorts that a checkpoint keeps, see `training_cohort`.
        store: that is to be scored.
    """
    here = store.labels.keys()
    same = (here & one["patients"].keys() for one in trained if _same_cohort(one, store))
    return frozenset().union(*same)


def of_another_key(trained: Iterable[Mapping[str, Any]], store: StoreCohort) -> bool:
    """Whether ids cannot tell who trained a checkpoint: they are pseudonyms, and not by the same key.

    >>> of_another_key([{"cohort": "a#00112233aabbccdd"}], StoreCohort("d", "a", {}))
    True
    """
    own = _key_of(store.cohort)
    return any(_key_of(cohort.get("cohort")) != own for cohort in trained)


def _key_of(cohort: str | None) -> str:
    """The mark of the key that made a cohort's ids; empty where they are as they were."""
    named = re.search(r"#([0-9a-f]{16})$", cohort or "")
    return named[1] if named else ""


def training_cohort(data: RoiPairDataModule) -> dict[str, Any]:
    """What a checkpoint keeps of the cohort that trains it, as plain data.

    Returns:
        `digest` and `cohort` of the store, `patients` (its patient ids with their labels), `train`
        (ids of this fold's training part) and `looks` (hashes of their crops).
    """
    cohort = StoreCohort.of(data.store)
    here = data.folds[(data.folds["fold"] == data.fold) & (data.folds["part"] == "train")]
    train = [str(patient) for patient in here["patient_id"]]
    return {
        "digest": cohort.digest,
        "cohort": cohort.cohort,
        "patients": dict(cohort.labels),
        "train": train,
        "looks": store_looks(data.store, train),
    }


def _same_cohort(cohort: Mapping[str, Any], store: StoreCohort) -> bool:
    if cohort["digest"] == store.digest:
        return True
    own = cohort.get("cohort")
    differ = own is not None and store.cohort is not None
    if differ and own == store.cohort:
        return True
    labels: Mapping[str, int | None] = cohort["patients"]
    graded = [p for p in labels.keys() & store.labels.keys() if store.labels[p] is not None]
    if not graded:
        return True  # an ungraded store cannot contradict
    if differ and len(graded) < ENOUGH_SHARED:
        return False
    agree = sum(store.labels[patient] == labels[patient] for patient in graded)
    return agree / len(graded) >= SAME_COHORT
