"""Arms side by side: Table 2, the paired tests and the figures, printed, written and recorded."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.figures import confusion_figure
from mufnet_lightning.evaluation.part_figures import roc_of
from mufnet_lightning.evaluation.predictions import MatchedScores, match_predictions
from mufnet_lightning.evaluation.results import ArmComparison
from mufnet_lightning.evaluation.statistics.checks import Floats
from mufnet_lightning.evaluation.statistics.intervals import FoldSpread, fold_spread
from mufnet_lightning.evaluation.statistics.rates import confusion_of, youden_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.study.comparison_note import ARMS_FILE, comparison_note
from mufnet_lightning.study.out_folder import write_files
from mufnet_lightning.study.pooling import read_results
from mufnet_lightning.study.selection import selection_optimism
from mufnet_lightning.study.subgroup_columns import subgroups_by
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import log_figures, log_json
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.provenance import git_commit
from mufnet_lightning.tracking.runs import (
    Tracking,
    find_runs,
    mlflow_client,
    open_study,
)
from mufnet_lightning.tracking.stores import noted_store
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.written_directly import new_run
from mufnet_lightning.vocabulary import (
    EFFECT,
    THRESHOLD,
    IntervalRule,
    Level,
    Method,
    ThresholdRule,
)

MANY_TESTS = 100
"""Of more, no metric is recorded."""
NAME_LENGTH = 250
"""Characters of a run's name, in MLflow's databases."""


def compare(
    references: Sequence[str],
    *,
    level: Level = "image",
    method: Method | None = None,
    threshold: ThresholdRule = "0.5",
    intervals: IntervalRule = "small-sample",
    margin: float | None = None,
    effect: float = EFFECT,
    selection: bool = False,
    by: Sequence[str] = (),
    cohort: Path | None = None,
    planned: Sequence[tuple[str, str]] | None = None,
    waiting: int = 0,
) -> Comparison:
    """Compare arms on the images that all of them scored.

    Args:
        references: predictions CSVs, runs, or cross-validations' parent runs (see `read_arm`).
        level, method: see `compare_arms`.
        threshold: `0.5`, or `youden`: of each arm on its own validation scores; where each fold has
            scored its own test patients, of each fold.
        intervals, margin, effect: see `compare_arms`.
        selection: also measure what choosing the epoch on the test set would have gained.
        by: columns that subgroups are made by, see `subgroups_by`; of the cohort's tables, or of the
            store that the first arm's run was scored on.
        cohort: folder of patients.csv.
        planned: names of the arms that are tested against each other, see `compare_arms`.
        waiting: see there.

    Raises:
        InputFault: an arm cannot be read, the arms were not scored on the same images and patients,
            or something is asked that their files or runs do not hold.
    """
    arms = _with_own_names([read_arm(reference) for reference in references])
    parts = {arm.name: arm.part("test") for arm in arms}
    matched = match_predictions(parts)
    cuts = np.full(matched.scores.shape, THRESHOLD)
    if threshold == "youden":
        cuts = _youden(arms, parts, matched, level)
    chosen = [arm.name for arm in arms if arm.chosen_by("test")]
    result = compare_arms(
        matched,
        level,
        method,
        cuts,
        intervals=intervals,
        margin=margin,
        effect=effect,
        chosen=chosen,
        planned=planned,
        waiting=waiting,
    )
    counted = matched.at(level)
    result = _with_folds(result, arms)
    optimism = [selection_optimism(arm) for arm in arms] if selection else None
    called = cuts if level == "image" else matched.over_patients(cuts)
    matrices = {
        name: confusion_of(counted, number, called[number]) for number, name in enumerate(matched.names)
    }
    figures = {"roc": roc_of(result, counted), "confusion": confusion_figure(matrices)}
    parted = subgroups_by(matched, by, cohort, _manifest(arms), chosen) if by else ()
    return Comparison(arms, matched, result, threshold, optimism, figures, parted)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write tables and figures into a folder, in place of those of an earlier comparison.

    Raises:
        InputFault: the folder cannot be written to.
    """
    files = comparison.files()
    write_files(files, folder)
    for name in {"tests.csv", "rate_tests.csv", "selection.csv", "subgroups.csv"} - set(files):
        (folder / name).unlink(missing_ok=True)


def record_comparison(comparison: Comparison, study: str | None = None) -> str:
    """Record it as an MLflow run of its own that names the runs it compares; returns the run's id.

    Of more than a hundred tests the differences and their p are in its files alone: the UI draws a
    chart of every metric.

    Args:
        comparison: what to record.
        study: MLflow experiment; that of the first run compared unless given, else `mufnet`. Where
            it has the very same result already, nothing is added.
    """
    from mlflow.entities import Metric
    from mlflow.utils.validation import MAX_METRICS_PER_BATCH

    store = mlflow_client()
    runs = {arm.name: arm.run for arm in comparison.arms if arm.run}
    first = next(iter(runs.values()), None)
    if study is None and first is not None:
        experiment_id = first.experiment_id
        study = store.get_experiment(experiment_id).name
    else:
        study = study or Tracking.study
        experiment_id = open_study(study)
    result = comparison.result
    content = comparison.as_json()
    what = [content, [run.id for run in runs.values()], git_commit()]
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    for same in find_runs(experiment_id, finished=True, most=1, compare_key=key):
        return same.id
    tags = run_tags(
        "compare",
        study,
        compare_key=key,
        level=result.level,
        method=result.method,
        compares=",".join(run.id for run in runs.values()),
    )
    with new_run(experiment_id, _run_name(comparison), tags) as run_id:
        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, 0) for name, value in _metrics(result)]
        for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
            store.log_batch(run_id, metrics[start : start + MAX_METRICS_PER_BATCH])
        for file, table in comparison.tables().items():
            store.log_text(run_id, table, file)
        log_json(store, run_id, content, "compare.json")
        sources = {arm.name: arm.run.id if arm.run else arm.reference for arm in comparison.arms}
        log_json(store, run_id, sources, ARMS_FILE)
        log_figures(store, run_id, comparison.figures)
        store.set_tag(run_id, NOTE, comparison_note(comparison))
    return run_id


