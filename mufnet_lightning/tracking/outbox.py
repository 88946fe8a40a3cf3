"""What a run being made says of itself goes into its journal; a thread brings it to the tracking store.

A training never waits for a server, and loses nothing where there is none.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.journal import Journal, milliseconds
from mufnet_lightning.tracking.liveness import beating, held, refuse_alive
from mufnet_lightning.tracking.mlflow_calls import BIRTH, Unsent
from mufnet_lightning.tracking.opening import unwritable, without_password
from mufnet_lightning.tracking.run_ids import own_id
from mufnet_lightning.tracking.runs import STORE_FOLDER, default_uri, mlflow_client, tracking_uri
from mufnet_lightning.tracking.sending import KeepModel, Sender
from mufnet_lightning.tracking.uploads import FilesUnsent

if TYPE_CHECKING:
    from mlflow.entities import Run

OUTBOX = "outbox"
PAUSE = 2.0
"""Seconds between two looks into the journal, so that what is said meanwhile is sent at once."""
_LONGEST_PAUSE = 30.0
_FOR_THE_RUN = 10.0  # seconds that a server may take to make the run
_FOR_A_DATABASE = 60.0  # it may be locked by others, and its tables may have to be made
_A_MOMENT = 1.0  # for a request that is on its way
_TO_CLOSE, _TOLD_AFTER = 20.0, 3.0  # seconds
_TO_STOP = 5.0  # of a run that is interrupted or failed
_FAILING = 60.0  # seconds of failures after which they are told
log = logging.getLogger(__name__)


class Outbox:
    """The journal of a run that is being made, and the thread that sends it.

    Make one by `Outbox.begin` or `Outbox.resume`.

    Args:
        journal: of the run.
        sender: of the journal.
        locks: hold the run.

    Attributes:
        closed: the run has been let go: its journal takes nothing more.
    """

    def __init__(self, journal: Journal, sender: Sender, locks: contextlib.ExitStack) -> None:
        self.journal, self.sender = journal, sender
        self._locks = locks
        self._round = threading.Condition()
        self._urgent = threading.Event()
        self._begun = self._done = 0
        self._failure: BaseException | None = None
        self._stopped = self._over = False
        self._left_to_thread = False  # to let the run go, since it still asks the store for something
        self.closed = False
        self._may_go_on = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mufnet-outbox", daemon=True)

    @property
    def run_id(self) -> str:
        """The run's id in this working folder; the store's, too, unless the server was away."""
        return self.journal.folder.name

    @classmethod
    def begin(
        cls, study: str, name: str | None, tags: Mapping[str, str], keep_model: KeepModel | None = None
    ) -> Outbox:
        """Begin a run; where no server answers in time, it is made there later.

        Raises:
            InputFault: nothing can be written here, or the store cannot be used, or the study was
                deleted.
        """
        uri, birth = tracking_uri(), uuid.uuid4().hex
        own = uri == default_uri()
        folder = STORE_FOLDER.resolve() / OUTBOX
        journal = Journal(folder / birth)
        locks = contextlib.ExitStack()
        try:
            with contextlib.ExitStack() as opening:
                opening.enter_context(held(birth))
                journal.append(
                    "create",
                    study=study,
                    name=name,
                    tags={**tags, BIRTH: birth},
                    start=milliseconds(),
                    uri="" if own else without_password(uri),
                )
                sender = Sender(journal, keep_model, new=True)
                locks.push(opening.pop_all())
        except OSError as error:
            journal.remove()  # without a record it is none
            raise InputFault(unwritable(folder.parent, error)) from None
        outbox = cls(journal, sender, locks)
        try:
            outbox._thread.start()
            outbox._name(_FOR_THE_RUN if uri.startswith("http") else _FOR_A_DATABASE)
            locks.enter_context(beating(sender.beat, at_once=False))
        except BaseException as error:  # as Ctrl-C in a notebook; the next call closes the run
            outbox._let_go()
            if isinstance(error, OSError):
                raise InputFault(unwritable(folder.parent, error)) from None
            raise
        return outbox

    @classmethod
    def resume(cls, run: Run, keep_model: KeepModel | None = None) -> Outbox:
        """Go on with a run, and with its journal where there is one.

        Raises:
            InputFault: somebody works on it, or nothing can be written here.
        """
        run_id = str(run.info.run_id)
        name = own_id(STORE_FOLDER, run_id)
        refuse_alive(name)
        journal = Journal(STORE_FOLDER.resolve() / OUTBOX / name)
        locks = contextlib.ExitStack()
        uri = tracking_uri()
        try:
            locks.enter_context(held(name))
            if not journal.path.exists():
                _begin_again(journal, run, "" if uri == default_uri() else without_password(uri))
            outbox = cls(journal, Sender(journal, keep_model), locks)
            locks.enter_context(beating(outbox.sender.beat, at_once=True))
            outbox._may_go_on.set()
            outbox._thread.start()
        except BaseException as error:
            locks.close()
            if isinstance(error, OSError):
                raise InputFault(unwritable(journal.folder.parent.parent, error)) from None
            raise
        return outbox

    def flush(self, seconds: float, told_after: float | None = None, *, files: bool = True) -> bool:
        """Send now; whether everything that may be sent is there.

        Args:
            seconds: to wait without progress; a large file is some, the first two times.
            told_after: seconds after which a message says what is waited for.
            files: those, too, that the store has refused so far.
        """
        until, told_at = time.monotonic() + seconds, time.monotonic() + (told_after or seconds)
        sent = self.sender.sent
        while True:
            with self._round:
                wanted = self._begun + 1
                self._urgent.set()
                while self._done < wanted and self._thread.is_alive():
                    if self.sender.sent != sent or self.sender.uploads:
                        sent, until = self.sender.sent, time.monotonic() + seconds
                    left = until - time.monotonic()
                    if left <= 0:
                        return False
                    self._round.wait(min(left, 0.25))
                    if time.monotonic() > told_at:
                        told_at = math.inf
                        log.info("waiting for the tracking store to take the rest of the run")
                failure = self._failure
                if failure is None or (not files and isinstance(failure, FilesUnsent)):
                    return self._done >= wanted
            if time.monotonic() + 0.5 > until or not self._thread.is_alive():
                return False
            time.sleep(0.5)

    def close(self, name: str, in_time: bool, otherwise: Callable[[], None] | None = None) -> bool:
        """Send the rest, for a bounded time, and let the run go. The journal's last record is its end.

        Args:
            name: of the run, for the warning.
            in_time: the run has come to its end; else it is to be over soon.
            otherwise: tells the store of the end, where the journal could not take it.

        Returns:
            Whether the store has everything; the journal is gone then.
        """
        try:
            done = self.flush(_TO_CLOSE if in_time else _TO_STOP, _TOLD_AFTER)
            self._stop()
            self._thread.join(1.0)
            done = done or not (self._thread.is_alive() or self._failure or self.sender.left)
            if otherwise is not None:  # the next call, too, closes the run
                with contextlib.suppress(Exception):
                    otherwise()
            elif done and not (self.sender.held and checkpoint_folder(self.run_id).is_dir()):
                self.journal.remove()  # else a resume may send what waits
            elif not done:
                log.warning(
                    "warning: run %s: %s records could not be sent to %s (%s); they are kept in %s, "
                    "and `mufnet sync` sends them",
                    name,
                    self.sender.left if not self._thread.is_alive() else "some",
                    without_password(self.sender.uri),
                    self._failure or "no answer in time",
                    STORE_FOLDER / OUTBOX / self.run_id,
                )
        finally:
            self._let_go()
        return done

    def _stop(self) -> None:
        self._stopped = self.closed = True
        self._urgent.set()
        self._may_go_on.set()

    def _let_go(self) -> None:
        self._stop()
        if self._thread.is_alive():
            self._thread.join(_A_MOMENT)
        with self._round:
            self._left_to_thread = self._thread.is_alive() and not self._over
        if not self._left_to_thread:
            self._locks.close()

    def _name(self, seconds: float) -> None:
        """Wait for the store to make the run, and give the journal its id."""
        until = time.monotonic() + seconds
        with self._round:
            while not self._done and time.monotonic() < until:
                self._round.wait(0.1)
        failure, run_id = self._failure, self.sender.run_id
        if isinstance(failure, InputFault) or (failure and not isinstance(failure, Unsent)):
            self._stop()
            if run_id is not None:  # it has been made: it must not stay as if it went on
                with contextlib.suppress(Exception):
                    self.sender.end("FAILED", {"reason": str(failure)}, milliseconds())
                    run_id = None
            if run_id is None:  # else the next call closes it
                self.journal.remove()
            raise failure
        if run_id is not None and self._done > 0:
            self._locks.enter_context(held(run_id))
            self.journal.move(self.journal.folder.with_name(run_id))
        else:
            log.warning(
                "warning: %s does not answer (%s); the run goes on, is kept in %s, and is sent when "
                "the server is back, or by `mufnet sync`",
                without_password(self.sender.uri),
                failure or "no answer in time",
                STORE_FOLDER / OUTBOX / self.run_id,
            )
        self.sender.named = True
        self.sender.note_name()
        self._may_go_on.set()

    # the thread

    def _work(self) -> None:
        try:
            self._send_by_and_by()
        finally:
            with self._round:
                self._over = True
                mine = self._left_to_thread
            if mine:
                self._locks.close()

    def _send_by_and_by(self) -> None:
        pause, failing_since = 0.0, 0.0
        warned = False
        while True:
            self._urgent.wait(pause)
            self._urgent.clear()
            stop = self._stopped
            with self._round:
                self._begun += 1
            failure = None if stop else self._sent()
            with self._round:
                self._failure = self._failure if stop else failure
                self._done = self._begun
                self._round.notify_all()
            self._may_go_on.wait()
            if stop:
                return
            now = time.monotonic()
            if failure is None:
                if warned:
                    log.info("the tracking store takes records again")
                pause, failing_since, warned = PAUSE, now, False
            else:
                failing_since = failing_since or now
                pause = min(_LONGEST_PAUSE, max(1.0, 2 * pause))
                known = warned or isinstance(failure, FilesUnsent)
                if not known and now - failing_since > _FAILING:
                    warned = True
                    log.warning(
                        "warning: the tracking store takes no records (%s); they are kept in %s, and "
                        "the training goes on",
                        failure,
                        STORE_FOLDER / OUTBOX / self.run_id,
                    )

    def _sent(self) -> BaseException | None:
        try:
            self.sender.send()
        except Exception as error:
            log.debug("not sent: %r", error)
            return error
        return None


def _begin_again(journal: Journal, run: Run, uri: str) -> None:
    """The begin of a journal for a run that the store has already: what would make it once more."""
    info, data = run.info, run.data
    study = mlflow_client().get_experiment(info.experiment_id).name
    tags = {BIRTH: journal.folder.name, **data.tags}
    start = {"study": study, "name": info.run_name, "tags": tags, "start": int(info.start_time)}
    created = {"op": "create", **start, "uri": uri}
    journal.begin_with([created, {"op": "params", "params": dict(data.params)}], str(info.run_id))
