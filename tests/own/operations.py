"""A callback that counts what PyTorch carries out while a network is trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

COUNTS: Counter[str] = Counter()


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the name of each operation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry it out."""
        COUNTS[func.name()] += 1
        return func(*args, **(kwargs or {}))


class Counting(Callback):
    """Counts from the second step of an epoch to its last."""

    def __init__(self) -> None:
        self._mode = Operations()  # type: ignore[no-untyped-call]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The first step makes things that later ones have."""
        if batch_idx == 1:
            self._mode.__enter__()  # type: ignore[no-untyped-call]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Before the numbers of the epoch are made."""
        if batch_idx == int(trainer.num_training_batches) - 1:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
