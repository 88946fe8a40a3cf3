"""Ids that tell nobody who somebody is, unless he has the key: HMAC-SHA256 of each id (RFC 2104).

The same key gives the same person the same pseudonym in every cohort, so that the next patient is still
held against those who trained. The key stays with the hospital, outside of every store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import write_new
from mufnet_lightning.system.guards import LARGEST_SETTINGS, read_bytes

if TYPE_CHECKING:  # a key alone needs no tables
    import pandas as pd

    from mufnet_lightning.cohort.read import Cohort

LENGTH = 12
"""Signs of a pseudonym, 5 bits each: of a million patients two share one in 1 of 2 million cohorts."""
LEAST = 16
"""Bytes of a key."""
_LETTERS = {"patient": "P", "clip": "C", "exam": "E", "lesion": "L", "center": "H"}
_OF_PATIENTS = ("patient_id", "grade", "label", "center")


@dataclass(frozen=True)
class Pseudonyms:
    """What ids become, and which columns may leave with them.

    Attributes:
        key: secret, 16 bytes or more.
        columns: of patients.csv that a store keeps as they are, and `scanner` of clips.csv. Beside them
            it has ids, grade and label alone; centres are pseudonyms too unless `center` is listed.

    >>> Pseudonyms(bytes(32)).of("patient", "Doe, Jane")
    'P-gjb2bbf7ohge'
    """

    key: bytes
    columns: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: Path, columns: Sequence[str] = (), make: bool = False) -> Pseudonyms:
        """With the key in a file.

        Args:
            file: the key in hexadecimal digits.
            columns: see above.
            make: write a new key where the file is not there, for its owner alone to read.

        Raises:
            InputFault: it is not there, or no key.
        """
        try:
            if make and not file.exists():
                with suppress(FileExistsError):  # somebody else's, of the same moment
                    write_new(file, secrets.token_hex(32) + "\n", 0o600)
            key = bytes.fromhex(read_bytes(file, LARGEST_SETTINGS).decode("ascii").strip())
        except OSError as error:
            raise InputFault(f"--pseudonymize {file}: {error.strerror}") from None
        except ValueError:
            key = b""
        if len(key) < LEAST:
            raise InputFault(
                f"--pseudonymize {file}: no key, expected {2 * LEAST} or more hexadecimal digits "
                "(where the file is not there, `mufnet prepare` makes one)"
            )
        return cls(key, tuple(columns))

    @property
    def mark(self) -> str:
        """What tells keys apart and gives none away, 16 hexadecimal digits."""
        return hmac.new(self.key, b"mufnet pseudonyms", hashlib.sha256).hexdigest()[:16]

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of a `patient`, `clip`, `exam`, `lesion` or `center`; none of an empty name."""
        if not name:
            return ""
        digest = hmac.new(self.key, f"{kind}\0{name}".encode(), hashlib.sha256).digest()
        return f"{_LETTERS[kind]}-{base64.b32encode(digest).decode().lower()[:LENGTH]}"

    def applied(self, cohort: Cohort) -> Cohort:
        """The same cohort under pseudonyms, with the columns that may leave.

        Paths are as they were, for the clips to be read; nothing that is written holds one.

        Raises:
            InputFault: a column is not there, or tells who somebody is.
        """
        patients = cohort.patients
        _check_columns(self.columns, cohort)
        kept = [name for name in self.columns if name in patients and name not in _OF_PATIENTS]
        shown = patients[[*(name for name in _OF_PATIENTS if name in patients), *kept]]
        pseudonymous = replace(
            cohort,
            # in another order than the hospital's list, which would tell who is who
            patients=self._named(shown).sort_values("patient_id", kind="stable"),
            clips=None if cohort.clips is None else self._clips(cohort.clips),
            boxes=None if cohort.boxes is None else self._named(cohort.boxes),
            pairs=None if cohort.pairs is None else self._named(cohort.pairs),
            headers=cohort.headers.renamed(lambda clip: self.of("clip", clip)),
            mark=self.mark,
        )
        ids = pseudonymous.patients["patient_id"]
        if ids.duplicated().any():
            raise InputFault("two patients have one pseudonym; another key will do")
        return pseudonymous

    def _clips(self, clips: pd.DataFrame) -> pd.DataFrame:
        named = self._named(clips)
        return named if "scanner" in self.columns else named.assign(scanner="")

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        kinds = {f"{kind}_id": kind for kind in ("patient", "clip", "exam", "lesion")}
        if "center" not in self.columns:
            kinds["center"] = "center"
        new = {
            column: [self.of(kind, str(name)) for name in table[column]]
            for column, kind in kinds.items()
            if column in table
        }
        return table.assign(**new)


def _check_columns(columns: Sequence[str], cohort: Cohort) -> None:
    from mufnet_lightning.cohort.personal import why_personal

    faults = []
    for name in columns:
        if name == "scanner" and cohort.clips is not None:
            continue
        if name not in cohort.patients or name == "patient_id":
            known = ", ".join(str(column) for column in cohort.patients if column != "patient_id")
            faults.append(f"--columns {name}: patients.csv has no such column, only {known}")
        elif name not in _OF_PATIENTS:
            reason = why_personal(name, cohort.patients[name])
            if reason:
                faults.append(f"--columns {name}: it may not leave: {reason}")
    if faults:
        raise InputFault(faults)
