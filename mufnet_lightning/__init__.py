"""MUF-Net experiments: kidney tumours graded from paired B-mode and contrast-enhanced ultrasound.

For a notebook, ten names (docs/library.md has fifteen lines that use them):

- `prepare_store`: a cohort folder becomes a crop store;
- `RoiPairDataModule`, `MufNetModule`: its batches, and the network with the paper's training;
- `RunLogger`, `run_callbacks`: what makes a Lightning training a run in MLflow;
- `load_trained`: a past run's network and data;
- `read_predictions`, `match_predictions`, `compare_arms`, `roc_figure`: scores to numbers and figures.

Each is imported when it is asked for, with nothing but what it needs:

>>> import mufnet_lightning
>>> mufnet_lightning.read_predictions.__module__
'mufnet_lightning.evaluation.predictions'
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mufnet_lightning.data.datamodule import RoiPairDataModule
    from mufnet_lightning.evaluation.comparison import compare_arms
    from mufnet_lightning.evaluation.predictions import match_predictions, read_predictions
    from mufnet_lightning.evaluation.roc_figures import roc_figure
    from mufnet_lightning.inference.trained import load_trained
    from mufnet_lightning.models.module import MufNetModule
    from mufnet_lightning.store.prepare import prepare_store
    from mufnet_lightning.training.callbacks.recorded import run_callbacks
    from mufnet_lightning.training.logger import RunLogger

__all__ = [
    "MufNetModule",
    "RoiPairDataModule",
    "RunLogger",
    "compare_arms",
    "load_trained",
    "match_predictions",
    "prepare_store",
    "read_predictions",
    "roc_figure",
    "run_callbacks",
]

# Two libraries contact their makers on import; a hospital's workstation is often offline, and an
# experiment must neither wait for that nor tell anybody that it ran.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # it tells of every table that it creates
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

_HOMES = {
    "MufNetModule": "models.module",
    "RoiPairDataModule": "data.datamodule",
    "RunLogger": "training.logger",
    "compare_arms": "evaluation.comparison",
    "load_trained": "inference.trained",
    "match_predictions": "evaluation.predictions",
    "prepare_store": "store.prepare",
    "read_predictions": "evaluation.predictions",
    "roc_figure": "evaluation.roc_figures",
    "run_callbacks": "training.callbacks.recorded",
}


def __getattr__(name: str) -> object:
    """One of the ten names, when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
