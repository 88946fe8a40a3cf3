"""`mufnet explain`: where a past run's network looks; a cross-validation is explained fold by fold."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.explain import (
    ExplainOptions,
    Explanation,
    explain,
    explain_images,
    montage,
)
from mufnet_lightning.explain.record import (
    log_pictures,
    record_explanation,
    record_pooled_explanations,
    write_pictures,
)
from mufnet_lightning.explain.summary import printed
from mufnet_lightning.inference.trained import Trained, load_trained
from mufnet_lightning.phantom.truth import PhantomTruth
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.tracking.runs import find_run, finished_folds, mlflow_client

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mufnet_lightning.tracking.runs import TrackedRun

MONTAGES = "/patients"


def explain_run(
    reference: str,
    options: ExplainOptions,
    patients: Sequence[str] = (),
    every: bool = False,
    store: str | None = None,
    device: str = "auto",
    cohort: Path | None = None,
    out: Path | None = None,
) -> None:
    """Explain the test part of a run, or some of its patients; print numbers, record all in the run.

    Args:
        reference: `runs:/ID` or `ID` of a run, or of a cross-validation's parent run.
        options: how.
        patients: make a montage of these instead, whichever part of the run they are in.
        every: also a montage of each test patient.
        store, device: see `load_trained`.
        cohort: the phantom's folder, to point at its signal.
        out: also write pictures and tables into this folder.

    Raises:
        InputFault: there is no such run, checkpoint, store or patient, or the network has no feature
            maps; what was explained before stays.
    """
    if patients and (every or cohort):
        raise InputFault("--patient goes with neither --all nor --phantom, which are of the test part")
    run = find_run(reference)
    if out:
        _folder(out)
    folds = finished_folds(run) if run.is_cv else {}
    if run.is_cv and not folds:
        raise InputFault(f"{reference}: this cross-validation has no finished fold to explain")
    truth = PhantomTruth(cohort) if cohort else None
    for fold, one in folds.items() or {-1: run}.items():
        if folds:
            print(f"{one.name}: fold {fold} of {', '.join(map(str, folds))}", file=sys.stderr)
        folder = out / one.name if out and folds else out
        trained = load_trained(one.id, store, device)
        if patients:
            _some_patients(one, trained, options, patients, folder)
        else:
            _test_part(one, trained, options, truth, every, folder, quiet=bool(folds))
    if folds and not patients:
        pooled = record_pooled_explanations(run, folds)[options.label]  # all of them were just made
        print(f"all folds together\n{printed(pooled.summary)}")
        print(f"recorded in run {run.name} {run.id}", file=sys.stderr)


def _test_part(
    run: TrackedRun,
    trained: Trained,
    options: ExplainOptions,
    truth: PhantomTruth | None,
    every: bool,
    out: Path | None,
    quiet: bool,
) -> None:
    rows = trained.data.part_rows("test")
    if not len(rows):
        raise InputFault(f"{run.name}: its test part has no images in {trained.data.store.root}")
    found = explain(trained.net, trained.data, rows, options, truth)
    store = mlflow_client()
    record_explanation(store, run.id, options.label, found)
    montages: dict[str, Figure] = {}
    if every:
        names = list(dict.fromkeys(found.table["patient_id"]))
        for name, figure in zip(names, _montages(trained, options, names), strict=True):
            log_pictures(store, run.id, options.label, {file_name(name): figure}, MONTAGES)
            if out:
                montages[file_name(name)] = figure
    if out:
        _write(out, {**found.figures, **montages}, found)
    if not quiet:
        print(printed(found.summary))
        print(
            f"recorded in run {run.name} {run.id}: explain/{options.label}",
            file=sys.stderr,
        )


def _some_patients(
    run: TrackedRun,
    trained: Trained,
    options: ExplainOptions,
    patients: Sequence[str],
    out: Path | None,
) -> None:
    data = trained.data
    here = data.folds[data.folds["fold"] == data.fold].set_index("patient_id")["part"]
    manifest = data.store.manifest.iloc[data.usable_rows]
    for patient in patients:
        if patient not in here.index or not (manifest["patient_id"] == patient).any():
            some = ", ".join(here.index[here == "test"][:3])
            raise InputFault(
                f"run {run.name} has no patient {patient!r}; its test part has {some}, ..."
            )
    figures = {
        file_name(name): figure
        for name, figure in zip(patients, _montages(trained, options, patients), strict=True)
    }
    log_pictures(mlflow_client(), run.id, options.label, figures, MONTAGES)
    if out:
        _write(out, figures)
    rows = data.usable_rows[manifest["patient_id"].isin(patients).to_numpy()]
    table = explain_images(trained.net, data, rows, options)
    table.insert(1, "part", table["patient_id"].map(here))
    shown = table.drop(columns=["clip_id", "grade", "target"]).dropna(axis=1, how="all")
    print(shown.round(3).to_string(index=False))
    if (table["part"] == "train").any():
        print("mufnet: a patient of part train was seen in training", file=sys.stderr)
    print(
        f"recorded in run {run.name} {run.id}: explain/{options.label}{MONTAGES}",
        file=sys.stderr,
    )


def _montages(trained: Trained, options: ExplainOptions, patients: Sequence[str]) -> Iterator[Figure]:
    with progress_bar("montages", len(patients)) as advance:
        for patient in patients:
            yield montage(trained.net, trained.data, patient, options)
            advance()


def file_name(patient: str) -> str:
    """A file's name for a patient; an id with signs that a file name cannot have gets a digest."""
    plain = re.sub(r"[^\w.-]", "_", patient, flags=re.ASCII).lstrip(".")
    if plain == patient:
        return plain
    return f"{plain}-{hashlib.sha256(patient.encode()).hexdigest()[:8]}"


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFault(f"--out {folder} cannot be written: {error.strerror}") from None


def _write(folder: Path, figures: Mapping[str, Figure], found: Explanation | None = None) -> None:
    _folder(folder)
    try:
        write_pictures(figures, folder)
        if found is not None:
            found.table.to_csv(folder / "images.csv", index=False)
            if found.checks is not None:
                found.checks.to_csv(folder / "checks.csv", index=False)
    except OSError as error:
        raise InputFault(f"--out {folder} cannot be written: {error.strerror}") from None
