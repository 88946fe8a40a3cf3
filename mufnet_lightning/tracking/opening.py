"""The tracking store, opened: a database by one process at a time, a server only if it answers."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.locks import waiting

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own would wait four minutes for a server that is gone
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # where results are printed
}
"""Of MLflow, where the user has not set them."""
UPLOAD_TIMEOUT = "120"
"""Seconds in place of MLFLOW_HTTP_REQUEST_TIMEOUT while a file is sent: MLflow's own."""
_LOCKED = 60.0  # seconds that a database may be locked when it is opened
_PROBE = 5.0  # seconds for a server to say anything at all
_FRESH = 5.0  # seconds that its answer is believed
_ABSENT = 1.0  # seconds that its silence is, so that a few calls in a row do not each wait for it
_FLICKER = 60.0  # seconds after which a server that goes again does so anew
_BAD_GATEWAY = (502, 503, 504)
"""HTTP answers of a proxy whose server is away."""
_UNUSABLE = (
    ("readonly", "it cannot be written to"),
    ("unable to open", "it cannot be opened: there is no permission, or no folder"),
    ("not a database", "it is no database"),
    ("malformed", "it is damaged"),
    ("Can't locate revision", "a later version of MLflow made it"),
    ("out-of-date database schema", "an earlier version of MLflow made it; `mlflow db upgrade` helps"),
)
_opened: dict[Path, tuple[int, int]] = {}
"""The databases that this process has opened, by device and inode of the file."""
_answered: dict[str, tuple[float, str | None]] = {}
"""When each server was asked last, and why it did not answer."""
_outage: dict[str, tuple[float, float]] = {}
"""See `last_outage`."""
_one_opens = threading.RLock()


def open_client(uri: str, lock: Path | None = None) -> MlflowClient:
    """A client of a store. A database is made, or brought up to date, by one process at a time.

    Artifacts of a local store are brought to the disk (see `DurableClient`).

    A database file that was deleted or replaced since this process opened it is opened anew: SQLite
    would go on with the one that has no name any more, and lose in silence what is written there.

    Args:
        uri: of the store.
        lock: file to lock while a database is opened; beside the database unless given.

    Raises:
        InputFault: there is a file, and it cannot be used as MLflow's database.
    """
    from mufnet_lightning.tracking.durable_client import DurableClient

    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    path = database_of(uri)
    if path is None:
        return DurableClient(uri)
    with _one_opens:
        if _opened.get(path) == _identity(path) is not None:
            return DurableClient(uri)
        try:
            with waiting(lock or path.with_name(f".{path.name}.lock")):
                return _open(uri, path)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES) or not path.is_file():
                raise InputFault(unwritable(path.parent, error)) from None
            if path not in _opened:
                log.warning(
                    "warning: %s can be read only (%s): nothing is recorded",
                    path.parent,
                    error.strerror,
                )
            return _open(uri, path)


def set_by_us(name: str) -> bool:
    """Whether an environment variable of MLflow is as it was set here, and not as the user wants it."""
    return os.environ.get(name) == _SETTINGS[name]


def unwritable(folder: Path, error: OSError) -> str:
    """What to say of a folder that nothing can be written into."""
    return (
        f"{folder}: nothing can be written here: {error.strerror or error}; "
        "runs are recorded in mlruns/ of the working folder"
    )


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None where the store is something else."""
    match = re.match(r"sqlite(?:\+\w+)?:///(.+?)(?:\?|$)", uri)
    return Path(match[1]).absolute() if match and match[1] != ":memory:" else None


def unusable(uri: str, error: BaseException) -> str | None:
    """A sentence on a database that cannot be used until somebody does something; None for the rest."""
    path = database_of(uri)
    for sign, reason in _UNUSABLE if path else ():
        if sign in str(error):
            return f"{path}: {reason} ({first_line(error)}); move it away, or put a copy in its place"
    return None


def refuse_absent(uri: str) -> None:
    """Find out in seconds whether a tracking server answers.

    Raises:
        InputFault: it does not.
    """
    reason = absent(uri)
    if reason:
        raise InputFault(
            f"{without_password(uri)}, which MLFLOW_TRACKING_URI names, does not answer ({reason}); "
            "start the server, or name another"
        )


def await_answer(uri: str, seconds: float = 600.0) -> None:
    """Wait for a tracking server that is away, as between the hours that folds take.

    Raises:
        InputFault: it does not come back.
    """
    until, warned = time.monotonic() + seconds, False
    while (reason := absent(uri)) and time.monotonic() < until:
        if not warned:
            log.warning("warning: %s does not answer (%s); waiting", without_password(uri), reason)
        warned = True
        time.sleep(1.0)
    refuse_absent(uri)


def absent(uri: str) -> str | None:
    """Why a tracking server does not answer; None where it does, or where there is none to ask."""
    if not uri.startswith(("http://", "https://")):
        return None
    asked, reason = _answered.get(uri, (-math.inf, None))
    if time.monotonic() - asked < (_ABSENT if reason else _FRESH):
        return reason
    before, reason = reason, _silence(uri)
    _answered[uri] = time.monotonic(), reason
    since, until = last_outage(uri)
    if reason and not before:
        again = time.time() - until < _FLICKER
        _outage[uri] = since if again else time.time(), math.inf
    elif before and not reason:
        _outage[uri] = since, time.time()
    return reason


def last_outage(uri: str) -> tuple[float, float]:
    """When a server was last seen to go, and to come back, in seconds since 1970; 0, 0: never."""
    return _outage.get(uri, (0.0, 0.0))


def _silence(uri: str) -> str | None:
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE, allow_redirects=False)
        answer.close()
        if answer.status_code in _BAD_GATEWAY:
            return f"its proxy answers {answer.status_code}"
    except requests.exceptions.SSLError:
        pass  # it answers; MLflow knows how to talk to it
    except requests.exceptions.Timeout:
        return f"no answer within {_PROBE:.0f} seconds"
    except requests.exceptions.ConnectionError as error:
        refused = "refused" in str(error)
        return "the connection is refused" if refused else "there is no connection"
    except requests.exceptions.RequestException as error:
        return first_line(error)
    return None


def without_password(uri: str) -> str:
    """The address without user and password.

    >>> without_password("http://anna:secret@server:5000")
    'http://server:5000'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _open(uri: str, path: Path) -> MlflowClient:
    from mufnet_lightning.tracking.durable_client import DurableClient

    replaced = path in _opened
    until = time.monotonic() + _LOCKED
    while True:
        try:
            client = DurableClient(uri)
            if replaced:
                store = client._tracking_client.store
                store.engine.dispose()
                type(store)(store.db_uri, store.artifact_root_uri)  # makes the tables
            break
        except Exception as error:
            sentence = unusable(uri, error)
            if sentence:
                raise InputFault(sentence) from None
            if "locked" not in str(error):
                raise
            if time.monotonic() > until:
                raise InputFault(f"{path}: another program keeps it locked") from None
        time.sleep(0.2)
    known = _identity(path)
    if known is not None:
        _opened[path] = known
    return client


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def first_line(error: BaseException) -> str:
    return (str(error) or repr(error)).splitlines()[0]
