"""Arms side by side: Table 2, the paired tests and the figures, printed, written and recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.comparison import Level, compare_arms
from mufnet_lightning.evaluation.figures import confusion_figure
from mufnet_lightning.evaluation.part import at_level, roc_of
from mufnet_lightning.evaluation.predictions import MatchedScores, match_predictions
from mufnet_lightning.evaluation.statistics.auc import Method
from mufnet_lightning.evaluation.statistics.bootstrap import bootstrap_aucs
from mufnet_lightning.evaluation.statistics.rates import confusion, patient_scores, youden_threshold
from mufnet_lightning.study.pooling import read_results
from mufnet_lightning.study.selection import selection_optimism
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.tracking.arms import ScoredArm, read_arm
from mufnet_lightning.tracking.artifacts import log_figures, log_json
from mufnet_lightning.tracking.provenance import commit_tags, git_commit
from mufnet_lightning.tracking.runs import Tracking, find_runs, mlflow_client, new_run, open_study


def compare(
    references: Sequence[str],
    level: Level = "image",
    method: Method | None = None,
    threshold: str = "0.5",
    bootstrap: int = 0,
    selection: bool = False,
) -> Comparison:
    """Compare arms on the images that all of them scored.

    Args:
        references: predictions CSVs, runs, or cross-validations' parent runs (see `read_arm`).
        level, method: see `compare_arms`.
        threshold: `0.5`, or `youden`: of each arm on its own validation scores; where each fold has
            scored its own test patients, of each fold.
        bootstrap: resamples of patients for one more interval of the AUC; 0 for none.
        selection: also measure what choosing the epoch on the test set would have gained.

    Raises:
        InputFault: an arm cannot be read, the arms were not scored on the same images and patients,
            or something is asked that their files or runs do not hold.
    """
    arms = _with_own_names([read_arm(reference) for reference in references])
    parts = {arm.name: arm.part("test") for arm in arms}
    matched = match_predictions(parts)
    thresholds = 0.5 if threshold == "0.5" else _youden(arms, parts, matched, level)
    result = compare_arms(
        matched.names, matched.labels, matched.scores, matched.patients, level, method, thresholds
    )
    result["threshold"] = threshold
    labels, scores = at_level(matched, level)
    if bootstrap:
        drawn = _bootstrap(matched, level, bootstrap)
        for row, interval in zip(result["arms"], drawn, strict=True):
            row["auc_bootstrap_ci"] = interval
    for row, arm in zip(result["arms"], arms, strict=True):
        folds = _over_folds(arm)
        if folds:
            row["over_folds"] = folds
    if selection:
        result["selection"] = [selection_optimism(arm) for arm in arms]
    cuts = np.broadcast_to(np.asarray(thresholds), matched.scores.shape)
    counted = at_level(MatchedScores(**{**vars(matched), "scores": cuts}), level)[1]
    figures = {
        "roc": roc_of(result, labels, scores),
        "confusion": confusion_figure(
            {
                name: confusion(labels, values, cut)
                for name, values, cut in zip(matched.names, scores, counted, strict=True)
            }
        ),
    }
    return Comparison(arms, matched, result, figures)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a folder, which is made; each appears whole or not at all.

    Raises:
        InputFault: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in {"tests.csv", "selection.csv"} - set(files):  # of an earlier call
            (folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / name)
    except OSError as error:
        raise InputFault(f"--out {folder} cannot be written: {error.strerror}") from None


def record_comparison(comparison: Comparison, study: str | None = None) -> str:
    """Record it as an MLflow run of its own that names the runs it compares; returns the run's id.

    Args:
        comparison: what to record.
        study: MLflow experiment; that of the first run compared unless told, else `mufnet`. Where
            it has the very same result already, nothing is added.
    """
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
    what = [result, [run.id for run in runs.values()], git_commit()]
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    for same in find_runs(experiment_id, finished=True, most=1, compare_key=key):
        return same.id
    tags = {
        "compare_key": key,
        "verb": "compare",
        "study": study,
        "level": result["level"],
        "method": result["method"],
        "compares": ",".join(run.id for run in runs.values()),
        **commit_tags(),
    }
    name = "-".join([f"compare-{result['level']}s", *(arm.name for arm in comparison.arms)])
    with new_run(experiment_id, name, tags) as run_id:
        names = _metric_names([row["name"] for row in result["arms"]])
        for row in result["arms"]:
            store.log_metric(run_id, f"auc/{names[row['name']]}", row["auc"])
        for test in result["tests"]:
            pair = f"{names[test['a']]}-{names[test['b']]}"
            store.log_metric(run_id, f"auc_difference/{pair}", test["auc_difference"])
            store.log_metric(run_id, f"p/{pair}", test["p"])
        for file, content in comparison.files().items():
            if not file.endswith((".png", ".pdf", ".json")):
                store.log_text(run_id, content.decode(), file)
        log_json(store, run_id, result, "compare.json")
        log_figures(store, run_id, comparison.figures)
        store.set_tag(run_id, "mlflow.note.content", comparison.note())
    return run_id


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
        named.append(ScoredArm(arm.reference, unique, arm.table, arm.run))
    return named


def _youden(
    arms: Sequence[ScoredArm],
    parts: Mapping[str, pd.DataFrame],
    matched: MatchedScores,
    level: Level,
) -> np.ndarray:
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
    labels, scores = rows["label"].to_numpy(), rows["score"].to_numpy()
    if level == "patient":
        pooled = patient_scores(labels, scores, rows["patient_id"].to_numpy(dtype=object))
        labels, scores = pooled.labels, pooled.scores[0]
    return youden_threshold(labels, scores).value


def _bootstrap(matched: MatchedScores, level: Level, replicates: int) -> list[list[float]]:
    labels, scores = at_level(matched, level)
    patients = matched.patients if level == "image" else np.arange(len(labels))
    found = bootstrap_aucs(labels, scores, patients, replicates)
    intervals = [found.interval(arm) for arm in range(len(scores))]
    return [[interval.low, interval.high] for interval in intervals]


def _over_folds(arm: ScoredArm) -> dict[str, Any] | None:
    """Mean and t interval over the folds of a cross-validation."""
    if arm.run is None or arm.run.tags.get("verb") != "cv":
        return None
    table = read_results(arm.run.id)
    return {
        name: {"value": table.at["mean", name], "ci": table.loc[["ci_low", "ci_high"], name].tolist()}
        for name in table.columns
        if table[name].notna().all()
    }


def _metric_names(names: Sequence[str]) -> dict[str, str]:
    """What MLflow takes, by name: letters, digits and a few signs, not too many; no two alike."""
    found: dict[str, str] = {}
    for number, name in enumerate(names):
        plain = "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in name)[:80]
        found[name] = plain if plain not in found.values() else f"{plain}_{number}"
    return found
