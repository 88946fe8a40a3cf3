"""What a run says of itself, line by line on this disk, before a tracking server hears of it.

A journal is a folder `mlruns/outbox/RUN`: `journal.jsonl` with a record a line, the contents of
artifacts in `files/`, and `position.json`: how far the server has it. Sending a record twice changes
nothing, so a position that is too early does no harm.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mufnet_lightning.system.files import append_line, sync_file, sync_folder, write_atomic

JOURNAL, FILES, POSITION = "journal.jsonl", "files", "position.json"
Record = Mapping[str, Any]
"""A line: `op` says what, the rest how; see `OutboxClient` for who writes which."""
ENDS = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class Position:
    """How far a journal has been sent.

    Attributes:
        offset: bytes of the journal that the store has.
        run_id: the store's id of the run; None until it has been made.
        later: files before it that the store did not take yet.
    """

    offset: int = 0
    run_id: str | None = None
    later: tuple[str, ...] = ()


class Journal:
    """A run's journal.

    Args:
        folder: of the journal; it is made with the first record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writes = threading.RLock()

    @property
    def path(self) -> Path:
        """The file of the records."""
        return self.folder / JOURNAL

    def append(self, op: str, **content: Any) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        with self._writes:
            if not self.path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
            append_line(self.path, json.dumps({"op": op, **content}))

    def append_file(self, source: Path, folder: str | None, *, link: bool = False) -> None:
        """Keep a file's content, and add the record of an artifact.

        Args:
            source: the file, which may go afterwards.
            folder: of the run's artifacts; None: the topmost.
            link: the file is never written again: its content need not be copied.

        Raises:
            OSError: it cannot be written.
        """
        with self._writes:
            kept = self._place(source.name)
            if link and _linked(source, kept):
                sync_folder(kept.parent)
            else:
                shutil.copyfile(source, kept)
                sync_file(kept)
            self.append("file", file=f"{kept.parent.name}/{kept.name}", folder=folder)

    def _place(self, name: str) -> Path:
        files = self.folder / FILES
        files.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(len(os.listdir(files))):
            try:
                (files / str(number)).mkdir()
            except FileExistsError:
                continue
            return files / str(number) / name
        raise AssertionError

    def content_of(self, record: Record) -> Path:
        """The file that a record of an artifact has kept."""
        return self.folder / FILES / str(record["file"])

    def records(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Record]]:
        """The whole records, each with the offset behind it.

        Args:
            start: offset of the first.
            end: offset behind the last; None: all.
        """
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        with file:
            file.seek(start)
            offset = start
            for line in file:
                offset += len(line)
                if not line.endswith(b"\n") or (end is not None and offset > end):
                    return  # the last one is being written, or was torn
                try:
                    yield offset, json.loads(line)
                except ValueError:  # zeros of a power cut
                    continue

    @property
    def position(self) -> Position:
        """How far it was sent."""
        try:
            content = json.loads((self.folder / POSITION).read_text(encoding="utf-8"))
            later = tuple(str(one) for one in content.get("later", ()))
            return Position(int(content["offset"]), content["run_id"], later)
        except (OSError, ValueError, KeyError, TypeError):
            return Position()  # sent again, which changes nothing

    @position.setter
    def position(self, position: Position) -> None:
        text = json.dumps(dataclasses.asdict(position))
        write_atomic(self.folder / POSITION, text + "\n")

    def begin_with(self, records: Sequence[Record], run_id: str) -> None:
        """Write the first records, of which the store's run has everything; all of them or none.

        Raises:
            OSError: they cannot be written.
        """
        content = "".join(json.dumps(dict(one)) + "\n" for one in records)
        with self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.position = Position(len(content.encode()), run_id)  # without records it is nothing
            write_atomic(self.path, content)

    def points(self) -> dict[tuple[str, int], float]:
        """The points of metrics in it by name and step, but for those that wait."""
        waiting = Waiting()
        ready = [one for _, record in self.records() for one in waiting.passed(record)]
        rows = [row for one in ready if one["op"] == "metrics" for row in one["points"]]
        return {(name, step): value for name, value, _, step in rows}

    def waiting(self) -> list[Record]:
        """The points of epochs that have no checkpoint yet."""
        waiting = Waiting()
        for _, record in self.records():
            waiting.passed(record)
        return waiting.records

    def move(self, folder: Path) -> None:
        """Give it another name in the same folder."""
        with self._writes:
            os.replace(self.folder, folder)
            self.folder = folder

    def remove(self) -> None:
        """Everything has been sent: the records go first, so that what is left is no journal."""
        with self._writes:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)


class Waiting:
    """The points of a training that goes on, which wait until their epoch's checkpoint is on the disk.

    A training that is taken up again trains the epochs behind its last checkpoint once more, so what it
    said of them before must not be sent. All that is known stands in the journal: reading it from its
    begin gives the same points in the same order.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []

    def passed(self, record: Record) -> list[Record]:
        """What is to be sent now that this record is next."""
        op = record["op"]
        if op == "metrics" and record.get("epoch") is not None:
            self.records.append(record)
            return []
        if op == "confirm":
            return self._released(record["epoch"])
        if op == "resume":
            released = self._released(record["epoch"] - 1)
            self.records = []
            return released
        if op == "status" and record["status"] == "FINISHED":
            return [*self._released(None), record]
        return [record]

    def _released(self, epoch: int | None) -> list[Record]:
        ready = [one for one in self.records if epoch is None or one["epoch"] <= epoch]
        self.records = [one for one in self.records if epoch is not None and one["epoch"] > epoch]
        return ready


def journals(folder: Path) -> Sequence[Path]:
    """The folders of all journals under `mlruns/`, those that were begun first first."""
    try:
        known = [path for path in (folder / "outbox").iterdir() if (path / JOURNAL).is_file()]
        return sorted(known, key=lambda path: (_begun(path), path.name))
    except OSError:
        return []


def milliseconds() -> int:
    """Now, as MLflow counts time."""
    return int(time.time() * 1000)


def _begun(path: Path) -> float:
    first = next(Journal(path).records(), (0, {}))[1]
    start = first.get("start")
    return float(start) if isinstance(start, int | float) else 0.0


def _linked(source: Path, kept: Path) -> bool:
    try:
        os.link(source, kept)
    except OSError:  # another disk, or one that has no links
        return False
    return True
