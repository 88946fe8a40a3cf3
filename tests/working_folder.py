"""Runs that were made in one working folder, taken to another; copying takes no second of training."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path


def copy_runs(source: Path, target: Path) -> None:
    """Put the runs of one working folder into another, in place of what is there.

    Where runs, studies and models keep their artifacts is an absolute path in the database; it is
    rewritten, so that nothing that happens in `target` shows in `source`.
    """
    shutil.copytree(source / "mlruns", target / "mlruns", dirs_exist_ok=True)
    places = {
        "runs": "artifact_uri",
        "experiments": "artifact_location",
        "logged_models": "artifact_location",
    }
    with sqlite3.connect(target / "mlruns" / "mlflow.db") as database:
        for table, column in places.items():
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target))
            )
    database.close()
