"""All folds of one arm, each a run of its own, under one parent run that goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

import mufnet_lightning
from mufnet_lightning import tracking
from mufnet_lightning.callbacks.artifacts import (
    beside_baseline,
    log_figures,
    log_json,
    record_part,
)
from mufnet_lightning.callbacks.scored_arm import ScoredArm, read_arm
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.figures import roc_folds_figure
from mufnet_lightning.evaluation.intervals import mean_t

if TYPE_CHECKING:
    from mlflow.entities import Run

    from mufnet_lightning.experiment import MufnetCLI

RATES = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")
METRICS = tuple(f"test/{prefix}{name}" for prefix in ("", "patient_") for name in RATES)
PRINTED = tuple(
    f"test/{name}" for name in ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")
)
FOLDS_RESULTS = "folds_results.csv"


def cross_validate(
    arguments: Sequence[str],
    restart: bool = False,
    only: Sequence[int] | None = None,
    folds_from: str | None = None,
) -> str:
    """Run the folds that are not done yet; when all are, record and print what they give together.

    The parent run then has, as `test/...`, the numbers of the pooled test scores (see
    `pool_predictions`), and for each metric mean, SD and t interval over the folds.

    Args:
        arguments: of `mufnet fit`: `--config FILE...` and overrides.
        restart: leave an earlier parent run of this very configuration, data and code alone, and
            start a new one.
        only: these folds alone; a later call runs the others.
        folds_from: take the split from this folds.csv or run, as other arms of the study do.

    Returns:
        The parent run's id.

    Raises:
        InputFault: the configuration cannot be run, and nothing is recorded then, except where it
            shows in a later fold only; or this cross-validation is running already.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    from mufnet_lightning.experiment import MufnetCLI, quiet_libraries

    quiet_libraries()
    if any(word.partition("=")[0] == "--ckpt_path" for word in arguments):
        raise InputFault("cv cannot take --ckpt_path: a stopped cv goes on by itself")
    if folds_from is not None:
        arguments = [*arguments, f"--data.folds_from={folds_from}"]
    cli = MufnetCLI.parse(["fit", *arguments])
    folds = _check_every_fold(cli)
    strange = sorted(set(only or ()) - set(folds))
    if strange:
        raise InputFault(f"--fold {strange[0]}: the folds are {_listed(folds)}")
    with _alone(_key(cli.composed_config(), cli)) as lock, _terminated_as_interrupted():
        return _run(cli, arguments, folds, only, restart, lock)


def _run(
    cli: MufnetCLI,
    arguments: Sequence[str],
    folds: Sequence[int],
    only: Sequence[int] | None,
    restart: bool,
    lock: int,
) -> str:
    parent = _parent_run(cli, restart)
    run_id, name = parent.info.run_id, parent.info.run_name
    done, broken = _children_by_fold(parent)
    if parent.info.status == "FINISHED" and set(done) == set(folds):
        _say(f"{name}: run {run_id} has all folds")
        _print(read_results(run_id)[list(PRINTED)], name, run_id)
        return str(run_id)
    if done:
        _say(f"{name}: going on with run {run_id}; folds {_listed(done)} are done")
    store = tracking.client()
    store.update_run(run_id, status="RUNNING")
    try:
        for fold in folds if only is None else sorted(set(only)):
            if fold not in done:
                last = broken.get(fold)
                _say(
                    f"{name}: fold {fold} of {_listed(folds)}"
                    + (", from its last epoch" if last else "")
                )
                _run_fold(arguments, fold, run_id, last, lock)
        done, _ = _children_by_fold(parent)
        table = _results(done)
        left = [fold for fold in folds if fold not in done]
        if not left:
            table = _record(parent, table, done, cli.evaluation.baseline)
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        store.set_terminated(run_id, "KILLED" if killed else "FAILED")
        raise
    if left:
        store.update_run(run_id, status="SCHEDULED")
    else:
        store.set_terminated(run_id, "FINISHED")
    if left:
        _say(f"folds {_listed(left)} are still to be run; then the folds are pooled")
    _print(table[list(PRINTED)], name, run_id)
    return str(run_id)


