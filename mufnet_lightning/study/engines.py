"""Where the jobs of a study run: what each engine has to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class JobLines:
    """What a job printed.

    Attributes:
        job: it.
        lines: each with the job's name.
    """

    job: FoldJob
    lines: tuple[str, ...]


JobEvent = JobProgress | JobLines | JobEnd


class Engine(Protocol):
    """Runs jobs, several at once. Its jobs stop when it is closed, and when its process ends."""

    def reach(self, folders: Sequence[Path]) -> None:
        """Find out whether jobs can be run wherever they may land.

        Args:
            folders: that they read.

        Raises:
            InputFault: they cannot.
        """

    def takes(self, job: FoldJob) -> bool:
        """Whether a job can be begun, or queued, now."""

    def begin(self, job: FoldJob) -> None:
        """Begin a job, or queue it.

        Raises:
            InputFault: it asks for more than there is.
        """

    def events(self, seconds: float) -> list[JobEvent]:
        """What there is to tell since the last call; waits for it so long at most."""

    def stop(self, job: FoldJob) -> None:
        """Ask a job to stop: it closes its run, and ends as "stopped"; nothing if it has just ended."""

    def close(self) -> None:
        """Stop what runs: each job closes its run, within seconds."""
