"""All folds of one arm, each a run of its own, under one parent run that goes on where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.record import record_pooled_explanations
from mufnet_lightning.inference.logged_model import keep_model
from mufnet_lightning.study.arm_checks import check_every_fold
from mufnet_lightning.study.engines import run_fold
from mufnet_lightning.study.identity import identity, trains_the_same
from mufnet_lightning.study.pooling import (
    PRINTED,
    begun_note,
    fold_results,
    read_results,
    record_pooled,
)
from mufnet_lightning.system.locks import Lock, alone
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.system.signals import closing, stopping, terminated_as_interrupted
from mufnet_lightning.tracking.checkpoints import (
    last_checkpoint,
    read_checkpoint,
    remove_left_checkpoints,
)
from mufnet_lightning.tracking.left_over import may_begin_again, send_behind
from mufnet_lightning.tracking.liveness import refuse_alive
from mufnet_lightning.tracking.opening import absent, await_answer
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    children_of,
    find_run,
    find_runs,
    finished_folds,
    mlflow_client,
    open_study,
    resolve_artifact,
    tracking_uri,
)
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.written_directly import at_work

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI

log = logging.getLogger(__name__)


def cross_validate(
    arguments: Sequence[str],
    restart: bool = False,
    only: Sequence[int] | None = None,
    folds_from: str | None = None,
) -> str:
    """Run the folds that are not done yet; when all are, record and print what they give together.

    Folds run in processes of their own, so a script that calls this needs
    `if __name__ == "__main__":`.

    The parent run then has, as `test/...`, the numbers of the pooled test scores (see
    `pool_predictions`), and for each metric mean, SD and t interval over the folds.

    Args:
        arguments: of `mufnet fit`: `--config FILE...` and overrides.
        restart: leave an earlier parent run of this very configuration and data alone, and start a
            new one.
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

    if folds_from is not None:
        arguments = [*arguments, f"--data.folds_from={folds_from}"]
    with quiet_libraries():
        cli = MufnetCLI(arguments, run=False)
        folds = check_every_fold(cli)
        strange = sorted(set(only or ()) - set(folds))
        if strange:
            raise InputFault(f"--fold {strange[0]}: the folds are {_listed(folds)}")
        key = identity(
            cli.composed_config(), cli.datamodule.store.digest, csv_text(cli.datamodule.folds)
        )
        path = STORE_FOLDER / "locks" / f"cv-{key}"
        busy = (
            "this cross-validation is running already, or a fold of one that was killed still is "
            f"(a process holds {path})"
        )
        with alone(path, busy) as lock, terminated_as_interrupted():
            parent = _parent_run(cli, key, restart)
            if only is None:  # single folds may be run on several machines
                refuse_alive(parent.id)
            with at_work(parent.id):
                return _run(cli, arguments, folds, only, parent, lock)


def _run(
    cli: MufnetCLI,
    arguments: Sequence[str],
    folds: Sequence[int],
    only: Sequence[int] | None,
    parent: TrackedRun,
    lock: Lock,
) -> str:
    done = _sent_folds(parent)
    register = cli.config.tracking.register
    if parent.is_finished and set(done) == set(folds):
        log.info("%s: run %s has all folds", parent.name, parent.id)
        keep_model(parent.id, register)  # that of an earlier version, or of one killed at its end
        _print(read_results(parent.id), parent)
        return parent.id
    if done:
        log.info("%s: going on with run %s; folds %s are done", parent.name, parent.id, _listed(done))
    remove_left_checkpoints()
    broken = _broken_folds(parent)
    client = mlflow_client()
    client.update_run(parent.id, status="RUNNING")
    if "reason" in parent.tags:
        client.delete_tag(parent.id, "reason")  # why it broke off; it goes on
    try:
        for fold in folds if only is None else sorted(set(only)):
            if fold not in done:
                last = broken.get(fold)
                log.info(
                    "%s: fold %s of %s%s",
                    parent.name,
                    fold,
                    _listed(folds),
                    ", from its last epoch" if isinstance(last, Path) else "",
                )
                _close_killed(parent, fold)
                try:
                    run_fold(fold, _fold_arguments(arguments, fold, parent.id, last), lock)
                except InputFault as fault:
                    left_out = f"cv does not count fold {fold}; {_state(parent)}, and nothing is pooled"
                    raise InputFault([*fault.faults, left_out]) from None
                await_answer(tracking_uri())
        done = _sent_folds(parent)
        table = fold_results(done)
        left = [fold for fold in folds if fold not in done]
        if not left:
            table = record_pooled(parent, table, done, cli.evaluation.baseline)
            record_pooled_explanations(parent, done)
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt) or stopping()
        if killed:
            closing()
        try:
            client.set_terminated(parent.id, "KILLED" if killed else "FAILED")
        except Exception as unsaid:  # the next call goes on with it, whatever its status
            log.warning("warning: run %s could not be closed: %s", parent.name, unsaid)
        raise
    if left:
        client.update_run(parent.id, status="SCHEDULED")
        log.info("folds %s are still to be run; then the folds are pooled", _listed(left))
    else:
        client.set_terminated(parent.id, "FINISHED")
        keep_model(parent.id, register)
    _print(table, parent)
    return parent.id


def _sent_folds(parent: TrackedRun) -> dict[int, TrackedRun]:
    """The folds that came to their end, after what they left here was sent: that may be their end.

    Raises:
        InputFault: it cannot be sent.
    """
    for run in children_of(parent):
        send_behind(run.id)
    return finished_folds(parent)


