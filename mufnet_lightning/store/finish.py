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
from mufnet_lightning.store.store import COLUMNS, LATER
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.vocabulary import MODALITIES


def keep_tables(folder: Path, tables: Cohort) -> None:
    """Write into a store what a cohort under pseudonyms tells of its patients and scanners."""
    patients = tables.patients
    empty = [name for name in ("grade", "label") if patients[name].isna().all()]
    _write(folder / "patients.csv", patients.drop(columns=empty))
    if tables.clips is not None and (tables.clips["scanner"] != "").any():
        scanners = tables.clips[["clip_id", "patient_id", "scanner"]]
        _write(folder / "clips.csv", scanners)


def finish_store(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    digest: str,
    cohort: str | None,
    margin: float,
    with_grades: bool,
) -> None:
    """Write manifest.csv and store.json into a folder that has the crops.

    Args:
        folder: of the store.
        rows: of the manifest.
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
    )
    text = json.dumps(info.as_json(), indent=2) + "\n"
    (folder / "store.json").write_text(text, encoding="utf-8", newline="\n")


def _write(path: Path, table: pd.DataFrame) -> None:
    path.write_text(csv_text(table), encoding="utf-8", newline="\n")
