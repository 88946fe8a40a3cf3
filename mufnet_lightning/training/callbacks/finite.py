"""A training stops at the first loss that is no number."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mufnet_lightning.training.divergence import Diverged, rates_of

_SLOTS = 32
"""Losses that may be on their way from a GPU at once."""
_TOGETHER = 50
"""Steps after which several processes look: they must do so at the same one."""


class FiniteLoss(Callback):
    """Stops a training at the first loss that is NaN or infinite, before its checkpoint is written.

    From a GPU a loss is copied behind the step and looked at when it has arrived, a step or two later:
    the GPU is never waited for, except at the end of an epoch. Several processes look together every
    50 steps and at the end of an epoch.

    Raises:
        Diverged: the training diverged.
    """

    def __init__(self) -> None:
        self._arriving: deque[tuple[int, Tensor, Any]] = deque()
        self._slots: Tensor | None = None
        self._next = 0
        self._sum: Tensor | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew: an epoch's losses have all been seen at its end."""
        self._arriving.clear()
        self._sum = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the losses that are known."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        loss = loss.detach().float()
        if trainer.world_size > 1:
            self._sum = loss if self._sum is None else self._sum + loss
            if (batch_idx + 1) % _TOGETHER == 0:
                self._look_together(trainer)
        elif loss.is_cuda:
            if len(self._arriving) == _SLOTS:  # the oldest is seen before its place is used again
                self._arriving[0][2].synchronize()
                self._look(trainer)
            self._send(loss, trainer.global_step)
            while self._arriving and self._arriving[0][2].query():
                self._look(trainer)
        elif not bool(loss.isfinite()):
            _stop(trainer, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is scored, and nothing kept, by weights of a loss that nobody has looked at."""
        self._look_at_all(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, where no validation came before."""
        self._look_at_all(trainer)

    def _look_at_all(self, trainer: Trainer) -> None:
        if trainer.world_size > 1:
            self._look_together(trainer)
        while self._arriving:
            self._arriving[0][2].synchronize()
            self._look(trainer)

    def _send(self, loss: Tensor, step: int) -> None:
        if self._slots is None:
            self._slots = torch.zeros(_SLOTS, pin_memory=True)
        slot = self._slots[self._next]
        self._next = (self._next + 1) % _SLOTS
        slot.copy_(loss, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._arriving.append((step, slot, event))

    def _look(self, trainer: Trainer) -> None:
        step, loss, _ = self._arriving.popleft()
        if not bool(loss.isfinite()):
            _stop(trainer, step)

    def _look_together(self, trainer: Trainer) -> None:
        strange = self._sum is not None and not bool(self._sum.isfinite())
        self._sum = None
        if trainer.strategy.reduce_boolean_decision(strange, all=False):
            _stop(trainer, trainer.global_step)


def _stop(trainer: Trainer, step: int) -> None:
    files = [
        Path(file)
        for one in trainer.checkpoint_callbacks
        for file in (getattr(one, "best_model_path", ""), getattr(one, "last_model_path", ""))
        if file and Path(file).is_file()
    ]
    rates = rates_of(optimizer.state_dict() for optimizer in trainer.optimizers)
    raise Diverged(
        "the training loss is no number (NaN or infinite)",
        trainer.current_epoch,
        step,
        rates,
        list(dict.fromkeys(files)),
    )
