"""A cohort folder or a crop store, looked at: everything that a page shows of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.faults import SHOWN_FAULTS
from mufnet_lightning.cohort.survey import survey_cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.contradictions import two_grades
from mufnet_lightning.store.inspection.findings import Finding, Inspection
from mufnet_lightning.store.inspection.numbers import (
    SITES,
    grade_aucs,
    of_a_site,
    of_the_classes,
    of_the_sizes,
    per_patient,
    site_table,
)
from mufnet_lightning.store.inspection.panes import doubted_clips, of_the_panes
from mufnet_lightning.store.inspection.pictures import (
    of_the_odd,
    of_the_same_files,
    of_the_twins,
    same_files,
    thumbnail,
)
from mufnet_lightning.store.inspection.seen import Seen, file_name, seen_in_cohort, seen_in_store
from mufnet_lightning.store.store import COLUMNS, CropStore
from mufnet_lightning.store.twins import find_twins
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.vocabulary import PATHS, Contrast

SHOWN_PICTURES = 60
"""Pairs of look-alikes and odd crops that are shown, of each as many."""
ORDER = ("fault", "doubt", "fact")


def inspect_path(
    path: Path,
    clips: int = 12,
    pairs: int = 100,
    frames: bool = True,
    with_grades: bool = True,
    contrast: Contrast = "tint",
    root: Path | None = None,
) -> Inspection:
    """Look at a cohort folder or a crop store before anything is trained on it.

    A cohort with faults is looked at as far as it can be read. Of a cohort's clips every annotated crop
    is judged, and six frames of each are compared and shown. Nothing is written.

    Worker processes are spawned, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        path: a cohort folder, or a store.
        clips: of a cohort, of which frames are drawn, evenly chosen.
        pairs: patients of whom a pair is on the contact sheet, evenly chosen.
        frames: draw whole frames, with whatever a scanner wrote into them.
        with_grades: of a cohort: a patient without a grade is a fault.
        contrast, root: of a cohort, see `read_cohort`.

    Raises:
        InputFault: there is nothing at `path`, or a store that is damaged as a whole.

    >>> from mufnet_lightning.phantom.generate import write_phantom
    >>> from mufnet_lightning.phantom.options import PhantomOptions
    >>> cohort = Path(tempfile.mkdtemp()) / "cohort"
    >>> few = PhantomOptions(patients=4, high_share=0.5, frames=3, clip_length=6, pane_size=128)
    >>> write_phantom(cohort, few)  # doctest: +ELLIPSIS
    wrote 4 patients (2 high), ...
    >>> inspection = inspect_path(cohort)
    >>> print(inspection.of("fault")[0])
    fault: there are 2 patients of low grade and 2 patients of high grade: 5 folds need 5 of each
    >>> inspection.patients["label"].tolist().count(1), len(inspection.shown), len(inspection.twins)
    (2, 4, 0)
    """
    if clips < 0 or pairs < 0:
        raise InputFault(f"--clips is {clips} and --pairs is {pairs}, expected 0 or more")
    path = Path(path)
    if not path.is_dir():
        raise InputFault(f"there is no cohort folder and no store {path}")
    if (path / "store.json").is_file():
        store = CropStore.open(path)
        return _inspection(path, True, seen_in_store(store), [], pairs, False)
    survey = survey_cohort(path, with_grades, contrast, root)
    findings = [Finding("fault", "tables", fault) for fault in survey.faults]
    if survey.cohort is None:
        return Inspection(path, False, findings, pd.DataFrame(columns=[*COLUMNS]).astype(COLUMNS))
    findings += [Finding("doubt", "tables", warning) for warning in survey.cohort.warnings]
    findings += [Finding("fact", "tables", said) for said in survey.cohort.headers.said]
    with tempfile.TemporaryDirectory(prefix="mufnet-") as scratch:
        seen = seen_in_cohort(survey.cohort, Path(scratch), clips if frames else 0)
        return _inspection(path, False, seen, findings, pairs, frames)


def _inspection(
    path: Path, is_store: bool, seen: Seen, so_far: Sequence[Finding], pairs: int, frames: bool
) -> Inspection:
    """What tables and pictures tell together; reads the crops that are shown."""
    manifest = seen.readable
    patients = manifest.drop_duplicates("patient_id").assign(scanner="")
    if seen.scanners:
        named = manifest.assign(scanner=manifest["clip_id"].map(seen.scanners).fillna(""))
        most = named.groupby("patient_id")["scanner"].agg(lambda names: str(names.mode()[0]))
        patients["scanner"] = patients["patient_id"].map(most)
    labels = {
        str(patient): None if pd.isna(label) else int(label)
        for patient, label in zip(patients["patient_id"], patients["label"], strict=True)
    }
    sites = [table for column in SITES if (table := site_table(patients, column)) is not None]
    images = manifest.assign(area=_areas(manifest, seen))
    sizes = grade_aucs(images, {"area": "the mean area of a patient's crops"})
    counts = grade_aucs(per_patient(manifest), {"pairs": "the number of a patient's pairs"})
    doubted = doubted_clips(seen.paned, frames)
    files = {name: crop.picture for name, crop in seen.crops.items() if crop.picture is not None}
    compared = {name: seen.crops[name].note.fingerprint for name in files if seen.crops[name].compared}
    odd = [name for name, crop in seen.crops.items() if crop.note.looks]
    rows = _compared_rows(manifest, set(compared))
    twins = find_twins(path, rows, compared, odd, files)
    twins.sort(key=lambda pair: (not two_grades(pair), -pair.similarity))
    same = same_files(seen.owners, seen.sums, labels)
    findings = [
        *so_far,
        *_counted_from_one(seen),
        *(Finding("fault", "tables", fault) for fault in _some(seen.faults)),
        *of_the_classes(patients),
        *(finding for table in sites for finding in of_a_site(table)),
        *of_the_sizes(sizes),
        *of_the_panes(seen.paned, doubted),
        *of_the_same_files(same),
        *of_the_twins(twins, len(patients)),
        *of_the_odd(
            seen.crops, [file_name(one) for column in PATHS for one in seen.manifest[column] if one]
        ),
    ]
    sheet = _contact_sheet(rows, pairs)
    wanted = [name for pair in twins[:SHOWN_PICTURES] for name in pair.crops] + odd[:SHOWN_PICTURES]
    wanted += [file_name(str(row[column])) for row in sheet for column in PATHS if row[column]]
    pictures = {}
    with progress_bar("pictures", len(wanted)) as advance:
        for name in wanted:
            if name in files and name not in pictures:
                pictures[name] = thumbnail(files[name])
            advance()
    return Inspection(
        path=path,
        is_store=is_store,
        findings=sorted(findings, key=lambda finding: ORDER.index(finding.severity)),
        manifest=manifest,
        scanners=seen.scanners,
        crops=seen.crops,
        sites=sites,
        sizes=[*sizes, *counts],
        twins=twins,
        same_files=same,
        shown=seen.shown,
        clips=len(seen.clips),
        pane_areas=seen.pane_areas,
        with_frames=frames,
        doubted=doubted,
        pictures=pictures,
        contact=[str(row["pair_id"]) for row in sheet],
    )


def _areas(manifest: pd.DataFrame, seen: Seen) -> list[float]:
    """Pixels of each pair's crop: of the one whose box was drawn, else of the first there is."""
    areas = []
    for row in manifest[["box_pane", *PATHS]].to_dict("records"):
        crops = [seen.crops.get(file_name(str(row[column]))) for column in PATHS]
        first = crops[::-1] if row["box_pane"] == "ceus" else crops
        areas.append(next((float(crop.width * crop.height) for crop in first if crop), np.nan))
    return areas


