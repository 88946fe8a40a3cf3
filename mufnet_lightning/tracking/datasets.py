"""The stores that a run was made with, as MLflow keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RecordedDataset:
    """What a run says of the store that it was trained on."""

    name: str
    digest: str
    profile: Mapping[str, int]

    @classmethod
    def of(cls, run: Run) -> list[RecordedDataset]:
        """Those of an MLflow run."""
        inputs = [one.dataset for one in run.inputs.dataset_inputs] if run.inputs else []
        return [cls(one.name, one.digest, json.loads(one.profile or "{}")) for one in inputs]