@dataclass(frozen=True)
class PooledPredictions:
    """What the folds say together, in the form of a predictions CSV.

    Attributes:
        table: rows of `test` and `val`. An image that several folds tested has the mean of their
            scores and weights and no fold (the fold ensemble); one that a single fold tested has
            that fold's.
        ensemble: whether any test image was scored by more than one fold.
        out_of_fold: whether the validation rows can be pooled: each image once, and no test patient.
    """

    table: pd.DataFrame
    ensemble: bool
    out_of_fold: bool


def pool_predictions(folds: Mapping[int, pd.DataFrame]) -> PooledPredictions:
    """Pool the predictions of all folds.

    Protocol `paper`: the test rows are the ensemble of all folds on the one test part, the validation
    rows are out of fold: every patient of the rest once, by a model that did not train on them
    (though its epoch was selected on them). `nested` and `center`: the test rows are out of fold, every
    patient once, by a model that never saw them.

    Args:
        folds: the predictions of each fold, see `prediction_table`.
    """
    rows = pd.concat([table.assign(fold=fold) for fold, table in folds.items()], ignore_index=True)
    test, val = rows[rows["split"] == "test"], rows[rows["split"] == "val"]
    values = ["score", "weight_bmode", "weight_ceus"]
    by_image = test.groupby("pair_id", sort=False)
    pooled = by_image.first()
    pooled[values] = by_image[values].mean()
    several = by_image.size() > 1
    pooled["fold"] = pooled["fold"].astype("Int64").mask(several)
    table = pd.concat([pooled.reset_index()[list(rows.columns)], val], ignore_index=True)
    apart = val["pair_id"].is_unique and not val["pair_id"].isin(pooled.index).any()
    return PooledPredictions(table, bool(several.any()), bool(apart))


def _check_every_fold(cli: MufnetCLI) -> list[int]:
    data = cli.datamodule
    trainer = cli.config["fit"].trainer
    for name, refused in (("logger", False), ("fast_dev_run", True), ("enable_checkpointing", False)):
        if trainer[name] is not None and bool(trainer[name]) is refused:
            raise InputFault(
                f"cv cannot take --trainer.{name} {str(trainer[name]).lower()}: "
                "it pools what each fold leaves in its run"
            )
    cli.check_selection()
    data.prepare_data()
    folds = sorted(int(fold) for fold in data.folds["fold"].unique())
    for fold in folds:
        data.fold = fold
        data.setup("fit")
        cli.check_unseen("val", "test")
    baseline = cli.evaluation.baseline
    if baseline:  # what is compared in the end is what all folds scored together
        tested = data.folds.loc[data.folds["part"] == "test", "patient_id"]
        manifest = data.store.manifest.iloc[data.usable_rows]
        rows = manifest[manifest["patient_id"].isin(set(tested))].reset_index(drop=True)
        baseline.part("test")  # says so if there is none
        beside_baseline("this arm", rows.assign(score=0.5), baseline, "test")
    cli.model.initialise_weights()
    return folds


def _parent_run(cli: MufnetCLI, restart: bool) -> Run:
    """The run to go on with, or a new one."""
    store = tracking.client()
    config = cli.composed_config()
    study = config["tracking"]["study"]
    experiment_id = tracking.open_study(study)
    key = _key(config, cli)
    found = store.search_runs([experiment_id], f"tags.cv_key = '{key}'", max_results=1)
    if found and not restart:
        return found[0]
    data = cli.datamodule
    arm = tracking.arm_name(data.modalities)
    alike = f"tags.verb = 'cv' AND tags.arm = '{arm}' AND attributes.status != 'FINISHED'"
    for run in [] if restart else store.search_runs([experiment_id], alike, max_results=1):
        _say(
            f"{arm}-cv: the unfinished run {run.info.run_id} was of other configuration, data or code; "
            "a new one begins"
        )
    tags = {
        "arm": arm,
        "protocol": cli.protocol,
        "study": study,
        "verb": "cv",
        "cv_key": key,
        "selection": cli.selection.kind,
        **tracking.commit_tags(),
    }
    if config["tracking"]["baseline"]:
        tags["baseline"] = config["tracking"]["baseline"]
    run = store.create_run(experiment_id, tags=tags, run_name=f"{arm}-cv")
    store.log_text(run.info.run_id, yaml.safe_dump(config, sort_keys=False), "config.yaml")
    store.log_text(run.info.run_id, data.folds.to_csv(index=False), "folds.csv")
    return run


