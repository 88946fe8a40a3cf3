"""Learning-rate schedules that go on from a checkpoint as if the training had never stopped.

Lightning saves an epoch before it steps the schedules that follow a metric (`ReduceLROnPlateau`), and
does not save the metric (its issues 1772 and 17296): a training that goes on would miss that step. So
a checkpoint says which schedules are behind, and with what metric they are to be stepped. Those that
are stepped after every batch are never behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer

_KEY = "mufnet_schedules"


class StoppedSchedules:
    """What the schedules of a trainer that are stepped after an epoch are behind with."""

    def __init__(self) -> None:
        self._stepped: dict[int, int] = {}  # epochs that were done at its last step, by the schedule
        self._behind: list[list[float | None]] = []

    def note(self, trainer: Trainer, scheduler: object) -> None:
        """A schedule was stepped, for the epoch that is being trained."""
        for position, config in enumerate(trainer.lr_scheduler_configs):
            if config.scheduler is scheduler:
                self._stepped[position] = trainer.current_epoch + 1

    def save(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Write for each schedule `[]`, or `[metric]` where it is behind (None without a metric)."""
        progress: Any = trainer.fit_loop.epoch_progress.current
        done: int = progress.processed
        metrics = trainer.callback_metrics
        behind: list[list[float | None]] = []
        for position, config in enumerate(trainer.lr_scheduler_configs):
            due = config.interval == "epoch" and done > 0 and done % config.frequency == 0
            due = due and self._stepped.get(position, 0) < done
            if due and config.reduce_on_plateau:
                metric = metrics.get(str(config.monitor))
                behind.append([] if metric is None else [float(metric)])
            else:
                behind.append([None] if due else [])
        checkpoint[_KEY] = behind

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Remember what a checkpoint says; one of version 0.1 says nothing, its StepLR kept up."""
        self._behind = checkpoint.get(_KEY, [])

    def catch_up(self, trainer: Trainer, step: Callable[[Any, Any], None]) -> None:
        """Step what is behind, when the training that goes on starts."""
        for config, metrics in zip(trainer.lr_scheduler_configs, self._behind, strict=False):
            for metric in metrics:
                step(config.scheduler, metric)
        self._behind = []
        self._stepped = dict.fromkeys(range(len(trainer.lr_scheduler_configs)), trainer.current_epoch)
