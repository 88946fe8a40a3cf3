"""The trials of one or more searches, given to an engine as it takes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from mlflow.exceptions import MlflowException

from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.engines import Engine, JobProgress
from mufnet_lightning.study.job import JobEnd, TrialJob
from mufnet_lightning.study.job_loop import JobLoop
from mufnet_lightning.study.live_view import LiveView
from mufnet_lightning.study.search import Search
from mufnet_lightning.tracking.mlflow_calls import faults_of

_SHARE = 4
"""Of the trials one in so many runs at once, unless somebody says how many: later ones learn."""
_PATIENCE = 120.0
"""Seconds that the score of a trial is asked for again where nothing else runs."""
log = logging.getLogger(__name__)


def run_searches(
    searches: Iterable[Search],
    total: int,
    engine: Engine,
    finish: Callable[[Search], None],
    at_once: int | None = None,
) -> None:
    """Run the trials of all searches that are not done yet, and finish each search with its last one.

    Args:
        searches: each is begun when the ones before leave room.
        total: how many there are.
        engine: is closed here.
        finish: is called with each search whose trials have all ended, before its run is closed.
        at_once: trials of a search that run together, at most.

    Raises:
        InputFault: some trials could not be run, or none has a score; what else there was is done.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    schedule = _Schedule(iter(searches), total, engine, finish, at_once)
    schedule.run()
    if schedule.faults:
        raise InputFault(schedule.faults)


class _Schedule(JobLoop):
    def __init__(
        self,
        searches: Iterator[Search],
        total: int,
        engine: Engine,
        finish: Callable[[Search], None],
        at_once: int | None,
    ) -> None:
        super().__init__(engine, LiveView(total, "trial"))
        self.left = searches
        self.finish = finish
        self.at_once = at_once
        self.begun: list[Search] = []
        self.ended: list[JobEnd] = []
        self._refused_since = 0.0
        self.faults: list[str] = []

    def has_open(self) -> bool:
        """Whether a search has not ended."""
        return bool(self.begun)

    def is_running(self) -> bool:
        """Whether a trial runs here."""
        return sum(len(search.running) for search in self.begun) > len(self.ended)

    def end_what_is_over(self) -> None:
        """Each search whose trials have all ended."""
        self._note_ends()
        for search in [one for one in self.begun if self._is_over(one)]:
            if self.answers():
                self._end(search)

    def break_off(self, error: BaseException) -> None:
        """Close every search that was begun."""
        for search in self.begun:
            search.break_off(error)

    def begin_jobs(self) -> bool:
        """Give the engine what it takes; whether it would take more, or there is more to give."""
        while True:
            search = next((one for one in self.begun if self._has_room(one)), None)
            if search is None:
                search = next(self.left, None)
                if search is None:
                    return False
                self._begin(search)
                continue
            if not self.engine.takes(search.like()) or not self.answers():
                return True
            job = search.next_job()
            if job is None:
                self.view.ended_elsewhere(search.parent.name)
                continue
            self.engine.begin(job)
            self.view.begin(job)

    def _has_room(self, search: Search) -> bool:
        most = self.at_once or max(1, search.spec.trials // _SHARE)
        may = bool(search.waiting) and not search.is_broken and not search.rests
        return may and len(search.running) < most

    def _is_over(self, search: Search) -> bool:
        return not search.running and (search.is_broken or not search.waiting)

    def _begin(self, search: Search) -> None:
        self.reach([search.store])
        search.begin()
        self.begun.append(search)
        self.view.add(search.parent.name, search.spec.trials, len(search.finished()))

    def _of(self, job: object) -> tuple[Search, TrialJob]:
        assert isinstance(job, TrialJob)
        return next(one for one in self.begun if one.parent.id == job.parent_id), job

    def take_progress(self, event: JobProgress) -> None:
        """It is shown, and may end its trial."""
        self.view.show(event)
        search, job = self._of(event.job)
        if search.report(job.trial, event.progress):
            self.engine.stop(job)

    def take_end(self, end: JobEnd) -> None:
        """Note what it gave, now or when the tracking server is there again."""
        self.view.end(end)
        search, job = self._of(end.job)
        if end.outcome == "stopped" and not search.is_pruned(job.trial):
            raise KeyboardInterrupt
        self.ended.append(end)

    def _note_ends(self) -> None:
        while self.ended and self.answers():
            try:
                self._note(self.ended[0])
            except (InputFault, MlflowException) as fault:
                now = time.monotonic()
                if not self._refused_since:
                    self._refused_since = now
                    name = self.ended[0].job.name
                    log.info("%s has ended; its score is asked for again: %s", name, fault)
                if not self.is_running() and now - self._refused_since > _PATIENCE:
                    raise InputFault(faults_of(fault)) from None
                return
            del self.ended[0]
            self._refused_since = 0.0

    def _note(self, end: JobEnd) -> None:
        search, job = self._of(end.job)
        log.info("%s: %s", job.name, search.end(end))
        if end.outcome != "done":
            self.view.ended_elsewhere(search.parent.name)

    def _end(self, search: Search) -> None:
        """Finish a search, or close it."""
        faults = search.faults
        if not faults:
            try:
                self.finish(search)
                search.close()
            except (InputFault, MlflowException) as fault:
                faults = faults_of(fault)
        if faults:
            self.faults += faults
            search.break_off(InputFault(faults))
        self.begun.remove(search)
