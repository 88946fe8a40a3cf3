"""The jobs of one or more arms, given to an engine as it takes them; arms end with their folds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mlflow.exceptions import MlflowException

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.cross_validation import CrossValidation, listed
from mufnet_lightning.study.engines import Engine, JobProgress
from mufnet_lightning.study.job import JobEnd
from mufnet_lightning.study.job_loop import JobLoop
from mufnet_lightning.study.live_view import LiveView
from mufnet_lightning.tracking.mlflow_calls import faults_of, refusal
from mufnet_lightning.tracking.opening import absent
from mufnet_lightning.tracking.runs import tracking_uri

Finder = Callable[[], CrossValidation]
_ELSEWHERE = 2.0  # seconds from one look at what other processes do to the next
log = logging.getLogger(__name__)


@dataclass
class _Arm:
    """An arm that was begun.

    Attributes:
        cv: its cross-validation.
        waiting: folds that nobody is at.
        running: folds that the engine has.
        elsewhere: folds that another process is at.
        faults: why it cannot come to its end.
        broken: folds that could not be run.
        failed: those of them whose traceback was printed.
    """

    cv: CrossValidation
    waiting: list[int]
    running: set[int] = field(default_factory=set)
    elsewhere: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        """Whether it cannot come to its end in this call."""
        return bool(self.faults or self.failed)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        if self.running:
            return False
        return self.is_broken or not (self.waiting or self.elsewhere)


def run_jobs(arms: Iterable[Finder], total: int, engine: Engine) -> None:
    """Run the folds of all arms that are not done yet, and finish each arm when its last one is.

    A fold that cannot be run ends its arm, whose other running folds come to their end; other arms go
    on. Folds that another process is at are waited for, and taken over where it ends before they do.

    Args:
        arms: each finds its cross-validation, when its first job is about to begin.
        total: how many arms there are.
        engine: is closed here.

    Raises:
        InputFault: some folds could not be run, or an arm could not be finished; the others are.
        RuntimeError: the same, and the fault was ours; its traceback was printed.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    schedule = _Schedule(iter(arms), total, engine)
    schedule.run()
    failed = [f"{name} failed, and can be gone on with" for name in schedule.failed]
    if schedule.faults:
        raise InputFault([*schedule.faults, *failed])
    if failed:
        raise RuntimeError("; ".join(failed))


class _Schedule(JobLoop):
    def __init__(self, arms: Iterator[Finder], total: int, engine: Engine) -> None:
        super().__init__(engine, LiveView(total))
        self.left: Iterator[Finder] | None = arms
        self.begun: list[_Arm] = []
        self.faults: list[str] = []
        self.failed: list[str] = []
        self._looked = 0.0

    def has_open(self) -> bool:
        """Whether an arm has not ended."""
        return bool(self.begun)

    def is_running(self) -> bool:
        """Whether a fold runs here."""
        return any(arm.running for arm in self.begun)

    def take_progress(self, event: JobProgress) -> None:
        """It is shown."""
        self.view.show(event)

    def end_what_is_over(self) -> None:
        """And look at what other processes do."""
        if time.monotonic() - self._looked > _ELSEWHERE:
            for arm in self.begun:
                self._look_elsewhere(arm)
            self._looked = time.monotonic()
        for arm in [arm for arm in self.begun if arm.is_over]:
            if self.answers():
                self._end(arm)

    def break_off(self, error: BaseException) -> None:
        """Close every arm that was begun."""
        for arm in self.begun:
            arm.cv.break_off(error)

    def begin_jobs(self) -> bool:
        """Give the engine what it takes; whether any arm may have jobs for it still."""
        while True:
            arm = next((arm for arm in self.begun if arm.waiting and not arm.is_broken), None)
            if arm is None and self.left is None:
                return False
            if not self.answers():
                return True
            if arm is None:
                if not self._begin_arm():
                    return False
                continue
            job = arm.cv.job(arm.waiting[0])
            if not self.engine.takes(job):
                return True
            try:
                self.engine.begin(job)
            except InputFault as fault:
                arm.faults += fault.faults
                continue
            arm.running.add(arm.waiting.pop(0))
            self.view.begin(job)

    def _begin_arm(self) -> bool:
        """The next arm that has something to do; False where there is none."""
        finder = next(self.left, None) if self.left is not None else None
        if finder is None:
            self.left = None
            return False
        try:
            cv = finder()
            self.reach([cv.store])
        except (InputFault, MlflowException) as fault:
            if not self._reached:
                raise  # the first arm has the folds of all
            self.faults += faults_of(fault)
            return True
        arm = _Arm(cv, [])
        self.begun.append(arm)
        try:
            arm.waiting = cv.begin()
        except (InputFault, MlflowException) as fault:
            arm.faults += faults_of(fault)
        self.view.add(cv.arm, len(cv.wanted), len(cv.wanted) - len(arm.waiting))
        if arm.is_over:
            self._end(arm)
        return True

    def take_end(self, end: JobEnd) -> None:
        """Note what follows from it for its arm."""
        arm = next(arm for arm in self.begun if arm.cv.parent.id == end.job.parent_id)
        fold = end.job.fold
        arm.running.discard(fold)
        self.view.end(end)
        if end.outcome == "elsewhere":
            arm.elsewhere.add(fold)
            log.info("%s is run by another process; it is waited for", end.job.name)
        elif end.outcome == "stopped":
            raise KeyboardInterrupt
        elif end.outcome == "failed":
            arm.failed.append(fold)
        elif end.outcome in ("refused", "lost"):
            arm.broken.append(fold)
            arm.faults += [f"{end.job.name}: {fault}" for fault in end.faults]

    def _look_elsewhere(self, arm: _Arm) -> None:
        if not arm.elsewhere or absent(tracking_uri()):
            return
        try:
            done = arm.cv.done()
            for fold in sorted(arm.elsewhere):
                if fold in done:
                    self.view.ended_elsewhere(arm.cv.arm)
                elif not arm.cv.is_elsewhere(fold):
                    arm.waiting.append(fold)  # whoever had it is gone
                else:
                    continue
                arm.elsewhere.discard(fold)
        except (InputFault, MlflowException):  # the next look will tell
            log.debug("the folds of %s cannot be looked at", arm.cv.arm, exc_info=True)

    def _end(self, arm: _Arm) -> None:
        """Finish an arm, or close it."""
        name = arm.cv.arm
        if not arm.is_broken:
            try:
                with self.view.paused():
                    arm.cv.finish()
            except InputFault as fault:
                arm.faults += fault.faults
            except MlflowException as error:
                arm.faults.append(f"{name}: {refusal(error)}")
        if arm.is_broken:
            self.faults += arm.faults
            self.failed += [f"{name} fold {fold}" for fold in arm.failed]
            if arm.broken:
                self.faults.append(self._left_out(arm))
            arm.cv.break_off(InputFault(arm.faults or ["a fold failed"]))
        self.begun.remove(arm)

    def _left_out(self, arm: _Arm) -> str:
        missing = sorted([*arm.broken, *arm.failed])
        folds = f"fold{'s' * (len(missing) > 1)} {listed(missing)}"
        verb = "do" if len(missing) > 1 else "does"
        return f"{arm.cv.arm}: {folds} {verb} not count; {arm.cv.state()}, and nothing is pooled"
