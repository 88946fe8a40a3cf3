"""The parser of a run: Lightning's, with configurations by name and mistakes in one sentence."""

from __future__ import annotations

from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.cli import LightningArgumentParser

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.configs import EXTENDS, config_layers, guard_settings
from mufnet_lightning.training.messages import one_sentence

guard_settings()


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence; a configuration may be named, and extend another."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise it as an `InputFault`."""
        raise InputFault(one_sentence(message)) from None

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """As jsonargparse does; `--config` takes names too."""
        if kwargs.get("action") is ActionConfigFile:
            kwargs["action"] = _NamedConfig
            super().add_argument(f"--{EXTENDS}", help="configuration to lay this one over; in a file")
        return super().add_argument(*args, **kwargs)


class _NamedConfig(ActionConfigFile):
    """`--config fused`, or a path; what a file extends is applied before it."""

    @staticmethod
    def apply_config(parser: Any, cfg: Namespace, dest: str, value: str) -> None:
        for layer in config_layers(value):
            ActionConfigFile.apply_config(parser, cfg, dest, str(layer))
        cfg[EXTENDS] = None  # they are applied: what is printed or kept can be given back as it is
