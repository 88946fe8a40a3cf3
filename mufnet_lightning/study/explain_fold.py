"""One run's network explained: on its test part, or on some patients."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.figures import figure_files
from mufnet_lightning.explain.batches import Signal
from mufnet_lightning.explain.explain import Explanation, explain, explain_images
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.record import (
    CHECKS,
    DPI,
    IMAGES,
    MONTAGES,
    record_explanation,
    record_montage,
)
from mufnet_lightning.explain.shown import montage
from mufnet_lightning.explain.summary import Summary
from mufnet_lightning.inference.trained import Trained
from mufnet_lightning.study.out_folder import write_files
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.runs import mlflow_client

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mufnet_lightning.tracking.runs import TrackedRun

log = logging.getLogger(__name__)


def explain_test_part(
    run: TrackedRun,
    trained: Trained,
    options: ExplainOptions,
    signal: Signal | None = None,
    every: bool = False,
    out: Path | None = None,
) -> Summary:
    """Explain a run on its test part, and record it in the run.

    Args:
        run: where it is recorded.
        trained: its network and data.
        options: how.
        signal: to point at.
        every: also a montage of each patient.
        out: also write pictures and tables into this folder, which is made.

    Raises:
        InputFault: its test part has no images, the network has no feature maps, or the folder cannot
            be written to.
    """
    rows = trained.data.part_rows("test")
    if not len(rows):
        raise InputFault(f"{run.name}: its test part has no images in {trained.data.store.root}")
    explanation = explain(trained.net, trained.data, rows, options, signal)
    client = mlflow_client()
    record_explanation(client, run.id, options.label, explanation)
    montages: dict[str, Figure] = {}
    if every:
        names = list(dict.fromkeys(explanation.table["patient_id"]))
        for name, figure in _montages(trained, options, names):
            record_montage(client, run.id, options.label, name, figure)
            if out:
                montages[name] = figure
    if out:
        _write(out, {**explanation.figures, **montages}, explanation)
    return explanation.summary


def explain_patients(
    run: TrackedRun,
    trained: Trained,
    options: ExplainOptions,
    patients: Sequence[str],
    out: Path | None = None,
) -> None:
    """Make a montage of some patients of a run, whichever part they are in; print their numbers.

    Args:
        run, trained, options, out: see `explain_test_part`.
        patients: ids.

    Raises:
        InputFault: the run has no such patient; otherwise see `explain_test_part`.
    """
    data = trained.data
    here = data.folds[data.folds["fold"] == data.fold].set_index("patient_id")["part"]
    manifest = data.store.manifest.iloc[data.usable_rows]
    for patient in patients:
        if patient not in here.index or not (manifest["patient_id"] == patient).any():
            some = ", ".join(here.index[here == "test"][:3])
            raise InputFault(
                f"run {run.name} has no patient {patient!r}; its test part has {some}, ..."
            )
    figures = dict(_montages(trained, options, patients))
    for name, figure in figures.items():
        record_montage(mlflow_client(), run.id, options.label, name, figure)
    if out:
        _write(out, figures)
    rows = data.usable_rows[manifest["patient_id"].isin(patients).to_numpy()]
    table = explain_images(trained.net, data, rows, options)
    table.insert(1, "part", table["patient_id"].map(here))
    shown = table.drop(columns=["clip_id", "grade", "target"]).dropna(axis=1, how="all")
    print(shown.round(3).to_string(index=False))
    if (table["part"] == "train").any():
        log.warning("a patient of part train was seen in training")
    log.info("recorded in run %s %s: explain/%s/%s", run.name, run.id, options.label, MONTAGES)


def explain_ungraded(
    run: TrackedRun,
    trained: Trained,
    options: ExplainOptions,
    patients: Sequence[str] = (),
    out: Path | None = None,
    signal: Signal | None = None,
) -> None:
    """Show where a run's network looks in patients of unknown grade; print numbers by patient.

    They are not the run's own patients, so nothing is recorded in it.

    Args:
        run, trained, options, signal: see `explain_test_part`.
        patients: ids; all of the store unless given.
        out: folder for a montage of each patient and images.csv.

    Raises:
        InputFault: no folder is given, the store has no such patient, or the options ask for the true
            class.
    """
    data = trained.data
    root = data.store.root
    if out is None:
        raise InputFault(f"{root} has no grades, so nothing is recorded in {run.name}; give --out")
    if options.target == "true":
        raise InputFault(f"--target is true, but {root} has no grades")
    manifest = data.store.manifest.iloc[data.usable_rows]
    known = list(dict.fromkeys(manifest["patient_id"]))
    for patient in patients:
        if patient not in known:
            raise InputFault(f"{root} has no patient {patient!r}; it has {', '.join(known[:3])}, ...")
    left = len(data.store.manifest) - len(manifest)
    if left:
        log.warning("%s pairs lack a modality and are not explained", left)
    chosen = list(patients) or known
    rows = data.usable_rows[manifest["patient_id"].isin(chosen).to_numpy()]
    table = explain_images(trained.net, data, rows, options, signal)
    _write(out, dict(_montages(trained, options, chosen)))
    write_files({IMAGES: csv_text(table)}, out)
    numbers = table.drop(columns=["label", "grade", "target"]).select_dtypes("number").columns
    means = table.groupby("patient_id", sort=False)[list(numbers.drop("frame", errors="ignore"))].mean()
    print(means.dropna(axis=1, how="all").round(3).reset_index().to_string(index=False))
    log.info("%s: written to %s", run.name, out)


def file_name(patient: str) -> str:
    """A file's name for a patient; an id with signs that a file name cannot have gets a digest.

    >>> file_name("P001"), file_name("a/b")
    ('P001', 'a_b-c14cddc0')
    """
    plain = re.sub(r"[^\w.-]", "_", patient, flags=re.ASCII).lstrip(".")
    if plain == patient:
        return plain
    return f"{plain}-{hashlib.sha256(patient.encode()).hexdigest()[:8]}"


def _montages(
    trained: Trained, options: ExplainOptions, patients: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    with progress_bar("montages", len(patients)) as advance:
        for patient in patients:
            yield file_name(patient), montage(trained.net, trained.data, patient, options)
            advance()


def _write(folder: Path, figures: Mapping[str, Figure], explanation: Explanation | None = None) -> None:
    files: dict[str, bytes | str] = {}
    for name, figure in figures.items():
        files |= figure_files(figure, name, DPI)
    if explanation is not None:
        files[IMAGES] = csv_text(explanation.table)
        if explanation.checks is not None:
            files[CHECKS] = csv_text(explanation.checks)
    write_files(files, folder)
