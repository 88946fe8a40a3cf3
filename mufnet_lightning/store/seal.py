"""What the files of a store were when it was made, so that damage is told and never used.

    sums.csv      SHA-256 of manifest.csv, of every crop and of each other table
    store.json    `sums`, that of sums.csv, and `seal`, that of its own other content

Stores of earlier versions have none of it. The caches have checks of their own (see `cache`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import write_part
from mufnet_lightning.system.guards import LARGEST_STILL, read_bytes

SUMS = "sums.csv"
CROPS = "crops"
MAKE_AGAIN = "delete the store and prepare it again"
BY_HAND = (
    "it is damaged, or was edited by hand; grades and ids are changed in the cohort's tables: change "
    f"them there, {MAKE_AGAIN}"
)
TABLES = ("manifest.csv", "patients.csv", "clips.csv", "fingerprints.csv", "odd_crops.csv", "twins.csv")

log = logging.getLogger(__name__)
_unsealed: set[Path] = set()
"""Stores of earlier versions of which this process has told."""


@dataclass(frozen=True)
class StoreSums:
    """SHA-256 of the files of a store, read when they are first asked for. Pickling sends no digests.

    Attributes:
        root: of the store.
        digest: of sums.csv, as store.json says; None in a store of an earlier version.
    """

    root: Path
    digest: str | None

    @cached_property
    def sums(self) -> dict[str, str]:
        """64 hexadecimal digits of each file, by its path in the store; none in one of before.

        Raises:
            InputFault: sums.csv is not there, or damaged.
        """
        if self.digest is None:
            return {}
        content = self._read(SUMS)
        if sha256(content) != self.digest:
            raise InputFault(
                f"the crop store {self.root} is damaged: {SUMS} is not as it was written; {MAKE_AGAIN}"
            )
        return dict(list(csv.reader(io.StringIO(content.decode("ascii"), newline="")))[1:])

    def __reduce__(self) -> tuple[type[StoreSums], tuple[Path, str | None]]:
        return StoreSums, (self.root, self.digest)

    def fault(self, name: str, digest: str) -> str | None:
        """What is wrong with a file of the store, and what to do; None where it is as it was written.

        Args:
            name: its path in the store.
            digest: SHA-256 of what is in it.
        """
        if not self.sums or digest == self.sums.get(name):
            return None
        what = BY_HAND if name in TABLES else f"it is damaged: {MAKE_AGAIN}"
        return f"the crop store {self.root}: {name} is not as it was written: {what}"

    def content(self, name: str) -> bytes:
        """What is in a file of the store.

        Raises:
            InputFault: it cannot be read, or is not as it was written.
        """
        content = self._read(name)
        if fault := self.fault(name, sha256(content)):
            raise InputFault(fault)
        return content

    def check_tables(self) -> None:
        """Refuse a store one of whose tables is not as it was written, is missing, or was added.

        Of a store of an earlier version nothing is known, which is told once.

        Raises:
            InputFault: naming all of them.
        """
        if self.digest is None and (root := self.root.resolve()) not in _unsealed:
            _unsealed.add(root)
            log.warning(
                "warning: the crop store %s was made by an earlier version, which noted no digests, so "
                "damage to it cannot be told; to have them, %s",
                self.root,
                MAKE_AGAIN,
            )
        faults: list[str] = []
        for name in TABLES if self.sums else ():
            if name in self.sums or (self.root / name).exists():
                try:
                    self.content(name)
                except InputFault as fault:
                    faults += fault.faults
        if faults:
            raise InputFault(faults)

    def _read(self, name: str) -> bytes:
        try:
            return read_bytes(self.root / name, LARGEST_STILL)
        except OSError as error:
            raise InputFault(
                f"the crop store {self.root} is damaged: {name} cannot be read ({error.strerror}); "
                f"{MAKE_AGAIN}"
            ) from None


def write_sums(folder: Path, crops: Mapping[str, str]) -> str:
    """Write sums.csv into a store in the making, whose tables are there.

    Args:
        folder: of the store.
        crops: SHA-256 of each crop, by the name of its file.

    Returns:
        The SHA-256 of sums.csv.
    """
    tables = {
        name: sha256((folder / name).read_bytes()) for name in TABLES if (folder / name).is_file()
    }
    rows = tables | {f"{CROPS}/{name}": digest for name, digest in sorted(crops.items())}
    content = "".join(["file,sha256\n", *(f"{name},{digest}\n" for name, digest in rows.items())])
    write_part(folder / SUMS, content)
    return sha256(content.encode())


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of store.json with its own digest."""
    return {**content, "seal": _seal(content)}


def is_sealed(content: Mapping[str, Any], root: Path) -> bool:
    """Whether store.json is as it was written, as far as that can be told.

    Args:
        content: of store.json.
        root: of the store: where it has a sums.csv, store.json has a seal.
    """
    if "seal" not in content:
        return "sums" not in content and not (root / SUMS).exists()
    return bool(content["seal"] == _seal({k: v for k, v in content.items() if k != "seal"}))


def sha256(content: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _seal(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())
