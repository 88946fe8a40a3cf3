"""Somebody's own block by its class path: an encoder, a fusion, a loss, a sampler, a transform.

Such a setting is plain data, so that a configuration and a checkpoint can hold it: the name of one of
ours, the dotted path of a class, or the path with the class's own arguments:

    encoder: efficientnet_b3
    encoder: my_encoders.Swin
    encoder: {class_path: my_encoders.Swin, init_args: {depth: 4}}

A checkpoint that names a class needs that class to be loaded again, and runs its code. Nothing else is
run: whatever is no subclass of what is expected is refused before it is called.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mufnet_lightning.errors import InputFault

T = TypeVar("T")


def component(
    spec: str | Mapping[str, Any],
    base: type[T],
    *args: Any,
    setting: str = "class_path",
    names: Sequence[str] = (),
    **defaults: Any,
) -> T:
    """An instance of the class that a setting names.

    >>> from torch import nn
    >>> component({"class_path": "torch.nn.Dropout", "init_args": {"p": 0.2}}, nn.Module)
    Dropout(p=0.2, inplace=False)

    Args:
        spec: the class's dotted path, or a dictionary with `class_path` and `init_args`.
        base: what it must be a subclass of.
        args: given to the class by position.
        setting: what messages call the setting.
        names: of ours, that the setting could have named instead; for messages.
        defaults: given to the class by name; `init_args` stand above them.

    Raises:
        InputFault: there is no such class, it is another kind of thing, or it does not take these
            arguments.
    """
    cls, init_args = component_class(spec, base, setting, names)
    keywords = {**defaults, **init_args}
    try:
        inspect.signature(cls).bind(*args, **keywords)
    except TypeError as error:
        raise InputFault(f"{setting}: {_path(spec)} cannot be made so: {error}") from None
    return cls(*args, **keywords)


def component_class(
    spec: str | Mapping[str, Any], base: type[T], setting: str = "class_path", names: Sequence[str] = ()
) -> tuple[type[T], dict[str, Any]]:
    """The class that a setting names, and its own arguments; nothing is called.

    Args:
        spec, base, setting, names: see `component`.

    Raises:
        InputFault: there is no such class, or it is no subclass of `base`.
    """
    path = _path(spec)
    expected = f"the class path of a {base.__module__}.{base.__qualname__}"
    init_args = (None if isinstance(spec, str) else spec.get("init_args")) or {}
    if isinstance(spec, Mapping) and not (
        path and set(spec) <= {"class_path", "init_args"} and _is_plain_mapping(init_args)
    ):
        raise InputFault(f"{setting} is {dict(spec)}, expected class_path and init_args")
    name_of_module, _, name = path.rpartition(".")
    if not name_of_module or not all(part.isidentifier() for part in path.split(".")):
        others = f"{', '.join(names)} or " if names else ""
        raise InputFault(f"{setting} is {path!r}, expected {others}{expected}")
    try:
        module = importlib.import_module(name_of_module)
    except ModuleNotFoundError as error:
        raise InputFault(
            f"{setting} is {path}, which cannot be imported ({error}); the folder of your own classes "
            "belongs on PYTHONPATH"
        ) from None
    if not hasattr(module, name):
        raise InputFault(f"{setting} is {path}, but module {name_of_module} has no {name}")
    cls = getattr(module, name)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise InputFault(f"{setting} is {path}, expected {expected}")
    return cls, dict(init_args)


def _path(spec: str | Mapping[str, Any]) -> str:
    return spec if isinstance(spec, str) else str(spec.get("class_path") or "")


def _is_plain_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and _is_plain(entry) for key, entry in value.items()
    )


def _is_plain(value: object) -> bool:
    """Whether YAML and a checkpoint that is read without running code can hold it."""
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, str | int | float | bool) or _is_plain_mapping(value)
