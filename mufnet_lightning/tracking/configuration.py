"""A run's composed configuration: read whichever version of this package wrote it.

A configuration names the classes of network and data (`class_path`, `init_args`), as LightningCLI
does. What reads settings from it does not ask for the classes; `Configuration` has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

MODEL_CLASS = "mufnet_lightning.models.module.MufNetModule"
DATA_CLASS = "mufnet_lightning.data.datamodule.RoiPairDataModule"
_KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "store": (str, "the folder of a store"),
    "image_size": (int, "a whole number"),
    "num_workers": (int, "a whole number"),
    "augmentation": (Mapping, "settings by name"),
    "modalities": ((list, tuple), "a list of modalities"),
}
"""Settings of the data without which no checkpoint is used, their types, and those in words."""
_OPTIMIZER = {"lr": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
_SCHEDULER = {"lr_step": "step_size", "lr_factor": "gamma"}
EARLIER_SETTINGS = {
    f"model.{name}": f"{group}.{new}"
    for group, names in (("optimizer", _OPTIMIZER), ("lr_scheduler", _SCHEDULER))
    for name, new in names.items()
}
"""Settings of version 0.1 that have another name now."""


@dataclass(frozen=True)
class Configuration:
    """What a run was configured with.

    Attributes:
        settings: by section (`data`, `model`, `trainer`, ...) and name; `data` and `model` are the
            arguments of their classes, `optimizer` and `lr_scheduler` have `class_path` and
            `init_args`.
        model_class, data_class: dotted names of the classes.
        is_earlier: whether version 0.1 wrote it.
    """

    settings: dict[str, Any]
    model_class: str = MODEL_CLASS
    data_class: str = DATA_CLASS
    is_earlier: bool = False

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """Of a `config.yaml`; settings that have another name now get it.

        Raises:
            ValueError: it is no YAML, or no mapping.
        """
        if not isinstance(text, str):
            raise ValueError(f"it is {type(text).__name__}, expected YAML text")
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"it is no YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(config, Mapping):
            raise ValueError("it is no YAML of sections with settings")
        for section in ("model", "data"):
            values = config.get(section)
            inner = values.get("init_args", {}) if isinstance(values, Mapping) else None
            if not isinstance(inner, Mapping):
                raise ValueError(f"its section {section} is missing, or holds no settings")
        return cls.of(config)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Configuration:
        """Of a composed configuration as plain values."""
        settings = dict(config)
        classes = {}
        for section, default in (("model", MODEL_CLASS), ("data", DATA_CLASS)):
            values = dict(settings.get(section) or {})
            path = values.pop("class_path", default)
            short = f"mufnet_lightning.{default.rpartition('.')[2]}"  # as a notebook imports it
            classes[section] = default if path == short else path
            settings[section] = dict(values["init_args"]) if "init_args" in values else values
        model = settings["model"]
        is_earlier = "lr" in model and "class_path" not in config["model"]  # 0.1 named no classes
        if is_earlier:
            settings["optimizer"] = _moved(model, "torch.optim.SGD", _OPTIMIZER)
            settings["lr_scheduler"] = _moved(model, "torch.optim.lr_scheduler.StepLR", _SCHEDULER)
        settings.pop("output", None)
        return cls(settings, classes["model"], classes["data"], is_earlier)

    def problem(self) -> str | None:
        """What of the settings cannot be of any training; None where nothing is."""
        for name, (kinds, expected) in _KINDS.items():
            if name not in self.settings["data"]:
                return f"data.{name} is missing"
            value = self.settings["data"][name]
            if not isinstance(value, kinds) or isinstance(value, bool):
                return f"data.{name} is {value!r}, expected {expected}"
        for name, value in (("model", self.model_class), ("data", self.data_class)):
            if not isinstance(value, str):
                return f"{name}.class_path is {value!r}, expected a class's dotted path"
        return None

    def composed(self) -> dict[str, Any]:
        """As the parser takes it: with the classes of network and data."""
        classes = {"model": self.model_class, "data": self.data_class}
        return {
            **self.settings,
            **{
                section: {"class_path": path, "init_args": dict(self.settings[section])}
                for section, path in classes.items()
            },
        }


def _moved(model: dict[str, Any], class_path: str, names: Mapping[str, str]) -> dict[str, Any]:
    given = {new: model.pop(name) for name, new in names.items() if name in model}
    return {"class_path": class_path, "init_args": given}
