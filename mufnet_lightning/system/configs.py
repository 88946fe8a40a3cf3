"""Configurations by name: `fused` is configs/fused.yaml of the working folder, or the package's."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.documents import check_yaml, parse_yaml
from mufnet_lightning.system.guards import LARGEST_SETTINGS, read_text

EXTENDS = "extends"
"""The key of a configuration file that names the one below it."""
SHORT = 100
"""Signs of a value that holds no list: it is read without a look before."""

_PACKAGE = Path(__file__).parents[1]
# in a wheel they lie in the package, in a clone beside it
_OWN_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def find_config(name: str) -> Path:
    """The file of a configuration that is given by name or by path.

    A name is looked up in configs/ of the working folder first, so that a study can have a `fused` of
    its own; a path stays what it is.

    Raises:
        InputFault: there is none; the message says which names there are.

    >>> find_config("fused").name
    'fused.yaml'
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.name == name and path.suffix not in (".yaml", ".yml"):
        for folder in (Path("configs"), *_OWN_FOLDERS):
            if (file := folder / f"{name}.yaml").is_file():
                return file
    names = config_names()
    guess = next(iter(difflib.get_close_matches(path.stem, names, 1)), None)
    problem = "is a folder" if path.is_dir() else "is not there"
    suggestion = f"; did you mean {guess}?" if guess else ""
    raise InputFault(
        f"configuration {name} {problem}{suggestion} (by name there are {', '.join(names)})"
    )


def config_layers(name: str) -> list[Path]:
    """The files that a configuration is made of, in the order in which they are laid over one another.

    `extends: paper.yaml` at the top of a file names the one below it, in the same folder or by name.

    Raises:
        InputFault: one of them is not there, or they extend each other in a circle.

    >>> [file.name for file in config_layers("fused")]
    ['paper.yaml', 'fused.yaml']
    """
    layers: list[Path] = [find_config(name)]
    while below := _extended(layers[0]):
        beside = layers[0].parent / below
        file = beside if beside.is_file() else find_config(below.removesuffix(".yaml"))
        if file in layers:
            raise InputFault(f"configuration {name}: {file} extends itself")
        layers.insert(0, file)
    return layers


def is_own_config(file: Path) -> bool:
    """Whether a file is one that comes with the package, and is not the working folder's."""
    return file.is_absolute() and any(file.is_relative_to(folder) for folder in _OWN_FOLDERS)


def read_config(file: Path) -> Any:
    """What a configuration file holds, as plain values.

    Raises:
        InputFault: it cannot be read, is no text in UTF-8 or no YAML, has a key twice, or nests or
            repeats itself without measure.
    """
    try:
        return parse_yaml(read_text(file, LARGEST_SETTINGS))
    except OSError as error:
        raise InputFault(f"configuration {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputFault(f"configuration {file} {error}") from None


def guard_settings() -> None:
    """Have jsonargparse read every value and every file of settings within these bounds.

    Its own loader is libyaml's, whose recursion a value of a few kilobytes can overflow.
    """
    import jsonargparse
    import yaml

    global _loader
    if _loader is not None:
        return
    _loader = jsonargparse.get_loader("yaml")
    jsonargparse.set_loader("yaml", _load, (yaml.YAMLError, ValueError))


_loader: Callable[[str], Any] | None = None


def _load(text: str) -> Any:
    assert _loader is not None
    if len(text) > SHORT or any(sign in text for sign in "\n[{&*"):
        check_yaml(text)
    return _loader(text)


def _extended(file: Path) -> str | None:
    """What a file extends."""
    content = read_config(file)
    extended = content.get(EXTENDS) if isinstance(content, dict) else None
    if extended is not None and not isinstance(extended, str):
        raise InputFault(f"configuration {file}: extends is {extended!r}, expected the name of a file")
    return extended


def config_names() -> list[str]:
    """The names that `find_config` knows here, in alphabetical order.

    >>> {"bmode", "ceus", "demo", "fused"} <= set(config_names())
    True
    """
    return sorted(
        {file.stem for folder in (Path("configs"), *_OWN_FOLDERS) for file in folder.glob("*.yaml")}
    )
