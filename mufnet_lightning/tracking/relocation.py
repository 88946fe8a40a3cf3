"""The default store's artifacts, found again when the folder that they lie in was moved or copied.

MLflow keeps absolute addresses in its database. Those that lead into the `mlruns/` where the database
was made are rewritten when it is first used at another place; without that, the runs of a moved folder
would have lost their artifacts, and those of a copy would be written into the original. That folder is
known by being gone, or by a database of its own: an original that was copied.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mufnet_lightning.errors import InputFault

log = logging.getLogger(__name__)

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Columns of MLflow's tables that hold them."""
_OURS = re.compile(rf"(?:file://)?/.*/mlruns/(?:{ARTIFACTS}|0)")
"""Where a study keeps its runs; MLflow's own first experiment has the folder `0`."""
_WAIT = 60.0  # seconds for another process that writes
_settled: dict[tuple[int, int], Path] = {}
"""Where a database was when this process looked at it last, by device and inode."""


def settle(folder: Path) -> None:
    """Make the addresses in a store lead into it, wherever it was made; most calls do nothing.

    Addresses that lead elsewhere stay as they are, also into another `mlruns/` that is there and has no
    database: artifacts are kept there on purpose. So do those of runs whose artifacts are there and not
    here (only the database was copied): they are told.

    Args:
        folder: `mlruns/`, with the database in it if there is one yet.

    Raises:
        InputFault: the database has to be changed, and cannot be.
    """
    database = folder.resolve() / DATABASE
    try:
        status = database.stat()
    except OSError:
        return
    key = (status.st_dev, status.st_ino)
    if _settled.get(key) != database and _settle(database):
        _settled[key] = database


def _settle(database: Path) -> bool:
    """Whether there was something to look at."""
    here = database.parent
    former: set[Path] = set()
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT, isolation_level=None)) as connection:
            former = _former_folders(connection, here)
            if former:
                with _transaction(connection):
                    former = _former_folders(connection, here)  # another process may have been faster
                    moved, left = _rewrite(connection, former, here)
                _tell(former, moved, left)
    except sqlite3.DatabaseError as error:
        if not former:  # no database, or one whose tables are being made: MLflow says what it thinks
            return False
        of = ", ".join(map(str, sorted(former)))
        if "readonly" not in str(error):
            raise InputFault(
                f"{database} was made in {of}, and cannot be told that it is here now: {error}"
            ) from None
        log.warning("%s cannot be written to, so artifacts are still looked for in %s", database, of)
    return True


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One writer at a time; all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _former_folders(connection: sqlite3.Connection, here: Path) -> set[Path]:
    """The folders `mlruns` that studies lead into, but for this one: gone, or with a database too."""
    rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    folders = {_path(location).parent for (location,) in rows if _OURS.fullmatch(location or "")}
    # artifacts may be a link, and the same folder may have two names
    known = {here, (here / ARTIFACTS).resolve().parent}
    return {
        f
        for f in folders - known
        if not f.exists() or ((f / DATABASE).exists() and not f.samefile(here))
    }


def _rewrite(
    connection: sqlite3.Connection, former: set[Path], here: Path
) -> tuple[Mapping[str, int], int]:
    """How many addresses of each table were rewritten, and how many runs' were left."""
    moved: dict[str, int] = {}
    left = 0
    for table, column in _ADDRESSES:
        if not _columns(connection, table) >= {column}:  # another version of MLflow
            continue
        changes = []
        for row, address in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
            new = _new_address(address, former, here)
            if new is None:
                continue
            if table != "experiments" and _path(address).exists() and not _path(new).exists():
                left += table == "runs"
                continue
            changes.append((new, row))
        connection.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changes)
        moved[table] = moved.get(table, 0) + len(changes)
    return moved, left


def _new_address(address: str | None, former: set[Path], here: Path) -> str | None:
    """The address in this folder; None for one that leads elsewhere."""
    for folder in former if address else ():
        places: Sequence[tuple[Path, Path]] = (
            (folder / ARTIFACTS, (here / ARTIFACTS).resolve()),
            (folder, here),
        )
        for old, new in places:
            for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                if address is not None and (address + "/").startswith(before + "/"):
                    return after + address.removeprefix(before)
    return None


def _tell(former: set[Path], moved: Mapping[str, int], left: int) -> None:
    of = ", ".join(map(str, sorted(former)))
    if moved.get("runs"):
        log.info("moved or copied from %s: the artifacts of %s runs are here now", of, moved["runs"])
    if left:
        log.warning("the artifacts of %s runs are not here; they are still read from %s", left, of)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _path(address: str) -> Path:
    """Of a `file://` address or of a plain path."""
    return Path(url2pathname(urlsplit(address).path) if address.startswith("file:") else address)
