"""Who trained a checkpoint: laws over cohorts that grow, are mended, or only share their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import (
    ENOUGH_SHARED,
    SAME_COHORT,
    StoreCohort,
    TrainedPatients,
    trained_patients,
    training_cohort,
)
from mufnet_lightning.store.store import CropStore

PATIENTS = st.sampled_from([f"P{i:02d}" for i in range(30)])
LABELS = st.dictionaries(PATIENTS, st.sampled_from([0, 1]), min_size=1)
PARTLY_KNOWN = st.dictionaries(PATIENTS, st.sampled_from([0, 1, None]))
IDS = st.sampled_from(["cohort a", "cohort b", None])
DIGESTS = st.sampled_from(["d1", "d2"])


@st.composite
def trained_cohorts(draw: st.DrawFn) -> dict[str, Any]:
    labels = draw(LABELS)
    cohort = {
        "digest": draw(DIGESTS),
        "patients": labels,
        "train": draw(st.lists(st.sampled_from(sorted(labels)), unique=True)),
    }
    name = draw(IDS)
    # those of version 0.1 have no key at all
    return cohort if name is None and draw(st.booleans()) else {**cohort, "cohort": name}


STORES = st.builds(StoreCohort, digest=DIGESTS, cohort=IDS, labels=PARTLY_KNOWN)


@given(st.lists(trained_cohorts(), max_size=3), STORES)
def test_only_patients_of_the_store_that_trained_are_named_and_in_one_way(
    trained: list[dict[str, Any]], store: StoreCohort
) -> None:
    seen = trained_patients(trained, store)
    everybody = {patient for cohort in trained for patient in cohort["train"]}
    assert seen.certain | seen.doubtful <= everybody & store.labels.keys()
    assert not seen.certain & seen.doubtful


@given(st.lists(trained_cohorts(), max_size=3), trained_cohorts(), STORES)
def test_another_training_clears_nobody_and_order_does_not_matter(
    trained: list[dict[str, Any]], more: dict[str, Any], store: StoreCohort
) -> None:
    before, after = trained_patients(trained, store), trained_patients([*trained, more], store)
    assert before.certain <= after.certain
    assert before.doubtful <= after.doubtful | after.certain
    assert trained_patients([more, *trained], store) == after


@given(trained_cohorts(), STORES)
def test_the_same_digest_or_cohort_id_is_the_same_patients_whatever_was_mended(
    cohort: dict[str, Any], store: StoreCohort
) -> None:
    same_id = cohort.get("cohort") is not None and cohort["cohort"] == store.cohort
    if cohort["digest"] == store.digest or same_id:
        expected = frozenset(cohort["train"]) & store.labels.keys()
        assert trained_patients([cohort], store) == TrainedPatients(frozenset(expected))


@given(trained_cohorts(), STORES)
def test_two_cohort_ids_leave_doubt_about_those_whose_label_does_not_contradict(
    cohort: dict[str, Any], store: StoreCohort
) -> None:
    known = cohort.get("cohort") is not None and store.cohort is not None
    shared = store.labels.keys() & cohort["patients"].keys()
    graded = [patient for patient in shared if store.labels[patient] is not None]
    few = 0 < len(graded) < ENOUGH_SHARED
    if known and few and cohort["cohort"] != store.cohort and cohort["digest"] != store.digest:
        seen = trained_patients([cohort], store)
        assert not seen.certain
        for patient in store.labels.keys() & set(cohort["train"]):
            alike = store.labels[patient] in (None, cohort["patients"][patient])
            assert (patient in seen.doubtful) == alike


@pytest.mark.parametrize(
    ("shared", "mended", "certain"), [(9, 0, 0), (10, 0, 10), (10, 1, 10), (10, 2, 0)]
)
def test_a_cohort_that_was_exported_anew_is_known_by_its_patients(
    shared: int, mended: int, certain: int
) -> None:
    patients = {f"P{number}": number % 2 for number in range(shared)}
    cohort = {"digest": "d1", "cohort": "a", "patients": patients, "train": list(patients)}
    labels: dict[str, int | None] = dict(patients)
    labels |= {f"P{number}": 1 - number % 2 for number in range(mended)}
    seen = trained_patients([cohort], StoreCohort("d2", "b", labels))
    assert len(seen.certain) == certain
    assert len(seen.doubtful) == (0 if certain else shared - mended)
    # who has no grade cannot contradict
    ungraded = StoreCohort("d2", "b", dict.fromkeys(patients))
    assert trained_patients([cohort], ungraded).certain == set(patients)


@given(trained_cohorts(), STORES)
def test_without_an_id_on_one_side_nine_in_ten_labels_decide(
    cohort: dict[str, Any], store: StoreCohort
) -> None:
    no_id = cohort.get("cohort") is None or store.cohort is None
    if no_id and cohort["digest"] != store.digest:
        shared = store.labels.keys() & cohort["patients"].keys()
        graded = [patient for patient in shared if store.labels[patient] is not None]
        agree = sum(store.labels[p] == cohort["patients"][p] for p in graded)
        same = not graded or agree / len(graded) >= SAME_COHORT
        seen = trained_patients([cohort], store)
        expected = store.labels.keys() & set(cohort["train"]) if same else set()
        assert seen == TrainedPatients(frozenset(expected))


@pytest.mark.parametrize(("wrong", "same"), [(0, True), (1, True), (2, False), (10, False)])
def test_of_ten_shared_labels_one_may_have_been_mended(wrong: int, same: bool) -> None:
    cohort = {"digest": "d1", "patients": dict.fromkeys(map(str, range(10)), 0), "train": ["9"]}
    labels = {str(i): int(i < wrong) for i in range(10)}
    seen = trained_patients([cohort], StoreCohort("d2", "a", {**labels, "new": 1}))
    assert seen == TrainedPatients(frozenset({"9"} if same else ()))


def test_a_checkpoint_keeps_the_stores_cohort_and_its_training_part(phantom_store: Path) -> None:
    data = RoiPairDataModule(str(phantom_store), fold=1, num_workers=0)
    cohort = training_cohort(data)
    store = CropStore.open(phantom_store)
    assert (cohort["digest"], cohort["cohort"]) == (store.digest, store.cohort)
    here = data.folds.query("fold == 1 and part == 'train'")["patient_id"]
    assert cohort["train"] == list(here)
    own = StoreCohort.of(store)
    assert cohort["patients"] == own.labels
    assert set(own.labels) == set(store.manifest["patient_id"])
    assert trained_patients([cohort], own).certain == frozenset(here)
    assert {type(value) for value in cohort["patients"].values()} == {int}


def test_patients_without_a_grade_have_no_label(phantom_store: Path) -> None:
    store = CropStore.open(phantom_store)
    store.manifest.loc[store.manifest["patient_id"] == store.manifest["patient_id"][0], "label"] = None
    own = StoreCohort.of(store)
    assert own.labels[store.manifest["patient_id"][0]] is None
    assert sum(label is None for label in own.labels.values()) == 1
