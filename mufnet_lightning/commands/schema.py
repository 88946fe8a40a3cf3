"""What the parser of a run takes, kept in a file: names and plain types can be told without Lightning.

Building that parser takes as long as importing torch and Lightning, which is what a mistake should
not have to wait for. So it is described once for each installed version, and read from then on.
"""

from __future__ import annotations

import collections.abc
import functools
import hashlib
import json
import operator
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from mufnet_lightning.system.files import cache_folder, write_atomic
from mufnet_lightning.tracking.configuration import DATA_CLASS, MODEL_CLASS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

SECTION_CLASSES = {"model": MODEL_CLASS, "data": DATA_CLASS}
"""Sections whose settings are those of a class; another `class_path` has others."""
_PACKAGE = Path(__file__).parents[1]
_ROOMS = ("training", "explain", "data", "tracking", "models")  # where settings are declared
_LIBRARIES = ("mufnet-lightning", "lightning", "jsonargparse", "torch")
_PLAIN: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "null": type(None),
    "path": Path,
}


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    Attributes:
        name: `trainer.max_epochs`.
        type: a description of its type, see `type_of`; None if it is more than plain values (a class,
            say), which the parser alone can judge.
        default: where it is a plain value.
        flags: the options that set it.
    """

    name: str
    type: Any
    default: Any
    flags: list[str]


@dataclass(frozen=True)
class VerbSchema:
    """What one verb takes.

    Attributes:
        settings: single ones.
        groups: names that stand for a whole group of settings, given as a file: `trainer`.
        help: what `--help` prints.
    """

    settings: list[Setting]
    groups: list[str]
    help: str


def schemas() -> Mapping[str, VerbSchema]:
    """What each of Lightning's verbs takes; the first time, and after a change, the parser is built."""
    key = _key()
    file = cache_folder() / f"parser-{hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return {verb: _schema(content) for verb, content in kept["verbs"].items()}
    described = _describe()
    with suppress(OSError):  # a home that cannot be written to: it is built again each time
        file.parent.mkdir(parents=True, exist_ok=True)
        verbs = {verb: asdict(schema) for verb, schema in described.items()}
        write_atomic(file, json.dumps({"key": key, "verbs": verbs}))
    return described


def type_of(description: Any) -> Any:
    """The type that a description stands for.

    >>> type_of({"union": ["int", "null"]})
    int | None
    """
    if isinstance(description, str):
        return _PLAIN[description]
    ((kind, inner),) = description.items()
    if kind == "literal":
        return Literal[tuple(inner)]
    if kind == "union":
        return functools.reduce(operator.or_, [type_of(one) for one in inner])
    origin = {"list": list, "sequence": collections.abc.Sequence}[kind]
    return origin[type_of(inner)]


def description_of(hint: Any) -> Any:
    """Plain data that `type_of` makes the type of again; None for what is more than plain values.

    >>> description_of(int | None)
    {'union': ['int', 'null']}
    """
    for name, plain in _PLAIN.items():
        if hint is plain:
            return name
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        plain_values = all(value is None or type(value) in (str, int, bool) for value in inner)
        return {"literal": list(inner)} if plain_values else None
    if origin in (Union, types.UnionType):
        parts = [description_of(one) for one in inner]
        return None if None in parts else {"union": parts}
    if origin in (list, collections.abc.Sequence) and len(inner) == 1:
        part = description_of(inner[0])
        return part and {"list" if origin is list else "sequence": part}
    return None


def _schema(content: Mapping[str, Any]) -> VerbSchema:
    settings = [Setting(**setting) for setting in content["settings"]]
    return VerbSchema(settings, content["groups"], content["help"])


def _describe() -> dict[str, VerbSchema]:
    from mufnet_lightning.training.parsed import lightning_parser

    parser = lightning_parser()
    (verbs,) = (action.choices for action in parser._actions if action.dest == "subcommand")
    assert isinstance(verbs, Mapping)
    classes = [_class_parser(section, path) for section, path in SECTION_CLASSES.items()]
    return {verb: _describe_verb(one, classes) for verb, one in verbs.items()}


def _class_parser(section: str, path: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    module, _, name = path.rpartition(".")
    parser = ArgumentParser(prog="", usage="", add_help=False)
    parser.add_class_arguments(getattr(sys.modules[module], name), section, fail_untyped=False)
    return parser


def _describe_verb(parser: ArgumentParser, classes: list[ArgumentParser]) -> VerbSchema:
    parsers = [parser, *classes]
    links = getattr(parser, "_links_group", None)
    linked = (
        {link.target[0].replace(".init_args.", ".") for link in links._group_actions}
        if links
        else set()
    )
    settings = [setting for one in parsers for setting in _settings(one, linked)]
    groups = [
        action.dest
        for one in parsers
        for action in one._actions
        if type(action).__name__ == "_ActionConfigLoad"
    ]
    text = parser.format_help().replace(" [options]", "")
    return VerbSchema(
        [one for one in settings if one.name not in groups and one.name not in SECTION_CLASSES],
        sorted({*groups, *SECTION_CLASSES}),
        "\n".join([text, *(one.format_help().strip() for one in classes)]),
    )


def _settings(parser: ArgumentParser, linked: set[str]) -> Iterator[Setting]:
    for action in parser._actions:
        if action.dest in ("help", "config", "print_config") or not action.option_strings:
            continue
        hint = getattr(action, "_typehint", action.type)
        default = action.default
        with suppress(TypeError, ValueError):
            default = json.loads(json.dumps(default))
        plain = default is None or isinstance(default, str | int | float | bool | list)
        yield Setting(
            action.dest,
            None if action.dest in linked else description_of(hint),  # what is given is overwritten
            default if plain and default != "==SUPPRESS==" else None,
            [flag for flag in action.option_strings if not flag.endswith("+")],
        )


def _key() -> list[Any]:
    """What the description depends on: versions, and in a clone the state of the sources."""
    versions = [f"{name} {version(name)}" for name in _LIBRARIES]
    files = [Path(__file__), *(file for room in _ROOMS for file in (_PACKAGE / room).rglob("*.py"))]
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]
    return [sys.version, *versions, hashlib.sha256(json.dumps(states).encode()).hexdigest()]
