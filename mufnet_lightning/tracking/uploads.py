"""The files of a run, sent: one that the store does not take now is passed by, and sent later."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mufnet_lightning.tracking.journal import Journal, Record
from mufnet_lightning.tracking.mlflow_calls import GONE, Unsent, reason_of, refusals
from mufnet_lightning.tracking.opening import UPLOAD_TIMEOUT, set_by_us

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LARGE = 1_000_000  # bytes of a file
_PATIENCE = 2  # times that a large file is waited for
_FAILURES = 3  # in a row, after which files wait for the next time
log = logging.getLogger(__name__)


class FilesUnsent(Unsent):
    """The store has everything but some files, which it does not take now."""


class Uploads:
    """Sends files, and remembers those that were passed by.

    Artifacts often lie in a store of their own behind the tracking server, which may refuse or be away
    by itself: the run's points, tags and end do not wait for it.

    Args:
        journal: of the run.
        later: files that were passed by before.

    Attributes:
        busy: a large file is being sent, not again and again.
    """

    def __init__(self, journal: Journal, later: tuple[str, ...]) -> None:
        self.busy = False
        self._journal = journal
        self._later: dict[str, Record] = {}
        self._tries = Counter[str]()
        self._reason, self._failing, self._warned = "", False, False
        if later:
            records = (one for _, one in journal.records() if one["op"] == "file")
            self._later = {one["file"]: one for one in records if one["file"] in later}

    @property
    def later(self) -> tuple[str, ...]:
        """The files that are still to be sent."""
        return tuple(self._later)

    def send(
        self, client: MlflowClient, run_id: str, record: Record, answers: Callable[[], object]
    ) -> None:
        """Send a file, or pass it by.

        Args:
            client: of the store.
            run_id: of the run there.
            record: of the file.
            answers: raises where the store itself is away, so that nothing is passed by.

        Raises:
            MlflowException: the run is gone.
        """
        for earlier in [name for name, one in self._later.items() if _place(one) == _place(record)]:
            del self._later[earlier]  # this one is in its place now
        if self._failing or not self._sent(client, run_id, record, answers):
            self._later[record["file"]] = record

    def send_later(
        self, client: MlflowClient, run_id: str, answers: Callable[[], object]
    ) -> Iterator[None]:
        """Try again what was passed by; yields for each that the store has now.

        Raises:
            FilesUnsent: it does not take all.
            MlflowException: the run is gone.
        """
        failures = 0
        for name, record in list(self._later.items()):
            if self._sent(client, run_id, record, answers):
                del self._later[name]
                failures, self._failing = 0, False
                yield
                continue
            self._later[name] = self._later.pop(name)  # behind the others
            failures += 1
            if failures == _FAILURES:
                break
        if self._later:
            count = f"{len(self._later)} files, as " if len(self._later) > 1 else ""
            raise FilesUnsent(f"{count}{self._reason}")

    def _sent(
        self, client: MlflowClient, run_id: str, record: Record, answers: Callable[[], object]
    ) -> bool:
        from mlflow.exceptions import MlflowException

        content = self._journal.content_of(record)
        if not content.is_file():
            log.warning("warning: %s is lost, and is no artifact", content)
            return True
        self._tries[record["file"]] += 1
        self.busy = content.stat().st_size > _LARGE and self._tries[record["file"]] <= _PATIENCE
        try:
            with refusals(f"file {record['file']}", warns=True) as refused, _patient():
                client.log_artifact(run_id, str(content), record["folder"])
            if refused:  # by a proxy in front of a store that is away?
                client.get_run(run_id)
        except Exception as error:
            if isinstance(error, MlflowException) and error.error_code == GONE:
                raise
            answers()
            self._reason = f"{content.name}: {reason_of(error)}"
            self._failing = True
            self._warn()
            return False
        finally:
            self.busy = False
        return True

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "warning: the store of the artifacts does not take %s; the rest of the run is sent, "
                "and its files later",
                self._reason,
            )


def _place(record: Record) -> tuple[str | None, str]:
    return record["folder"], str(record["file"]).partition("/")[2]


@contextmanager
def _patient() -> Iterator[None]:
    """A server may have to bring a large file into a store of its own before it answers."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    if not set_by_us(name):
        yield
        return
    os.environ[name] = UPLOAD_TIMEOUT
    try:
        yield
    finally:
        os.environ[name] = str(before)
