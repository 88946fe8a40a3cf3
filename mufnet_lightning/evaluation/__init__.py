"""Scores to numbers, tables and figures: pure functions on arrays, without torch and MLflow.

>>> import pandas as pd
>>> from mufnet_lightning.evaluation import compare_arms, match_predictions, roc_figure
>>> table = pd.DataFrame({"patient_id": list("abcd"), "label": [0, 0, 1, 1]})
>>> fused, ceus = table.assign(score=[0.1, 0.4, 0.6, 0.9]), table.assign(score=[0.5, 0.2, 0.4, 0.7])
>>> scores = match_predictions({"fused": fused, "ceus": ceus})
>>> [(arm.name, arm.auc) for arm in compare_arms(scores, "patient").arms]
[('fused', 1.0), ('ceus', 0.75)]
>>> figure = roc_figure(scores.labels, dict(zip(scores.names, scores.scores)))

`read_predictions` reads such a table from a run's predictions.csv; `Scores.of` takes plain arrays.
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
