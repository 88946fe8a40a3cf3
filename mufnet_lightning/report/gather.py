"""What is known of a study: its arms' runs, the data behind them, and what broke off."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.schemas import numbers
from mufnet_lightning.data.folds import read_folds
from mufnet_lightning.errors import InputFault, NotRecorded
from mufnet_lightning.evaluation.risks import RecordedRecalibration
from mufnet_lightning.explain.record import ExplainedTables, labels_of, read_panels, read_tables
from mufnet_lightning.phantom.truth import TRUTH, read_truth
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.study.job import TRIAL
from mufnet_lightning.study.recorded_study import latest_arms, recorded_study
from mufnet_lightning.study.spec import Pairs
from mufnet_lightning.system.sheets import as_meant
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import (
    artifact_files,
    artifact_text,
    recorded_recalibration,
)
from mufnet_lightning.tracking.configuration import Configuration
from mufnet_lightning.tracking.datasets import RecordedDataset
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    find_runs,
    find_study,
    finished_folds,
    resolve_artifact,
)
from mufnet_lightning.tracking.stores import noted_store
from mufnet_lightning.vocabulary import ARM_NAMES, EXTERNAL, MODALITIES, Modality

MOST_ARMS_IN_PAIRS = 14
"""Of more, each two are over a hundred tests."""


@dataclass(frozen=True)
class ArmFacts:
    """An arm of the study.

    Attributes:
        name: of it: `bmode`, `ceus` or `fused`, or one of its own.
        run: its cross-validation's parent run, or its only fit.
        folds: the finished fits, by fold.
        scored: its predictions.
        settings: of its run's configuration, by section and name.
        environment: of its first fit; empty for a run of an older version.
        split: its folds.csv.
        explained: what its run says of where the network looks, by label.
        panels: pictures of it (PNG), of the first fold, by label.
        figures: pictures that its run has (PNG), by name.
        recalibration: how its run makes risks of new patients.
        fits: how many fits of this arm the study holds that came to their end.
    """

    name: str
    run: TrackedRun
    folds: Mapping[int, TrackedRun]
    scored: ScoredArm
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    split: pd.DataFrame
    explained: Mapping[str, ExplainedTables]
    panels: Mapping[str, bytes]
    figures: Mapping[str, bytes]
    recalibration: RecordedRecalibration
    fits: int

    @property
    def title(self) -> str:
        """The name as people read it."""
        return ARM_NAMES.get(self.name, self.name)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """That its network takes."""
        taken = self.settings["data"].get("modalities") or MODALITIES
        return tuple(one for one in MODALITIES if one in taken)

    @property
    def is_cv(self) -> bool:
        """Whether it is a cross-validation."""
        return self.run.is_cv

    @property
    def chosen(self) -> bool:
        """Whether its test patients chose the epoch, of any fold."""
        return self.run.is_optimistic or any(run.is_optimistic for run in self.folds.values())

    @property
    def commit(self) -> str:
        """Of the code; `not recorded` outside git."""
        return self.run.commit or "not recorded"

    @property
    def first_fold(self) -> int:
        """The fold whose network is shown."""
        return next(iter(self.folds))

    @property
    def dataset(self) -> RecordedDataset | None:
        """The store as its first fit recorded it when it began."""
        return next(iter(self.folds[self.first_fold].datasets), None)


@dataclass(frozen=True)
class CohortFacts:
    """What a cohort folder tells beside the store.

    Attributes:
        folder: where it is.
        patients: patients.csv as text.
        scanners: a row a scanner and centre: `scanner, centre, clips, low grade, high grade` (clips of
            each class, where grades are known); empty where clips.csv names no scanner.
        frames: annotated frames (rows of boxes.csv, or of pairs.csv).
        truth: of a phantom; None for real patients.
    """

    folder: Path
    patients: pd.DataFrame
    scanners: pd.DataFrame
    frames: int
    truth: Mapping[str, Any] | None


@dataclass(frozen=True)
class BrokenRun:
    """A run that did not come to its end, or left something out."""

    run: str
    id: str
    begun: str
    status: str
    reason: str


@dataclass(frozen=True)
class StudyFacts:
    """All of it.

    Attributes:
        name: of the MLflow experiment.
        experiment_id: of it.
        arms: those of the study as it was laid down, in its order; then others: bmode, ceus, fused, and
            those with names of their own, by their begin.
        store: the crop store that they were trained on, where it can still be read.
        store_missing: why it cannot; empty where it can.
        cohort: where its folder was given.
        table_one: Table 1 as an earlier step recorded it; None where it did not.
        broken: runs that broke off.
        fits: how many fits of the study came to their end, those of the report and others.
        planned: pairs of arms that the study tests; None: each two. Of more than `MOST_ARMS_IN_PAIRS`
            arms that no study file laid down nobody could read each two, and none is tested.
        external: what external validations of the study say (see `ExternalValidation.as_json`), by
            their run, the latest first.
        unfinished: arms that were laid down and have not come to their end.
        waiting: tests that the study makes of these.
    """

    name: str
    experiment_id: str
    arms: Sequence[ArmFacts]
    store: CropStore | None
    store_missing: str
    cohort: CohortFacts | None
    table_one: pd.DataFrame | None
    broken: Sequence[BrokenRun]
    fits: int
    planned: Pairs | None = None
    external: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unfinished: Sequence[str] = ()
    waiting: int = 0

    @property
    def is_phantom(self) -> bool:
        """Whether the patients are known to be simulated."""
        return self.cohort is not None and self.cohort.truth is not None


def study_facts(study: str, cohort: Path | None = None) -> StudyFacts:
    """Gather a study: of each arm the latest finished cross-validation, else the latest finished fit.

    Args:
        study: name of the MLflow experiment.
        cohort: the folder that the store was made from.

    Raises:
        InputFault: there is no such study, or it has no finished arm; or the cohort cannot be read.
    """
    experiment_id = find_study(study)
    runs = find_runs(experiment_id)
    recorded = recorded_study(experiment_id)
    latest = latest_arms(runs, recorded)
    unfinished = [name for name in recorded.arms if name not in latest] if recorded else []
    if not latest:
        laid_down = f"arm of those laid down last ({', '.join(unfinished)}), and no other"
        none = laid_down if unfinished else "cross-validation and no finished fit"
        raise InputFault(f"study {study!r} has no finished {none}")
    trained = [run for run in runs if TRIAL not in run.tags]  # trials are told of by what they chose
    finished = [run.arm for run in trained if run.verb == "fit" and run.is_finished]
    arms = [_arm(name, run, finished.count(run.arm)) for name, run in latest.items()]
    store, missing = _store(arms[0])
    known = _cohort(cohort) if cohort else None
    if known and store:
        strangers = set(store.manifest["patient_id"]) - set(known.patients["patient_id"])
        if strangers:
            raise InputFault(
                f"--cohort {cohort} is not what the study's store was made from: its patients.csv has "
                f"no {min(strangers)}"
            )
    table_one, broken = _recorded_table_one(runs), _broken(trained)
    external = {
        run.id: json.loads(artifact_text(run.id, f"{EXTERNAL}.json"))
        for run in runs
        if run.verb == EXTERNAL and run.is_finished
    }
    names = {arm.name for arm in arms}
    planned, waiting = recorded.tests_of(names) if recorded else (None, 0)
    if recorded is None and len(names) > MOST_ARMS_IN_PAIRS:
        planned = ()
    facts = (study, experiment_id, arms, store, missing, known, table_one, broken, len(finished))
    return StudyFacts(*facts, planned, external, unfinished, waiting)


def _arm(name: str, run: TrackedRun, fits: int) -> ArmFacts:
    folds = finished_folds(run) if run.is_cv else {run.fold: run}
    first = next(iter(folds.values()))
    labels = labels_of(run.id)
    return ArmFacts(
        name,
        run,
        folds,
        read_arm(run.id),
        Configuration.parse(artifact_text(run.id, "config.yaml")).settings,
        _environment(first),
        read_folds(resolve_artifact(run.id, "folds.csv")),
        {label: read_tables(run.id, label) for label in labels},
        {label: panels for label in labels if (panels := read_panels(first.id, label))},
        _figures(run.id),
        recorded_recalibration(run.id),
        fits,
    )


def time_text(milliseconds: int | None) -> str:
    """A time as MLflow has it, as people read it; empty where there is none.

    >>> time_text(0)
    '1970-01-01 00:00 UTC'
    """
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _environment(run: TrackedRun) -> dict[str, str]:
    try:
        return dict(json.loads(artifact_text(run.id, "environment.json")))
    except NotRecorded:
        return {}


def _figures(run_id: str) -> dict[str, bytes]:
    return {
        Path(name).stem: resolve_artifact(run_id, name).read_bytes()
        for name in artifact_files(run_id, "figures")
        if name.endswith(".png")
    }


def _store(arm: ArmFacts) -> tuple[CropStore | None, str]:
    path = Path(noted_store(arm.settings["data"].get("store") or "not recorded"))
    try:
        store = CropStore.open(path)
    except InputFault:  # its name alone: a path may tell of people and machines
        return None, f"The crop store {path.name} is no longer where it was."
    if arm.dataset and not store.digest.startswith(arm.dataset.digest):
        return None, f"The crop store {path.name} is another one than the arms were trained on."
    return store, ""


def _cohort(folder: Path) -> CohortFacts:
    if not (folder / "patients.csv").is_file():
        raise InputFault(f"--cohort {folder}: there is no patients.csv in it")
    patients = read_table(folder / "patients.csv")
    scanners = pd.DataFrame()
    frames = 0
    if (folder / "clips.csv").is_file():
        scanners = _scanners(read_table(folder / "clips.csv"), patients)
    for name in ("boxes.csv", "pairs.csv"):
        if (folder / name).is_file():
            frames += len(read_table(folder / name))
    truth = read_truth(folder) if (folder / TRUTH).is_file() else None
    return CohortFacts(folder, patients, scanners, frames, truth)


def _scanners(clips: pd.DataFrame, patients: pd.DataFrame) -> pd.DataFrame:
    if "scanner" not in clips:
        return pd.DataFrame()
    who = patients.drop_duplicates("patient_id").set_index("patient_id")
    of_clips = who.reindex(clips["patient_id"]).fillna("").reset_index()
    table = pd.DataFrame({"scanner": clips["scanner"].replace("", "not named").to_numpy()})
    if "center" in of_clips:
        table["centre"] = of_clips["center"].replace("", "not named")
    counted = table.assign(clips=1)
    grade, label = (
        numbers(of_clips[name]) if name in of_clips else pd.Series(np.nan, of_clips.index)
        for name in ("grade", "label")
    )
    high = (grade >= 3).where(grade.notna(), label == 1)
    known = grade.notna() | label.notna()
    if known.any():
        counted = counted.assign(**{"low grade": known & ~high, "high grade": known & high})
    return counted.groupby(list(table.columns)).sum().reset_index()


def _recorded_table_one(runs: Sequence[TrackedRun]) -> pd.DataFrame | None:
    for run in runs:
        if run.verb == "compare" and run.is_finished and "table1.csv" in artifact_files(run.id):
            path = resolve_artifact(run.id, "table1.csv")
            return as_meant(pd.read_csv(path, dtype=str, keep_default_na=False))
    return None


def _broken(runs: Sequence[TrackedRun]) -> list[BrokenRun]:
    broken = []
    for run in runs:
        reasons = [] if run.is_finished else [run.tags.get("reason", "")]
        for tag, text in run.tags.items():
            if tag.startswith("not_"):
                reasons.append(f"{tag.replace('_', ' ')}: {text}")
        if not run.is_finished or reasons:
            reason = "; ".join(reason for reason in reasons if reason) or "no reason recorded"
            reason = re.sub(r"(?:/[^\s/'\":]+)+/", "…/", reason)  # a path may tell of people, machines
            status = "running, or killed" if run.status == "RUNNING" else run.status.lower()
            broken.append(BrokenRun(run.name, run.id[:8], time_text(run.start), status, reason))
    return broken
