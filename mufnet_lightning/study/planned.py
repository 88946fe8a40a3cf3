"""Which tests a study has laid down beforehand: kept with its experiment, so that each report knows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from mufnet_lightning.tracking.runs import mlflow_client

_TAG = "mufnet.planned"

Pairs = tuple[tuple[str, str], ...]


def record_plan(experiment_id: str, planned: Sequence[tuple[str, str]] | None) -> None:
    """Keep the pairs of arms that a study tests; None: each two, whatever was planned before."""
    client = mlflow_client()
    text = "" if planned is None else json.dumps(planned)
    if client.get_experiment(experiment_id).tags.get(_TAG, "") != text:
        client.set_experiment_tag(experiment_id, _TAG, text)


def recorded_plan(experiment_id: str, arms: Collection[str]) -> Pairs | None:
    """The pairs that were planned of these arms; None where none were, so that each two are tested."""
    text = mlflow_client().get_experiment(experiment_id).tags.get(_TAG, "")
    if not text:
        return None
    return tuple((a, b) for a, b in json.loads(text) if a in arms and b in arms)
