"""`mufnet completion`: verbs, options and their choices, completed by the shell."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from mufnet_lightning.commands.options import command_of, fields_of, word
from mufnet_lightning.commands.schema import schemas, type_of
from mufnet_lightning.commands.verbs import LIGHTNING_VERBS, VERBS


@dataclass(frozen=True)
class Completion:
    """Print a script that makes the shell complete verbs, options, their choices, and files.

    bash: eval "$(mufnet completion bash)" in ~/.bashrc; zsh: mufnet completion zsh > a file _mufnet
    in a folder of $fpath. Print it again after an update.

    Args:
        shell: bash or zsh
    """

    shell: Annotated[Literal["bash", "zsh"], word("SHELL")]

    def run(self) -> None:
        """Print it."""
        import shtab

        print(shtab.complete(completion_parser(), self.shell))


def completion_parser() -> argparse.ArgumentParser:
    """All verbs with their options, for shtab alone: nothing is parsed with it."""
    parser = argparse.ArgumentParser(prog="mufnet")
    parser.add_argument("--version", action="store_true")
    verbs = parser.add_subparsers()
    for verb, summary in VERBS.items():
        of_verb = verbs.add_parser(verb, help=summary.replace("%", "%%"))
        fit = verb in LIGHTNING_VERBS
        if not fit or verb in ("predict", "test"):  # which are both: see commands/predict.py
            for given in fields_of(command_of(verb)):
                fit = fit or given.form.way == "fit"
                if given.form.way != "fit":
                    flags = [given.flag] if given.form.dash else [given.name]
                    _add(of_verb, flags, given.hint, given.form.way == "words")
        if fit:
            _add_settings(of_verb, verb if verb in LIGHTNING_VERBS else "fit")
        if "--config" not in of_verb._option_string_actions:
            _add(of_verb, ["--config"], Path)
    return parser


def _add_settings(parser: argparse.ArgumentParser, verb: str) -> None:
    for setting in schemas()[verb].settings:
        hint = Path if setting.name == "ckpt_path" else type_of(setting.type or "str")
        _add(parser, setting.flags, hint)


def _add(parser: argparse.ArgumentParser, flags: list[str], hint: Any, many: bool = False) -> None:
    more: dict[str, Any] = {"nargs": "+"} if many else {}
    if hint is bool and flags[0].startswith("--") and "." not in flags[0]:
        parser.add_argument(*flags, action="store_true")
        return
    action = parser.add_argument(*flags, choices=_choices(hint) or None, **more)
    if hint is Path or Path in get_args(hint) or many:
        import shtab

        action.complete = shtab.FILE  # type: ignore[attr-defined]


def _choices(hint: Any) -> list[str]:
    """The words that a plain type takes, as far as there are few."""
    if hint is bool:
        return ["true", "false"]
    if hint is type(None):
        return ["null"]
    if get_args(hint) and all(isinstance(one, str | int | None) for one in get_args(hint)):
        return [str(one) for one in get_args(hint)]
    inner = [_choices(one) for one in get_args(hint)]
    return [word for words in inner for word in words] if inner and all(inner) else []
