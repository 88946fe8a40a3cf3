"""A job: a fold of an arm, or a trial of a sweep; it goes on from its last epoch wherever it lands."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mufnet_lightning
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.inputs import JobInputs
from mufnet_lightning.system.signals import terminated_as_interrupted
from mufnet_lightning.tracking.checkpoints import last_checkpoint, read_checkpoint
from mufnet_lightning.tracking.claims import claimed, is_claimed
from mufnet_lightning.tracking.left_over import may_begin_again, send_behind
from mufnet_lightning.tracking.liveness import alive, refuse_alive
from mufnet_lightning.tracking.mlflow_calls import refusal
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    children_of,
    find_run,
    finished_folds,
    mlflow_client,
)
from mufnet_lightning.training.divergence import Diverged

TRIAL = "trial"
"""Tag of a trial's run: its number."""
Outcome = Literal["done", "elsewhere", "refused", "stopped", "failed", "lost"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldJob:
    """A fold to be trained and tested. It can be pickled.

    Attributes:
        arm: name of it.
        fold: number of it.
        folds: the numbers of all.
        parent_id: of the cross-validation's run.
        arguments: of `mufnet fit`, without the fold's own.
        devices: GPUs that it takes where there are any; 0: it trains on the CPU.
        threads: of the CPU, that it computes with where it trains on that.
        inputs: what it reads, as it was when the call began.
    """

    arm: str
    fold: int
    folds: tuple[int, ...]
    parent_id: str
    arguments: tuple[str, ...]
    devices: int = 0
    threads: int = 1
    inputs: JobInputs = field(default_factory=JobInputs)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm} fold {self.fold}"

    @property
    def place(self) -> str:
        """Which one of all it is."""
        return f"fold {self.fold} of {', '.join(map(str, self.folds))}"

    @property
    def piece(self) -> str:
        """What it is claimed as, see `claimed`."""
        return piece_of(self.fold)

    @property
    def words(self) -> list[str]:
        """What it says of itself to `mufnet fit`."""
        return []

    def is_of(self, run: TrackedRun) -> bool:
        """Whether a run under the parent is this job's."""
        return run.fold == self.fold


