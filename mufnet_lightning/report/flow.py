"""Who went where: from the cohort over the crop store to the arms, and to the parts of each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mufnet_lightning.report.gather import ArmFacts, StudyFacts
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.vocabulary import CLASS_NAMES, PARTS

FOLD_WORDS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class FlowBox:
    """A box of the flow diagram: how many there are, and who or what was left out."""

    title: str
    text: str
    left_out: str = ""


@dataclass(frozen=True)
class Flow:
    """The flow diagram.

    Attributes:
        steps: one after the other.
        arms: side by side below them; empty without the store.
    """

    steps: Sequence[FlowBox]
    arms: Sequence[FlowBox] = ()


def participants_flow(facts: StudyFacts) -> Flow:
    """The boxes of the flow diagram, from the cohort to the arms."""
    steps = []
    if facts.cohort is not None:
        patients = len(facts.cohort.patients)
        text = f"{patients} patients, {facts.cohort.frames:,} annotated images"
        steps.append(FlowBox("Cohort", text))
    if facts.store is None:
        dataset = facts.arms[0].dataset
        profile = dataset.profile if dataset else {}
        counts = f"{profile.get('patients', '?')} patients, {profile.get('pairs', '?')} pairs"
        return Flow([*steps, FlowBox("Crop store, as recorded by the runs", counts)])
    manifest = facts.store.manifest
    text = f"{manifest['patient_id'].nunique()} patients, {len(manifest):,} pairs of crops"
    steps.append(FlowBox("Crop store", text, _excluded_patients(facts)))
    return Flow(steps, [_arm_box(facts.store, arm) for arm in facts.arms])


def parts_frames(facts: StudyFacts) -> dict[str, pd.DataFrame]:
    """A table for the arms that share their patients and images, by the arms' names."""
    alike: dict[str, tuple[list[str], pd.DataFrame]] = {}
    for arm in facts.arms:
        table = _parts_frame(facts, arm)
        names, _ = alike.setdefault(table.to_csv(), ([], table))
        names.append(arm.title)
    return {", ".join(names): table for names, table in alike.values()}


def _arm_box(store: CropStore, arm: ArmFacts) -> FlowBox:
    usable = store.manifest[_usable(store, arm)]
    scored = arm.scored.part("test")
    lacking = len(store.manifest) - len(usable)
    here = int(usable["patient_id"].isin(arm.split["patient_id"]).sum())
    folds = f"{len(arm.folds)} fold{'s' if len(arm.folds) > 1 else ''}"
    return FlowBox(
        f"Arm {arm.title}",
        f"{here:,} pairs in {folds}; test scores of "
        f"{scored['patient_id'].nunique()} patients, {scored['pair_id'].nunique():,} images",
        f"{lacking:,} pairs lack a modality" if lacking else "",
    )


def _excluded_patients(facts: StudyFacts) -> str:
    assert facts.store is not None
    if facts.cohort is None:
        return ""
    without = set(facts.cohort.patients["patient_id"]) - set(facts.store.manifest["patient_id"])
    return f"{len(without)} patients have no annotated image" if without else "nobody"


def _usable(store: CropStore, arm: ArmFacts) -> pd.Series:
    """Which pairs of a store an arm can use."""
    complete = arm.settings["data"].get("complete_pairs")
    modalities = store.modalities if complete else arm.modalities
    paths = store.manifest[[f"{modality}_path" for modality in modalities]]
    return (paths.notna() & (paths != "")).all(axis=1)


def _parts_frame(facts: StudyFacts, arm: ArmFacts) -> pd.DataFrame:
    """A row a fold and part: patients and images of each class."""
    images = None
    if facts.store:
        images = facts.store.manifest[_usable(facts.store, arm)].groupby("patient_id").size()
    rows = []
    for fold, table in arm.split.groupby("fold"):
        if int(str(fold)) not in arm.folds:
            continue
        for part in PARTS:
            here = table[table["part"] == part]
            row = {"fold": str(fold), "part": FOLD_WORDS[part]}
            for label, name in enumerate(CLASS_NAMES):
                of_class = here.loc[here["label"] == label, "patient_id"]
                cell = f"{len(of_class)} patients"
                if images is not None:
                    cell += f", {int(images.reindex(of_class).fillna(0).sum()):,} images"
                row[f"{name} grade"] = cell
            rows.append(row)
    return pd.DataFrame(rows)