def _run_name(comparison: Comparison) -> str:
    """With the names of the arms, where they are few."""
    names = [arm.name for arm in comparison.arms]
    level = f"compare-{comparison.result.level}s"
    name = "-".join([level, *names])
    return name if len(name) <= NAME_LENGTH else f"{level}-{len(names)}-arms"


def _metrics(result: ArmComparison) -> Iterator[tuple[str, float]]:
    """Names and values, as they are recorded."""
    names = _metric_names([arm.name for arm in result.arms])
    yield from ((f"auc/{names[arm.name]}", arm.auc) for arm in result.arms)
    for test in result.tests if len(result.tests) <= MANY_TESTS else ():
        pair = f"{names[test.a]}-{names[test.b]}"
        yield f"auc_difference/{pair}", test.auc_difference
        if np.isfinite(test.p):
            yield f"p/{pair}", test.p


def _manifest(arms: Sequence[ScoredArm]) -> pd.DataFrame | None:
    """Of the store that the first arm with a run was scored on, where it is still there."""
    for arm in arms:
        store = (arm.run.tags.get("store") or arm.run.params.get("data.store")) if arm.run else None
        if arm.run is None or not store or not (Path(noted_store(store)) / "manifest.csv").is_file():
            continue
        opened = CropStore.open(Path(noted_store(store)))
        digests = [one.digest for one in arm.run.datasets]
        if all(opened.digest.startswith(digest) for digest in digests):  # another may lie there by now
            return opened.manifest
    return None


def _with_own_names(arms: list[ScoredArm]) -> list[ScoredArm]:
    """No two alike: where they are, the run's name, the file's folder, or a number tells them apart."""
    named: list[ScoredArm] = []
    for arm in arms:
        name = arm.name
        if sum(other.name == name for other in arms) > 1:
            more = arm.run.name if arm.run else Path(arm.reference).parent.name
            name = more if more and more != name else name
        taken = {other.name for other in named}
        unique = next(
            text
            for n in range(1, len(arms) + 2)
            if (text := name if n == 1 else f"{name} {n}") not in taken
        )
        named.append(replace(arm, name=unique))
    return named


def _with_folds(result: ArmComparison, arms: Sequence[ScoredArm]) -> ArmComparison:
    """With the spread over folds of those that are cross-validations, but for those chosen here."""
    rows = [
        row if row.chosen else replace(row, over_folds=_over_folds(arm))
        for row, arm in zip(result.arms, arms, strict=True)
    ]
    return replace(result, arms=tuple(rows))


def _youden(
    arms: Sequence[ScoredArm],
    parts: Mapping[str, pd.DataFrame],
    matched: MatchedScores,
    level: Level,
) -> Floats:
    """(K, N): thresholds from validation scores of the very models that scored each image."""
    cuts = np.empty(matched.scores.shape)
    for number, arm in enumerate(arms):
        val, test = arm.part("val"), parts[arm.name]
        if "fold" in test and test["fold"].notna().all() and test["fold"].nunique() > 1:
            fold_of = test["fold"].to_numpy()[matched.rows[number]]
            for fold in np.unique(fold_of):
                cuts[number, fold_of == fold] = _best_cut(arm.part("val", int(fold)), level)
        elif "pair_id" in val and not val["pair_id"].is_unique:
            raise InputFault(f"{arm.reference}: its validation part holds scores of several models")
        else:
            cuts[number] = _best_cut(val, level)
    return cuts


def _best_cut(rows: pd.DataFrame, level: Level) -> float:
    patients = rows["patient_id"].to_numpy(dtype=object)
    scores = Scores.of(rows["label"].to_numpy(), rows["score"].to_numpy(), patients)
    return youden_of(scores.at(level)).value


def _over_folds(arm: ScoredArm) -> dict[str, FoldSpread] | None:
    """Of a cross-validation: each metric's spread over the folds."""
    if arm.run is None or not arm.run.is_cv:
        return None
    table = read_results(arm.run.id)
    folds = table[table.index.str.isdigit()]
    return {str(name): fold_spread(values) for name, values in folds.items() if values.notna().all()}


def _metric_names(names: Sequence[str]) -> dict[str, str]:
    """What MLflow takes, by name: letters, digits and a few signs, not too many; no two alike."""
    taken: dict[str, str] = {}
    for number, name in enumerate(names):
        plain = "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in name)[:80]
        taken[name] = plain if plain not in taken.values() else f"{plain}_{number}"
    return taken
