"""All folds of one arm, each a run of its own, under one parent run that goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

import mufnet_lightning
from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.record import record_pooled_explanations
from mufnet_lightning.study.pooling import METRICS, PRINTED, fold_results, read_results, record_pooled
from mufnet_lightning.system.locks import Lock, alone, terminated_as_interrupted
from mufnet_lightning.tracking.artifacts import beside_baseline
from mufnet_lightning.tracking.checkpoints import checkpoint_folder, read_checkpoint
from mufnet_lightning.tracking.provenance import commit_tags
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    children_of,
    find_runs,
    mlflow_client,
    open_study,
    tracking_uri,
)
from mufnet_lightning.vocabulary import arm_name

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI


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
    from mufnet_lightning.training.cli import MufnetCLI
    from mufnet_lightning.training.messages import quiet_libraries

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
    with (
        alone(
            STORE_FOLDER / "locks" / f"cv-{_key(cli.composed_config(), cli)}",
            "this cross-validation is running already, or a fold of one that was killed still is",
        ) as lock,
        terminated_as_interrupted(),
    ):
        return _run(cli, arguments, folds, only, restart, lock)


def _run(
    cli: MufnetCLI,
    arguments: Sequence[str],
    folds: Sequence[int],
    only: Sequence[int] | None,
    restart: bool,
    lock: Lock,
) -> str:
    parent = _parent_run(cli, restart)
    run_id, name = parent.id, parent.name
    done, broken = _children_by_fold(parent)
    if parent.status == "FINISHED" and set(done) == set(folds):
        _say(f"{name}: run {run_id} has all folds")
        _print(read_results(run_id)[list(PRINTED)], name, run_id)
        return str(run_id)
    if done:
        _say(f"{name}: going on with run {run_id}; folds {_listed(done)} are done")
    store = mlflow_client()
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
        table = fold_results(done)
        left = [fold for fold in folds if fold not in done]
        if not left:
            table = record_pooled(parent, table, done, cli.evaluation.baseline)
            record_pooled_explanations(parent, done)
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


def _check_every_fold(cli: MufnetCLI) -> list[int]:
    data = cli.datamodule
    trainer = cli.config["fit"].trainer
    for name, refused in (("logger", False), ("fast_dev_run", True), ("enable_checkpointing", False)):
        if trainer[name] is not None and bool(trainer[name]) is refused:
            raise InputFault(
                f"cv cannot take --trainer.{name} {str(trainer[name]).lower()}: "
                "it pools what each fold leaves in its run"
            )
    for name in ("limit_val_batches", "limit_test_batches"):
        if trainer[name] not in (None, 1.0) or isinstance(trainer[name], int):
            raise InputFault(f"cv cannot take --trainer.{name}: it pools whole parts")
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


def _parent_run(cli: MufnetCLI, restart: bool) -> TrackedRun:
    """The run to go on with, or a new one."""
    store = mlflow_client()
    config = cli.composed_config()
    study = config["tracking"]["study"]
    experiment_id = open_study(study)
    key = _key(config, cli)
    found = find_runs(experiment_id, most=1, cv_key=key)
    if found and not restart:
        return found[0]
    data = cli.datamodule
    arm = arm_name(data.modalities)
    for run in [] if restart else find_runs(experiment_id, finished=False, most=1, verb="cv", arm=arm):
        _say(
            f"{arm}-cv: the unfinished run {run.id} was of other configuration, data or code; "
            "a new one begins"
        )
    tags = {
        "arm": arm,
        "protocol": cli.protocol,
        "study": study,
        "verb": "cv",
        "cv_key": key,
        "selection": cli.selection.kind,
        **commit_tags(),
    }
    if config["tracking"]["baseline"]:
        tags["baseline"] = config["tracking"]["baseline"]
    run = TrackedRun.of(store.create_run(experiment_id, tags=tags, run_name=f"{arm}-cv"))
    store.log_text(run.id, yaml.safe_dump(config, sort_keys=False), "config.yaml")
    store.log_text(run.id, data.folds.to_csv(index=False), "folds.csv")
    return run


def _key(config: dict[str, Any], cli: MufnetCLI) -> str:
    """Names what is run: everything that may change a result, but not which fold comes first."""
    told = json.loads(json.dumps(config))
    for name in ("fold", "folds_from", "store", "num_workers"):  # table and digest are in the key
        told["data"].pop(name)
    told.pop("output")
    told.pop("explain", None)  # it changes no result
    told["tracking"] = {"baseline": told["tracking"]["baseline"]}
    what = [told, cli.datamodule.store.digest, cli.datamodule.folds.to_csv(), _code_digest()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _code_digest() -> str:
    """Of the package's source: notes and tests beside it may change while a study runs."""
    digest = hashlib.sha256()
    for file in sorted(Path(mufnet_lightning.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _children_by_fold(parent: TrackedRun) -> tuple[dict[int, TrackedRun], dict[int, Path]]:
    """The finished folds; and of the others the checkpoint of the last epoch, where there is one."""
    done: dict[int, TrackedRun] = {}
    broken: dict[int, Path] = {}
    for run in children_of(parent):
        fold = int(run.tags["fold"])
        if run.status == "FINISHED" and METRICS[0] in run.metrics:
            done.setdefault(fold, run)
            continue
        if run.status == "RUNNING":  # killed outright, so nobody closed it
            mlflow_client().set_terminated(run.id, "KILLED")
        last = checkpoint_folder(run.id) / "last.ckpt"
        if fold not in broken and _readable(last):
            broken[fold] = last
    return dict(sorted(done.items())), {f: path for f, path in broken.items() if f not in done}


def _readable(checkpoint: Path) -> bool:
    """Whether it is there and whole: a process may have been killed while it wrote."""
    try:
        read_checkpoint(str(checkpoint))
    except InputFault:
        return False
    return True


def _run_fold(
    arguments: Sequence[str], fold: int, parent_id: str, last: Path | None, lock: Lock
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
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)  # the terminal has interrupted it too; it closes its run
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        raise
    if code == 130:
        raise KeyboardInterrupt
    if code == 2:
        raise InputFault(f"fold {fold} was not run, for the reason above")
    if code:
        raise RuntimeError(f"fold {fold} failed with exit code {code}, for the reason above")


def _print(table: pd.DataFrame, name: str, run_id: str) -> None:
    print(table.to_string(float_format="{:.3f}".format))
    print(f"run {name} {run_id} in {tracking_uri()}")


def _listed(folds: Sequence[int] | Mapping[int, Any]) -> str:
    return ", ".join(str(fold) for fold in folds)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
