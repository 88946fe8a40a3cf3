"""Runs without a journal: those of a cross-validation as a whole, of comparisons, reports, validations.

They are written to the store as they are made. A note, `mlruns/direct/ID`, says that one is being made
here; where its process is gone, the next call closes the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.liveness import HEARTBEAT, alive, beating, heartbeat, held, locked
from mufnet_lightning.tracking.mlflow_calls import GONE, delete_tag, reason_of, store_uri
from mufnet_lightning.tracking.opening import without_password
from mufnet_lightning.tracking.runs import (
    STORE_FOLDER,
    TrackedRun,
    default_uri,
    mlflow_client,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOTES = "direct"
log = logging.getLogger(__name__)


@contextmanager
def at_work(run_id: str) -> Iterator[None]:
    """Work on a run without a journal: it has a heartbeat, and is closed by the next call after a kill.

    Where nothing can be written here, it has the heartbeat alone.

    Args:
        run_id: of the run, which is closed by the caller.
    """
    from mlflow.exceptions import MlflowException

    note = STORE_FOLDER / _NOTES / run_id
    uri = tracking_uri()
    with ExitStack() as work:
        try:
            work.enter_context(held(run_id))
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("" if uri == default_uri() else without_password(uri), encoding="utf-8")
        except OSError:
            log.debug("run %s cannot be noted here", run_id, exc_info=True)
        client = mlflow_client()

        def beat() -> None:
            client.set_tag(run_id, HEARTBEAT, heartbeat())

        try:
            with suppress(MlflowException):
                beat()
            with beating(beat, at_once=False):
                yield
        finally:
            with suppress(Exception):  # the store is away: the note stays, and the next call closes it
                delete_tag(client, run_id, HEARTBEAT)
                if client.get_run(run_id).info.status != "RUNNING":
                    note.unlink()


@contextmanager
def new_run(experiment_id: str, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Open a run that is made in one go; it ends as FINISHED, or as FAILED where something is raised.

    Args:
        experiment_id: of the study.
        name: of the run.
        tags: of the run.

    Yields:
        The run's id.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    run_id = str(client.create_run(experiment_id, tags=dict(tags), run_name=name[:250]).info.run_id)
    with at_work(run_id):
        try:
            yield run_id
        except BaseException:
            with suppress(MlflowException):  # the next call closes it
                client.set_terminated(run_id, "FAILED")
            raise
        try:
            client.set_terminated(run_id, "FINISHED")
        except MlflowException as error:
            raise InputFault(
                f"the tracking store does not take the end of run {name}: {reason_of(error)}; what it "
                "recorded is there, and the next call closes the run as KILLED"
            ) from None


def left_directly() -> list[Path]:
    """The notes of runs that nobody here works on any more."""
    try:
        return [note for note in sorted((STORE_FOLDER / _NOTES).iterdir()) if not locked(note.name)]
    except OSError:
        return []


def close_killed() -> list[str]:
    """Close the runs of the store whose process was killed here; the names of those that were open."""
    notes = left_directly()
    if not notes:
        return []
    from mlflow.exceptions import MlflowException

    closed = []
    for note in notes:
        with suppress(InputFault, OSError, MlflowException), held(note.name, to_send=True):
            if store_uri(note.read_text(encoding="utf-8")) != tracking_uri():
                continue
            client = mlflow_client()
            if _is_gone(client, note.name):
                note.unlink()
                continue
            run = TrackedRun.of(client.get_run(note.name))
            if alive(run.id, elsewhere=True):
                continue
            if run.status == "RUNNING":
                client.set_tag(run.id, "reason", "its process was killed")
                client.set_terminated(run.id, "KILLED")
                closed.append(run.name)
            delete_tag(client, run.id, HEARTBEAT)
            note.unlink()
    return closed


def _is_gone(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has no such run, or its user has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        if error.error_code == GONE:
            return True
        raise
