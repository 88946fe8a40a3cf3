"""What the tables alone tell: who is there, and what tells the grade without a look at the tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.statistics.auc import delong
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_interval
from mufnet_lightning.evaluation.statistics.group_tests import category_test
from mufnet_lightning.evaluation.text import p_text
from mufnet_lightning.store.inspection.findings import Finding, GradeAuc, SiteTable
from mufnet_lightning.vocabulary import CLASS_NAMES

FOLDS = 5
"""Of a cross-validation as the paper has it: fewer patients of a class cannot be split into them."""
TIED_P = 0.01
"""Under it a centre or scanner that goes with the grade is named."""
SPOILT_V, SPOILT_P = 0.7, 0.001
"""Cramér's V at and above which, and p under which, it nearly is the grade."""
TELLING = 0.6
"""An AUC that the whole interval lies above, or below one minus it: a box's size is then named."""
SITES = {"center": "centre", "scanner": "scanner"}


def of_the_classes(patients: pd.DataFrame) -> list[Finding]:
    """Whether there are enough patients of each class for a study.

    Args:
        patients: a row a patient, with `label` (empty where it is not known).
    """
    counts = {name: int((patients["label"] == label).sum()) for label, name in enumerate(CLASS_NAMES)}
    without = int(patients["label"].isna().sum())
    if patients.empty:
        return [
            Finding("fault", "patients", "no patient has a pair of crops: there is nothing to train on")
        ]
    if without == len(patients):
        return [
            Finding("fact", "patients", "no patient has a grade: this is for `mufnet predict` alone")
        ]
    described = " and ".join(
        f"{_of(count, 'patient')} of {name} grade" for name, count in counts.items()
    )
    findings = []
    if not all(counts.values()):
        only = max(counts, key=counts.__getitem__)
        findings.append(
            Finding(
                "fault",
                "patients",
                f"all {_of(counts[only], 'patient')} with a grade are of {only} grade: nothing can be "
                "told apart",
            )
        )
    elif min(counts.values()) < FOLDS:
        findings.append(
            Finding("fault", "patients", f"there are {described}: {FOLDS} folds need {FOLDS} of each")
        )
    else:
        findings.append(Finding("fact", "patients", described))
    if without:
        findings.append(Finding("doubt", "patients", f"{_of(without, 'patient')} without a grade"))
    return findings


def site_table(patients: pd.DataFrame, column: str) -> SiteTable | None:
    """Grades by centre or scanner; None where it is not known, or no grade is.

    >>> table = pd.DataFrame({"label": [0] * 8 + [1] * 8, "center": ["north"] * 8 + ["south"] * 8})
    >>> tied = site_table(table, "center")
    >>> tied.v, tied.one_class, tied.p < SPOILT_P
    (1.0, ('north', 'south'), True)

    Args:
        patients: a row a patient, with `label` and the column; "" where that is not known.
        column: `center` or `scanner`.
    """
    known = patients[(patients[column] != "") & patients["label"].notna()]
    if known.empty:
        return None
    crossed = pd.crosstab(known[column], known["label"].astype(int)).reindex(
        columns=[0, 1], fill_value=0
    )
    counts = crossed.set_axis([*CLASS_NAMES], axis=1).rename_axis(None, axis=1).reset_index()
    numbers = crossed.to_numpy()
    one_class = tuple(str(site) for site in crossed.index[(numbers == 0).any(axis=1)])
    if len(numbers) < 2 or not numbers.sum(axis=0).all():
        return SiteTable(column, counts, one_class=one_class)
    test = category_test(numbers.T.astype(np.int64), CLASS_NAMES)
    expected = np.outer(numbers.sum(axis=1), numbers.sum(axis=0)) / numbers.sum()
    chi = float(((numbers - expected) ** 2 / expected).sum())
    return SiteTable(
        column, counts, round(float(np.sqrt(chi / numbers.sum())), 3), test.name, test.p, one_class
    )


def of_a_site(table: SiteTable) -> list[Finding]:
    """Whether a centre or a scanner predicts the grade."""
    name = SITES[table.column]
    findings = []
    if table.p is not None and table.v is not None and table.p < TIED_P:
        nearly = table.v >= SPOILT_V and table.p < SPOILT_P
        sentence = (
            f"the {name} predicts the grade (Cramér's V {table.v:.2f}, {table.test} "
            f"p {p_text(table.p)}, over patients): a network that knows the {name} by its picture "
            "seems to know the grade"
        )
        findings.append(Finding("fault" if nearly else "doubt", "sites", sentence))
    if table.one_class:
        names = ", ".join(table.one_class)
        findings.append(
            Finding(
                "fact",
                "sites",
                f"{name}s with patients of one class alone, which have no AUC of their own: {names}",
            )
        )
    return findings


def grade_aucs(images: pd.DataFrame, numbers: Mapping[str, str]) -> list[GradeAuc]:
    """How well numbers of an image, mean over each patient's, tell the grade.

    Args:
        images: a row an image, with patient_id, label and the columns of the numbers.
        numbers: what each column is called.
    """
    known = images[images["label"].notna()]
    aucs = []
    for column, name in numbers.items():
        means = (
            known.groupby("patient_id").agg(label=("label", "first"), mean=(column, "mean")).dropna()
        )
        labels = means["label"].astype(int).to_numpy()
        if len(set(labels.tolist())) < 2:
            continue
        scores = means["mean"].to_numpy(float)
        auc = float(delong(labels, scores).aucs[0])
        aucs.append(GradeAuc(name, auc, auc_interval(labels, scores)))
    return aucs


def of_the_sizes(aucs: Sequence[GradeAuc]) -> list[Finding]:
    """What tells the grade by itself is named."""
    return [
        Finding(
            "doubt",
            "boxes",
            f"{one}: it tells the grade by itself, so compare a network's AUC with it",
        )
        for one in aucs
        if one.limits[0] > TELLING or one.limits[1] < 1 - TELLING
    ]


def per_patient(manifest: pd.DataFrame) -> pd.DataFrame:
    """Pairs of each patient: patient_id, label, pairs."""
    return (
        manifest.groupby("patient_id", sort=False)
        .agg(label=("label", "first"), pairs=("pair_id", "size"))
        .reset_index()
    )


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
