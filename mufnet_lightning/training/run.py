"""One run from its words to its end, which is always told to MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.checkpoints import read_checkpoint, resolve_checkpoint
from mufnet_lightning.tracking.runs import find_run
from mufnet_lightning.training.cli import MufnetCLI
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.training.messages import quiet_libraries


def run_lightning(arguments: Sequence[str]) -> None:
    """Run `fit`, `validate`, `test` or `predict` with the arguments behind it.

    The MLflow run is closed here, whatever happens: FINISHED, KILLED when somebody stopped it, or
    FAILED with the reason as a tag.

    Raises:
        InputFault: the configuration, the store or the checkpoint cannot be used as asked.
        KeyboardInterrupt: the run was stopped.
    """
    quiet_libraries()
    with tempfile.TemporaryDirectory() as scratch:
        words, checkpoint = _with_checkpoint(list(arguments), Path(scratch))
        resumed = _run_to_go_on_with(checkpoint) if words[0] == "fit" else None
        cli = MufnetCLI.parse(words, resumed, checkpoint)
        logger = cli.trainer.logger
        try:
            cli.start()
        except BaseException as error:
            status, reason = _ending(error, cli.trainer)
            if isinstance(logger, RunLogger):
                logger.close(status, reason)
            if status == "KILLED":
                raise KeyboardInterrupt from None
            if "Error(s) in loading state_dict" in str(error):
                raise InputFault(
                    "the checkpoint does not fit this network; model.encoder, model.share_encoder and "
                    "data.modalities must be as they were when it was trained"
                ) from None
            raise
        if isinstance(logger, RunLogger):
            logger.close("FINISHED")


def _with_checkpoint(words: list[str], scratch: Path) -> tuple[list[str], dict[str, Any]]:
    """Resolve `--ckpt_path`, which may name a run; without --config, take the one in it."""
    given = _option(words, "--ckpt_path")
    if given is None:
        return words, {}
    going_on = words[0] == "fit"
    checkpoint = read_checkpoint(given, going_on)
    words = [
        *_without_option(words, "--ckpt_path"),
        f"--ckpt_path={resolve_checkpoint(given, going_on)}",
    ]
    if going_on or _option(words, "--config") or _option(words, "-c"):
        return words, checkpoint
    config = yaml.safe_load(checkpoint["mufnet_config"])
    # the machine that trained it, and its run, are not the ones that score
    kept = {
        key: config[key]
        for key in ("seed_everything", "model", "data", "checkpoint", "explain")
        if key in config
    }
    kept["tracking"] = {"study": config["tracking"]["study"]}
    kept["data"].pop("folds_from", None)  # the checkpoint has the table itself
    file = scratch / "config.yaml"
    file.write_text(yaml.safe_dump(kept))
    return [words[0], f"--config={file}", *words[1:]], checkpoint


def _run_to_go_on_with(checkpoint: dict[str, Any]) -> str | None:
    """The run that saved the checkpoint, if it did not come to its end; else a new one begins."""
    if "mufnet_run" not in checkpoint:
        return None
    try:
        run = find_run(checkpoint["mufnet_run"])
    except InputFault:
        return None
    return None if run.status == "FINISHED" else run.id


def _option(words: Sequence[str], name: str) -> str | None:
    for position, word in enumerate(words):
        if word == name and position + 1 < len(words):
            return words[position + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _without_option(words: Sequence[str], name: str) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word == name:
            skip = True
        elif not word.startswith(f"{name}="):
            kept.append(word)
    return kept


def _ending(error: BaseException, trainer: Trainer) -> tuple[str, str]:
    # Lightning turns an interrupt from the keyboard into SystemExit
    stopped = isinstance(error, KeyboardInterrupt | SIGTERMException) or (
        isinstance(error, SystemExit) and trainer.interrupted
    )
    if stopped:
        return "KILLED", "interrupted"
    return "FAILED", f"{type(error).__name__}: {error}"
