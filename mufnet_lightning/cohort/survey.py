"""What can be read of a cohort folder that has faults: to be looked at, never to be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.csv_text import read_texts
from mufnet_lightning.cohort.doubts import doubts
from mufnet_lightning.cohort.faults import Report
from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.identity import read_id
from mufnet_lightning.cohort.read import Cohort, checked_tables
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import PANES, Contrast


@dataclass(frozen=True)
class CohortSurvey:
    """A cohort folder with its faults.

    Attributes:
        cohort: the rows without a fault, those that a faulty row carried left out; None where not even
            patients.csv and what belongs to it can be read.
        faults: every fault of every table, a sentence each.
    """

    cohort: Cohort | None
    faults: tuple[str, ...] = ()


def survey_cohort(
    folder: Path,
    with_grades: bool = True,
    contrast: Contrast = "tint",
    root: Path | None = None,
) -> CohortSurvey:
    """Read a cohort folder as far as that can be done.

    Args:
        folder: as for `read_cohort`, which refuses a folder with faults.
        with_grades: whether a patient without grade and label is a fault.
        contrast, root: see `read_cohort`.
    """
    folder = Path(folder)
    report = Report()
    try:
        texts = read_texts(folder, report)
    except InputFault as fault:
        return CohortSurvey(None, fault.faults)
    tables = checked_tables(texts, folder, with_grades, report, contrast, root)
    patients, clips, boxes, pairs, headers = tables
    cohort_id = read_id(folder, report)
    try:
        report.raise_faults()
        faults: tuple[str, ...] = ()
    except InputFault as fault:
        faults = fault.faults
    if patients is None or (pairs is None and (clips is None or boxes is None)):
        return CohortSurvey(None, faults)
    odd = (*doubts(patients, clips, boxes, pairs), *headers.warnings)
    patients = report.good_rows("patients.csv", patients)
    if pairs is not None:
        pairs = _of(report.good_rows("pairs.csv", pairs), "patient_id", patients)
    if clips is not None and boxes is not None:
        clips = _of(report.good_rows("clips.csv", clips), "patient_id", patients)
        panes = clips[[*PANES]].to_numpy()
        whole = [all(pane is None or isinstance(pane, Pane) for pane in row) for row in panes]
        clips = clips[pd.Series(whole, clips.index, dtype=bool)]  # of no clips a list is no mask
        boxes = _of(report.good_rows("boxes.csv", boxes), "clip_id", clips)
        boxes = boxes[boxes["frame"].notna() & (boxes["pane"] != "")]
    cohort = Cohort(folder, patients, clips, boxes, pairs, cohort_id, odd, headers, root)
    return CohortSurvey(cohort, faults)


def _of(table: pd.DataFrame, column: str, of: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table whose patient or clip is in another table."""
    return table[table[column].isin(of[column])]
