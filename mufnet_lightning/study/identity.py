"""What makes two cross-validations the same: what may change a kept weight, and nothing else.

Of somebody's own classes their files count, not what those import.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.models.components import component_class
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.study.trained_code import code_digest, own_code_digest
from mufnet_lightning.tracking.configuration import Configuration
from mufnet_lightning.training.callbacks.checkpoint import MONITOR, SelectedCheckpoint

_ELSEWHERE = {
    # folds and digest are compared themselves; what is cross-validated is always tested
    "data": ("fold", "folds_from", "store", "num_workers", "with_test"),
    "trainer": ("logger", "enable_progress_bar", "profiler", "log_every_n_steps", "default_root_dir"),
}
_KNOWN = ("torch", "lightning", "mufnet_lightning", "timm")


def identity(config: Mapping[str, Any], digest: str, folds: str) -> str:
    """32 hexadecimal digits that name a cross-validation.

    Args:
        config: composed configuration of one of its folds.
        digest: of the store.
        folds: fold table, CSV.
    """
    settings = _what_trains(config)
    what = [settings, digest, folds, own_code_digest(), code_digest(_named_files(settings))]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def with_folds(key: str, of_folds: Mapping[int, Sequence[str]]) -> str:
    """What names a cross-validation whose folds have settings of their own.

    Args:
        key: of what all folds share, see `identity`.
        of_folds: options of `mufnet fit`, by fold; where there are none the key stays.
    """
    if not of_folds:
        return key
    text = json.dumps([key, {str(fold): [*words] for fold, words in of_folds.items()}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _what_trains(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that may change a result: not which fold comes first, nor what is told of it."""
    configuration = Configuration.of(json.loads(json.dumps(config)))
    settings = {
        name: values
        for name, values in configuration.settings.items()
        if name not in ("explain", "ckpt_path", "config", "extends")
    }
    for section, names in _ELSEWHERE.items():
        values = settings.get(section) or {}
        settings[section] = {name: value for name, value in values.items() if name not in names}
    kept = {**_defaults(SelectedCheckpoint), **(settings.get("checkpoint") or {})}
    if kept["keep"] == "best" and kept["monitor"] is None:
        kept["monitor"] = MONITOR
    settings["checkpoint"] = kept
    baseline = (settings.get("tracking") or {}).get("baseline")
    classes = {"model_class": configuration.model_class, "data_class": configuration.data_class}
    return {**settings, "tracking": {"baseline": baseline}, **classes}


def trains_the_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a configuration of an earlier version, which had fewer settings, trains what `now` does.

    A setting that it did not have must be what the class takes unless told.
    """
    before, after = _what_trains(earlier), _what_trains(now)
    defaults = {"model": _defaults(MufNetModule), "data": _defaults(RoiPairDataModule)}
    for section in before.keys() | after.keys():
        old, new = before.get(section), after.get(section)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            filled = {**defaults.get(section, {}), **_with_defaults(old)}
            if any(filled.get(name) != value for name, value in _with_defaults(new).items()):
                return False
        elif old != new:
            return False
    return True


def _with_defaults(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """A class with all its arguments, also those that are not named: of optimiser and schedule."""
    if settings.keys() != {"class_path", "init_args"}:
        return settings
    named, arguments = component_class(settings, object)
    return {**settings, "init_args": {**_defaults(named), **arguments}}


def _defaults(part: type) -> dict[str, Any]:
    """The defaults of a class's arguments, as JSON says them."""
    return {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.default is not parameter.empty
    }


def named_modules(config: Mapping[str, Any]) -> list[str]:
    """The modules of somebody's own classes that a composed configuration names, in Python."""
    modules = {name.rpartition(".")[0] for name in _class_paths(_what_trains(config))}
    return sorted(module for module in modules if module_file(module))


def module_file(module: str) -> Path | None:
    """Where the Python of a module lies on this machine; None: it is not here, or no Python."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _named_files(settings: Any) -> Iterator[Path]:
    """The modules of somebody's own classes that a configuration names, by the order of their names."""
    for name in sorted(set(_class_paths(settings))):
        if file := module_file(name.rpartition(".")[0]):
            yield file


def _class_paths(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for value in settings.values():
            yield from _class_paths(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _class_paths(value)
    elif isinstance(settings, str):
        package, _, rest = settings.partition(".")
        names = settings.split(".")
        if rest and package not in _KNOWN and all(name.isidentifier() for name in names):
            yield settings
