"""Where the jobs of a study run: what each engine has to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mufnet_lightning.study.job import FoldJob, JobEnd
from mufnet_lightning.training.progress import Progress


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        job: it.
        progress: of its training.
        place: where it runs, as `GPU 1`; empty where there is nothing to tell.
    """

    job: FoldJob
    progress: Progress
    place: str = ""


class Engine(Protocol):
    """Runs jobs, several at once. Its jobs stop when it is closed, and when its process ends."""

    def takes(self, job: FoldJob) -> bool:
        """Whether a job can be begun, or queued, now."""

    def begin(self, job: FoldJob) -> None:
        """Begin a job, or queue it.

        Raises:
            InputFault: it asks for more than there is.
        """

    def events(self, seconds: float) -> list[JobProgress | JobEnd]:
        """What there is to tell since the last call; waits for it so long at most."""

    def close(self) -> None:
        """Stop what runs: each job closes its run, within seconds."""
