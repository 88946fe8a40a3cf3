"""MLflow's calls that take the id of a run, for a run that has another one here than in the store."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from mlflow import MlflowClient

from mufnet_lightning.tracking.runs import PARENT_RUN

AT_THE_STORE = (
    "create_logged_model",
    "create_model_version",
    "create_run",
    "delete_run",
    "detach_prompt_from_run",
    "get_parent_run",
    "link_prompt_version_to_run",
    "link_traces_to_run",
    "list_logged_prompts",
    "load_table",
    "log_outputs",
    "restore_run",
    "search_traces",
    "start_trace",
    "unlink_traces_from_run",
)
"""Calls that no journal keeps: what was written before is sent, and the store is asked at once."""
_IDS = ("run_id", "source_run_id", "run_ids", "tags")
_Client = TypeVar("_Client", bound=type[MlflowClient])


def asks_by_store_id(client: _Client) -> _Client:
    """Let a client make these calls by the store's id of its run.

    Args:
        client: a class with `there(run_id)`, the store's id of a run, `own(run_id)`, whether it is that
            of the client's run, and `flush(files=...)`.
    """
    for name in AT_THE_STORE:
        if hasattr(MlflowClient, name):  # it depends on MLflow's version
            setattr(client, name, _by_store_id(getattr(MlflowClient, name)))
    return client


def _by_store_id(call: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(call)

    @functools.wraps(call)
    def asked(client: Any, *arguments: Any, **options: Any) -> Any:
        given = signature.bind(client, *arguments, **options)
        for name in _IDS:
            value = given.arguments.get(name)
            ids = _ids_in(value)
            if any(client.own(one) for one in ids):
                client.flush(files=False)
            if ids:
                given.arguments[name] = _mapped(value, client.there)
        return call(*given.args, **given.kwargs)

    return asked


def _ids_in(value: Any) -> list[str]:
    if isinstance(value, dict):  # tags of a run that is made
        return [value[PARENT_RUN]] if PARENT_RUN in value else []
    return [value] if isinstance(value, str) else list(value or ())


def _mapped(value: Any, there: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {**value, PARENT_RUN: there(value[PARENT_RUN])}
    return there(value) if isinstance(value, str) else [there(one) for one in value]
