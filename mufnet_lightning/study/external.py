"""External validation: a trained model, as it is, on the patients of another cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mufnet_lightning.data.leakage import StoreCohort, cohort_patients
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.part import PartReport, arm_report
from mufnet_lightning.evaluation.predictions import MatchedScores
from mufnet_lightning.evaluation.subgroups import Subgroups, subgroups_table
from mufnet_lightning.evaluation.text import interval_text, json_text, markdown_table
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.load import load_grader
from mufnet_lightning.inference.predict import patients_seen, predict_store
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.study.choosers import ModelChoosers
from mufnet_lightning.study.subgroup_columns import read_property, subgroups_by
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.system.files import portable_path
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.artifacts import beside_baseline, log_json, record_part
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import (
    Tracking,
    mlflow_client,
    open_study,
)
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.written_directly import new_run
from mufnet_lightning.training.facts import record_dataset
from mufnet_lightning.vocabulary import EXTERNAL, PREDICTIONS

RESULT = "external.json"
SUBGROUPS = "subgroups.csv"


@dataclass(frozen=True)
class LeftOutPatients:
    """Patients of the store who are in no number.

    Attributes:
        patients: ids.
        reason: why.
    """

    patients: Sequence[str]
    reason: str

    def __str__(self) -> str:
        several = len(self.patients) > 1
        return (
            f"{len(self.patients)} patient{'s' * several} ({', '.join(self.patients)}): {self.reason}"
        )


@dataclass(frozen=True, eq=False)
class ExternalValidation:
    """What came of it.

    Attributes:
        card: of the model.
        store: the other cohort's.
        table: a row an image that was scored, see `StorePredictions.table`; `split` is `test` for those
            that count.
        scores: of those that count.
        report: over images and over patients, at the model's own threshold.
        subgroups: where they were asked for.
        left_out: who does not count.
        notes: what must be read with care, a sentence each.
        own: how many of those that count are of the cohort that the model was developed on.
    """

    card: ModelCard
    store: CropStore
    table: pd.DataFrame
    scores: MatchedScores
    report: PartReport
    subgroups: Sequence[Subgroups] = ()
    left_out: Sequence[LeftOutPatients] = ()
    notes: Sequence[str] = ()
    own: int = 0

    @property
    def counted(self) -> pd.DataFrame:
        """The rows of `table` that count, in the order of `scores`."""
        return self.table[self.table["split"] == "test"].reset_index(drop=True)

    def caption(self) -> str:
        """What the numbers are."""
        patients = self.scores.patient_labels
        high = int(patients.sum())
        chosen = (
            "Youden's, chosen on validation patients of the training"
            if self.card.threshold_rule == "youden"
            else "none was chosen in training"
        )
        what = "External validation"
        if self.own == len(patients):
            what = "Held-out patients of the model's own cohort, no external validation: test"
        return (
            f"{what} of {self.card.sentence()}, on {len(patients)} patients "
            f"({high} of high grade, {len(patients) - high} of low grade; {len(self.scores.labels)} "
            f"images) of {self.store.root.name}. Nothing was fitted to them; threshold "
            f"{self.card.threshold:.3f} ({chosen}); 95% intervals."
        )

    def frame(self) -> pd.DataFrame:
        """A row for patients and one for images; each number with its interval."""
        rows = []
        for level, _, comparison in self.report.levels():
            row = Comparison((), self.scores, comparison, "0.5").table().iloc[0].to_dict()
            rows.append({"over": f"{level}s", **{k: v for k, v in row.items() if k != "arm"}})
        return pd.DataFrame(rows[::-1])

    def text(self) -> str:
        """Everything as it is printed."""
        blocks = [self.caption(), self.frame().to_string(index=False)]
        for one in self.subgroups:
            blocks += [one.caption(), one.frame().to_string(index=False)]
        for level, _, comparison in self.report.levels():
            blocks += [f"Note, over {level}s: {note}" for note in comparison.arms[0].notes]
        blocks += [f"Left out: {one}" for one in self.left_out]
        return "\n\n".join([*blocks, *(f"Note: {note}" for note in self.notes)])

    def as_json(self) -> dict[str, object]:
        """`model, store, threshold, image, patient, subgroups, left_out, notes, own`."""
        return {
            "model": self.card.as_json(),
            "store": {"name": self.store.root.name, "digest": self.store.digest},
            "threshold": {"value": self.card.threshold, "rule": self.card.threshold_rule},
            **self.report.as_json(),
            "subgroups": [one.as_json() for one in self.subgroups],
            "left_out": [
                {"patients": list(one.patients), "reason": one.reason} for one in self.left_out
            ],
            "notes": list(self.notes),
            "own": self.own,
        }

    def files(self) -> dict[str, str]:
        """predictions.csv, external.json, and subgroups.csv where there are any."""
        files = {PREDICTIONS: csv_text(self.table), RESULT: json_text(self.as_json())}
        if self.subgroups:
            files[SUBGROUPS] = csv_text(subgroups_table(self.subgroups))
        return files


def is_of_others(said: Mapping[str, Any]) -> bool:
    """Whether a validation, as `as_json` has it, has patients of another cohort than the model's."""
    return int(said.get("own", 0)) < int(said["patient"]["arms"][0]["patients"])


