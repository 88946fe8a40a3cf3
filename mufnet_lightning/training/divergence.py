"""What a training that diverged raises: where it was, and what to try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import portable_path


class Diverged(InputFault):
    """A training whose loss or weights are no numbers any more.

    Args:
        what: has become no number.
        epoch: in which, from 0.
        step: how many steps of the optimiser had been taken.
        rates: of learning, of each group of weights.
        kept: checkpoints that are good.
    """

    def __init__(
        self, what: str, epoch: int, step: int, rates: Iterable[float], kept: Sequence[Path] = ()
    ) -> None:
        given = " and ".join(f"{rate:g}" for rate in dict.fromkeys(rates)) or "unknown"
        files = " and ".join(portable_path(one) for one in kept)
        left = f"the last good checkpoint is kept: {files}" if files else "no checkpoint had been kept"
        super().__init__(
            f"the training diverged: {what} in epoch {epoch} (counted from 0), step {step}, at a "
            f"learning rate of {given}; {left}. Try a learning rate ten times smaller "
            "(--optimizer.lr), or gradient clipping (--trainer.gradient_clip_val 1)"
        )


def rates_of(optimizer_states: Iterable[Mapping[str, Any]]) -> list[float]:
    """The learning rates in the states of some optimisers."""
    groups = (group for state in optimizer_states for group in state.get("param_groups", []))
    return [float(group["lr"]) for group in groups if "lr" in group]
