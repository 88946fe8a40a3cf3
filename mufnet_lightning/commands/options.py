"""A verb's dataclass as a command line: jsonargparse makes options, help and `--config` files of it.

A field is an option, and its sentence under `Args:` is its help; one that is False is a flag. What a
type does not say is annotated: a word without a dash (`word`), a list given by commas (`several`),
again and again (`again`) or as words (`words`), and what belongs to `mufnet fit` (`rest`).
"""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import (
    Any,
    ClassVar,
    Literal,
    NoReturn,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from mufnet_lightning.commands.verbs import file_of
from mufnet_lightning.errors import InputFault, check_finite
from mufnet_lightning.system.configs import find_config, guard_settings, read_config
from mufnet_lightning.training.messages import one_sentence

guard_settings()


class Command(Protocol):
    """What the file of a verb holds: a frozen dataclass, called as the verb."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def run(self) -> None:
        """Do it; results go to standard output."""


AnyCommand = TypeVar("AnyCommand", bound=Command)


def command_of(verb: str) -> type[Command]:
    """The dataclass of a verb: `Phantom` of phantom.py."""
    module = import_module(f"mufnet_lightning.commands.{file_of(verb)}")
    command: type[Command] = getattr(module, verb.capitalize())
    return command


@dataclass(frozen=True)
class Form:
    """How a field is given.

    Attributes:
        value: what the help calls its value.
        way: as one value, or a list by commas, again and again, or as words; or it is for `mufnet fit`.
        dash: whether it is an option.
        called: name of the option where it is not the field's.
        there: what has to be there under the path that is given.
    """

    value: str | None = None
    way: Literal["one", "commas", "again", "words", "fit"] = "one"
    dash: bool = True
    called: str | None = None
    there: Literal["file", "cohort folder"] | None = None


def word(value: str, there: Literal["file", "cohort folder"] | None = None) -> Form:
    """A word without a dash; may be left out if the field has a default."""
    return Form(value, dash=False, there=there)


def words(value: str, dash: bool = False) -> Form:
    """A list, given as one or more words."""
    return Form(value, "words", dash)


def option(
    value: str, called: str | None = None, there: Literal["file", "cohort folder"] | None = None
) -> Form:
    """An option whose value the help calls so; the option is called as the field unless given."""
    return Form(value, called=called, there=there)


def several(value: str) -> Form:
    """An option that takes a list, by commas."""
    return Form(value, "commas")


def again(value: str) -> Form:
    """An option that adds to a list each time that it is given."""
    return Form(value, "again")


def rest() -> Form:
    """The options that are `mufnet fit`'s."""
    return Form(way="fit")


def parse(command: type[AnyCommand], verb: str, arguments: Sequence[str]) -> AnyCommand:
    """Make a verb's options of the words behind it.

    Raises:
        InputFault: an option is not known, a value is not what it takes, or a file is not there.
        SystemExit: the help was asked for, and has been printed.
    """
    given = fields_of(command)
    options = {one.flag: one for one in given if one.form.dash and one.form.way != "fit"}
    fit = next((one.field for one in given if one.form.way == "fit"), None)
    first = any(not one.form.dash for one in given) and bool(arguments) and arguments[0][:1] != "-"
    own, left = _own_words(options, arguments[first:]) if fit else (list(arguments), [])
    if fit and first:  # what is behind other words may be a value of one of fit's options
        own.insert(0, arguments[0])
    read = verb_parser(command, verb).parse_args(list(_for_parser(options, own))).as_dict()
    values: dict[str, Any] = {fit: tuple(left)} if fit else {}
    for one in given:
        if one.field != fit:
            value = read[one.name]
            if one.default is False and not isinstance(value, bool):
                raise InputFault(f"{one.flag}: expected true or false, got {value!r}")
            if one.form.there and value is not None and not _is_there(value, one.form.there):
                raise InputFault(f"there is no {one.form.there} {value}")
            values[one.field] = tuple(value) if isinstance(value, list) else value
    check_finite({one.flag: values.get(one.field) for one in given})
    return command(**values)


def _is_there(path: Path, what: str) -> bool:
    return path.is_file() if what == "file" else path.is_dir()


def verb_parser(command: type[Command], verb: str) -> ArgumentParser:
    """The parser of one verb."""
    docs = parse_docstring(command.__doc__ or "")
    helps = {param.arg_name: " ".join(str(param.description).split()) for param in docs.params}
    parser = Parser(
        prog=f"mufnet {verb}",
        description="\n\n".join(filter(None, (docs.short_description, docs.long_description))),
        formatter_class=_Help,
        allow_abbrev=False,  # a mistyped option is no other option
    )
    given = fields_of(command)
    for one in given:
        if one.form.way != "fit":
            _add(parser, one, helps[one.field])
    if any(one.form.way == "fit" for one in given):
        usage = parser.format_usage().split()[1:]
        words = [f"[{one.form.value}]" for one in given if not one.form.dash and one.form.way != "fit"]
        others = [word for word in usage[2:] if word not in words]  # a word is taken in the first place
        parser.usage = " ".join([*usage[:2], *words, *others, "[OPTIONS OF mufnet fit]"])
    else:
        parser.add_argument("--config", action="config", metavar="FILE", help="options, as YAML")
    return parser


class Parser(ArgumentParser):
    """Says what is wrong in one sentence, with the nearest name where one is not known."""

    also: Sequence[str] = ()
    """Names to suggest beside its own."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise it as an `InputFault`."""
        names = [*self._option_string_actions, *(action.dest for action in self._actions), *self.also]
        needed = re.match(r"the following arguments are required: (.*)", message)
        if needed:
            called = {
                action.dest: (action.option_strings or [str(action.metavar)])[0]
                for action in self._actions
            }
            lacking = " and ".join(called.get(name, name) for name in needed[1].split(", "))
            verb = self.prog.removeprefix("mufnet ")
            raise InputFault(f"{verb} needs {lacking}; `{self.prog} --help` tells more") from None
        raise InputFault(one_sentence(message, names)) from None


class _Help(DefaultHelpFormatter):
    """A default is told where it says something, a type nowhere: the sentences say what is taken."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = action.default
        if default is None or default is False or default in (argparse.SUPPRESS, []):
            return action.help or ""
        shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
        return f"{action.help} (default: {shown})" if action.option_strings else str(action.help)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)  # jsonargparse adds a flag with a + to each list
        shown.option_strings = [flag for flag in action.option_strings if not flag.endswith("+")]
        return super()._format_action_invocation(shown)


@dataclass(frozen=True)
class Given:
    """A field as it is given.

    Attributes:
        field: its name.
        hint: its type.
        default: `MISSING` if it must be given.
        form: how it is given.
    """

    field: str
    hint: Any
    default: Any
    form: Form

    @property
    def name(self) -> str:
        """What the parser and a configuration file call it."""
        return self.form.called or self.field

    @property
    def flag(self) -> str:
        """The option."""
        return "--" + self.name.replace("_", "-")


def fields_of(command: type[Command]) -> list[Given]:
    """The fields of a verb's dataclass, in their order."""
    hints = get_type_hints(command, include_extras=True)
    given = []
    for one in fields(command):
        hint, *forms = (
            get_args(hints[one.name]) if hasattr(hints[one.name], "__metadata__") else [hints[one.name]]
        )
        given.append(Given(one.name, hint, one.default, *(forms or [Form()])))
    return given


def _add(parser: ArgumentParser, one: Given, text: str) -> None:
    more: dict[str, Any] = {"help": text}
    if one.form.value:
        more["metavar"] = one.form.value
    if one.default is not MISSING:
        more["default"] = list(one.default) if isinstance(one.default, tuple) else one.default
    elif one.form.dash:
        more["required"] = True
    name = one.flag if one.form.dash else one.name
    if one.default is False:
        del more["default"]
        parser.add_argument(name, action="store_true", **more)
    elif one.form.way == "words":
        parser.add_argument(name, type=get_args(one.hint)[0], nargs="+", **more)
    elif not one.form.dash and one.default is not MISSING:
        parser.add_argument(name, type=one.hint, nargs="?", **more)
    elif get_origin(one.hint) is tuple:
        parser.add_argument(name, type=list[get_args(one.hint)[0]], **more)  # type: ignore[misc]
    else:
        parser.add_argument(name, type=one.hint, **more)


def _own_words(options: Mapping[str, Given], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are this verb's, and those that are `mufnet fit`'s."""
    own: list[str] = []
    left: list[str] = []
    remaining = list(arguments)
    while remaining:
        text = remaining.pop(0)
        name, equals, _ = text.partition("=")
        one = options.get(name.replace("_", "-"))
        (own if one or name in ("-h", "--help") else left).append(text)
        if one is None or equals or one.default is False:
            continue
        while remaining and not remaining[0].startswith("--"):
            own.append(remaining.pop(0))
            if one.form.way != "words":
                break
    return own, left


def _for_parser(options: Mapping[str, Given], arguments: Sequence[str]) -> Iterator[str]:
    """The words as jsonargparse takes them: dashes in names, lists in brackets, files found."""
    remaining = list(arguments)
    while remaining:
        text = remaining.pop(0)
        name, equals, value = text.partition("=")
        flag = name.replace("_", "-") if name.startswith("--") else name
        way = options[flag].form.way if flag in options else "config" if flag == "--config" else None
        if way not in ("commas", "again", "config") or not (equals or remaining):
            yield (flag if flag in options else name) + equals + value
            continue
        given = value if equals else remaining.pop(0)
        if way == "commas":
            yield f"{flag}={json.dumps(given.split(','))}"
        elif way == "again":
            yield f"{flag}+={json.dumps([given])}"
        else:
            file = find_config(given)
            read_config(file)
            yield f"{flag}={file}"
