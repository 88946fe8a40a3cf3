"""Which epoch's weights a run keeps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mufnet_lightning.tracking.checkpoints import CHECKPOINT, checkpoint_folder
from mufnet_lightning.training.logger import RunLogger


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint in `mlruns/checkpoints/<run id>/`, while the run goes on."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder once the run has an id."""
        if self.dirpath is None and isinstance(trainer.logger, RunLogger):
            run_id = trainer.strategy.broadcast(trainer.logger.run_id)
            self.dirpath = str(checkpoint_folder(str(run_id)))
        super().setup(trainer, pl_module, stage)

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
        super().__init__(filename="last", auto_insert_metric_name=False, enable_version_counter=False)


class SelectedCheckpoint(_RunCheckpoint):
    """Keeps the epoch with the best validation AUC; it becomes an artifact of the run at its end.

    Args:
        monitor: metric that selects. `test_watched/accuracy` (with `data.watch_test`) is the
            paper's way: it selects on the test set, and the run is tagged `selection: optimistic`.
        mode: whether larger or smaller is better.
    """

    def __init__(self, monitor: str = "val/auc", mode: Literal["max", "min"] = "max") -> None:
        super().__init__(
            monitor=monitor,
            mode=mode,
            filename="selected",
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_top_k=1,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best epoch so far, where its file is this run's; another run's may be gone."""
        if self._here(state_dict).get("dirpath") == self.dirpath:
            super().load_state_dict(state_dict)

    @property
    def kind(self) -> Literal["validation", "optimistic"]:
        """`optimistic` when the test set selects."""
        return "optimistic" if str(self.monitor).startswith("test_watched/") else "validation"

    def selected(self) -> Path | None:
        """The selected checkpoint's file, if an epoch has been scored."""
        return Path(self.best_model_path) if self.best_model_path else None


def keep_selected(trainer: Trainer, selected: Path) -> None:
    """Make the selected checkpoint an artifact of the run; what was there to go on from is removed."""
    logger = trainer.logger
    if isinstance(logger, RunLogger) and trainer.is_global_zero:
        folder, _, name = CHECKPOINT.rpartition("/")
        assert selected.name == name
        logger.experiment.log_artifact(logger.run, str(selected), folder)
        shutil.rmtree(checkpoint_folder(logger.run))