@dataclass(frozen=True, kw_only=True)
class TrialJob(FoldJob):
    """Settings to be tried: trained on a fold, and scored on its validation patients alone.

    Attributes:
        trial: number of it in its sweep, which `parent_id` names.
    """

    trial: int

    @property
    def name(self) -> str:
        """For people."""
        of_fold = f" fold {self.fold}" if len(self.folds) > 1 else ""
        return f"{self.arm}{of_fold} trial {self.trial}"

    @property
    def place(self) -> str:
        """See `FoldJob`."""
        return f"validated on fold {self.fold}"

    @property
    def piece(self) -> str:
        """See `FoldJob`."""
        return f"trial{self.trial}"

    @property
    def words(self) -> list[str]:
        """See `FoldJob`."""
        return [
            "--data.with_test=false",
            f"--tracking.trial={self.trial}",
            f"--tracking.run_name={self.name.replace(' fold ', '-fold').replace(' trial ', '-trial')}",
        ]

    def is_of(self, run: TrackedRun) -> bool:
        """See `FoldJob`."""
        return run.tags.get(TRIAL) == str(self.trial)


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        job: it.
        outcome: "done"; "elsewhere": another process is at it; "refused" with `faults`; "stopped" from
            outside; "failed": a traceback was printed; "lost": its process, or machine, is gone.
        faults: sentences.
        diverged: whether it was refused because its training diverged.
    """

    job: FoldJob
    outcome: Outcome
    faults: tuple[str, ...] = ()
    diverged: bool = False


def do_job(job: FoldJob) -> JobEnd:
    """Run a job in this process, from its last epoch where it was begun; print what `fit` prints.

    The process runs nothing else: what is asked of it by SIGTERM ends the job.
    """
    from mlflow.exceptions import MlflowException

    from mufnet_lightning.training.run import run_lightning

    try:
        with terminated_as_interrupted(), claimed(job.parent_id, job.piece) as mine:
            parent = find_run(job.parent_id)
            if not mine or _is_fitted_by_hand(_runs(job, parent)):
                return JobEnd(job, "elsewhere")
            if finished_run(job, parent):
                return JobEnd(job, "done")
            job.inputs.check()
            words = ["fit", *_words(job, parent)]
            # Lightning starts further processes of a fold with these words
            sys.argv = [str(Path(mufnet_lightning.__file__).with_name("__main__.py")), *words]
            run_lightning(words)
    except InputFault as fault:
        return JobEnd(job, "refused", tuple(fault.faults), isinstance(fault, Diverged))
    except MlflowException as error:
        return JobEnd(job, "refused", (refusal(error),))
    except KeyboardInterrupt:
        return JobEnd(job, "stopped")
    except BaseException:
        traceback.print_exc()
        return JobEnd(job, "failed")
    return JobEnd(job, "done")


def is_worked_on(parent: TrackedRun, fold: int) -> bool:
    """Whether another process is at work on a fold.

    Raises:
        InputFault: the tracking store does not say.
    """
    return is_claimed(parent.id, piece_of(fold)) or _is_fitted_by_hand(
        [run for run in children_of(parent) if run.fold == fold]
    )


def sent_folds(parent: TrackedRun) -> dict[int, TrackedRun]:
    """The folds that came to their end, after what they left here was sent: that may be their end.

    Raises:
        InputFault: it cannot be sent.
    """
    for run in children_of(parent):
        send_behind(run.id)
    return finished_folds(parent)


def finished_run(job: FoldJob, parent: TrackedRun) -> TrackedRun | None:
    """The run of a job that came to its end, after what it left here was sent; None: none has.

    Raises:
        InputFault: it cannot be sent.
    """
    for run in _runs(job, parent):
        send_behind(run.id)
    return next((run for run in _runs(job, parent) if run.is_finished), None)


def piece_of(fold: int) -> str:
    """What a fold is claimed as, see `claimed`."""
    return f"fold{fold}"


def _runs(job: FoldJob, parent: TrackedRun) -> list[TrackedRun]:
    """Those of a job, the latest first."""
    return [run for run in children_of(parent) if job.is_of(run)]


def _is_fitted_by_hand(runs: Iterable[TrackedRun]) -> bool:
    """Whether a process that has not claimed the job works on a run of it, as `mufnet fit` does."""
    return any(alive(run.id) for run in _open_runs(runs))


def _open_runs(runs: Iterable[TrackedRun]) -> Iterator[TrackedRun]:
    return (run for run in runs if run.status == "RUNNING")


def _words(job: FoldJob, parent: TrackedRun) -> list[str]:
    runs = _runs(job, parent)
    last = _begun(runs)
    resumed = ", from its last epoch" if isinstance(last, Path) else ""
    log.info("%s%s", job.place, resumed)
    for run in _open_runs(runs):
        refuse_alive(run.id)
        if find_run(run.id).status == "RUNNING":  # it may have come to its end meanwhile
            mlflow_client().set_terminated(run.id, "KILLED")
    words = [
        *job.arguments,
        f"--data.fold={job.fold}",
        f"--tracking.parent_run={parent.id}",
        "--tracking.baseline=null",  # the folds together are tested against it
        "--tracking.register=null",
        *job.words,
    ]
    return [*words, f"--ckpt_path={last}"] if last else words


def _begun(runs: Iterable[TrackedRun]) -> Path | str | None:
    """What a job that did not come to its end goes on from, where it can.

    The checkpoint of its last epoch, where that is here; else, where no epoch had ended, its run.
    """
    for run in runs:
        if run.is_finished:
            continue
        last = last_checkpoint(run.id)
        if not last.exists():
            if may_begin_again(run):
                return run.id
        elif _is_whole(last):
            return last
    return None


def _is_whole(checkpoint: Path) -> bool:
    """A process may have been killed while it wrote."""
    try:
        read_checkpoint(str(checkpoint))
    except InputFault:
        return False
    return True
