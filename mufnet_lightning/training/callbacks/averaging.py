"""Averaged weights: the mean over the steps of the last epochs."""

from __future__ import annotations

import logging
from math import ceil
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from mufnet_lightning.errors import InputFault

log = logging.getLogger(__name__)


def first_averaged_epoch(max_epochs: int | None, share: float) -> int:
    """The epoch (from 0) from which on weights are averaged; the last one at least is.

    >>> first_averaged_epoch(100, 0.25)
    75

    Args:
        max_epochs: of the training.
        share: of its epochs that are averaged, above 0, at most 1.

    Raises:
        InputFault: nobody knows how many epochs there will be.
    """
    if max_epochs is None or max_epochs < 0:
        raise InputFault(
            "checkpoint.keep is average, which needs to know the last epochs: set trainer.max_epochs"
        )
    return max_epochs - max(1, ceil(share * max_epochs)) if max_epochs else 0


class TailAverage(WeightAveraging):
    """Averages weights and batch normalisation's statistics after each step of the last epochs.

    Stochastic weight averaging (Izmailov P, et al. Averaging weights leads to wider optima and better
    generalization. UAI 2018:876-885) with a step for a cycle. The curves of the training are those of
    the weights that are trained. A checkpoint has the mean as its weights, as soon as there is one, and
    the trained ones beside it: a training that goes on ends with the bits of one that never stopped.

    Args:
        share: of the epochs that are averaged.
    """

    def __init__(self, share: float = 0.25) -> None:
        super().__init__(use_buffers=True)
        self.share = share
        self._averaging = False

    @property
    def steps(self) -> int:
        """How many steps are in the mean."""
        return 0 if self._average_model is None else int(self._average_model.n_averaged)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After each step of the last epochs."""
        return self._averaging and step_idx is not None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a training whose last epochs are not known."""
        if stage == "fit":
            first_averaged_epoch(trainer.max_epochs, self.share)
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The mean lives where the network does, which Lightning has moved meanwhile."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin with the first of the last epochs, also where an earlier training had ended sooner."""
        if batch_idx:
            return
        assert self._average_model is not None
        first = first_averaged_epoch(trainer.max_epochs, self.share)
        if trainer.current_epoch <= first:
            self._average_model.n_averaged.zero_()
        elif not self.steps:
            log.warning(
                "the weights are averaged from epoch %s on, not from epoch %s: "
                "the checkpoint has no mean to go on with",
                trainer.current_epoch,
                first,
            )
        self._averaging = trainer.current_epoch >= first

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score what is trained."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing was swapped."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The network has the mean, where there is one."""
        if self.steps:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The mean as weights, where there is one."""
        if self.steps:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """To train on: the mean so far, and the trained weights. To score: the mean alone."""
        if trainer.state.fn == "fit" and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The weights to train on with, where a checkpoint has a mean in their place; else None."""
    weights: dict[str, Any] | None = checkpoint.get("current_model_state")
    return weights
