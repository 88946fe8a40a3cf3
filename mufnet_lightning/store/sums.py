"""SHA-256 of what a table names: a file, or a folder of frames."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mufnet_lightning.cohort.series import frame_files


def file_sum(path: Path) -> str:
    """Of a file, or of the files in a folder and their names; 64 hexadecimal digits.

    Raises:
        OSError: one cannot be read.
    """
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    named = [[file.name, file_sum(file)] for file in frame_files(path) if file.is_file()]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()
