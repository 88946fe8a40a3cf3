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
    """An exam of a patient has one clip of each modality, or clips of one alone."""
    for exam_id, exam in _exams(clips):
        rows = [int(row) for row in exam.index]
        counts = exam["modality"].value_counts()
        if len(counts) > 1 and counts.max() > 1:
            several = str(counts.index[0])
            report.add(
                "clips.csv",
                rows[-1],
                f"exam_id {quoted(exam_id)} has {counts.max()} clips of {MODALITY_NAMES[several]} "
                f"beside {counts.min()} of the other, expected one of each: an exam_id for each two",
            )


def check_lesions(boxes: pd.DataFrame, clips: pd.DataFrame, report: Report) -> None:
    """Boxes of a clip, or of an exam, have a lesion_id all or none, or nobody knows which is which."""
    both = partners(clips)
    recording = boxes["clip_id"].map(lambda clip: min(clip, both.get(clip, clip)))
    for _, of_recording in boxes.groupby(recording, sort=False):
        named = of_recording["lesion_id"] != ""
        if named.any() and not named.all():
            report.add(
                "boxes.csv",
                int(of_recording.index[~named][0]),
                f"lesion_id is empty, and that of row {int(of_recording.index[named][0])} of the same "
                "clip or exam is not, expected all or none",
            )
            continue
        of_clips = [set(own["lesion_id"]) for _, own in of_recording.groupby("clip_id")]
        if len(of_clips) > 1 and not set.intersection(*of_clips):
            report.add(
                "boxes.csv",
                int(of_recording.index[0]),
                "the two clips of its exam have no lesion_id in common, so nothing of them is a pair",
            )


def partners(clips: pd.DataFrame) -> dict[str, str]:
    """Of each clip that is one half of an exam the clip_id of the other half; clips are checked."""
    both: dict[str, str] = {}
    for _, exam in _exams(clips):
        if len(exam) == exam["modality"].nunique() == 2:
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
    """Frames of two clips as pairs.

    Where the clip with more frames has all those of the other one, each goes with that of the nearest
    number; else they are matched in their order, and the clip with fewer gives some more than once.

    Args:
        one, other: (frame number, whatever stands for it), ascending; at least one each.

    >>> matched([(3, "b3")], [(0, "c0"), (8, "c8")])
    [('b3', 'c0'), ('b3', 'c8')]
    >>> matched([(0, "b0"), (9, "b9")], [(0, "c0"), (9, "c9"), (20, "c20")])
    [('b0', 'c0'), ('b9', 'c9'), ('b9', 'c20')]
    """
    if len(one) < len(other):
        return [(own, its) for its, own in matched(other, one)]
    numbers = [number for number, _ in other]
    if set(numbers) <= {number for number, _ in one}:
        return [
            (own, min(other, key=lambda its: (abs(its[0] - number), its[0]))[1]) for number, own in one
        ]
    return [(own, other[place * len(other) // len(one)][1]) for place, (_, own) in enumerate(one)]


def _exams(clips: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The clips of one pane by their patient's exam: visits are counted from 1 in every patient."""
    single = _single(clips)
    named = single[single["exam_id"] != ""]
    groups = named.groupby(["patient_id", "exam_id"], sort=False)
    return [(str(exam_id), exam) for (_, exam_id), exam in groups]


def _single(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips of one pane, with the modality of it."""
    given = clips[[f"{name}_pane" for name in MODALITIES]].notna().to_numpy()
    alone = given.sum(axis=1) == 1
    names = [MODALITIES[int(of_clip.argmax())] for of_clip in given[alone]]
    single: pd.DataFrame = clips[alone].assign(modality=names)
    return single