def validate_externally(
    reference: str,
    store: Path,
    by: Sequence[str] = (),
    cohort: Path | None = None,
    device: str = "auto",
) -> ExternalValidation:
    """Score another cohort's patients with a trained model and compare the scores with their grades.

    Args:
        reference: of the model, see `load_grader`.
        store: of the other cohort, with grades.
        by: columns that subgroups are made by, see `subgroups_by`.
        cohort: folder of patients.csv, for these columns.
        device: `cpu`, `cuda`, or `auto`.

    Raises:
        InputFault: the store has no grades, or nobody of both classes is left whom the model has not
            seen; the model cannot score it (see `predict_store`); or no subgroups can be made.
    """
    opened = CropStore.open(store)
    if not opened.is_graded:
        raise InputFault(
            f"{store} has no grades, and scores have nothing to be compared with; `mufnet predict "
            "--run` grades its patients"
        )
    for column in by:  # a mistake is told before anything is scored
        read_property(column, cohort, opened.manifest)
    grader = load_grader(reference, device)
    data = grader.open_store(store)
    seen = patients_seen(grader, data)
    grades = StoreCohort.of(opened).labels
    ungraded = frozenset(patient for patient, label in grades.items() if label is None)
    choosers = ModelChoosers.of(grader, data)
    trained = seen.certain if seen else frozenset()
    chosen_on = {reason: who - trained for reason, who in choosers.by_reason().items()}
    graded = grades.keys() - ungraded
    if graded <= trained | choosers.everybody:
        parts = {**chosen_on, "they trained the model": trained}
        counts = {reason: len(graded & who) for reason, who in parts.items()}
        why = "; ".join(f"{count}: {reason}" for reason, count in counts.items() if count)
        raise InputFault(
            f"{store}: all {len(graded)} of its patients whose grade is known had a part in "
            f"{grader.card.name} ({why}); an external validation needs others"
        )
    predictions = predict_store(grader, data)
    table = predictions.table
    reasons = {
        "their grade is not known": (ungraded, "predict"),
        **{reason: (who, "val") for reason, who in chosen_on.items()},
        "they trained the model": (trained, "train"),
    }
    table["split"] = "test"
    left_out = []
    for reason, (patients, split) in reasons.items():
        here = table["patient_id"].isin(patients)
        table.loc[here, "split"] = split
        if here.any():
            named = sorted(map(str, table.loc[here, "patient_id"].unique()))
            left_out.append(LeftOutPatients(named, reason))
    for one in predictions.ungraded:
        left_out.append(LeftOutPatients([one.patient], f"{one.pairs} images, {one.reason}"))
    notes = [*predictions.notes, *([choosers.note] if choosers.note else [])]
    if seen and seen.doubtful:
        notes.append(
            f"{len(seen.doubtful)} of the patients bear the id and the grade of a patient of another "
            f"cohort who trained the model ({min(seen.doubtful)}, ...); if they are the same persons, "
            "the numbers flatter"
        )
    if seen and seen.alike:
        patient, twin = min(seen.alike.items())
        notes.append(
            f"{len(seen.alike)} of the patients look like one who trained the model ({patient!r} like "
            f"{twin!r}, ...); if they are the same persons, the numbers flatter"
        )
    counted = table[table["split"] == "test"].reset_index(drop=True)
    own = cohort_patients(grader.trained or (), StoreCohort.of(opened)) & set(counted["patient_id"])
    if own:
        notes.append(
            f"{len(own)} of the patients are of the cohort that the model was developed on: for them "
            "this is no external validation"
        )
    classes = set(counted["label"])
    if len(classes) < 2:
        only = "nobody" if not classes else f"patients of {('low', 'high')[classes.pop()]} grade alone"
        left = "; ".join(map(str, left_out)) or "nobody was left out"
        raise InputFault(f"{store}: {only} can be counted, where both classes are needed ({left})")
    scores = beside_baseline(f"{grader.card.arm} {EXTERNAL}", counted, None, "test")
    report = arm_report(scores, grader.card.threshold)
    parted = subgroups_by(scores, by, cohort, opened.manifest)
    return ExternalValidation(
        grader.card, opened, table, scores, report, parted, left_out, notes, len(own)
    )


def record_external(result: ExternalValidation, study: str | None = None) -> str:
    """Record it as an MLflow run of its own, which `mufnet compare` takes as an arm.

    Args:
        result: of `validate_externally`.
        study: MLflow experiment; the model's own unless given, else `mufnet`.

    Returns:
        The run's id.
    """
    client, card = mlflow_client(), result.card
    study = study or card.study or Tracking.study
    arm = ScoredArm("", f"{card.arm} {EXTERNAL}", result.table)
    tags = run_tags(
        EXTERNAL,
        study,
        arm=card.arm,
        model=card.run_id or card.name,
        store=portable_path(result.store.root),
        store_digest=result.store.digest,
    )
    name = f"{card.arm}-{EXTERNAL}-{result.store.root.name}"
    with new_run(open_study(study), name, tags | {NOTE: _note(result)}) as run_id:
        counted = arm.part("test")
        numbers = record_part(
            client, run_id, EXTERNAL, result.scores, counted, threshold=card.threshold
        )
        for metric, value in numbers.items():
            client.log_metric(run_id, f"{EXTERNAL}/{metric}", value)
        client.log_param(run_id, "threshold", card.threshold)
        client.log_param(run_id, "threshold_rule", card.threshold_rule)
        record_dataset(client, run_id, result.store, EXTERNAL)
        for file, content in result.files().items():
            client.log_text(run_id, content, file)
        log_json(client, run_id, card.as_json(), "model.json")
    return run_id


def _note(result: ExternalValidation) -> str:
    arm = result.report.patient.arms[0]
    auc = interval_text(arm.auc, arm.auc_ci, " to ")
    lines = [
        f"**{result.caption()}** `{EXTERNAL}/patient_auc` {auc} is the AUC over patients with its 95% "
        "interval.",
        "",
        markdown_table(result.frame()),
    ]
    for one in result.subgroups:
        lines += ["", one.caption(), "", markdown_table(one.frame())]
    lines += ["", *(f"- Left out: {one}" for one in result.left_out)]
    return "\n".join([*lines, *(f"- {note}" for note in result.notes)])
