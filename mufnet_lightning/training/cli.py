"""LightningCLI over the data, the network and what a run leaves in MLflow."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import FoldTable, read_folds
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.load import load_grader
from mufnet_lightning.inference.logged_model import check_registry
from mufnet_lightning.inference.predict import crop_notes, lacking_modalities
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.tracking.arms import read_arm
from mufnet_lightning.tracking.checkpoints import read_checkpoint, remove_left_checkpoints
from mufnet_lightning.tracking.runs import Tracking, find_run, resolve_artifact
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.training.callbacks.averaging import first_averaged_epoch
from mufnet_lightning.training.callbacks.batch_plot import BatchPlot
from mufnet_lightning.training.callbacks.checkpoint import (
    LastCheckpoint,
    SelectedCheckpoint,
    keep_selected,
)
from mufnet_lightning.training.callbacks.evaluation import Evaluation
from mufnet_lightning.training.callbacks.explanation import Explain
from mufnet_lightning.training.callbacks.finite import FiniteLoss
from mufnet_lightning.training.callbacks.learning_rate import LearningRate
from mufnet_lightning.training.callbacks.predictions import PredictionWriter, write_predictions
from mufnet_lightning.training.callbacks.selection import (
    choosers,
    choosers_of,
    selection_of,
    unseen_recalibration,
    what_chose,
)
from mufnet_lightning.training.checkpoint_io import SealedCheckpointIO
from mufnet_lightning.training.checks import (
    check_optimisation,
    check_same_store,
    check_selection,
    check_unseen,
    check_validation,
    followed,
    state_start,
)
from mufnet_lightning.training.logger import RunLogger, recorded
from mufnet_lightning.training.messages import fault_of, one_sentence
from mufnet_lightning.training.parsed import ParsedCLI
from mufnet_lightning.training.printed import print_link, print_numbers, print_run
from mufnet_lightning.training.progress import progress_callbacks
from mufnet_lightning.training.ranks import watch_ranks
from mufnet_lightning.vocabulary import Part

log = logging.getLogger(__name__)


class MufnetCLI(ParsedCLI):
    """Builds data, network and trainer, and runs the verb; with `run=False` it builds them only.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
    """

    # what is built

    def instantiate_classes(self) -> None:
        """Data and network, optimiser, trainer; what one of them refuses is told in its own words."""
        check_optimisation(self._get(self.config, "optimizer"), self._get(self.config, "lr_scheduler"))
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise InputFault(one_sentence(str(error))) from None
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
            raise fault from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the run's logger and callbacks beside those that were asked for."""
        verb = self.subcommand or "fit"
        config = self._get(self.config_init, "trainer")
        self.selection: SelectedCheckpoint = self._get(self.config_init, "checkpoint")
        best = self.selection.keep == "best"
        if verb == "fit" and best and config.get("limit_val_batches") == 0:
            raise InputFault("trainer.limit_val_batches is 0, but validation selects the checkpoint")
        if config.get("overfit_batches"):
            raise InputFault(
                "trainer.overfit_batches would replace the class-balanced sampler; "
                "trainer.limit_train_batches makes a short epoch"
            )
        self._hand_over(self.datamodule, self.model)
        self.explanation: Explain = self._get(self.config_init, "explain")
        filed: Tracking = self._get(self.config_init, "tracking")
        baseline = read_arm(filed.baseline) if filed.baseline else None
        arm = filed.arm_of(self.datamodule.modalities)
        self.evaluation = Evaluation(baseline, figures=filed.figures, arm=arm)
        given = config.get("callbacks") or []
        given = list(given) if isinstance(given, Sequence) else [given]
        self.chosen_by = what_chose(self.selection, given)
        if verb != "fit" and self.checkpoint is not None:
            self.chosen_by = selection_of(self.checkpoint)
        loggers = self._loggers(config.get("logger"), verb)
        settings = {
            **config,
            **kwargs,
            "logger": loggers or False,
            "callbacks": given,
        }
        self.predictions = PredictionWriter()
        callbacks: list[Callback] = [self.predictions, self.evaluation, self.explanation]
        callbacks += progress_callbacks(config.get("enable_progress_bar") is not False)
        plugins = config.get("plugins") or []
        plugins = list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        if not any(isinstance(one, CheckpointIO) for one in plugins):
            settings["plugins"] = [*plugins, SealedCheckpointIO()]
        if verb == "fit":
            callbacks += [FiniteLoss(), BatchPlot()]
            callbacks += [LearningRate()] if loggers else []
            if config.get("enable_checkpointing") is not False:
                averaging = self.selection.averaging()
                callbacks += [averaging] if averaging else []
                callbacks += [self.selection, LastCheckpoint()]  # the last one saves the other's state
        try:
            trainer = self._instantiate_trainer(settings, callbacks)
        except (TypeError, ValueError) as error:  # how Lightning refuses what a trainer is given
            raise InputFault(f"trainer: {one_sentence(str(error))}") from None
        watch_ranks(trainer)
        return trainer

    def _hand_over(self, data: RoiPairDataModule, model: MufNetModule) -> None:
        """What MLflow and the checkpoint know: the folds of the data, the network's first weights."""
        folds_from = data.folds_from
        protocol: str = data.protocol
        if folds_from is not None:
            data.given_folds = FoldTable(
                read_folds(resolve_artifact(folds_from, "folds.csv")), folds_from
            )
            protocol = _protocol_of(folds_from)
        elif self.checkpoint is not None and self.checkpoint.folds is not None:
            data.given_folds = FoldTable(
                read_folds(io.StringIO(self.checkpoint.folds), "the checkpoint"), "the checkpoint"
            )
            trained = self.checkpoint.config["data"]
            protocol = (
                _protocol_of(trained["folds_from"]) if trained["folds_from"] else trained["protocol"]
            )
        self.protocol: str = protocol
        start = model.hparams.get("init_from")
        going_on = self.checkpoint is not None
        if start and (self.subcommand or "fit") == "fit" and not going_on:
            model.initial = read_checkpoint(start)

    def _loggers(self, given: Any, verb: str) -> list[Logger]:
        """MLflow's first, and those that were asked for beside it; none where `logger` is false."""
        if given is False or verb == "predict":
            return []
        others = [] if given is None or given is True else given
        others = list(others) if isinstance(others, Sequence) else [others]
        where: Tracking = self._get(self.config_init, "tracking")
        data = self.datamodule
        tags = run_tags(
            verb,
            where.study,
            parent=where.parent_run,
            arm=where.arm_of(data.modalities),
            fold=str(data.fold),
            protocol=self.protocol,
            selection=self.chosen_by,
            baseline=where.baseline,
        )
        name = f"{tags['arm']}-fold{data.fold}" + ("" if verb == "fit" else f"-{verb}")
        return [RunLogger(where, name, tags, self.resumed_run), *others]

    # what is run

    def fit(self, **options: Any) -> None:
        """Train, then score validation and test with the weights that are kept."""
        remove_left_checkpoints()
        with recorded(self.trainer):
            self._fit(**options)
            kept = self.selection.own_folder() if self._went_through else None
        if self._went_through and self.trainer.is_global_zero:
            if kept is not None:
                remove_left_checkpoints(kept)  # behind FINISHED: a kill leaves too much
            print_link(self.trainer.logger, self._get(self.config_init, "tracking"))

    def validate(self, **options: Any) -> None:
        """Score the validation part."""
        self._score_again("validate", "val", options["ckpt_path"])

    def test(self, **options: Any) -> None:
        """Score the test part."""
        self._score_again("test", "test", options["ckpt_path"])

    def predict(self, **options: Any) -> None:
        """Score every pair of a store; write a row an image and print a row a patient.

        Raises:
            InputFault: it cannot be done; or, after the others were scored, who lacks a modality.
        """
        if self.trainer.world_size > 1:
            raise InputFault("predict runs in one process; set --trainer.devices to 1")
        output = Path(self._get(self.config, "output"))
        if output.is_dir():
            raise InputFault(f"--output {output} is a folder; name a file in it")
        if not output.parent.is_dir():
            raise InputFault(f"--output {output}: there is no folder {output.parent}")
        assert self.reference is not None
        grader = load_grader(self.reference, "cpu", bare=True)  # the module itself scores
        data = self.datamodule
        data.missing_allowed = grader.card.takes_missing
        data.complete_pairs = False  # of training: who has what this arm looks at is scored
        for note in crop_notes(grader.card, data.store):
            log.warning("%s", note)
        data.prepare_data()
        if not len(data.usable_rows):
            raise InputFault([f"not scored: {one}" for one in lacking_modalities(grader.card, data)])
        passes = []
        with recorded(self.trainer):
            for file in self.members:
                passes.append(self.trainer.predict(weights_only=True, **{**options, "ckpt_path": file}))
            left_out = write_predictions(passes, data, grader, output)  # type: ignore[arg-type]
        if left_out:
            raise InputFault([f"not scored: {one}" for one in left_out])

    def check_before_training(self) -> None:
        """Find everything that can be wrong before a run is opened.

        Raises:
            InputFault: with what is wrong.
        """
        data = self.datamodule
        check_selection(self.selection, data)
        check_validation(data, followed(self.trainer, self._get(self.config, "lr_scheduler")))
        if self.selection.keep == "average":
            first_averaged_epoch(self.trainer.max_epochs, self.selection.average_share)
        self._check_register()
        data.prepare_data()
        data.setup("fit")
        self.check_unseen("val", "test")

    def check_unseen(self, *parts: str) -> None:
        """Refuse to score patients of this fold's `parts` on whom the weights were trained."""
        sources = {"--ckpt_path": self.checkpoint, "model.init_from": self.model.initial}
        check_unseen(self.datamodule, parts, {k: v for k, v in sources.items() if v is not None})

    def _fit(self, **options: Any) -> None:
        self.check_before_training()
        if self.checkpoint is not None:
            check_same_store(self.checkpoint, self.datamodule)
        self.evaluation.choosers = choosers(self.datamodule, self.chosen_by)
        scored: list[Part] = [part for part in self.datamodule.parts if part != "train"]
        self.evaluation.check_baseline(self.datamodule, *scored)
        state_start(self.trainer, self.model.initial, self.datamodule)
        if options.get("ckpt_path") is None:
            self.model.initialise_weights()
        self.trainer.fit(weights_only=True, **options)
        if not self._went_through:
            return
        selected = self.selection.kept(self.trainer)
        if "val" in scored:
            self._score("validate", str(selected))
        if "test" in scored:
            self._score("test", str(selected))
        keep_selected(self.trainer, selected)
        if self._keeps_model and self.trainer.is_global_zero:
            register = self._get(self.config_init, "tracking").register
            self.trainer.logger.keep_model(register)  # type: ignore[union-attr]
        self._print(*scored)

    @property
    def _went_through(self) -> bool:
        """Whether a fit keeps checkpoints, and scores the weights of one of them."""
        short = self._get(self.config, "trainer")["fast_dev_run"]
        return not short and self.trainer.checkpoint_callback is not None

    @property
    def _keeps_model(self) -> bool:
        """Whether a fit leaves a model; of the folds of a cross-validation their parent has it."""
        asked = self._get(self.config, "trainer")
        whole = not asked["fast_dev_run"] and asked["enable_checkpointing"] is not False
        alone = self._get(self.config_init, "tracking").parent_run is None
        return whole and alone and isinstance(self.trainer.logger, RunLogger)

    def _check_register(self) -> None:
        register = self._get(self.config_init, "tracking").register
        if register is not None and not self._keeps_model:
            raise InputFault(
                "tracking.register needs a run that is recorded with its checkpoint, and no "
                "tracking.parent_run: only the whole model of a fit or cv is registered"
            )
        if register is not None:
            check_registry(register)

    def _score_again(self, verb: str, part: Part, ckpt_path: str) -> None:
        with recorded(self.trainer):
            if part not in self.datamodule.parts:
                self.datamodule.part_rows(part)  # a test part that is left alone is told of
                raise InputFault(f"{verb}: fold {self.datamodule.fold} has no validation patients")
            self.check_unseen(part)
            assert self.checkpoint is not None
            assert self.reference is not None
            self.evaluation.choosers = choosers_of(self.checkpoint, self.chosen_by, self.datamodule)
            self.evaluation.check_baseline(self.datamodule, part)
            if part == "test":
                recorded_fit = unseen_recalibration(self.reference, self.checkpoint, self.datamodule)
                self.evaluation.recorded = self.predictions.recorded = recorded_fit
            self._score(verb, ckpt_path)
            self._print(part)

    def _score(self, verb: str, ckpt_path: str) -> None:
        self.datamodule.prepare_data()
        self.datamodule.setup(verb)
        run = getattr(self.trainer, verb)
        run(
            self.model,
            datamodule=self.datamodule,
            verbose=False,
            weights_only=True,
            ckpt_path=ckpt_path,
        )

    def _print(self, *parts: str) -> None:
        if not self.trainer.is_global_zero:
            return
        print_numbers(self.model.numbers, parts, self.evaluation.chosen)
        print_run(self.trainer.logger)


def _protocol_of(reference: str) -> str:
    """How the patients of a fold table were split; a run that it is taken from may know it."""
    try:
        return find_run(reference).protocol or "from_file"
    except InputFault:
        return "from_file"
