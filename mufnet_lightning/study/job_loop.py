"""What every schedule of jobs does: give an engine what it takes, hear it, end what is over."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from mufnet_lightning.study.engines import Engine, JobLines, JobProgress
from mufnet_lightning.study.job import JobEnd
from mufnet_lightning.study.live_view import LiveView
from mufnet_lightning.system.signals import closing, stopping
from mufnet_lightning.tracking.opening import absent, await_answer
from mufnet_lightning.tracking.runs import tracking_uri

_A_LOOK = 0.5  # seconds that are waited for the engine at once
log = logging.getLogger(__name__)


class JobLoop(ABC):
    """Runs jobs until none is left; who extends it says which, and what follows from their ends.

    Args:
        engine: where they run; it is closed by `run`.
        view: shows them.
    """

    def __init__(self, engine: Engine, view: LiveView) -> None:
        self.engine = engine
        self.view = view
        self._reached: set[Path] = set()

    def run(self) -> None:
        """Until no job is left.

        Raises:
            InputFault: the tracking server does not come back, and nothing runs any more.
            KeyboardInterrupt: stopped.
        """
        try:
            with self.view:
                while self.begin_jobs() or self.has_open():
                    self._hear()
                    self.end_what_is_over()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or stopping():
                closing()
            try:
                self.engine.close()
            finally:
                self.break_off(error)
            raise
        self.engine.close()

    @abstractmethod
    def begin_jobs(self) -> bool:
        """Give the engine what it takes; whether there may be more to give."""

    @abstractmethod
    def has_open(self) -> bool:
        """Whether something that was begun has not ended."""

    @abstractmethod
    def is_running(self) -> bool:
        """Whether the engine has a job."""

    @abstractmethod
    def take_progress(self, event: JobProgress) -> None:
        """How far a job is."""

    @abstractmethod
    def take_end(self, end: JobEnd) -> None:
        """A job has ended."""

    @abstractmethod
    def end_what_is_over(self) -> None:
        """Finish, or close, what has no job left."""

    @abstractmethod
    def break_off(self, error: BaseException) -> None:
        """Close what was begun, because of an error."""

    def answers(self) -> bool:
        """Whether the tracking server does; as long as jobs run it is not waited for.

        Raises:
            InputFault: nothing runs, and it does not come back.
        """
        if self.is_running():
            return absent(tracking_uri()) is None
        await_answer(tracking_uri())
        return True

    def reach(self, folders: Iterable[Path]) -> None:
        """Let the engine look at folders that it has not looked at.

        Raises:
            InputFault: jobs cannot be run on them.
        """
        new = [folder for folder in folders if folder not in self._reached]
        if new:
            self.engine.reach(new)
            self._reached.update(new)

    def _hear(self) -> None:
        for event in self.engine.events(_A_LOOK):
            if isinstance(event, JobEnd):
                self.take_end(event)
            elif isinstance(event, JobLines):
                for line in event.lines:
                    log.info("%s", line)
            else:
                self.take_progress(event)
