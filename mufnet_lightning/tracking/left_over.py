"""Journals of runs that nobody works on any more: what they hold is sent, and the runs are closed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mufnet_lightning.errors import InputFault, NotRecorded
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.journal import ENDS, Journal, Record, journals, milliseconds
from mufnet_lightning.tracking.liveness import (
    RESUMED,
    alive,
    await_sender,
    await_silence,
    believed_until,
    held,
    is_sent,
    locked,
    tell_sent,
    time_of,
)
from mufnet_lightning.tracking.mlflow_calls import Unsent, reason_of
from mufnet_lightning.tracking.opening import unwritable
from mufnet_lightning.tracking.outbox_client import DIVERGED, MACHINE
from mufnet_lightning.tracking.run_ids import own_id
from mufnet_lightning.tracking.runs import STORE_FOLDER, TrackedRun, find_run, mlflow_client
from mufnet_lightning.tracking.sending import KeepModel, Sender
from mufnet_lightning.tracking.uploads import FilesUnsent
from mufnet_lightning.tracking.written_directly import close_killed, left_directly

log = logging.getLogger(__name__)


class LeftOver:
    """The journal of a run that is held meanwhile, to be sent to its end.

    Args:
        folder: of the journal.
        keep_model: see `Sender`.
        silent: nobody elsewhere works on the run (see `await_silence`); else its heartbeat is read.

    Attributes:
        name: of the run.
        status: that the run has, or gets: KILLED where nobody wrote an end.
        superseded: the run was gone on with elsewhere since; nothing of the journal was sent.
    """

    def __init__(
        self, folder: Path, keep_model: KeepModel | None = None, *, silent: bool = False
    ) -> None:
        self._silent = silent
        self._journal = Journal(folder)
        self.name, self.status, last, ended = folder.name, "KILLED", 0, False
        self.superseded = False
        self._begun, self._resumed = 0.0, set[str]()
        for _, record in self._journal.records():
            self._note_begin(record)
            if record["op"] in ("create", "name") and record["name"]:
                self.name = str(record["name"])
            if record["op"] == "status":
                self.status, ended = str(record["status"]), record["status"] in ENDS
            last = record.get("end") or _latest(record) or last
        self._last, self._has_end = last, ended
        self.status = self.status if self._has_end else "KILLED"
        self.sender = Sender(self._journal, keep_model)

    @property
    def left(self) -> int:
        """Records to be sent, with the end that is missing."""
        return self.sender.left + (not self._has_end)

    def send(self, advance: Callable[[int], None] | None = None) -> bool:
        """Send it all, and remove the journal; what a resumed training may still send is kept.

        Returns:
            Whether the journal is gone.

        Raises:
            Unsent, FilesUnsent: see `Sender.send`.
            InputFault: the store cannot be used, or nothing can be written here.
        """
        from mlflow.exceptions import MlflowException

        def sent(number: int) -> None:
            tell_sent(self._journal.folder.name)
            if advance is not None:
                advance(number)

        if next(self._journal.records(), None) is None:  # its begin did not come onto the disk
            self._journal.remove()
            return True
        try:
            if self._is_superseded():
                self._journal.remove()
                return True
            self._close(sent)
            self.sender.send(sent)
        except MlflowException as error:
            raise Unsent(reason_of(error)) from None
        except OSError as error:
            raise InputFault(unwritable(self._journal.folder, error)) from None
        resumable = checkpoint_folder(self._journal.folder.name).is_dir()
        if self.sender.left or (self.sender.held and resumable):
            return False
        self._journal.remove()
        return True

    def _note_begin(self, record: Record) -> None:
        if record["op"] == "create":
            self._begun = record["start"] / 1000
            self._resumed.add(record["tags"].get(RESUMED, ""))
        elif record["op"] == "tag" and record["name"] == RESUMED:
            self._resumed.add(str(record["value"]))

    def _is_superseded(self) -> bool:
        """Whether the run went on in another folder, behind another epoch, since this was written."""
        if self.sender.run_id is None:
            return False
        self.sender.status()  # the store answers, and has the run
        run = find_run(self.sender.run_id)
        there = run.tags.get(RESUMED, "")
        begun = max([self._begun, *map(time_of, self._resumed)])
        if not there or there in self._resumed or time_of(there) <= begun:
            return False
        self.superseded, self.status = True, run.status
        log.warning(
            "warning: run %s was gone on with in another folder or on another machine; what is kept of "
            "it here is of before, and is dropped",
            self.name,
        )
        return True

    def _close(self, advance: Callable[[int], None]) -> None:
        """Write the end that is missing."""
        if not self._has_end:
            run_id = self.sender.run_id
            if run_id is not None and not self._silent and alive(run_id, elsewhere=True):
                raise Unsent(
                    "a process elsewhere still works on the run, and sends by itself (its last sign of "
                    f"life is believed until {believed_until(run_id)})"
                )
            with suppress(FilesUnsent):  # they come behind the run's end
                self.sender.send(advance)  # the store answers: else the run may yet be gone on with
            status = self.sender.status()
            if status in ENDS:  # a full disk kept it out of the journal
                self.status = status
            else:
                self._journal.append("tag", name="reason", value="its process was killed")
                self._journal.append("status", status="KILLED", end=self._last or milliseconds())
            self._has_end = True


def send_behind(run_id: str) -> None:
    """Send what an earlier process left of a run here; nothing where nothing is left, or it is alive.

    What a thread of this process, or another process, is just sending is waited for.

    Raises:
        InputFault: the store does not take it, or somebody elsewhere works on the run. A file that is
            not taken is told of, and left.
    """
    folder = STORE_FOLDER / "outbox" / own_id(STORE_FOLDER, run_id)
    while True:
        await_sender(folder.name)
        if folder not in left_over():
            return
        await_silence(folder.name)
        try:
            with held(folder.name, to_send=True):
                if folder in journals(STORE_FOLDER):
                    LeftOver(folder, silent=True).send()
            return
        except FilesUnsent as reason:
            log.warning(
                "warning: run %s is kept in %s: not all its files are sent: %s", run_id, folder, reason
            )
            return
        except Unsent as reason:
            raise InputFault(
                f"run {run_id} is kept in {folder}, and cannot be sent: {reason}"
            ) from None
        except InputFault:
            if folder in journals(STORE_FOLDER) and not is_sent(folder.name):
                raise  # else another one was faster


def run_behind(run_id: str) -> TrackedRun | None:
    """The run that wrote a checkpoint, after what it left here was sent; None where there is none.

    Raises:
        InputFault: the store does not answer: whether the run goes on cannot be told.
    """
    mlflow_client()
    send_behind(run_id)
    try:
        return find_run(run_id)
    except NotRecorded:
        return None


def may_begin_again(run: TrackedRun) -> bool:
    """Whether no epoch of a run has ended: what is logged in one waits for its checkpoint."""
    return not run.is_finished and all(name.startswith((MACHINE, DIVERGED)) for name in run.metrics)


def left_over() -> list[Path]:
    """The journals whose process has ended, those that were begun first first."""
    return [folder for folder in journals(STORE_FOLDER) if not locked(folder.name)]


def send_left_over(seconds: float) -> None:
    """Send what earlier processes left, as far as the store takes it; quietly, whatever happens.

    Args:
        seconds: to wait for it; 0: not at all, it goes on in the background.
    """
    if not (journals(STORE_FOLDER) or left_directly()):
        return
    thread = threading.Thread(target=_send_all, name="mufnet-left-over", daemon=True)
    thread.start()
    thread.join(seconds)


def _send_all() -> None:
    for folder in left_over():
        try:
            with held(folder.name, to_send=True):
                if folder not in journals(STORE_FOLDER):
                    continue
                one = LeftOver(folder)
                count = one.left
                gone = one.send()
                if not gone and one.left:
                    log.info(
                        "run %s, left by an earlier call, is sent (%s), and its model is still to be "
                        "logged: `mufnet sync` does that",
                        one.name,
                        one.status,
                    )
                elif count and not one.superseded:
                    log.info("run %s, left by an earlier call, is sent: %s", one.name, one.status)
        except (InputFault, Unsent):  # somebody else sends it, or the store is away: then all wait
            log.debug("the journal %s is not sent", folder, exc_info=True)
        except Exception:
            log.debug("the journal %s cannot be sent", folder, exc_info=True)
    try:
        for name in close_killed():
            log.info("run %s, whose process was killed, is closed as KILLED", name)
    except Exception:
        log.debug("killed runs cannot be looked for", exc_info=True)


def _latest(record: Record) -> int:
    points = record.get("points")
    times = [int(point[2]) for point in points] if isinstance(points, list) else []
    return max(times, default=0)
