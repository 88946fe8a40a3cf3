"""Which weights a run keeps: of the best epoch, of the last one, or their mean over the last ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mufnet_lightning.errors import InputFault, check_least, check_share
from mufnet_lightning.system.files import atomic_path
from mufnet_lightning.tracking.checkpoints import CHECKPOINT, LAST, checkpoint_folder
from mufnet_lightning.training.callbacks.averaging import TailAverage, trained_weights
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import METRIC_NAMES, Keep, Selection

MONITOR = "val/auc"
"""What selects the best epoch, unless something else is asked for."""


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint in `mlruns/checkpoints/<run id>/`, while the run goes on."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder once the run has an id."""
        if self.dirpath is None and isinstance(trainer.logger, RunLogger):
            run_id = trainer.strategy.broadcast(trainer.logger.run_id)
            self.dirpath = str(checkpoint_folder(str(run_id)))
        super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Its paths as the run's own: a checkpoint does not say on which machine it was written."""
        state = super().state_dict()
        here = str(self.dirpath or "")
        if here != str(checkpoint_folder(Path(here).name)):
            return state  # somebody's own folder
        return {name: _moved(value, here, _own(here)) for name, value in state.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a run that goes on, also where its working folder was moved meanwhile."""
        super().load_state_dict(self._here(state_dict))

    def _here(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """With this folder's paths, where it is the same run's."""
        before, now = str(state_dict.get("dirpath") or ""), str(self.dirpath or "")
        run = Path(now).name
        same = now == str(checkpoint_folder(run)) and Path(before).parts[-2:] == Path(now).parts[-2:]
        return (
            {name: _moved(value, before, now) for name, value in state_dict.items()}
            if same
            else state_dict
        )


def _own(folder: str) -> str:
    """A run's folder without what lies above it."""
    return "/".join(Path(folder).parts[-2:])


def _moved(value: Any, before: str, now: str) -> Any:
    if isinstance(value, str) and value.startswith(before):
        return now + value.removeprefix(before)
    if isinstance(value, Mapping):
        return {_moved(name, before, now): inner for name, inner in value.items()}
    return value


class LastCheckpoint(_RunCheckpoint):
    """Keeps the last epoch, as `last.ckpt`, for a stopped run to go on from.

    Not `save_last` of the other one: that saves only in epochs that are the best so far.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=True,  # also where validation comes twice an epoch, or every other
        )

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if isinstance(trainer.logger, RunLogger):
            trainer.logger.confirm(trainer.current_epoch)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """To train on without a mean, after a training that had one: from the trained weights."""
        weights = trained_weights(checkpoint)
        averages = any(isinstance(one, TailAverage) for one in trainer.callbacks)  # type: ignore[attr-defined]
        if trainer.state.fn == "fit" and weights is not None and not averages:
            pl_module.load_state_dict(weights)


class SelectedCheckpoint(_RunCheckpoint):
    """Which weights a run keeps; they become an artifact of the run at its end.

    Args:
        keep: `best`: those of the epoch with the best `monitor`. `last`: those of the last epoch.
            `average`: their mean over the last epochs (see `TailAverage`).
        monitor: metric that selects the best epoch; `val/auc` unless given. `test_watched/accuracy`
            (with `data.watch_test`) is the paper's way: it selects on the test set, and the run is
            tagged `selection: optimistic`.
        mode: whether larger or smaller is better: `min` for a loss, `max` for all else.
        average_share: share of the epochs, the last ones, that are averaged.

    Raises:
        InputFault: a monitor where nothing is selected, a mode that would select the worst epoch, or a
            share that is none.
    """

    def __init__(
        self,
        keep: Keep = "best",
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        average_share: float = 0.25,
    ) -> None:
        if keep != "best" and monitor is not None:
            raise InputFault(
                f"checkpoint.monitor is {monitor}, but checkpoint.keep is {keep}, which selects no "
                "epoch; set checkpoint.keep: best"
            )
        _check_mode(monitor or MONITOR, mode)
        check_share("checkpoint.average_share", average_share)
        check_least("checkpoint.average_share", average_share, 0, more=True)
        super().__init__(
            monitor=monitor or MONITOR,
            mode=mode,
            filename="selected",
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_top_k=1 if keep == "best" else 0,
        )
        self.keep = keep
        self.average_share = average_share

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best epoch so far, where its file is this run's; another run's may be gone."""
        if self._here(state_dict).get("dirpath") == self.dirpath:
            super().load_state_dict(state_dict)

    def check_best(self) -> None:
        """Find out before a training goes on whether its best epoch so far is there.

        Raises:
            InputFault: it is not.
        """
        best = Path(self.best_model_path)
        if self.keep == "best" and self.best_model_path and not best.is_file():
            raise InputFault(
                f"{best} is not there: the best epoch of the training that goes on; bring it along "
                f"with {LAST}, which does not hold it"
            )

    @property
    def kind(self) -> Selection:
        """What chose the weights; `optimistic` when the test set did."""
        if self.keep != "best":
            return self.keep
        return "optimistic" if str(self.monitor).startswith("test_watched/") else "validation"

    def averaging(self) -> TailAverage | None:
        """The callback that averages, where the mean is kept."""
        return TailAverage(self.average_share) if self.keep == "average" else None

    def own_folder(self) -> Path | None:
        """The run's own folder of checkpoints, which goes when the run has come to its end."""
        here = Path(self.dirpath or "")
        return here if self.dirpath and here == checkpoint_folder(here.name) else None

    def selected(self) -> Path | None:
        """The kept weights' checkpoint, if an epoch has been trained (and, to be the best, scored)."""
        if self.keep == "best":
            return Path(self.best_model_path) if self.best_model_path else None
        last = Path(self.dirpath or ".") / LAST
        return last if self.dirpath and last.is_file() else None

    def kept(self, trainer: Trainer) -> Path:
        """The same, of a trainer whose training has ended.

        Raises:
            InputFault: it ended before there was anything to keep.
        """
        done = f"(trainer.max_epochs is {trainer.max_epochs}, epochs done: {trainer.current_epoch})"
        file = self.selected()
        if file is None:
            scored = " and scored on validation" if self.keep == "best" else ""
            raise InputFault(f"no epoch was trained{scored}, so no checkpoint was selected {done}")
        means = [one for one in trainer.callbacks if isinstance(one, TailAverage)]  # type: ignore[attr-defined]
        if self.keep == "average" and not any(mean.steps for mean in means):
            raise InputFault(
                f"the training ended before the epochs that are averaged {done}; "
                f"its last epoch is {file}"
            )
        return file


def _check_mode(monitor: str, mode: str) -> None:
    name = monitor.rpartition("/")[2]
    better = "min" if name == "loss" else "max"
    if name in METRIC_NAMES and mode != better:
        raise InputFault(
            f"checkpoint.mode is {mode}, which would select the worst epoch by {monitor}; "
            f"set checkpoint.mode: {better}"
        )


def keep_selected(trainer: Trainer, selected: Path) -> None:
    """Make the selected checkpoint an artifact of the run; what is there to go on from stays."""
    logger = trainer.logger
    if isinstance(logger, RunLogger) and trainer.is_global_zero:
        folder, _, name = CHECKPOINT.rpartition("/")
        kept = selected.with_name(name)
        if kept != selected:
            with atomic_path(kept) as draft:
                shutil.copyfile(selected, draft)
        logger.experiment.log_artifact(logger.run, str(kept), folder)
