"""All folds of one arm, each a run of its own, under one parent run that goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from mufnet_lightning import tracking
from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    from mlflow.entities import Run

    from mufnet_lightning.experiment import MufnetCLI

METRICS = tuple(
    f"test/{name}" for name in ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")
)


def cross_validate(arguments: Sequence[str], restart: bool = False) -> pd.DataFrame:
    """Run the folds that are not done yet; print and record mean and spread over all of them.

    Args:
        arguments: of `mufnet fit`: `--config FILE...` and overrides.
        restart: leave an earlier parent run of this very configuration, data and code alone, and
            start a new one.

    Returns:
        A row a fold, a column a metric (see `METRICS`).

    Raises:
        InputFault: the configuration cannot be run; nothing is recorded then, except where it shows
            in a later fold only.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    from mufnet_lightning.experiment import MufnetCLI, quiet_libraries

    quiet_libraries()
    if any(word.partition("=")[0] == "--ckpt_path" for word in arguments):
        raise InputFault("cv cannot take --ckpt_path: a stopped cv goes on by itself")
    cli = MufnetCLI.parse(["fit", *arguments])
    folds = _check_every_fold(cli)
    parent, done = _parent_run(cli, restart)
    store = tracking.client()
    name = parent.info.run_name
    if done:
        _say(f"{name}: going on with run {parent.info.run_id}; folds {sorted(done)} are done")
    store.update_run(parent.info.run_id, status="RUNNING")
    try:
        for fold in folds:
            if fold not in done:
                _say(f"{name}: fold {fold} of {folds[0]} to {folds[-1]}")
                _run_fold(arguments, fold, parent.info.run_id)
        table = _results(_finished_folds(parent), folds)
        _record(parent, table)
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        store.set_terminated(parent.info.run_id, "KILLED" if killed else "FAILED")
        raise
    store.set_terminated(parent.info.run_id, "FINISHED")
    print(table.round(3).to_string())
    print(f"run {name} {parent.info.run_id} in {tracking.tracking_uri()}")
    return table


def _check_every_fold(cli: MufnetCLI) -> list[int]:
    data = cli.datamodule
    trainer = cli.config["fit"].trainer
    for name, wrong in (("logger", False), ("fast_dev_run", True), ("enable_checkpointing", False)):
        value = trainer[name]
        if (value is False) if not wrong else value:
            raise InputFault(
                f"cv cannot take --trainer.{name} {str(value).lower()}: "
                "it pools what each fold leaves in its run"
            )
    cli.check_selection()
    data.prepare_data()
    folds = sorted(int(fold) for fold in data.folds["fold"].unique())
    for fold in folds:
        data.fold = fold
        data.setup("fit")
        cli.check_unseen("val", "test")
    cli.model.initialise_weights()
    return folds


def _parent_run(cli: MufnetCLI, restart: bool) -> tuple[Run, dict[int, Run]]:
    """The run to go on with, or a new one; and the folds that it has."""
    store = tracking.client()
    config = cli.composed_config()
    study = config["tracking"]["study"]
    experiment_id = tracking.open_study(study)
    key = _key(config, cli)
    found = store.search_runs([experiment_id], f"tags.cv_key = '{key}'", max_results=1)
    if found and not restart:
        done = _finished_folds(found[0])
        for run in _children(found[0]):
            if run.info.status == "RUNNING":  # killed outright, so nobody closed it
                store.set_terminated(run.info.run_id, "KILLED")
        return found[0], done
    data = cli.datamodule
    arm = tracking.arm_name(data.modalities)
    tags = {
        "arm": arm,
        "protocol": cli.protocol,
        "study": study,
        "verb": "cv",
        "cv_key": key,
        "selection": cli.selection.kind,
    }
    commit = tracking.git_commit()
    if commit:
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit}
    run = store.create_run(experiment_id, tags=tags, run_name=f"{arm}-cv")
    store.log_text(run.info.run_id, yaml.safe_dump(config, sort_keys=False), "config.yaml")
    store.log_text(run.info.run_id, data.folds.to_csv(index=False), "folds.csv")
    return run, {}


def _key(config: dict[str, Any], cli: MufnetCLI) -> str:
    """Names what is run: everything that may change a result, and not which fold is first."""
    told = json.loads(json.dumps(config))
    told["data"].pop("fold")
    told.pop("tracking")
    what = [told, cli.datamodule.store.digest, cli.datamodule.folds.to_csv(), tracking.git_commit()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _children(parent: Run) -> list[Run]:
    wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(tracking.client().search_runs([parent.info.experiment_id], wanted))


def _finished_folds(parent: Run) -> dict[int, Run]:
    return {
        int(run.data.tags["fold"]): run
        for run in _children(parent)
        if run.info.status == "FINISHED" and METRICS[0] in run.data.metrics
    }


def _run_fold(arguments: Sequence[str], fold: int, parent_id: str) -> None:
    """In a process of its own: a fold leaves nothing behind for the next one to start from."""
    words = [*arguments, f"--data.fold={fold}", f"--tracking.parent_run={parent_id}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mufnet_lightning", "fit", *words], stdout=sys.stderr.fileno()
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal has interrupted it too; it closes its run
        raise
    if code == 130:
        raise KeyboardInterrupt
    if code == 2:
        raise InputFault(f"fold {fold} was not run, for the reason above")
    if code:
        raise RuntimeError(f"fold {fold} failed with exit code {code}, for the reason above")


def _results(runs: dict[int, Run], folds: Sequence[int]) -> pd.DataFrame:
    rows = [{name: runs[fold].data.metrics.get(name) for name in METRICS} for fold in folds]
    return pd.DataFrame(rows, index=pd.Index([str(fold) for fold in folds], name="fold"))


def _record(parent: Run, table: pd.DataFrame) -> None:
    store, run_id = tracking.client(), parent.info.run_id
    mean, sd = table.mean(), table.std()
    for name in METRICS:
        store.log_metric(run_id, name, float(mean[name]))
        store.log_metric(run_id, f"{name}_sd", float(sd[name]))
    table.loc["mean"], table.loc["sd"] = mean, sd
    store.log_text(run_id, table.to_csv(), "folds_results.csv")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
