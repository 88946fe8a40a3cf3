"""A journal's records, sent into the tracking store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.journal import ENDS, Journal, Position, Record, Waiting
from mufnet_lightning.tracking.liveness import HEARTBEAT, heartbeat
from mufnet_lightning.tracking.mlflow_calls import (
    BIRTH,
    GONE,
    Unsent,
    dataset_of,
    delete_tag,
    reason_of,
    refusals,
    remove_twins,
    send_params,
    store_uri,
)
from mufnet_lightning.tracking.opening import absent, unusable, without_password
from mufnet_lightning.tracking.run_ids import note_id
from mufnet_lightning.tracking.runs import client_of, default_uri, open_study, tracking_uri
from mufnet_lightning.tracking.uploads import Uploads

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST = 1000  # points that MLflow takes at once
log = logging.getLogger(__name__)

KeepModel = Callable[[str, str | None], None]
"""Logs the model of the run with this id, as a version of that registered model."""


class Sender:
    """Sends what a journal holds, each time from where it stopped.

    Args:
        journal: of the run.
        keep_model: what a record of a model asks for; without it that record, the last, stays.
        new: the run was begun by this process, so that the store cannot have it yet, and the journal
            may get another name.

    Attributes:
        uri: of the store that the run is for.
        run_id: the store's id of the run, once it has been made.
        sent: how often the store has taken something.
        experiment_id: of its study, where this process has made the run.
        named: the journal has its last name: where that is not the run's id, both are noted.
    """

    def __init__(
        self, journal: Journal, keep_model: KeepModel | None = None, *, new: bool = False
    ) -> None:
        self.journal = journal
        self.run_id: str | None
        self.sent = 0
        self._beating, self._ended = threading.Lock(), False
        self._deleted = False
        self._keep_model = keep_model
        self._new = new
        self.named = not new
        self.experiment_id: str | None = None
        first: Record = next(journal.records(), (0, {}))[1]
        self.uri = store_uri(str(first.get("uri") or ""))
        self._sure = False
        self._saved = self.journal.position
        self._offset, self.run_id = self._saved.offset, self._saved.run_id
        self._files = Uploads(journal, self._saved.later)
        self._waiting = Waiting()
        self._read_again()

    @property
    def uploads(self) -> bool:
        """Whether a large file is being sent, for the first or second time."""
        return self._files.busy

    @property
    def left(self) -> int:
        """Records that the store does not have yet; those that wait for their epoch's end are none."""
        waiting = Waiting()
        waiting.records = list(self._waiting.records)
        start = self._offset
        rows = self.journal.records(start)
        return len(self._files.later) + sum(len(waiting.passed(one)) for _, one in rows)

    @property
    def held(self) -> int:
        """Points that wait for the end of their epoch."""
        return sum(len(one["points"]) for one in self._waiting.records)

    def send(self, advance: Callable[[int], None] | None = None) -> None:
        """Send everything that may be sent.

        Args:
            advance: is told how many records have just been sent.

        Raises:
            Unsent: the store does not take it now; what was sent stays sent.
            FilesUnsent: it has everything but some files, which are sent later.
            InputFault: the store cannot be used until somebody does something.
            OSError: how far it came cannot be written here.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._send(advance or (lambda number: None))
        except BaseException as error:
            self._read_again()
            gone = isinstance(error, MlflowException) and error.error_code == GONE
            if gone and self.run_id and self._is_gone():
                self._begin_anew()
                return self.send(advance)
            sentence = unusable(self.uri, error)
            if sentence:
                raise InputFault(sentence) from None
            if isinstance(error, Exception) and not isinstance(error, InputFault | Unsent):
                raise Unsent(reason_of(error)) from error  # MLflow's, or a library's of its artifacts
            raise
        finally:
            if self._position != self._saved:
                self._save()

    def beat(self) -> None:
        """Renew the sign that somebody works on the run."""
        with self._beating:  # none behind the run's end
            if self.run_id is not None and not self._ended:
                self._client().set_tag(self.run_id, HEARTBEAT, heartbeat())

    def end(self, status: str, tags: Mapping[str, str], time: int) -> None:
        """Tell the store of the run's end, past the journal."""
        client, run_id = self._client(), self._run()
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
        self._terminate(client, run_id, status, time)

    def status(self) -> str:
        """That the store has of the run.

        Raises:
            Unsent: the store does not answer.
        """
        self._run()
        if self._is_gone():
            self._begin_anew()
            self.send()
        return str(self._client().get_run(self._run()).info.status)

    # from here on: inside `send`

    def _terminate(self, client: MlflowClient, run_id: str, status: str, time: int) -> None:
        with self._beating:
            self._ended = True
            delete_tag(client, run_id, HEARTBEAT)
        client.set_terminated(run_id, status, time)

    def _send(self, advance: Callable[[int], None]) -> None:
        self._send_records(advance)
        self._send_later(advance)

    def _send_later(self, advance: Callable[[int], None]) -> None:
        if self._files.later:
            for _ in self._files.send_later(self._client(), self._run(), self._client):
                self.sent += 1
                advance(1)

    def _send_records(self, advance: Callable[[int], None]) -> None:
        points: list[list[Any]] = []
        merged = 0
        ready: Sequence[Record]
        if not next(self.journal.records(self._offset), None):
            return
        client = self._client()
        behind = self._offset
        for offset, record in self.journal.records(self._offset):
            ready = self._waiting.passed(record)
            for one in ready:
                if self._deleted:
                    break
                if one["op"] == "metrics":
                    points += one["points"]
                    merged += 1
                    continue
                if points:
                    self._send_points(client, points)
                    self._offset, points = behind, []
                    advance(merged)
                    merged = 0
                if one["op"] == "model":
                    if self._keep_model is None:
                        return
                    self._send_later(advance)  # it is made from them
                self._send_one(client, one)
                self.sent += 1
                advance(1)
            behind = offset
            if len(points) >= _MOST:
                self._send_points(client, points)
                points = []
                advance(merged)
                merged = 0
            if not points:
                self._offset = behind
        if points:
            self._send_points(client, points)
            advance(merged)
        self._offset = behind

    def _send_points(self, client: MlflowClient, points: Sequence[Sequence[Any]]) -> None:
        from mlflow.entities import Metric

        run_id = self._run()
        for start in range(0, len(points), _MOST):
            part = [Metric(*point) for point in points[start : start + _MOST]]
            with refusals(f"{len(part)} points", warns=len(part) == 1) as refused:
                client.log_batch(run_id, metrics=part)
            self.sent += 1
            if refused and self._is_deleted(client, run_id):
                return
            for one in part if refused and len(part) > 1 else ():
                with refusals(f"{one.key} {one.value} of step {one.step}", warns=True):
                    client.log_batch(run_id, metrics=[one])

    def _send_one(self, client: MlflowClient, record: Record) -> None:
        op = record["op"]
        if op == "create":
            self._create(client, record)
            return
        run_id = self._run()
        what = f"{op} {record.get('name') or record.get('file') or ''}".strip()
        with refusals(what, warns=True) as refused:
            if op == "params":
                send_params(client, run_id, record["params"])
            elif op == "tag":
                client.set_tag(run_id, record["name"], record["value"])
            elif op == "untag":
                delete_tag(client, run_id, record["name"])
            elif op == "inputs":
                client.log_inputs(run_id, [dataset_of(one) for one in record["datasets"]])
            elif op == "file":
                self._files.send(client, run_id, record, self._client)
            elif op == "name":
                client.update_run(run_id, name=record["name"])
            elif op == "status" and record["status"] in ENDS:
                self._terminate(client, run_id, record["status"], record["end"])
                if not self._sure:
                    remove_twins(client, run_id)
            elif op == "status":
                self._ended = False  # it was gone on with
                client.update_run(run_id, status=record["status"])
            elif op == "model":
                assert self._keep_model is not None
                self._keep_model(run_id, record["register"])
        if refused:
            self._is_deleted(client, run_id)

    def _is_deleted(self, client: MlflowClient, run_id: str) -> bool:
        """Whether the user has deleted the run; nothing more is sent then."""
        self._deleted = client.get_run(run_id).info.lifecycle_stage == "deleted"
        if self._deleted:
            self._files = Uploads(self.journal, ())
            log.warning(
                "warning: run %s was deleted in MLflow, which takes nothing more of it; what is still "
                "to be sent of it is dropped",
                run_id,
            )
        return self._deleted

    def _create(self, client: MlflowClient, record: Record) -> None:
        if self.run_id is not None:
            return
        study = open_study(record["study"], client)
        self.experiment_id = study
        birth = record["tags"][BIRTH]
        first, self._new = self._new, False  # a request that seems to have failed may have made it
        runs = [] if first else client.search_runs([study], f"tags.`{BIRTH}` = '{birth}'")
        tags = {**record["tags"], HEARTBEAT: heartbeat()}
        made = runs[0] if runs else client.create_run(study, record["start"], tags, record["name"])
        self.run_id, self._sure = str(made.info.run_id), first
        self._save()
        self.note_name()

    def note_name(self) -> None:
        """Note the run's id beside its journal's name, where they differ and are known."""
        name = self.journal.folder.name
        if self.named and self.run_id is not None and self.run_id != name:
            note_id(self.journal.folder.parent.parent, name, self.run_id)

    def _run(self) -> str:
        if self.run_id is None:
            raise InputFault(f"{self.journal.path}: the journal of a run has lost its begin")
        return self.run_id

    def _client(self) -> MlflowClient:
        uri = self.uri
        if uri != tracking_uri():  # MLflow knows one at a time: the process would go on in the other
            shown = "unset it" if uri == default_uri() else f"set it to {without_password(uri)}"
            raise Unsent(f"the run is of another store than MLFLOW_TRACKING_URI names; {shown}")
        reason = absent(uri)
        if reason:
            raise Unsent(reason)
        return client_of(uri)

    def _is_gone(self) -> bool:
        """Whether the store has no such run: it is another store at the same place."""
        from mlflow.exceptions import MlflowException

        try:
            self._client().get_run(str(self.run_id))
        except MlflowException as error:
            return str(error.error_code) == GONE
        return False

    def _begin_anew(self) -> None:
        log.warning(
            "warning: %s has no run %s any more: the database was deleted or replaced while it was "
            "written; what this run has recorded is written again",
            without_password(self.uri),
            self.run_id,
        )
        self._offset, self.run_id, self._new = 0, None, False
        self._files = Uploads(self.journal, ())
        self._save()
        self._read_again()

    def _read_again(self) -> None:
        """What waits, from the records before the place where it stopped."""
        self._waiting = Waiting()
        for _, record in self.journal.records(0, self._offset):
            self._waiting.passed(record)

    @property
    def _position(self) -> Position:
        return Position(self._offset, self.run_id, self._files.later)

    def _save(self) -> None:
        self._saved = self._position
        self.journal.position = self._saved
