"""The run of a search, which its trials are children of: one to go on with, or a new one."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from mufnet_lightning.study.identity import identity
from mufnet_lightning.study.inputs import JobInputs
from mufnet_lightning.study.local_engine import default_threads
from mufnet_lightning.study.parent_run import THREADS, settled_threads
from mufnet_lightning.study.search import Search, database_of_search, optuna_storage
from mufnet_lightning.study.sweep_file import SweepSpec
from mufnet_lightning.system.locks import waiting
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    find_runs,
    mlflow_client,
    open_study,
)
from mufnet_lightning.tracking.tags import run_tags

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI


def find_search(
    spec: SweepSpec,
    cli: MufnetCLI,
    folds: tuple[int, ...],
    folds_csv: str,
    devices: int,
    threads: int | None,
) -> Search:
    """The search on a fold, to go on with, or a new one.

    Args:
        spec: of the sweep.
        cli: one of its trials, built.
        folds: that have a search of their own.
        folds_csv: the split.
        devices: see `Search`.
        threads: that are asked for; see `settled_threads`.
    """
    config, data, inputs = cli.composed_config(), cli.datamodule, JobInputs.of(cli)
    fold = data.fold
    what = [
        identity(config, data.store.digest, folds_csv),
        fold,
        [repr(setting) for setting in spec.space.settings],
        [spec.metric, spec.pruner, spec.seed],
    ]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
    share = default_threads(max(1, spec.trials // 4))
    arm, study = str(cli.evaluation.arm), config["tracking"]["study"]
    experiment_id = open_study(study)
    with waiting(STORE_FOLDER / "locks" / f"sweep-{key}"):  # of several calls one makes it
        known = find_runs(experiment_id, sweep_key=key)
        run = next((run for run in known if database_of_search(run.id).exists()), None)
        if run is None:
            run = _new_search(spec, cli, folds, key, threads or share)
    used = settled_threads(run, threads, share)
    return Search(spec, fold, folds, run, arm, devices, used, data.store.root, inputs)


def _new_search(
    spec: SweepSpec, cli: MufnetCLI, folds: tuple[int, ...], key: str, threads: int
) -> TrackedRun:
    from mufnet_lightning.training.facts import record_dataset, record_files

    config, data = cli.composed_config(), cli.datamodule
    fold, arm, study = data.fold, str(cli.evaluation.arm), config["tracking"]["study"]
    note = (
        f"A search of settings of arm **{arm}** by `{spec.metric}` on the validation patients of fold "
        f"{fold} (protocol `{cli.protocol}`): each trial is a child of this run. No picture of a test "
        "patient is opened."
    )
    of_fold = f"-fold{fold}" if len(folds) > 1 else ""
    tags = run_tags(
        "sweep",
        study,
        note=note,
        arm=arm,
        fold=str(fold),
        protocol=cli.protocol,
        sweep_key=key,
        **{THREADS: str(threads)},
    )
    client = mlflow_client()
    run = TrackedRun.of(
        client.create_run(open_study(study), tags=tags, run_name=f"{arm}-sweep{of_fold}")
    )
    client.update_run(run.id, status="SCHEDULED")
    record_files(client, run.id, config, data)
    record_dataset(client, run.id, data.store, "sweep")
    client.log_text(run.id, "\n".join(repr(one) for one in spec.space.settings) + "\n", "space.txt")
    database_of_search(run.id).parent.mkdir(parents=True, exist_ok=True)
    optuna_storage(run.id).remove_session()  # makes its tables: from now on the search is known
    return run
