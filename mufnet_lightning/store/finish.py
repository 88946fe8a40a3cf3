"""The last step of making a store: its manifest, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from mufnet_lightning import __version__
from mufnet_lightning.cohort.read import Cohort
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.store.seal import write_sums
from mufnet_lightning.store.store import COLUMNS, LATER
from mufnet_lightning.system.files import write_part
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.vocabulary import MODALITIES


def keep_tables(folder: Path, tables: Cohort) -> None:
    """Write into a store what a cohort under pseudonyms tells of its patients and scanners."""
    patients = tables.patients
    empty = [name for name in ("grade", "label") if patients[name].isna().all()]
    _write(folder / "patients.csv", patients.drop(columns=empty))
    if tables.clips is not None and (tables.clips["scanner"] != "").any():
        _write(folder / "clips.csv", tables.clips[["clip_id", "patient_id", "scanner"]])


def finish_store(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    sums: Mapping[str, str],
    *,
    digest: str,
    cohort: str | None,
    margin: float,
    with_grades: bool,
) -> None:
    """Write manifest.csv, sums.csv and store.json into a folder that has the crops and all else.

    Args:
        folder: of the store.
        rows: of the manifest.
        sums: SHA-256 of each crop, by the name of its file.
        digest, cohort, margin, with_grades: see `StoreInfo`.
    """
    columns = COLUMNS | LATER
    manifest = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    _write(folder / "manifest.csv", manifest)
    patients = manifest.drop_duplicates("patient_id")
    there = {name: int((manifest[f"{name}_path"] != "").sum()) for name in MODALITIES}
    info = StoreInfo(
        mufnet=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        margin=margin,
        with_grades=with_grades,
        pairs=len(manifest),
        patients=len(patients),
        low=int((patients["label"] == 0).sum()),
        high=int((patients["label"] == 1).sum()),
        modalities=tuple(name for name in MODALITIES if there[name]),
        crops=sum(there.values()),
        digest=digest,
        cohort=cohort,
        sums=write_sums(folder, sums),
    )
    write_part(folder / "store.json", json.dumps(info.as_json(), indent=2) + "\n")


def _write(file: Path, table: pd.DataFrame) -> None:
    write_part(file, csv_text(table))
