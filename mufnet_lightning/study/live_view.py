"""What runs now: a table in a terminal, a line a minute elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from mufnet_lightning.study.engines import JobProgress
from mufnet_lightning.study.job import FoldJob, JobEnd
from mufnet_lightning.system.log import console
from mufnet_lightning.training.progress import Progress

_PERIOD = 60.0
"""Seconds from one line to the next where there is no terminal."""
log = logging.getLogger(__name__)


@dataclass
class _Row:
    job: FoldJob
    place: str = ""
    first: tuple[float, float] | None = None
    """When something was heard of it for the first time, and how many epochs there were."""
    progress: Progress | None = None

    def seconds_left(self, now: float) -> float | None:
        """Of its training, as fast as it went so far; None where it cannot be told."""
        at = self.progress
        if at is None or at.epochs is None or self.first is None or at.scoring:
            return None
        begun, before = self.first
        trained = at.trained - before
        return (at.epochs - at.trained) * (now - begun) / trained if trained > 0 else None


@dataclass
class LiveView:
    """Shows jobs as they run; a context.

    Args:
        arms: how many there are.
        what: jobs are called.
    """

    arms: int
    what: str = "fold"
    folds: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, _Row] = field(default_factory=dict)
    _live: Live | None = None
    _said: float = 0.0

    def __enter__(self) -> LiveView:
        self._said = time.monotonic()
        if console().is_terminal:
            self._live = Live(
                console=console(),
                get_renderable=self.table,
                refresh_per_second=2,
                transient=True,
                redirect_stdout=False,  # results go where they are sent
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to what is printed in the block."""
        if self._live is not None:
            self._live.stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def add(self, arm: str, folds: int, done: int) -> None:
        """An arm that begins."""
        self.folds[arm], self.done[arm] = folds, done

    def begin(self, job: FoldJob) -> None:
        """A job that begins, or is queued."""
        self._rows[job.name] = _Row(job)

    def show(self, event: JobProgress) -> None:
        """How far a job is."""
        row = self._rows.setdefault(event.job.name, _Row(event.job))
        row.place, row.progress = event.place, event.progress
        row.first = row.first or (time.monotonic(), event.progress.trained)
        now = time.monotonic()
        if self._live is None and now - self._said >= _PERIOD:
            self._said = now
            log.info("%s", self.line())

    def end(self, end: JobEnd) -> None:
        """A job that has ended."""
        self._rows.pop(end.job.name, None)
        if end.outcome == "done":
            self.ended_elsewhere(end.job.arm)

    def ended_elsewhere(self, arm: str) -> None:
        """A fold of an arm has come to its end."""
        self.done[arm] = self.done.get(arm, 0) + 1

    def line(self) -> str:
        """All of it in one line."""
        jobs = []
        for row in self._rows.values():
            epoch, auc, left = _cells(row)
            jobs.append(
                f"{row.job.name} epoch {epoch}" + f", AUC {auc}" * bool(auc) + f", {left}" * bool(left)
            )
        return f"{self._total()}; " + ("; ".join(jobs) or f"no {self.what} runs here")

    def table(self) -> Table:
        """A row a job."""
        table = Table(box=None, pad_edge=False, title=self._total(), title_justify="left")
        for name in (self.what, "", "epoch", "val AUC", "left"):
            table.add_column(name, justify="left" if name in (self.what, "") else "right")
        if any(row.place for row in self._rows.values()):
            table.add_column("on")
        for row in self._rows.values():
            at = row.progress
            share = None if at is None or not at.epochs else at.trained / at.epochs
            bar = ProgressBar(total=1.0, completed=share or 0.0, width=24, pulse=share is None)
            epoch, auc, left = _cells(row)
            cells: list[str | ProgressBar] = [row.job.name, bar, epoch, auc, left]
            table.add_row(*cells, *([row.place] if len(table.columns) > len(cells) else ()))
        return table

    def _total(self) -> str:
        done, folds = sum(self.done.values()), sum(self.folds.values())
        groups = "arms" if self.what == "fold" else "searches"
        arms = f" of {len(self.folds)} of {self.arms} {groups}" if self.arms > 1 else ""
        return f"{done} of {folds} {self.what}s{arms} done"


def _cells(row: _Row) -> tuple[str, str, str]:
    """Epoch, AUC, time left."""
    at = row.progress
    if at is None:
        return "starts", "", ""
    auc = "" if at.auc is None else f"{at.auc:.3f}"
    if at.scoring:
        return "test", auc, ""
    epoch = f"{int(at.trained) + (at.trained % 1 > 0):d}"
    seconds = row.seconds_left(time.monotonic())
    left = "" if seconds is None else _duration(seconds)
    return epoch if at.epochs is None else f"{epoch}/{at.epochs}", auc, left


def _duration(seconds: float) -> str:
    """
    >>> _duration(3725), _duration(65)
    ('1:02:05', '1:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
