"""One search of a sweep: Optuna's trials on one fold, each a fit under one parent run in MLflow.

What Optuna knows lies in `mlruns/sweeps/ID.db`, SQLite, which a kill leaves whole: a trial's settings
are there before its fit begins. So a search that was killed goes on with the same trials.
"""

from __future__ import annotations

import logging
import math
import random
import shutil
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.inputs import JobInputs
from mufnet_lightning.study.job import JobEnd, TrialJob, finished_run
from mufnet_lightning.study.parent_run import keep_threads
from mufnet_lightning.study.space import words_of
from mufnet_lightning.study.sweep_file import SweepSpec
from mufnet_lightning.system.signals import stopping
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.claims import claimed
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    children_of,
    mlflow_client,
)
from mufnet_lightning.tracking.written_directly import at_work
from mufnet_lightning.training.progress import Progress
from mufnet_lightning.vocabulary import SELECTED

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

SAME_AS = "same_as"
"""What a trial that repeats another one is marked by: that one's number. It is not trained."""
RUN_ID = "run_id"
MOST_FAILED = 3
"""Trials that may fail before the first one comes to its end."""
_MOST_RANDOM = 10
_REST = 2.0  # seconds until a trial is tried again that another process has
log = logging.getLogger(__name__)


@dataclass
class Search:
    """Trials on one fold, as far as they are done.

    Attributes:
        spec: of the sweep.
        fold: on whose validation patients they are scored.
        folds: that have a search of their own; of a sweep that is not nested the one.
        parent: run of the search.
        arm: name of the arm.
        devices, threads: see `CrossValidation`.
        store: folder of the crops.
        inputs: what its trials read.
        running: the trials that an engine has, by their numbers.
    """

    spec: SweepSpec
    fold: int
    folds: tuple[int, ...]
    parent: TrackedRun
    arm: str
    devices: int
    threads: int
    store: Path
    inputs: JobInputs = field(default_factory=JobInputs)
    running: dict[int, Trial] = field(default_factory=dict)
    _study: optuna.Study | None = None
    _left_over: list[Trial] = field(default_factory=list)
    _pruned: dict[int, str] = field(default_factory=dict)
    _faults: list[str] = field(default_factory=list)
    _rests_until: float = 0.0
    _work: ExitStack = field(default_factory=ExitStack)

    @property
    def study(self) -> optuna.Study:
        """Optuna's, once it is begun."""
        assert self._study is not None
        return self._study

    def begin(self) -> None:
        """Open what is known of it, for this process alone.

        Raises:
            InputFault: another process is at work on it, or Optuna is not installed.
        """
        optuna = optuna_library()
        if not self._work.enter_context(claimed(self.parent.id, "search")):
            self._work.close()
            raise InputFault(f"another process is at work on {self.parent.name} ({self.parent.id})")
        self._work.enter_context(at_work(self.parent.id))
        storage = optuna_storage(self.parent.id)
        self._work.callback(storage.remove_session)
        pruner: Any = optuna.pruners.NopPruner()
        if self.spec.pruner == "median":
            pruner = optuna.pruners.MedianPruner(n_startup_trials=min(5, max(2, self.spec.trials // 4)))
        self._study = optuna.create_study(
            study_name=self.parent.name,
            storage=storage,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        running = [one for one in self.study.trials if not one.state.is_finished()]
        self._left_over = [optuna.trial.Trial(self.study, one._trial_id) for one in running]
        if done := len(self.finished()):
            log.info("%s: %s of %s trials are done", self.parent.name, done, self.spec.trials)
        client = mlflow_client()
        if self.waiting:
            keep_threads(self.parent, self.threads)
        if self.waiting or not self.parent.is_finished:
            client.update_run(self.parent.id, status="RUNNING")
        if "reason" in self.parent.tags:
            client.delete_tag(self.parent.id, "reason")

    def finished(self) -> list[FrozenTrial]:
        """The trials that have ended, however they did."""
        return [one for one in self.study.trials if one.state.is_finished()]

    def completed(self) -> list[FrozenTrial]:
        """The trials that have a score."""
        return [one for one in self.study.trials if one.state.name == "COMPLETE"]

    @property
    def waiting(self) -> int:
        """How many trials have not begun in this call."""
        return max(0, self.spec.trials - len(self.finished()) - len(self.running))

    @property
    def rests(self) -> bool:
        """Whether it waits for another process."""
        return time.monotonic() < self._rests_until

    @property
    def is_broken(self) -> bool:
        """Whether no further trial is begun."""
        return bool(self._faults)

    @property
    def faults(self) -> list[str]:
        """Of trials that could not be run."""
        return [f"{fault}; the same command goes on with it" for fault in self._faults]

    def like(self) -> TrialJob:
        """A job as each of its trials will be, to ask an engine whether it takes one."""
        return self._job(-1, {})

    def next_job(self) -> TrialJob | None:
        """The job of one more trial; None where it need not be trained: it repeats another one."""
        if self._left_over:
            trial = self._left_over.pop(0)
        else:
            self.study.sampler = self._sampler()
            trial = self.study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bound that floating point misses by a hair
            values = self.spec.space.draw(trial)
        for other in self.finished():
            if other.params != trial.params or SAME_AS in other.user_attrs:
                continue
            if other.state.name in ("COMPLETE", "PRUNED"):
                trial.set_user_attr(SAME_AS, other.number)
                value = other.value if other.state.name == "COMPLETE" else None
                self.study.tell(trial, value, state=other.state)
                log.info("%s trial %s repeats trial %s", self.arm, trial.number, other.number)
                return None
        self.running[trial.number] = trial
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        job = self._job(trial.number, values)
        log.info("%s: %s", job.name, shown)
        return job

    def report(self, number: int, progress: Progress) -> bool:
        """Note what an epoch of a trial gave; whether the trial shall end now."""
        value = progress.scores.get(self.spec.metric, math.nan)
        if number in self._pruned or not progress.trained.is_integer() or not math.isfinite(value):
            return False
        trial, epoch = self.running[number], int(progress.trained)
        if epoch in self.study.trials[number].intermediate_values:
            return False
        trial.report(value, epoch)
        if progress.scoring or epoch == progress.epochs or not trial.should_prune():
            return False
        self._pruned[number] = f"pruned after epoch {epoch}: {self.spec.metric} {value:.3f}"
        return True

    def is_pruned(self, number: int) -> bool:
        """Whether a trial was asked to end, since others were better."""
        return number in self._pruned

    def end(self, end: JobEnd) -> str:
        """Note how a trial ended; returns it in a few words.

        Raises:
            InputFault, MlflowException: what it gave cannot be read now; it may be asked for again.
            KeyboardInterrupt: somebody stopped it.
        """
        assert isinstance(end.job, TrialJob)
        number = end.job.trial
        said = self._ended(end, end.job, self.running[number], self._pruned.get(number))
        del self.running[number]
        self._pruned.pop(number, None)
        return said

    def _ended(self, end: JobEnd, job: TrialJob, trial: Trial, reason: str | None) -> str:
        if end.outcome == "done" or (reason and finished_run(job, self.parent)):
            return self._score(job, trial)
        if end.outcome in ("stopped", "lost") and reason is not None:
            self._close_pruned(job, trial, reason)
            self.study.tell(trial, state=_state("PRUNED"))
            return reason
        if end.outcome == "stopped":
            raise KeyboardInterrupt
        if end.diverged or end.outcome == "failed":  # of these very settings
            self.study.tell(trial, state=_state("FAIL"))
            why = "; ".join(end.faults) or "failed, with the traceback above"
            failed = len({repr(sorted(one.params.items())) for one in self.finished()})
            if failed >= MOST_FAILED and not self.completed():
                self._faults.append(f"{end.job.name}: {why}, as did {failed - 1} others before")
            return why
        if end.outcome == "elsewhere":  # of a call that was killed, and closes its run
            self._left_over.append(trial)
            self._rests_until = time.monotonic() + _REST
            return "is run by another process; it is waited for"
        self._faults += [f"{end.job.name}: {fault}" for fault in end.faults]
        return "; ".join(end.faults)

    def break_off(self, error: BaseException) -> None:
        """Close the run because of an error; what runs is gone on with by the next call."""
        killed = isinstance(error, KeyboardInterrupt) or stopping()
        with self._work:
            try:
                mlflow_client().set_terminated(self.parent.id, "KILLED" if killed else "FAILED")
            except Exception as unsaid:
                log.warning("warning: run %s could not be closed: %s", self.parent.name, unsaid)

    def close(self) -> None:
        """All trials are done, and recorded."""
        mlflow_client().set_terminated(self.parent.id, "FINISHED")
        self._work.close()

    def best(self) -> FrozenTrial:
        """The trial with the largest score; of several the first.

        Raises:
            InputFault: none has one.
        """
        if not self.completed():
            raise InputFault(f"{self.parent.name}: none of {len(self.finished())} trials has a score")
        trained = [one for one in self.completed() if SAME_AS not in one.user_attrs]
        return max(trained, key=lambda one: (one.value, -one.number))

    def trained(self) -> int:
        """How many trials were trained, wholly or in part."""
        return sum(SAME_AS not in one.user_attrs for one in self.finished())

    def _job(self, number: int, values: dict[str, Any]) -> TrialJob:
        return TrialJob(
            self.arm,
            self.fold,
            self.folds,
            self.parent.id,
            (*self.spec.arm.arguments, *words_of(values)),
            self.devices,
            self.threads,
            self.inputs,
            trial=number,
        )

    def _sampler(self) -> Any:
        """Another one for each trial: the draws of one depend on its number, not on this process."""
        seed = random.Random(f"{self.spec.seed} {self.fold} {len(self.study.trials)}").randrange(2**32)
        return optuna_library().samplers.TPESampler(
            seed=seed,
            n_startup_trials=min(_MOST_RANDOM, max(1, self.spec.trials // 3)),
            constant_liar=True,  # trials that run are kept away from
        )

    def _score(self, job: TrialJob, trial: Trial) -> str:
        run = finished_run(job, self.parent)
        name = self.spec.metric.replace("val/", f"{SELECTED}/")
        value = math.nan if run is None else run.metrics.get(name, math.nan)
        if run is None or not math.isfinite(value):
            self.study.tell(trial, state=_state("FAIL"))
            return f"has no {name}"
        trial.set_user_attr(RUN_ID, run.id)
        self.study.tell(trial, value)
        return f"{self.spec.metric} {value:.3f}"

    def _close_pruned(self, job: TrialJob, trial: Trial, reason: str) -> None:
        """Its run did not come to its end, so it stays KILLED, and nobody takes it for a whole fit."""
        client = mlflow_client()
        for run in children_of(self.parent):
            if job.is_of(run) and not run.is_finished:
                client.set_tag(run.id, "reason", reason)
                trial.set_user_attr(RUN_ID, run.id)
                shutil.rmtree(checkpoint_folder(run.id), ignore_errors=True)


def optuna_library() -> Any:
    """Optuna, which is no part of an installation without extras.

    Raises:
        InputFault: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputFault("sweep needs Optuna: pip install 'mufnet-lightning[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def database_of_search(run_id: str) -> Path:
    """Optuna's, of a search."""
    return (STORE_FOLDER / "sweeps" / f"{run_id}.db").resolve()


def optuna_storage(run_id: str) -> Any:
    """The database of a search, opened, or made.

    Raises:
        InputFault: Optuna is not installed.
    """
    return optuna_library().storages.RDBStorage(f"sqlite:///{database_of_search(run_id).as_posix()}")


def _state(name: str) -> Any:
    return optuna_library().trial.TrialState[name]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
