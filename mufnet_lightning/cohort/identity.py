"""What names a cohort, however it grows or is cut: the `id` in its folder's cohort.json.

Whether a patient was in some training is a question about two cohorts, and patients' ids alone do not
answer it: P001 is in many hospitals. A copy of the folder keeps the id.
"""

from __future__ import annotations

import errno
import json
import logging
import uuid
from pathlib import Path

from mufnet_lightning.cohort.faults import Report
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.guards import LARGEST_SETTINGS, read_text
from mufnet_lightning.system.locks import waiting

COHORT = "cohort.json"

log = logging.getLogger(__name__)


def read_id(folder: Path, report: Report) -> str | None:
    """The id of a cohort folder; None where it has none yet.

    A cohort.json that is not as `write_id` leaves it goes to the report.
    """
    try:
        content = parse_json(read_text(folder / COHORT, LARGEST_SETTINGS))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = None
    cohort_id = content.get("id") if isinstance(content, dict) else None
    if not isinstance(cohort_id, str) or not cohort_id.strip():
        report.add(COHORT, None, 'cannot be read, expected {"id": "..."} as it was first written')
        return None
    return cohort_id


def write_id(folder: Path, cohort_id: str) -> None:
    """Give a cohort folder its id.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_atomic(folder / COHORT, json.dumps({"id": cohort_id}) + "\n")


def give_id(folder: Path) -> str | None:
    """Give a random id to a cohort folder that has none.

    Several processes may ask at once and get the same. None where the folder cannot be written to; a
    warning says what that means. (An id made from the patients' ids would change when one is added,
    and say of the same people that they are others.)

    Raises:
        InputFault: it has a cohort.json by now, which cannot be read.
        OSError: its disk is full, or broken.
    """
    path, report = folder / COHORT, Report()
    try:
        with waiting(folder / f".{COHORT}.lock", remove=True):
            cohort_id = read_id(folder, report)
            report.raise_faults()
            if cohort_id is None:
                cohort_id = uuid.uuid4().hex
                write_id(folder, cohort_id)
                log.info("%s names this cohort from now on: keep it with the tables", path)
            return cohort_id
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):  # it could be named, if mended
            raise
        log.warning(
            "%s cannot be written (%s), so nothing names this cohort: whether a patient was in a "
            "training will be judged by ids and labels",
            path,
            error.strerror,
        )
        return None
