"""What is known of a study: its arms' runs, the data behind them, and what broke off."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.data.folds import read_folds
from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.record import (
    ExplainedTables,
    labels_of,
    read_panels,
    read_tables,
)
from mufnet_lightning.phantom.truth import TRUTH, read_truth
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.runs import (
    find_runs,
    finished_folds,
    mlflow_client,
    resolve_artifact,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mufnet_lightning.tracking.runs import TrackedRun

ARM_ORDER = ("bmode", "ceus", "fused")


@dataclass(frozen=True)
class ArmFacts:
    """An arm of the study.

    Attributes:
        run: its cross-validation's parent run, or its only fit.
        folds: the finished fits, by fold.
        scored: its predictions.
        config: composed, as its run has it.
        environment: of its first fit; empty for a run of an older version.
        split: its folds.csv.
        explained: what its run says of where the network looks, by label.
        panels: pictures of it (PNG), of the first fold, by label.
        figures: pictures that its run has (PNG), by name.
    """

    run: TrackedRun
    folds: Mapping[int, TrackedRun]
    scored: ScoredArm
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    split: pd.DataFrame
    explained: Mapping[str, ExplainedTables]
    panels: Mapping[str, bytes]
    figures: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """`bmode`, `ceus` or `fused`."""
        return str(self.run.tags["arm"])

    @property
    def is_cv(self) -> bool:
        """Whether it is a cross-validation."""
        return self.run.tags.get("verb") == "cv"

    @property
    def commit(self) -> str:
        """Of the code; `not recorded` outside git."""
        return str(self.run.tags.get("git_commit", "not recorded"))


@dataclass(frozen=True)
class CohortFacts:
    """What a cohort folder tells beside the store.

    Attributes:
        folder: where it is.
        patients: patients.csv as text.
        scanners: clips of each scanner; empty where clips.csv names none.
        frames: annotated frames (rows of boxes.csv, or of pairs.csv).
        truth: of a phantom; None for real patients.
    """

    folder: Path
    patients: pd.DataFrame
    scanners: Mapping[str, int]
    frames: int
    truth: Mapping[str, Any] | None


@dataclass(frozen=True)
class StudyFacts:
    """All of it.

    Attributes:
        name: of the MLflow experiment.
        arms: in the order bmode, ceus, fused.
        store: the crop store that they were trained on, where it can still be read.
        store_missing: why it cannot; empty where it can.
        cohort: where its folder was given.
        table_one: Table 1 as an earlier step recorded it; None where it did not.
        broken: runs that did not come to their end, or left something out: name, status, reason.
        fits: how many fits of the study came to their end, those of the report and others.
        recorded: what each run's data were when it began: name, digest, patients, pairs.
    """

    name: str
    experiment_id: str
    arms: Sequence[ArmFacts]
    store: CropStore | None
    store_missing: str
    cohort: CohortFacts | None
    table_one: pd.DataFrame | None
    broken: Sequence[Mapping[str, str]]
    fits: int
    recorded: Mapping[str, Any]


def study_facts(study: str, cohort: Path | None = None) -> StudyFacts:
    """Gather a study: of each arm the latest finished cross-validation, else the latest finished fit.

    Args:
        study: name of the MLflow experiment.
        cohort: the folder that the store was made from.

    Raises:
        InputFault: there is no such study, or it has no finished arm; or the cohort cannot be read.
    """
    client = mlflow_client()
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        names = sorted(e.name for e in client.search_experiments() if e.name != "Default")
        told = f"; there are {', '.join(names)}" if names else ""
        raise InputFault(f"there is no study {study!r} in {tracking_uri()}{told}")
    experiment_id = experiment.experiment_id
    runs = find_runs(experiment_id)
    chosen = _latest_arms(runs)
    if not chosen:
        raise InputFault(f"study {study!r} has no finished cross-validation and no finished fit")
    arms = [_arm(client, run) for run in chosen]
    store, missing = _store(arms[0])
    known = _cohort(cohort) if cohort else None
    if known and store:
        strangers = set(store.manifest["patient_id"]) - set(known.patients["patient_id"])
        if strangers:
            raise InputFault(
                f"--cohort {cohort} is not what the study's store was made from: its patients.csv has "
                f"no {min(strangers)}"
            )
    return StudyFacts(
        study,
        experiment_id,
        arms,
        store,
        missing,
        known,
        _table_one(client, runs),
        _broken(runs),
        sum(run.tags.get("verb") == "fit" and run.status == "FINISHED" for run in runs),
        _recorded(arms[0]),
    )


def _latest_arms(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """Runs come the latest first; of an arm, a cross-validation goes before a fit."""
    latest: dict[str, TrackedRun] = {}
    for verb in ("cv", "fit"):
        for run in runs:
            tags = run.tags
            own = tags.get("verb") == verb and "mlflow.parentRunId" not in tags
            if own and run.status == "FINISHED":
                latest.setdefault(tags["arm"], run)
    return [latest[arm] for arm in ARM_ORDER if arm in latest]


def _arm(client: MlflowClient, run: TrackedRun) -> ArmFacts:
    run_id = run.id
    is_cv = run.tags.get("verb") == "cv"
    folds = finished_folds(run) if is_cv else {int(run.tags["fold"]): run}
    first = next(iter(folds.values()))
    labels = labels_of(run_id)
    return ArmFacts(
        run,
        folds,
        read_arm(run_id),
        yaml.safe_load(_text(run_id, "config.yaml")),
        _environment(first),
        read_folds(resolve_artifact(run_id, "folds.csv")),
        {label: read_tables(run_id, label) for label in labels},
        {label: found for label in labels if (found := read_panels(first.id, label))},
        _figures(client, run_id),
    )


def _text(run_id: str, artifact: str) -> str:
    return resolve_artifact(run_id, artifact).read_text(encoding="utf-8")


def _environment(run: TrackedRun) -> dict[str, str]:
    try:
        return dict(json.loads(_text(run.id, "environment.json")))
    except InputFault:
        return {}


def _figures(client: MlflowClient, run_id: str) -> dict[str, bytes]:
    names = [Path(entry.path) for entry in client.list_artifacts(run_id, "figures")]
    return {
        path.stem: resolve_artifact(run_id, path.as_posix()).read_bytes()
        for path in names
        if path.suffix == ".png"
    }


def _store(arm: ArmFacts) -> tuple[CropStore | None, str]:
    path = Path(arm.config["data"]["store"])
    try:
        store = CropStore.open(path)
    except InputFault:  # its name alone: a path may tell of people and machines
        return None, f"The crop store {path.name} is no longer where it was."
    trained_on = _recorded(arm).get("digest", "")
    if not store.digest.startswith(trained_on):
        return None, f"The crop store {path.name} is another one than the arms were trained on."
    return store, ""


def _recorded(arm: ArmFacts) -> dict[str, Any]:
    first = next(iter(arm.folds.values()))
    for data in first.datasets:
        return {"name": data.name, "digest": data.digest, **data.profile}
    return {}


def _cohort(folder: Path) -> CohortFacts:
    if not (folder / "patients.csv").is_file():
        raise InputFault(f"--cohort {folder}: there is no patients.csv in it")
    scanners: dict[str, int] = {}
    frames = 0
    if (folder / "clips.csv").is_file():
        clips = read_table(folder / "clips.csv")
        if "scanner" in clips:
            named = clips["scanner"].replace("", "not named")
            scanners = {str(name): int(n) for name, n in named.value_counts().sort_index().items()}
    for name in ("boxes.csv", "pairs.csv"):
        if (folder / name).is_file():
            frames += len(read_table(folder / name))
    truth = read_truth(folder) if (folder / TRUTH).is_file() else None
    return CohortFacts(folder, read_table(folder / "patients.csv"), scanners, frames, truth)


def _table_one(client: MlflowClient, runs: Sequence[TrackedRun]) -> pd.DataFrame | None:
    for run in runs:
        if run.tags.get("verb") == "compare" and run.status == "FINISHED":
            names = {entry.path for entry in client.list_artifacts(run.id)}
            if "table1.csv" in names:
                path = resolve_artifact(run.id, "table1.csv")
                return pd.read_csv(path, dtype=str, keep_default_na=False)
    return None


def _broken(runs: Sequence[TrackedRun]) -> list[dict[str, str]]:
    found = []
    for run in runs:
        tags, status = run.tags, run.status
        reasons = [tags.get("reason", "")] if status != "FINISHED" else []
        for tag, text in tags.items():
            if tag.startswith("not_"):
                reasons.append(f"{tag.replace('_', ' ')}: {text}")
        if status != "FINISHED" or reasons:
            told = "; ".join(reason for reason in reasons if reason) or "no reason recorded"
            told = re.sub(r"(?:/[^\s/'\":]+)+/", "…/", told)  # a path may tell of people and machines
            found.append({"run": str(run.name), "status": status.lower(), "reason": told})
    return found
