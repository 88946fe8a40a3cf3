"""B-mode and contrast of one exam in clips of their own: which belong together, and frame by frame.

A scanner that shows one picture at a time leaves two clips of a tumour. Their `exam_id` in clips.csv
makes them one recording; a clip with two panes needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd

from mufnet_lightning.cohort.faults import Report, quoted
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES

SHOWN = 5
One = TypeVar("One")


def check_exams(clips: pd.DataFrame, report: Report) -> None:
    """An exam is of one patient, and has one clip of each modality, or clips of one alone."""
    for exam_id, exam in _exams(clips):
        rows = [int(row) for row in exam.index]
        if exam["patient_id"].nunique() > 1:
            report.add(
                "clips.csv",
                rows[-1],
                f"exam_id {quoted(exam_id)} is of patients "
                f"{' and '.join(map(quoted, sorted(set(exam['patient_id']))))}, expected one",
            )
            continue
        counts = exam["modality"].value_counts()
        if len(counts) > 1 and counts.max() > 1:
            several = str(counts.index[0])
            report.add(
                "clips.csv",
                rows[-1],
                f"exam_id {quoted(exam_id)} has {counts.max()} clips of {MODALITY_NAMES[several]} "
                f"beside {counts.min()} of the other, expected one of each: an exam_id for each two",
            )


def partners(clips: pd.DataFrame) -> dict[str, str]:
    """Of each clip that is one half of an exam the clip_id of the other half; clips are checked."""
    both: dict[str, str] = {}
    for _, exam in _exams(clips):
        if exam["modality"].nunique() == 2:
            one, other = exam["clip_id"]
            both |= {one: other, other: one}
    return both


def exam_doubts(clips: pd.DataFrame) -> list[str]:
    """Patients with clips of both modalities that nothing pairs, in a sentence."""
    single = _single(clips)
    alone = single[~single["clip_id"].isin(partners(clips))]
    of_patient = alone.groupby("patient_id", sort=False)["modality"].nunique()
    patients = [str(patient) for patient in of_patient[of_patient == 2].index]
    if not patients:
        return []
    some = ", ".join(patients[:SHOWN]) + (", ..." if len(patients) > SHOWN else "")
    return [
        f"clips.csv: {len(patients):,} patient{'s' * (len(patients) != 1)} with B-mode and contrast in "
        f"clips of their own that are not paired ({some}); the same exam_id for two clips makes them "
        "pairs"
    ]


def matched(one: Sequence[tuple[int, One]], other: Sequence[tuple[int, One]]) -> list[tuple[One, One]]:
    """Frames of two clips as pairs: of equal number where both have the same ones, else in their order.

    The clip with fewer frames gives some of them more than once, evenly.

    Args:
        one, other: (frame number, whatever stands for it), ascending; at least one each.

    >>> matched([(3, "b3")], [(0, "c0"), (8, "c8")])
    [('b3', 'c0'), ('b3', 'c8')]
    """
    if len(one) < len(other):
        return [(own, its) for its, own in matched(other, one)]
    return [(own, other[place * len(other) // len(one)][1]) for place, (_, own) in enumerate(one)]


def _exams(clips: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The clips of one pane by their exam."""
    single = _single(clips)
    named = single[single["exam_id"] != ""]
    return [(str(exam_id), exam) for exam_id, exam in named.groupby("exam_id", sort=False)]


def _single(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips of one pane, with the modality of it."""
    given = clips[[f"{name}_pane" for name in MODALITIES]].notna().to_numpy()
    alone = given.sum(axis=1) == 1
    names = [MODALITIES[int(of_clip.argmax())] for of_clip in given[alone]]
    single: pd.DataFrame = clips[alone].assign(modality=names)
    return single
