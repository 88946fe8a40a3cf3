"""One run: LightningCLI over the data, the network and what a run leaves in MLflow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import trained_on
from mufnet_lightning.data.prediction_table import gather_predictions, prediction_table
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import patient_summary
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.tracking.arms import read_arm
from mufnet_lightning.tracking.checkpoints import CHECKPOINT, read_checkpoint
from mufnet_lightning.tracking.provenance import commit_tags
from mufnet_lightning.tracking.runs import Tracking, find_run, tracking_uri
from mufnet_lightning.training.callbacks.batch_plot import BatchPlot
from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint, SelectedCheckpoint
from mufnet_lightning.training.callbacks.evaluation import Evaluation
from mufnet_lightning.training.callbacks.explanation import Explain, ExplainAfterTest
from mufnet_lightning.training.callbacks.predictions import PredictionWriter
from mufnet_lightning.training.callbacks.record import RunRecord
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.training.messages import _one_sentence, _Parser
from mufnet_lightning.vocabulary import METRIC_NAMES, arm_name


class MufnetCLI(LightningCLI):
    """Parses and builds everything first; `start` then runs the verb."""

    resumed_run: str | None = None
    """Id of the run that a `fit` from a checkpoint goes on with."""
    checkpoint: Mapping[str, Any] = {}
    """What the checkpoint of `--ckpt_path` holds."""

    @classmethod
    def parse(
        cls,
        arguments: list[str],
        resumed_run: str | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> MufnetCLI:
        """Parse the arguments of one verb and build trainer, module and datamodule."""
        # LightningCLI builds everything in its constructor
        cls.resumed_run, cls.checkpoint = resumed_run, checkpoint or {}
        exact: dict[str, Any] = {"allow_abbrev": False}  # a mistyped option is no other option
        try:
            return cls(
                MufNetModule,
                RoiPairDataModule,
                save_config_callback=None,
                seed_everything_default=0,
                trainer_defaults={"enable_model_summary": False},
                parser_class=_Parser,
                parser_kwargs={"prog": "mufnet", **exact}
                | {verb: dict(exact) for verb in LightningCLI.subcommands()},
                auto_configure_optimizers=False,
                args=arguments,
            )
        except MisconfigurationException as error:
            raise InputFault(_one_sentence(str(error))) from None
        except ValueError as error:
            if "not in bounds" not in str(error):
                raise
            raise InputFault(f"seed_everything: {error}") from None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs, and which of the trainer's arguments are not for the user."""
        fixed = {"weights_only", "verbose", "return_predictions"}
        return {verb: skip | fixed for verb, skip in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own settings, and what follows from another setting."""
        parser.add_argument("--tracking", type=Tracking, default=Tracking())
        parser.add_argument("--explain", type=ExplainAfterTest, default=ExplainAfterTest())
        parser.add_class_arguments(SelectedCheckpoint, "checkpoint")
        parser.link_arguments("data.modalities", "model.modalities")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_argument(
            "--output", default="predictions.csv", help="file that `predict` writes its scores to"
        )

    def _parse_ckpt_path(self) -> None:
        """Not Lightning's way: `_with_checkpoint` takes the whole configuration, not the model's."""

    def before_instantiate_classes(self) -> None:
        """A checkpoint brings the split of its training: the store may have grown since."""
        config = self.config[str(self.subcommand)]
        if config.ckpt_path is not None and not self.checkpoint:
            raise InputFault("ckpt_path stands in a configuration file; give --ckpt_path instead")
        self.protocol = _protocol(config.data.folds_from, config.data.protocol)
        if "mufnet_folds" in self.checkpoint and config.data.folds_from is None:
            trained = yaml.safe_load(self.checkpoint["mufnet_config"])["data"]
            self.protocol = _protocol(trained["folds_from"], trained["protocol"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the run's logger and callbacks."""
        verb = str(self.subcommand)
        config = self._get(self.config_init, "trainer")
        self.datamodule.checkpoint_folds = self.checkpoint.get("mufnet_folds")
        if verb == "fit" and config.get("limit_val_batches") == 0:
            raise InputFault("trainer.limit_val_batches is 0, but validation selects the checkpoint")
        if config.get("overfit_batches"):
            raise InputFault(
                "trainer.overfit_batches would replace the class-balanced sampler; "
                "trainer.limit_train_batches makes a short epoch"
            )
        self.selection: SelectedCheckpoint = self._get(self.config_init, "checkpoint")
        if isinstance(config.get("logger"), bool) or config.get("logger") is None:
            wanted = config.get("logger") is not False and verb != "predict"
            kwargs["logger"] = self._make_logger(verb) if wanted else False
        callbacks = config.get("callbacks") or []
        callbacks = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
        if config.get("enable_progress_bar") is not False:
            callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
        baseline = self._get(self.config_init, "tracking").baseline
        self.evaluation = Evaluation(read_arm(baseline) if baseline else None)
        callbacks += [RunRecord(self.composed_config()), PredictionWriter(), self.evaluation]
        callbacks += [Explain(self._get(self.config_init, "explain"))]
        if verb == "fit":
            callbacks += [BatchPlot()]
            if kwargs.get("logger"):
                callbacks += [LearningRateMonitor("epoch")]
            if config.get("enable_checkpointing") is not False:
                callbacks += [self.selection, LastCheckpoint()]  # the last one saves the other's state
        return super().instantiate_trainer(**{**kwargs, "callbacks": callbacks})

    def composed_config(self) -> dict[str, Any]:
        """The configuration with every file, option and default in it, as plain values."""
        parser = self._parser(self.subcommand)
        config = self.config[str(self.subcommand)]
        told = yaml.safe_load(parser.dump(config, skip_link_targets=False, skip_none=False))
        return {**told, "ckpt_path": None}  # of this machine, this time

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing yet: `start` does it, once the caller has what it needs to close the run."""

    def start(self) -> None:
        """Run the verb."""
        if self._get(self.config, "ckpt_path") is None and self.subcommand != "fit":
            raise InputFault(
                f"{self.subcommand} needs --ckpt_path: a checkpoint file, or runs:/ID of a run"
            )
        super()._run_subcommand(str(self.subcommand))

    def fit(self, **options: Any) -> None:
        """Train, then score validation and test with the selected checkpoint."""
        # everything that can be wrong is found before a run is opened
        self.check_selection()
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        self._check_same_store()
        self.check_unseen("val", "test")
        self.evaluation.check_baseline(self.datamodule, "val", "test")
        if options.get("ckpt_path") is None:
            self.model.initialise_weights()
        self.trainer.fit(weights_only=True, **options)
        if self._get(self.config, "trainer")["fast_dev_run"] or not self.trainer.checkpoint_callback:
            return
        selected = self.selection.selected()
        if selected is None:
            raise InputFault(
                "no epoch was trained and scored on validation, so no checkpoint was selected "
                f"(trainer.max_epochs is {self.trainer.max_epochs}, epochs done: "
                f"{self.trainer.current_epoch})"
            )
        self._score("validate", ckpt_path=str(selected))
        self._score("test", ckpt_path=str(selected))
        self._keep(selected)
        self._report(("val", "test"))

    def validate(self, **options: Any) -> None:
        """Score the validation part."""
        self.check_unseen("val")
        self.evaluation.check_baseline(self.datamodule, "val")
        self._score("validate", ckpt_path=options["ckpt_path"])
        self._report(("val",))

    def test(self, **options: Any) -> None:
        """Score the test part."""
        self.check_unseen("test")
        self.evaluation.check_baseline(self.datamodule, "test")
        self._score("test", ckpt_path=options["ckpt_path"])
        self._report(("test",))

    def predict(self, **options: Any) -> None:
        """Score every pair of a store; write a row an image and print a row a patient."""
        if self.trainer.world_size > 1:
            raise InputFault("predict runs in one process; set --trainer.devices to 1")
        output = Path(self._get(self.config, "output"))
        if output.is_dir():
            raise InputFault(f"--output {output} is a folder; name a file in it")
        if not output.parent.is_dir():
            raise InputFault(f"--output {output}: there is no folder {output.parent}")
        self.datamodule.prepare_data()
        self.datamodule.setup("predict")
        batches = self.trainer.predict(weights_only=True, **options)
        scores = gather_predictions(batches)  # type: ignore[arg-type]
        table = prediction_table(self.datamodule, scores, "predict")
        trained = table["patient_id"].isin(trained_on(self.checkpoint, self.datamodule.store))
        if trained.any():  # `compare` then leaves them out
            table["split"] = table["split"].mask(trained, "train")
            count = table.loc[trained, "patient_id"].nunique()
            print(
                f"mufnet: {count} of these patients trained this checkpoint, so their scores flatter "
                "(split `train` in the file)",
                file=sys.stderr,
            )
        partial = output.with_name(f".{output.name}.partial")
        table.to_csv(partial, index=False)
        partial.replace(output)
        print(patient_summary(table).to_string(index=False))
        print(f"scores of {len(table)} images: {output}")

    def check_selection(self) -> None:
        """Refuse to select on a part that is not scored."""
        part, _, name = str(self.selection.monitor).partition("/")
        if part not in ("val", "test_watched") or name not in METRIC_NAMES:
            raise InputFault(
                f"checkpoint.monitor is {self.selection.monitor}, expected val/ or test_watched/ "
                f"and one of {', '.join(METRIC_NAMES)}"
            )
        if self.selection.kind == "optimistic" and not self.datamodule.watch_test:
            raise InputFault(
                f"checkpoint.monitor is {self.selection.monitor}, which needs data.watch_test: true"
            )

    def check_unseen(self, *parts: str) -> None:
        """Refuse to score patients on whom the weights were trained.

        Raises:
            InputFault: one of them is in one of `parts` (`val`, `test`) of this fold.
        """
        data = self.datamodule
        sources = {"--ckpt_path": self.checkpoint}
        start = self.model.hparams["init_from"]
        if start and self.subcommand == "fit" and not self.checkpoint:
            sources["model.init_from"] = read_checkpoint(start)
        table = data.folds[(data.folds["fold"] == data.fold) & data.folds["part"].isin(parts)]
        for name, checkpoint in sources.items():
            seen = table[table["patient_id"].isin(trained_on(checkpoint, data.store))]
            if not seen.empty:
                first = seen.iloc[0]
                raise InputFault(
                    f"{name}: patient {first['patient_id']} of the {first['part']} part of fold "
                    f"{data.fold} trained this checkpoint, and the score would flatter (a patient of "
                    "another cohort needs another id)"
                )

    def _check_same_store(self) -> None:
        if _digest(self.checkpoint) not in (None, self.datamodule.store.digest):
            raise InputFault(
                f"{self.datamodule.store_path} is not the one that this checkpoint was trained on; "
                "start a new run with model.init_from"
            )

    def _make_logger(self, verb: str) -> RunLogger:
        data = self._get(self.config_init, "data")
        arm = arm_name(data.modalities)
        where: Tracking = self._get(self.config_init, "tracking")
        tags = {
            "arm": arm,
            "fold": str(data.fold),
            "protocol": self.protocol,
            "study": where.study,
            "verb": verb,
            "selection": self.selection.kind,
            **commit_tags(),
        }
        if where.baseline:
            tags["baseline"] = where.baseline
        if where.parent_run:
            tags["mlflow.parentRunId"] = where.parent_run
        name = f"{arm}-fold{data.fold}" + ("" if verb == "fit" else f"-{verb}")
        return RunLogger(where, name, tags, self.resumed_run)

    def _score(self, verb: str, **options: Any) -> None:
        self.datamodule.prepare_data()
        self.datamodule.setup(verb)
        run = getattr(self.trainer, verb)
        run(self.model, datamodule=self.datamodule, verbose=False, weights_only=True, **options)

    def _keep(self, selected: Path) -> None:
        """The selected checkpoint becomes an artifact; what was there to go on from is removed."""
        logger = self.trainer.logger
        if isinstance(logger, RunLogger) and self.trainer.is_global_zero:
            folder, _, name = CHECKPOINT.rpartition("/")
            assert selected.name == name
            logger.experiment.log_artifact(logger.run, str(selected), folder)
            shutil.rmtree(str(self.selection.dirpath))

    def _report(self, parts: Sequence[str]) -> None:
        if not self.trainer.is_global_zero:
            return
        columns = ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")
        # validate and test each replace the trainer's metrics, so they are read off the scores
        numbers = {part: self.model.numbers[part] for part in parts if part in self.model.numbers}
        rows = {part: {name: found.get(name) for name in columns} for part, found in numbers.items()}
        print(pd.DataFrame(rows).T.to_string(float_format="{:.3f}".format))
        if isinstance(self.trainer.logger, RunLogger):
            logger = self.trainer.logger
            print(f"run {logger._run_name} {logger.run_id} in {tracking_uri()}")


def _protocol(folds_from: str | None, protocol: str) -> str:
    """How the patients were split, as a tag; a run whose table is taken may know it."""
    if folds_from is None:
        return protocol
    try:
        return str(find_run(folds_from).tags.get("protocol", "from_file"))
    except InputFault:
        return "from_file"


def _digest(checkpoint: Mapping[str, Any]) -> str | None:
    return checkpoint.get("mufnet_digest")
