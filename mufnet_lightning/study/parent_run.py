"""The run of a cross-validation as a whole, which its folds are children of: found again, or made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from mufnet_lightning.errors import NotRecorded
from mufnet_lightning.study.identity import trains_the_same
from mufnet_lightning.study.pooling import begun_note
from mufnet_lightning.system.locks import waiting
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.claims import is_shared, settle
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    children_of,
    find_runs,
    mlflow_client,
    open_study,
    resolve_artifact,
)
from mufnet_lightning.tracking.tags import run_tags

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI

THREADS = "cpu_threads"
log = logging.getLogger(__name__)


def threads_of(run: TrackedRun) -> int | None:
    """Threads that the folds of a cross-validation compute with; None: an earlier version began it.

    On a CPU they decide the last bits of a result: sums are taken in another order.
    """
    text = run.tags.get(THREADS, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def settled_threads(run: TrackedRun, asked: int | None, share: int) -> int:
    """Threads that this call computes with: those asked for, those it was begun with, or the share.

    Args:
        run: of a cross-validation or a search.
        asked: for, if anything is.
        share: where nothing is known.
    """
    return asked or threads_of(run) or share


def keep_threads(run: TrackedRun, threads: int) -> None:
    """Note in a run what it goes on computing with, and tell where that was another number.

    Not of one that has nothing left to compute: its results are of the number that stands there.
    """
    began = threads_of(run)
    if began == threads:
        return
    if began is not None:
        log.warning(
            "warning: %s was begun with --threads %s and goes on with %s: on a CPU the last bits of "
            "its results differ",
            run.name,
            began,
            threads,
        )
    mlflow_client().set_tag(run.id, THREADS, str(threads))


def parent_run(cli: MufnetCLI, key: str, threads: int, restart: bool = False) -> TrackedRun:
    """The run to go on with, or a new one.

    Of several processes that begin the same at once, all come to the same run.

    Args:
        cli: of one of its folds.
        key: see `identity`.
        threads: of the CPU, that each fold computes with; it is kept in the run (see `threads_of`).
        restart: make a new one.
    """
    with waiting(STORE_FOLDER / "locks" / f"cv-{key}"):
        known = None if restart else known_parent(cli, key)
        if known is not None:
            if known.tags.get("cv_key") != key:  # of an earlier version; the study knows it by this
                mlflow_client().set_tag(known.id, "cv_key", key)
            return known
        made = _new_parent(cli, key, threads)
        if restart or not is_shared():
            return made
        settle()
        twins = find_runs(made.experiment_id, cv_key=key)
        first = min([made, *twins], key=lambda run: (run.start, run.id))
        if first.id != made.id:
            mlflow_client().delete_run(made.id)
        return first


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


def _new_parent(cli: MufnetCLI, key: str, threads: int) -> TrackedRun:
    from mufnet_lightning.training.facts import record_files, record_parameters

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
        **{THREADS: str(threads)},
    )
    client = mlflow_client()
    created = TrackedRun.of(client.create_run(experiment_id, tags=tags, run_name=f"{arm}-cv"))
    client.update_run(created.id, status="SCHEDULED")  # nobody is at work on it yet
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
    except NotRecorded:
        return False
    if "class_path" in earlier["model"] or table != csv_text(folds):
        return False
    digests = {data.digest for child in children_of(run) for data in child.datasets}
    return all(digest.startswith(known) for known in digests) and trains_the_same(earlier, config)