def _key(config: dict[str, Any], cli: MufnetCLI) -> str:
    """Names what is run: everything that may change a result, but not which fold comes first."""
    told = json.loads(json.dumps(config))
    for name in ("fold", "folds_from", "store", "num_workers"):  # table and digest are in the key
        told["data"].pop(name)
    told.pop("output")
    told["tracking"] = {"baseline": told["tracking"]["baseline"]}
    what = [told, cli.datamodule.store.digest, cli.datamodule.folds.to_csv(), _code_digest()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _code_digest() -> str:
    """Of the package's source: notes and tests beside it may change while a study runs."""
    digest = hashlib.sha256()
    for file in sorted(Path(mufnet_lightning.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone(key: str) -> Iterator[int]:
    """Hold the lock of a cross-validation; its folds hold it too, so one that outlives us is known.

    Yields:
        The lock's file descriptor, for the folds' processes.

    Raises:
        InputFault: somebody else holds it.
    """
    folder = tracking.STORE_FOLDER / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"cv-{key}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputFault(
                "this cross-validation is running already, or a fold of one that was killed still is "
                f"(a process holds {file.name})"
            ) from None
        yield file.fileno()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as from a cluster's scheduler, ends the run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def children_of(parent: Run) -> list[Run]:
    """The fits under a parent run, the latest first."""
    store = tracking.client()
    wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.verb = 'fit'"
    return list(store.search_runs([parent.info.experiment_id], wanted))


def _children_by_fold(parent: Run) -> tuple[dict[int, Run], dict[int, Path]]:
    """The finished folds; and of the others the checkpoint of the last epoch, where there is one."""
    done: dict[int, Run] = {}
    broken: dict[int, Path] = {}
    for run in children_of(parent):
        fold = int(run.data.tags["fold"])
        if run.info.status == "FINISHED" and METRICS[0] in run.data.metrics:
            done.setdefault(fold, run)
            continue
        if run.info.status == "RUNNING":  # killed outright, so nobody closed it
            tracking.client().set_terminated(run.info.run_id, "KILLED")
        last = tracking.checkpoint_folder(run.info.run_id) / "last.ckpt"
        if fold not in broken and _readable(last):
            broken[fold] = last
    return dict(sorted(done.items())), {f: path for f, path in broken.items() if f not in done}


def _readable(checkpoint: Path) -> bool:
    """Whether it is there and whole: a process may have been killed while it wrote."""
    try:
        tracking.read_checkpoint(str(checkpoint))
    except InputFault:
        return False
    return True


def _run_fold(
    arguments: Sequence[str], fold: int, parent_id: str, last: Path | None, lock: int
) -> None:
    """In a process of its own: a fold leaves nothing behind for the next one to start from."""
    words = [
        *arguments,
        f"--data.fold={fold}",
        f"--tracking.parent_run={parent_id}",
        "--tracking.baseline=null",  # the folds together are tested against it
    ]
    if last:
        words.append(f"--ckpt_path={last}")
    process = subprocess.Popen(
        [sys.executable, "-m", "mufnet_lightning", "fit", *words],
        stdout=sys.stderr.fileno(),
        pass_fds=[lock],
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(timeout=5)  # the terminal has interrupted it too; it closes its run
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        raise
    if code == 130:
        raise KeyboardInterrupt
    if code == 2:
        raise InputFault(f"fold {fold} was not run, for the reason above")
    if code:
        raise RuntimeError(f"fold {fold} failed with exit code {code}, for the reason above")


def _results(runs: Mapping[int, Run]) -> pd.DataFrame:
    rows = [{name: run.data.metrics.get(name, np.nan) for name in METRICS} for run in runs.values()]
    return pd.DataFrame(rows, index=pd.Index([str(fold) for fold in runs], name="fold"), dtype=float)


def _record(
    parent: Run, table: pd.DataFrame, runs: Mapping[int, Run], baseline: ScoredArm | None
) -> pd.DataFrame:
    """Everything that the folds give together; returns the table with mean, SD and interval."""
    store, run_id = tracking.client(), parent.info.run_id
    arm = parent.data.tags["arm"]
    numbers: dict[str, float] = {}
    summary: dict[str, list[float]] = {}
    for name in METRICS:
        values = table[name]
        if values.isna().any() or len(values) < 2:  # a rate that some fold does not define
            summary[name] = [np.nan] * 4
            continue
        mean = mean_t(values)
        summary[name] = [mean.value, float(values.std()), mean.low, mean.high]
        told = ("fold_mean", "fold_sd", "fold_ci_low", "fold_ci_high")
        numbers |= {f"{name}_{key}": value for key, value in zip(told, summary[name], strict=True)}
    below = pd.DataFrame(summary, index=pd.Index(["mean", "sd", "ci_low", "ci_high"], name="fold"))
    table = pd.concat([table, below])

    children = {fold: read_arm(run.info.run_id) for fold, run in runs.items()}
    pooled = pool_predictions({fold: child.table for fold, child in children.items()})
    store.log_text(run_id, pooled.table.to_csv(index=False), tracking.PREDICTIONS)
    store.log_text(run_id, table.to_csv(), FOLDS_RESULTS)
    for part in ("test", "val") if pooled.out_of_fold else ("test",):
        rows = pooled.table[pooled.table["split"] == part].reset_index(drop=True)
        found = record_part(store, run_id, part, beside_baseline(arm, rows, baseline, part), rows)
        numbers |= {f"{part}/{name}": value for name, value in found.items()}
    if len(children) > 1:
        tests = [child.part("test") for child in children.values()]
        figure = roc_folds_figure([(rows["label"], rows["score"]) for rows in tests])
        log_figures(store, run_id, {"test_roc_folds": figure})
    for name, value in numbers.items():
        store.log_metric(run_id, name, value)
    store.set_tag(run_id, "mlflow.note.content", _note(arm, table, pooled, numbers))
    log_json(store, run_id, {str(f): run.info.run_id for f, run in runs.items()}, "folds.json")
    return table


def _note(
    arm: str, table: pd.DataFrame, pooled: PooledPredictions, numbers: Mapping[str, float]
) -> str:
    """What the MLflow UI shows as the parent run's description."""

    def with_interval(name: str) -> str:
        low, high = numbers[f"{name}_ci_low"], numbers[f"{name}_ci_high"]
        return f"{numbers[name]:.3f} ({low:.3f} to {high:.3f})"

    test = (
        "the mean score of all folds' models (fold ensemble) on the test patients"
        if pooled.ensemble
        else "every patient once, by the fold's model that never saw that patient"
    )
    lines = [
        f"Cross-validation of arm **{arm}**. `test/...` is pooled: {test}.",
        "",
        f"- AUC over patients {with_interval('test/patient_auc')}, DeLong",
        f"- AUC over images {with_interval('test/auc')}, clustered by patient (Obuchowski)",
    ]
    if pooled.out_of_fold:
        lines.append(
            f"- `val/...` is pooled out of fold: AUC over patients {with_interval('val/patient_auc')}; "
            "each fold's epoch was selected on these patients"
        )
    shown = table[list(PRINTED)].rename(columns=lambda name: name.removeprefix("test/"))
    head = ["fold", *shown.columns]
    lines += ["", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [
        f"| {fold} | {' | '.join(f'{value:.3f}' for value in row)} |"
        for fold, row in zip(shown.index, shown.to_numpy(), strict=True)
    ]
    return "\n".join([*lines, "", "`ci_low`, `ci_high`: mean ± t over the folds, as in the paper."])


def read_results(run_id: str) -> pd.DataFrame:
    """The results by fold, and below them mean, sd, ci_low, ci_high, of a finished parent run."""
    path = tracking.resolve_artifact(run_id, FOLDS_RESULTS)
    return pd.read_csv(path, dtype={"fold": str}).set_index("fold")


def _print(table: pd.DataFrame, name: str, run_id: str) -> None:
    print(table.to_string(float_format="{:.3f}".format))
    print(f"run {name} {run_id} in {tracking.tracking_uri()}")


def _listed(folds: Sequence[int] | Mapping[int, Any]) -> str:
    return ", ".join(str(fold) for fold in folds)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
