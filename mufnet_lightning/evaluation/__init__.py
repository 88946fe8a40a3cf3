"""Scores to numbers, tables and figures: pure functions on arrays, without torch and MLflow.

>>> from mufnet_lightning.evaluation import Scores, compare_arms
>>> scores = Scores.of([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9], ["a", "b", "c", "d"], ["fused"])
>>> compare_arms(scores, "patient").arms[0].auc
0.75
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mufnet_lightning.evaluation.public import *  # noqa: F403


def __getattr__(name: str) -> object:
    """Of `public`, when it is asked for: whoever wants one module of this room loads no other."""
    if name.startswith("_") or name not in (public := _public()).__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(public, name)


def __dir__() -> list[str]:
    return [*globals(), *_public().__all__]


def _public() -> ModuleType:
    return import_module("mufnet_lightning.evaluation.public")
