"""What a study is going to do: which folds of which arms are left, and how long they will take."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from mufnet_lightning.study.arm_checks import built_arm
from mufnet_lightning.study.identity import identity
from mufnet_lightning.study.parent_run import known_parent
from mufnet_lightning.study.spec import StudyArm
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.runs import finished_folds
from mufnet_lightning.training.messages import quiet_libraries

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI


_SHORT = (
    "--trainer.max_epochs=1",
    "--trainer.logger=false",
    "--trainer.enable_checkpointing=false",
    "--trainer.callbacks=null",  # some want a logger
    "--trainer.devices=1",  # others would start this very command again
    "--trainer.num_nodes=1",
    "--trainer.strategy=auto",
)


@dataclass(frozen=True)
class ArmOutlook:
    """An arm, before it is trained.

    Attributes:
        name: of it.
        folds: their numbers.
        done: those that have come to their end.
        epochs: that each fold trains; None where something else ends it.
        seconds: that one epoch took here on one device, validation included; None where nothing is left
            to train.
    """

    name: str
    folds: tuple[int, ...]
    done: tuple[int, ...]
    epochs: int | None
    seconds: float | None

    @property
    def left(self) -> tuple[int, ...]:
        """The folds that are still to be trained."""
        return tuple(fold for fold in self.folds if fold not in self.done)

    @property
    def hours(self) -> float:
        """That they take, one after another: without tests, pictures and what starts a fold.

        NaN where it cannot be told.
        """
        if not self.left:
            return 0.0
        if self.epochs is None or self.seconds is None:
            return float("nan")
        return len(self.left) * self.epochs * self.seconds / 3600


def outlook(arms: Sequence[StudyArm]) -> list[ArmOutlook]:
    """Look up what is done, and train one epoch of each arm that has folds left; nothing is recorded.

    Raises:
        InputFault: an arm cannot be run as asked.
    """
    looked: list[ArmOutlook] = []
    with TemporaryDirectory() as scratch, quiet_libraries():
        split = Path(scratch) / "folds.csv"
        for arm in arms:
            cli = built_arm(arm, split)
            folds = cli.datamodule.folds
            key = identity(cli.composed_config(), cli.datamodule.store.digest, csv_text(folds))
            parent = known_parent(cli, key)
            done = tuple(finished_folds(parent)) if parent is not None else ()
            numbers = tuple(sorted(int(fold) for fold in folds["fold"].unique()))
            left = set(numbers) - set(done)
            seconds = _one_epoch(arm, split, min(left)) if left else None
            looked.append(ArmOutlook(arm.name, numbers, done, _epochs(cli), seconds))
    return looked


def outlook_table(arms: Sequence[ArmOutlook]) -> pd.DataFrame:
    """A row an arm, and one of all."""
    rows = [
        {
            "arm": arm.name,
            "folds": len(arm.folds),
            "done": len(arm.done),
            "left": len(arm.left),
            "epochs": "n/a" if arm.epochs is None else arm.epochs,
            "s an epoch": "" if arm.seconds is None else f"{arm.seconds:.1f}",
            "hours": _hours(arm.hours),
        }
        for arm in arms
    ]
    total = {
        "arm": "all",
        "folds": sum(len(arm.folds) for arm in arms),
        "done": sum(len(arm.done) for arm in arms),
        "left": sum(len(arm.left) for arm in arms),
        "epochs": "",
        "s an epoch": "",
        "hours": _hours(sum(arm.hours for arm in arms)),
    }
    return pd.DataFrame([*rows, total])


def _hours(hours: float) -> str:
    return f"{hours:.2f}" if math.isfinite(hours) else "n/a"


def _epochs(cli: MufnetCLI) -> int | None:
    most = cli.trainer.max_epochs
    return None if most is None or most < 0 else int(most)


def _one_epoch(arm: StudyArm, split: Path, fold: int) -> float:
    """Seconds of the first epoch, with its validation; weights and numbers are thrown away."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    class Clock(Callback):
        begun = ended = 0.0

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.begun = time.perf_counter()

        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.ended = time.perf_counter()

    clock = Clock()
    words = (*arm.arguments, f"--data.fold={fold}", *_SHORT)
    cli = built_arm(replace(arm, arguments=words), split)
    cli.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
    cli.model.initialise_weights()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return clock.ended - clock.begun