def _state(parent: TrackedRun) -> str:
    """Which folds are done, as far as the store says so now."""
    from mlflow.exceptions import MlflowException

    if absent(tracking_uri()):
        return "the tracking server does not answer, and knows which folds are done"
    try:
        done = _sent_folds(parent)
    except (InputFault, MlflowException) as error:
        return f"which folds are done is not known ({str(error).splitlines()[0]})"
    return f"folds {_listed(done)} are done" if done else "no fold is done"


def known_parent(cli: MufnetCLI, key: str) -> TrackedRun | None:
    """The run of this cross-validation, to go on with; None where it has not been begun.

    Args:
        cli: of one of its folds.
        key: see `identity`.
    """
    config, data = cli.composed_config(), cli.datamodule
    experiment = mlflow_client().get_experiment_by_name(config["tracking"]["study"])
    if experiment is None:
        return None
    experiment_id = experiment.experiment_id
    for run in find_runs(experiment_id, most=1, cv_key=key):
        return run
    earlier = find_runs(experiment_id, verb="cv", arm=str(cli.evaluation.arm))
    for run in earlier:
        if _of_an_earlier_version(run, config, data.folds, data.store.digest):
            log.info("%s: run %s is of an earlier version, and of the same settings", run.name, run.id)
            return run
    for run in [run for run in earlier if not run.is_finished][:1]:
        log.info(
            "%s: the unfinished run %s was of other configuration, data or code; a new one begins",
            run.name,
            run.id,
        )
    return None


def _parent_run(cli: MufnetCLI, key: str, restart: bool) -> TrackedRun:
    """The run to go on with, or a new one."""
    from mufnet_lightning.training.facts import record_files, record_parameters

    known = None if restart else known_parent(cli, key)
    if known is not None:
        return known
    config = cli.composed_config()
    study = config["tracking"]["study"]
    experiment_id = open_study(study)
    data = cli.datamodule
    arm = str(cli.evaluation.arm)
    tags = run_tags(
        "cv",
        study,
        note=begun_note(arm, data.folds["fold"].nunique(), cli.protocol),
        arm=arm,
        protocol=cli.protocol,
        cv_key=key,
        selection=cli.chosen_by,
        baseline=config["tracking"]["baseline"],
    )
    client = mlflow_client()
    created = TrackedRun.of(client.create_run(experiment_id, tags=tags, run_name=f"{arm}-cv"))
    record_files(client, created.id, config, data)
    record_parameters(client, created.id, config, data, of_all_folds=True)
    return created


def _of_an_earlier_version(
    run: TrackedRun, config: Mapping[str, Any], folds: pd.DataFrame, digest: str
) -> bool:
    """Whether a parent run of version 0.1, whose key was of its own code, is this cross-validation."""
    try:
        earlier = yaml.safe_load(resolve_artifact(run.id, "config.yaml").read_text(encoding="utf-8"))
        table = resolve_artifact(run.id, "folds.csv").read_text(encoding="utf-8")
    except InputFault:
        return False
    if "class_path" in earlier["model"] or table != csv_text(folds):
        return False
    digests = {data.digest for child in children_of(run) for data in child.datasets}
    return all(digest.startswith(known) for known in digests) and trains_the_same(earlier, config)


def _broken_folds(parent: TrackedRun) -> dict[int, Path | str]:
    """What each fold that did not come to its end goes on from, where it can.

    The checkpoint of its last epoch, where that is here; else, where no epoch had ended, its run.
    """
    broken: dict[int, Path | str] = {}
    for run in children_of(parent):
        last = last_checkpoint(run.id)
        if run.is_finished or run.fold in broken:
            continue
        if not last.exists():
            if may_begin_again(run):
                broken[run.fold] = run.id
        elif _readable(last):
            broken[run.fold] = last
    return broken


def _close_killed(parent: TrackedRun, fold: int) -> None:
    """Close runs of a fold that nobody closed.

    Raises:
        InputFault: a process works on one of them, as a `fit` that was called for it.
    """
    for run in children_of(parent):
        if run.fold == fold and run.status == "RUNNING":
            refuse_alive(run.id)
            if find_run(run.id).status == "RUNNING":  # it may have come to its end meanwhile
                mlflow_client().set_terminated(run.id, "KILLED")


def _readable(checkpoint: Path) -> bool:
    """Whether it is there and whole: a process may have been killed while it wrote."""
    try:
        read_checkpoint(str(checkpoint))
    except InputFault:
        return False
    return True


def _fold_arguments(
    arguments: Sequence[str], fold: int, parent_id: str, last: Path | str | None
) -> list[str]:
    words = [
        *arguments,
        f"--data.fold={fold}",
        f"--tracking.parent_run={parent_id}",
        "--tracking.baseline=null",  # the folds together are tested against it
        "--tracking.register=null",
    ]
    return [*words, f"--ckpt_path={last}"] if last else words


def _print(table: pd.DataFrame, parent: TrackedRun) -> None:
    print(table[list(PRINTED)].to_string(float_format="{:.3f}".format))
    print(f"run {parent.name} {parent.id} in {tracking_uri()}")


def _listed(folds: Sequence[int] | Mapping[int, Any]) -> str:
    return ", ".join(str(fold) for fold in folds)
