"""From the words behind `mufnet` to a whole configuration, that of a checkpoint among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import InputFault, NotRecorded, check_finite
from mufnet_lightning.inference.load import whole_folds
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.tracking.checkpoints import (
    Checkpoint,
    checkpoint_folder,
    last_checkpoint,
    read_checkpoint,
    remove_left_checkpoints,
    resolve_checkpoint,
)
from mufnet_lightning.tracking.configuration import DATA_CLASS, MODEL_CLASS, Configuration
from mufnet_lightning.tracking.left_over import may_begin_again, run_behind
from mufnet_lightning.tracking.liveness import refuse_alive
from mufnet_lightning.tracking.runs import TrackedRun, Tracking, find_run, finished_folds
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.training.callbacks.explanation import Explain
from mufnet_lightning.training.callbacks.record import RunRecord, composed_configuration
from mufnet_lightning.training.parser import Parser

TRAINER_DEFAULTS = {  # the paper's, and ours where it is silent: see configs/paper.yaml
    "max_epochs": 100,
    "deterministic": "warn",
    "devices": 1,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}
log = logging.getLogger(__name__)
_SEEDS = 2**32  # what NumPy takes


class ParsedCLI(LightningCLI):
    """Parses one verb (`fit`, `validate`, `test`, `predict`); who extends it builds.

    Args:
        args: the words behind `mufnet`; without the verb where nothing is run.
        run: whether to run the verb.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
    """

    def __init__(self, args: Sequence[str], run: bool = True) -> None:
        self.checkpoint: Checkpoint | None = None
        self.reference: str | None = None
        """What `ckpt_path` named: a checkpoint file, or a run."""
        self.members: list[str] = []
        """The checkpoint's file; of a cross-validation, those of its folds."""
        self.resumed_run: str | None = None
        self._verb = args[0] if run and args else None
        exact: dict[str, Any] = {"allow_abbrev": False}  # a mistyped option is no other option
        super().__init__(
            MufNetModule,
            RoiPairDataModule,
            save_config_callback=RunRecord,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_class=Parser,
            parser_kwargs={"prog": "mufnet", **exact}
            | {verb: dict(exact) for verb in self.subcommands()},
            subclass_mode_model=True,
            subclass_mode_data=True,
            load_from_checkpoint_support=False,  # hyperparameters are plain values already
            args=list(args),
            run=run,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verbs, and which of the trainer's arguments are not for the user.

        Only the one that is called, where one is: it does not wait for the parsers of the others.
        """
        fixed = {"weights_only", "verbose", "return_predictions"}
        verbs = LightningCLI.subcommands()
        called = {self._verb: verbs[self._verb]} if self._verb in verbs else verbs
        return {verb: skip | fixed for verb, skip in called.items()}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Network and data are ours unless a `class_path` names a subclass."""
        super().add_core_arguments_to_parser(parser)
        parser.set_defaults({"model": {"class_path": MODEL_CLASS}, "data": {"class_path": DATA_CLASS}})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own settings, and what follows from another setting."""
        parser.add_argument("--tracking", type=Tracking, default=Tracking())
        parser.add_lightning_class_args(SelectedCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Explain, "explain")
        parser.link_arguments("data.init_args.modalities", "model.init_args.modalities")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument(
                "--output", default="predictions.csv", help="file to write the scores to"
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; a checkpoint that is scored without a configuration brings its own."""
        super().parse_arguments(parser, args)
        verb = self.config.get("subcommand")
        if verb:
            self._take_checkpoint(parser, verb, args)
        config = self.config[verb] if verb else self.config
        check_finite({name.replace("init_args.", ""): value for name, value in config.items()})
        if verb not in (None, "fit") and config.tracking.register is not None:
            raise InputFault(f"tracking.register is of fit and cv: {verb} trains nothing")
        seed = config.seed_everything
        if isinstance(seed, int) and not 0 <= seed < _SEEDS:
            raise InputFault(f"seed_everything: {seed} is not in bounds, expected 0 to {_SEEDS - 1}")

    def _take_checkpoint(self, parser: LightningArgumentParser, verb: str, args: ArgsType) -> None:
        config = self.config[verb]
        given = config.ckpt_path
        if given is None:
            if verb != "fit":
                raise InputFault(f"{verb} needs --ckpt_path: a checkpoint file, or runs:/ID of a run")
            return
        going_on = verb == "fit"
        if going_on and (begun := _begun_without_checkpoint(given)):
            log.info("run %s was stopped before its first epoch had ended; it begins again", begun.name)
            self.resumed_run, self.config[verb].ckpt_path = begun.id, None
            return
        self.reference = given
        runs = _networks(given, verb)
        checkpoint = read_checkpoint(runs[0], going_on)
        if not going_on and not config.config:
            defaults = _to_score_with(checkpoint.configuration)
            if verb == "predict" and "complete_pairs" in defaults["data"]["init_args"]:
                # of arms that are compared; who lacks what another arm looks at is scored
                defaults["data"]["init_args"]["complete_pairs"] = False
            self._subcommand_parsers[verb].set_defaults(defaults)
            super().parse_arguments(parser, args)  # options go over it
        self.members = [str(resolve_checkpoint(run, going_on)) for run in runs]
        self.config[verb].ckpt_path = self.members[0]
        self.checkpoint = checkpoint
        self.resumed_run = _run_to_go_on_with(checkpoint) if going_on else None

    def _parse_ckpt_path(self) -> None:
        """Not the model's settings alone, as Lightning does it: see `_take_checkpoint`."""

    def composed_config(self) -> dict[str, Any]:
        """The configuration with every file, option and default in it, as plain values."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        return composed_configuration(self._parser(self.subcommand), config)


class DataCLI(ParsedCLI):
    """Parses everything, and builds the data alone: to count what an arm can use, say."""

    def __init__(self, args: Sequence[str]) -> None:
        super().__init__(args, run=False)

    def instantiate_classes(self) -> None:
        """The data, without its network."""
        built = self.parser.instantiate_classes(Namespace(data=self.config.data))
        self.datamodule: RoiPairDataModule = built.data


class _UnparsedCLI(ParsedCLI):
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        self.config = Namespace(subcommand=None, seed_everything=False)

    def instantiate_classes(self) -> None:
        """Nothing."""


def lightning_parser() -> LightningArgumentParser:
    """The parser of all verbs, with nothing parsed."""
    return _UnparsedCLI([]).parser


def _to_score_with(configuration: Configuration) -> dict[str, Any]:
    """What of a training's configuration counts later: not its machine, nor its run."""
    composed = configuration.composed()
    kept: dict[str, Any] = {
        key: composed[key]
        for key in ("seed_everything", "model", "data", "checkpoint", "explain")
        if key in composed
    }
    # the checkpoint has the table itself
    left_out = ("folds_from", "with_test")  # who asks for a test of it now gets one
    arguments = {k: v for k, v in composed["data"]["init_args"].items() if k not in left_out}
    kept["data"] = {**composed["data"], "init_args": arguments}
    if "tracking" in composed:  # a notebook's training has none
        filed = composed["tracking"]
        kept["tracking"] = asdict(Tracking(study=filed["study"], arm=filed.get("arm")))
    return kept


def _networks(reference: str, verb: str) -> list[str]:
    """What is to be read: the checkpoint or run itself; to predict, of a cross-validation its folds.

    Raises:
        InputFault: it is a model or a cross-validation, and the verb needs a checkpoint.
    """
    if re.match("models:/|runs:/[^/]+/.", reference):
        meant = f"; a logged model grades with `mufnet predict --run {reference} --store DIR`"
        raise InputFault(
            f"--ckpt_path {reference}: expected a checkpoint file, or runs:/ID of a run"
            + (meant if verb == "predict" else "")
        )
    try:
        is_file = Path(reference).exists() or Path(reference).suffix
        run = None if is_file else find_run(reference)
    except InputFault:  # told where it is read; a run that broke off may have left its last epoch
        run = None
    if run is None or not run.is_cv:
        return [reference]
    if verb == "predict":
        return [fold.id for fold in whole_folds(run, reference).values()]
    if verb == "fit":
        raise InputFault(
            f"{reference} is a cross-validation; the same `mufnet cv` again goes on with it"
        )
    folds = ", ".join(f"fold {fold}: {one.id}" for fold, one in finished_folds(run).items())
    raise InputFault(
        f"{reference} is a cross-validation, and each fold has a split of its own: name the run of one "
        f"({folds or 'none has come to its end'}), or see its own numbers in MLflow"
    )


def _begun_without_checkpoint(reference: str) -> TrackedRun | None:
    """A run that was stopped before its first epoch had ended: there is nothing to go on from.

    Raises:
        InputFault: a process works on it.
    """
    if Path(reference).exists() or Path(reference).suffix:
        return None
    run = _left_run(reference)
    if run is None or run.verb != "fit" or last_checkpoint(run.id).exists():
        return None  # told where its checkpoint is read
    return run if may_begin_again(run) else None


def _run_to_go_on_with(checkpoint: Checkpoint) -> str | None:
    """The run that saved the checkpoint, if it did not come to its end; else a new one begins.

    Raises:
        InputFault: a process works on it.
    """
    run = _left_run(checkpoint.run_id) if checkpoint.run_id is not None else None
    return None if run is None else run.id


def _left_run(reference: str) -> TrackedRun | None:
    """A run that did not come to its end, if there is one, after what it left here was sent.

    Raises:
        InputFault: a process works on it; or it came to its end, and its process did no more than that.
    """
    run_id = reference.removeprefix("runs:/").strip("/")
    if getattr(rank_zero_only, "rank", 0) != 0:  # of several processes the first one looks
        try:
            run: TrackedRun | None = find_run(run_id)
        except NotRecorded:
            run = None
        return None if run is None or run.is_finished else run
    run = run_behind(run_id)
    if run is None:
        return None
    if not run.is_finished:
        refuse_alive(run.id)
        return run
    left = checkpoint_folder(run.id)
    if left.is_dir():
        remove_left_checkpoints(left)
        if not left.exists():  # who goes on with it wants it whole, and not another run
            raise InputFault(
                f"run {run.name} ({run.id}) had come to its end when its process was stopped, and is "
                f"whole: nothing is left to train; --ckpt_path runs:/{run.id}, once more, trains a new "
                "run from its weights"
            )
    return None
