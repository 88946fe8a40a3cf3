"""How far a training is: as a bar, or told to whoever shows several trainings at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

_PAUSE = 0.5  # seconds from one report within an epoch to the next
_SCORES = ("val/patient_auc", "val/auc")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        epochs: that it is to train; None where something else ends it.
        trained: epochs so far, the share of the current one among them; a whole number only where the
            last one has been validated.
        auc: over the validation patients of the last epoch, or over images where that is not logged;
            None before the first, and where there are none.
        scoring: whether the training is over, and the kept weights are scored.
        scores: what the last epoch gave over the validation patients, as `val/auc`; none before the
            first.
    """

    epochs: int | None
    trained: float
    auc: float | None
    scoring: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)


Receiver = Callable[[Progress], object]
_receiver: Receiver | None = None


@contextmanager
def progress_sent_to(receiver: Receiver) -> Iterator[None]:
    """What is trained in the block draws no bar, and tells a function twice a second how far it is."""
    global _receiver
    before, _receiver = _receiver, receiver
    try:
        yield
    finally:
        _receiver = before


def progress_callbacks(wanted: bool) -> list[Callback]:
    """What shows the progress of a trainer, if it is wanted; where it is sent, it always is."""
    if _receiver is not None:
        return [_Sender(_receiver)] if wanted else [_Report(_receiver)]
    return [RichProgressBar(console_kwargs={"stderr": True})] if wanted else []


class _Report(Callback):
    """Sends it, in a trainer without a bar."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self.receiver = receiver
        self._last = -math.inf
        self._scores: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """At once: the first batch may take long."""
        self._send(trainer, trainer.current_epoch)

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Twice a second."""
        if time.monotonic() - self._last >= _PAUSE:
            batches = max(1.0, float(trainer.num_training_batches))
            done = trainer.fit_loop.epoch_loop.batch_idx + 1
            # less than a whole one: its validation is still to come
            self._send(trainer, trainer.current_epoch + min(0.999, done / batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """With what validation gave."""
        known = trainer.callback_metrics
        self._scores = {name: float(known[name]) for name in known if name.startswith("val/")}
        self._send(trainer, trainer.current_epoch + 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of the kept weights."""
        if trainer.state.fn == "validate":
            self._send(trainer, trainer.current_epoch, scoring=True)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of the kept weights."""
        self._send(trainer, trainer.current_epoch, scoring=True)

    def _send(self, trainer: Trainer, trained: float, *, scoring: bool = False) -> None:
        if not trainer.is_global_zero:
            return
        self._last = time.monotonic()
        most = trainer.max_epochs
        epochs = None if most is None or most < 0 else int(most)
        auc = next((self._scores[name] for name in _SCORES if name in self._scores), math.nan)
        known = None if math.isnan(auc) else auc
        self.receiver(Progress(epochs, float(trained), known, scoring, dict(self._scores)))


class _Sender(_Report, ProgressBar):
    """The same, in place of Lightning's own bar."""

    def disable(self) -> None:
        """It draws nothing."""

    def enable(self) -> None:
        """It draws nothing."""