def _counted_from_one(seen: Seen) -> list[Finding]:
    """Whether the table of boxes counts frames from 1."""
    behind = [clip for clip, look in seen.clips.items() if look.frame_behind]
    if not behind or bool((seen.manifest["frame"] == 0).any()):
        return []
    sentence = (
        f"boxes.csv: no box lies on frame 0, and in {len(behind):,} of {len(seen.clips):,} clips the "
        "last lies one frame behind the end: does the table count from 1? The first frame is 0"
    )
    return [Finding("fault", "tables", sentence)]


def _compared_rows(manifest: pd.DataFrame, compared: set[str]) -> list[dict[str, object]]:
    """The rows with a crop that is compared."""
    rows = [{str(key): cell for key, cell in row.items()} for row in manifest.to_dict("records")]
    return [row for row in rows if any(file_name(str(row[column])) in compared for column in PATHS)]


def _contact_sheet(rows: Sequence[dict[str, object]], most: int) -> list[dict[str, object]]:
    """A pair of each patient, that in the middle; of so many patients, evenly chosen."""
    own: dict[object, list[dict[str, object]]] = {}
    for row in rows:
        own.setdefault(row["patient_id"], []).append(row)
    middle = [of_patient[len(of_patient) // 2] for of_patient in own.values()]
    places = np.linspace(0, len(middle) - 1, min(most, len(middle))).round().astype(int)
    return [middle[place] for place in places.tolist()]


def _some(faults: Sequence[str]) -> list[str]:
    """Of a flood the first ones and its size."""
    more = len(faults) - SHOWN_FAULTS
    return [*faults[:SHOWN_FAULTS], *([f"... and {more:,} more faults like these"] if more > 0 else [])]
