"""What every run says of itself: configuration, code, data, split and machine."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, is_dataclass
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars as metrics_to_scalars
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import training_cohort
from mufnet_lightning.system.configs import EXTENDS
from mufnet_lightning.system.files import portable_paths
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.checkpoints import checkpoint_record, trained_cohorts
from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint, SelectedCheckpoint
from mufnet_lightning.training.callbacks.notes import nothing_yet, run_note
from mufnet_lightning.training.callbacks.selection import what_chose
from mufnet_lightning.training.facts import record_files, record_parameters
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import Part

_OF_THIS_CALL = ("ckpt_path", "config", "output", EXTENDS)
"""What a configuration says of one call on one machine, and would not repeat the run."""

_SCORED: Mapping[str, Part] = {"validate": "val", "test": "test"}


class RunRecord(SaveConfigCallback):
    """Records, as soon as a run starts: config.yaml, folds.csv, environment.json, data digest.

    A checkpoint gets what it needs to be run again, and whom it was trained on. `config.yaml`, given
    back to the command, repeats the run; that of a notebook has its data, network and epochs only.

    Args:
        parser, config: of LightningCLI. Without a parser `config` is a configuration as plain values;
            without either, it is composed from the arguments of module and datamodule.
        cli_arguments: see `SaveConfigCallback`.
    """

    def __init__(
        self,
        parser: LightningArgumentParser | None = None,
        config: Namespace | Mapping[str, Any] | None = None,
        **cli_arguments: Any,
    ) -> None:
        super().__init__(parser, config, **{**cli_arguments, "save_to_log_dir": False})  # type: ignore[arg-type]
        self._composed: dict[str, Any] | None = None
        self._cohort: tuple[object, dict[str, Any]] | None = None

    def composed(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The configuration with every file, option and default in it, as plain values."""
        if isinstance(self.config, Namespace):
            if self._composed is None:  # once: each checkpoint asks
                self._composed = composed_configuration(self.parser, self.config)
            return deepcopy(self._composed)
        if self.config is not None:
            return portable_paths(dict(self.config))  # type: ignore[no-any-return]
        data: RoiPairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        sections = {"model": pl_module, "data": data}
        configuration = {
            name: {
                "class_path": f"{type(part).__module__}.{type(part).__qualname__}",
                "init_args": _plain(dict(part.hparams)),
            }
            for name, part in sections.items()
        }
        whole = {**configuration, "trainer": {"max_epochs": trainer.max_epochs}}
        return portable_paths(whole)  # type: ignore[no-any-return]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record, once a run."""
        logger = trainer.logger
        if isinstance(logger, RunLogger):
            selecting = [c for c in trainer.checkpoint_callbacks if isinstance(c, SelectedCheckpoint)]
            callbacks = trainer.callbacks  # type: ignore[attr-defined]
            selection = what_chose(selecting[0] if selecting else None, callbacks)
            logger.describe(trainer.datamodule, selection)  # type: ignore[attr-defined]
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """On the first process alone."""
        logger = trainer.logger
        assert isinstance(logger, RunLogger)
        data: RoiPairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        config = self.composed(trainer, pl_module)
        logger.watch_machine()
        part = _SCORED.get(stage)
        protocol = logger.tag("protocol", data.protocol)
        logger.note(f"{run_note(data, protocol, logger.tag('arm'), part)} {nothing_yet()}")
        record_files(logger.experiment, logger.run, config, data)
        again = logger.resumed and trainer.ckpt_path is None  # stopped early, perhaps before this
        if not logger.resumed or (again and not logger.experiment.get_run(logger.run).data.params):
            record_parameters(logger.experiment, logger.run, config, data)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The run knows from here on which epoch is trained."""
        if isinstance(trainer.logger, RunLogger):
            holds = any(isinstance(one, LastCheckpoint) for one in trainer.checkpoint_callbacks)
            for one in trainer.checkpoint_callbacks:
                if isinstance(one, SelectedCheckpoint):
                    one.check_best()
            trainer.logger.start_training(trainer.current_epoch, holds, str(trainer.ckpt_path or ""))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See `on_train_start`."""
        if isinstance(trainer.logger, RunLogger):
            trainer.logger.begin_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's numbers before its checkpoint is written.

        Lightning does so behind it: a process that is killed in between would lose them.
        """
        if isinstance(trainer.logger, RunLogger) and trainer.is_global_zero:
            numbers = metrics_to_scalars(trainer._logger_connector.metrics["log"])
            trainer.logger.log_metrics(numbers, step=int(numbers.pop("step", trainer.current_epoch)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing of the training is repeated from here on."""
        if isinstance(trainer.logger, RunLogger):
            trainer.logger.end_training()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint says how to run it, whom it was trained on, and in which run to go on."""
        for given in {"hyper_parameters", "datamodule_hyper_parameters"} & checkpoint.keys():
            checkpoint[given] = portable_paths(checkpoint[given])
        data: RoiPairDataModule = trainer.datamodule  # type: ignore[attr-defined]
        config = yaml.safe_dump(self.composed(trainer, pl_module), sort_keys=False)
        run_id = trainer.logger.run if isinstance(trainer.logger, RunLogger) else None
        checkpoint |= checkpoint_record(
            config,
            csv_text(data.folds),
            self._cohort_of(data),
            pl_module.trained_before,  # type: ignore[arg-type]
            run_id,
            data.store.info.margin,
            _names(data, "center"),
            _names(data, "patient_id"),
        )

    def _cohort_of(self, data: RoiPairDataModule) -> dict[str, Any]:
        """Gathered once: each epoch writes checkpoints."""
        key = data.store.digest, data.fold
        if self._cohort is None or self._cohort[0] != key:
            self._cohort = key, training_cohort(data)
        return self._cohort[1]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Whom the weights were trained on before is kept."""
        pl_module.trained_before = trained_cohorts(checkpoint)  # type: ignore[assignment]


def composed_configuration(parser: LightningArgumentParser, config: Namespace) -> dict[str, Any]:
    """A parsed configuration as plain values, every default in it; what is of one call is left out."""
    text = parser.dump(config, skip_link_targets=False, skip_none=False)
    values = portable_paths(yaml.safe_load(text))
    return {name: value for name, value in values.items() if name not in _OF_THIS_CALL}


def _names(data: RoiPairDataModule, column: str) -> list[str]:
    """Centres or patients, of the pairs that train."""
    named = data.store.manifest[column].iloc[data.part_rows("train")]
    return sorted(str(name) for name in named.unique() if name)


def _plain(values: Any) -> Any:
    """As YAML says it: dataclasses as mappings, tuples as lists."""
    if is_dataclass(values) and not isinstance(values, type):
        return _plain(asdict(values))
    if isinstance(values, Mapping):
        return {str(name): _plain(value) for name, value in values.items()}
    return [_plain(value) for value in values] if isinstance(values, list | tuple) else values
