"""Configurations by name: `fused` is configs/fused.yaml of the working folder, or the package's."""

from __future__ import annotations

import difflib
from pathlib import Path

from mufnet_lightning.errors import InputFault

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


def config_names() -> list[str]:
    """The names that `find_config` knows here, in alphabetical order.

    >>> {"bmode", "ceus", "demo", "fused"} <= set(config_names())
    True
    """
    return sorted(
        {file.stem for folder in (Path("configs"), *_OWN_FOLDERS) for file in folder.glob("*.yaml")}
    )
