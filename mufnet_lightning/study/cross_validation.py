"""All folds of one arm under one parent run: what is left, their jobs, and what they give together."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.record import record_pooled_explanations
from mufnet_lightning.inference.logged_model import keep_model
from mufnet_lightning.study.arm_checks import check_every_fold, devices_of
from mufnet_lightning.study.identity import identity, with_folds
from mufnet_lightning.study.inputs import JobInputs
from mufnet_lightning.study.job import FoldJob, is_worked_on, sent_folds
from mufnet_lightning.study.local_engine import default_threads
from mufnet_lightning.study.parent_run import keep_threads, parent_run, settled_threads
from mufnet_lightning.study.pooling import PRINTED, fold_results, read_results, record_pooled
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.system.signals import stopping
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.checkpoints import remove_left_checkpoints
from mufnet_lightning.tracking.claims import claimed
from mufnet_lightning.tracking.opening import absent
from mufnet_lightning.tracking.runs import TrackedRun, find_run, mlflow_client, tracking_uri
from mufnet_lightning.tracking.written_directly import at_work, others_at_work

if TYPE_CHECKING:
    pass

_POOL = "pool"
_A_LOOK = 1.0
log = logging.getLogger(__name__)


@dataclass
class CrossValidation:
    """One arm, as far as it is done.

    Attributes:
        arm: name of it.
        parent: its run.
        folds: the numbers of all.
        wanted: of those that this call is to run.
        arguments: of `mufnet fit`, of all folds.
        baseline: an arm that the pooled scores are tested against.
        register: name in MLflow's model registry.
        devices: GPUs of a job where there are any; 0: on the CPU.
        threads: see `threads_of`.
        store: folder of the crops.
        of_folds: further arguments, of some folds.
        inputs: what its folds read.
    """

    arm: str
    parent: TrackedRun
    folds: tuple[int, ...]
    wanted: tuple[int, ...]
    arguments: tuple[str, ...]
    baseline: ScoredArm | None
    register: str | None
    devices: int
    threads: int
    store: Path
    of_folds: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    inputs: JobInputs = field(default_factory=JobInputs)
    _work: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def find(
        cls,
        arguments: Sequence[str],
        *,
        threads: int | None = None,
        arms: int = 1,
        restart: bool = False,
        only: Iterable[int] | None = None,
        folds_from: str | None = None,
        of_folds: Mapping[int, tuple[str, ...]] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> CrossValidation:
        """Check an arm, and find its run, or make one.

        Args:
            arguments: of `mufnet fit`: `--config FILE...` and overrides.
            threads: of the CPU, that each fold computes with; None: as it was begun with, or, where it
                was not, the share of a study with all its folds.
            arms: of that study.
            restart: leave an earlier run of this very configuration and data alone, and make a new one.
            only: these folds alone; a later call runs the others.
            folds_from: take the split from this folds.csv or run, as other arms of the study do.
            of_folds, tags: see `StudyArm`.

        Raises:
            InputFault: the configuration cannot be run, and nothing is recorded then, except where it
                shows in a later fold only.
        """
        from mufnet_lightning.training.cli import MufnetCLI

        words = [*arguments, *([f"--data.folds_from={folds_from}"] if folds_from is not None else ())]
        cli = MufnetCLI(words, run=False)
        folds = check_every_fold(cli)
        wanted = folds if only is None else sorted(set(only))
        strange = [fold for fold in wanted if fold not in folds]
        if strange:
            raise InputFault(f"--fold {strange[0]}: the folds are {listed(folds)}")
        key = identity(
            cli.composed_config(), cli.datamodule.store.digest, csv_text(cli.datamodule.folds)
        )
        key = with_folds(key, of_folds or {})
        share = threads or default_threads(arms * len(folds))
        parent = parent_run(cli, key, share, restart)
        for name, value in (tags or {}).items():
            if parent.tags.get(name) != value:
                mlflow_client().set_tag(parent.id, name, value)
        return cls(
            str(cli.evaluation.arm),
            parent,
            tuple(folds),
            tuple(wanted),
            tuple(words),
            cli.evaluation.baseline,
            cli.config.tracking.register,
            devices_of(cli),
            settled_threads(parent, threads, share),
            cli.datamodule.store.root,
            dict(of_folds or {}),
            JobInputs.of(cli),
        )

    def begin(self) -> list[int]:
        """Go on with it: the folds that are still to be run. Other processes may be at work on it."""
        done = sent_folds(self.parent)
        whole = self.parent.is_finished and set(done) == set(self.folds)
        if whole:
            log.info("%s: run %s has all folds", self.parent.name, self.parent.id)
            return []
        if done:
            parent = self.parent
            log.info(
                "%s: going on with run %s; folds %s are done", parent.name, parent.id, listed(done)
            )
        remove_left_checkpoints()
        self._work.enter_context(at_work(self.parent.id, shared=True))
        client = mlflow_client()
        client.update_run(self.parent.id, status="RUNNING")
        keep_threads(self.parent, self.threads)
        if "reason" in self.parent.tags:
            client.delete_tag(self.parent.id, "reason")  # why it broke off; it goes on
        return [fold for fold in self.wanted if fold not in done]

    def job(self, fold: int) -> FoldJob:
        """The job of a fold."""
        return FoldJob(
            self.arm,
            fold,
            self.folds,
            self.parent.id,
            (*self.arguments, *self.of_folds.get(fold, ())),
            self.devices,
            self.threads,
            self.inputs,
        )

    def is_elsewhere(self, fold: int) -> bool:
        """Whether another process is at work on a fold."""
        return is_worked_on(self.parent, fold)

    def done(self) -> set[int]:
        """The folds that came to their end."""
        return set(sent_folds(self.parent))

    def finish(self) -> None:
        """Pool the folds, if none is left, and print what they give; close the run.

        Raises:
            InputFault: it cannot be recorded.
        """
        done = sent_folds(self.parent)
        left = [fold for fold in self.folds if fold not in done]
        if left:
            table = fold_results(done)
            if not others_at_work(self.parent.id):
                mlflow_client().update_run(self.parent.id, status="SCHEDULED")
            log.info("folds %s are still to be run; then the folds are pooled", listed(left))
        else:
            table = self._pooled()
        self._work.close()
        print(f"\n== {self.arm}")
        print(table[list(PRINTED)].to_string(float_format="{:.3f}".format))
        print(f"run {self.parent.name} {self.parent.id} in {tracking_uri()}", flush=True)

    def break_off(self, error: BaseException) -> None:
        """Close the run because of an error, unless other processes are at work on it."""
        killed = isinstance(error, KeyboardInterrupt) or stopping()
        with self._work:
            try:
                parent = find_run(self.parent.id)  # stopped behind its end, it stays finished
                if not parent.is_finished and not others_at_work(parent.id):
                    mlflow_client().set_terminated(self.parent.id, "KILLED" if killed else "FAILED")
            except Exception as unsaid:  # the next call goes on with it, whatever its status
                log.warning("warning: run %s could not be closed: %s", self.parent.name, unsaid)

    def state(self) -> str:
        """Which folds are done, as far as the store says so now."""
        return state_of(self.parent)

    def _pooled(self) -> pd.DataFrame:
        """What the folds give together, recorded by one process and read by the others."""
        while True:
            with claimed(self.parent.id, _POOL) as mine:
                parent = find_run(self.parent.id)
                if parent.is_finished:
                    table = read_results(parent.id)
                elif not mine:
                    time.sleep(_A_LOOK)
                    continue
                else:
                    done = sent_folds(parent)
                    table = record_pooled(parent, fold_results(done), done, self.baseline)
                    record_pooled_explanations(parent, done)
                    mlflow_client().set_terminated(parent.id, "FINISHED")
                if mine:  # also that of an earlier version, or of one killed at its end
                    keep_model(parent.id, self.register)
                return table


def state_of(parent: TrackedRun) -> str:
    """Which folds of a cross-validation are done, as far as the store says so now."""
    from mlflow.exceptions import MlflowException

    if absent(tracking_uri()):
        return "the tracking server does not answer, and knows which folds are done"
    try:
        done = sent_folds(parent)
    except (InputFault, MlflowException) as error:
        return f"which folds are done is not known ({str(error).splitlines()[0]})"
    return f"folds {listed(done)} are done" if done else "no fold is done"


def listed(folds: Iterable[int]) -> str:
    """By commas."""
    return ", ".join(str(fold) for fold in folds)
