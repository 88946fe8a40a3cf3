"""Runs without a journal: those of a cross-validation as a whole, of comparisons, reports, validations.

They are written to the store as they are made. A note, `mlruns/direct/ID`, says that one is being made
here; where its process is gone, the next call closes the run. Several processes may be at work on a
cross-validation: each has a note of its own, `ID~TOKEN`, and the last one that goes closes the run.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.liveness import (
    HEARTBEAT,
    alive,
    beating,
    heartbeat,
    held,
    is_sent,
    locked,
)
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
_OF_SEVERAL = "~"
log = logging.getLogger(__name__)


@contextmanager
def at_work(run_id: str, *, shared: bool = False) -> Iterator[None]:
    """Work on a run without a journal: it has a heartbeat, and is closed by the next call after a kill.

    Where nothing can be written here, it has the heartbeat alone.

    Args:
        run_id: of the run, which is closed by the caller.
        shared: whether other processes may be at work on it too.
    """
    from mlflow.exceptions import MlflowException

    name = f"{run_id}{_OF_SEVERAL}{uuid.uuid4().hex[:8]}" if shared else run_id
    note = STORE_FOLDER / _NOTES / name
    uri = tracking_uri()
    with ExitStack() as work:
        try:
            work.enter_context(held(name))
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
                if not others_at_work(run_id, but=name):
                    delete_tag(client, run_id, HEARTBEAT)
                # of several that go at once each may have left its end to the others
                if client.get_run(run_id).info.status != "RUNNING":
                    note.unlink()


def others_at_work(run_id: str, but: str | None = None) -> bool:
    """Whether several processes are at work on a run that they share.

    Args:
        run_id: of the run.
        but: the note of one that does not count; without, one of them is this process's own.
    """
    notes = [note.name for note in (STORE_FOLDER / _NOTES).glob(f"{run_id}{_OF_SEVERAL}*")]
    working = [name for name in notes if name != but and locked(name)]
    return len(working) > (but is None) or alive(run_id, elsewhere=True)


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
            run_id = note.name.partition(_OF_SEVERAL)[0]
            if _is_gone(client, run_id) or _is_worked_on(run_id):
                note.unlink()
                continue
            run = TrackedRun.of(client.get_run(run_id))
            if alive(run.id, elsewhere=True):
                continue
            if run.status == "RUNNING":
                client.set_tag(run.id, "reason", "its process was killed")
                client.set_terminated(run.id, "KILLED")
                closed.append(run.name)
            delete_tag(client, run.id, HEARTBEAT)
            note.unlink()
    return closed


def _is_worked_on(run_id: str) -> bool:
    """Whether another process of this folder is at work on a run: it will close it."""
    notes = (STORE_FOLDER / _NOTES).glob(f"{run_id}{_OF_SEVERAL}*")
    return any(locked(note.name) and not is_sent(note.name) for note in notes)


def _is_gone(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has no such run, or its user has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        if error.error_code == GONE:
            return True
        raise
