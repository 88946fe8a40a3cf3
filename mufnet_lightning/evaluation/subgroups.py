"""How arms do in parts of the patients: by centre, scanner, size, sex.

AUC over patients with an interval where a subgroup has at least five patients of each class; else
counts alone, since an AUC of fewer says nothing that its interval could hold. No test compares the
subgroups: so few patients cannot tell whether an arm does differently in them, and that two intervals
overlap, or do not, is no test either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.statistics.auc import auc_estimate
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.evaluation.text import interval_text
from mufnet_lightning.vocabulary import CHOSEN_HERE

ENOUGH = 5
"""Patients of each class that an AUC with an interval takes."""
MOST_LEVELS = 12
FEW_CODES = 5  # whole numbers with no more distinct values than this are codes, as in Table 1
UNKNOWN = "not known"


@dataclass(frozen=True)
class Auc:
    """An arm's AUC over a subgroup's patients, with its 95% interval.

    Attributes:
        value: from 0 to 1.
        low, high: limits; NaN where these patients chose the arm's epoch.
        chosen: whether they did.
    """

    value: float
    low: float
    high: float
    chosen: bool = False

    def as_json(self) -> dict[str, object]:
        """`{"value", "ci"}`; the latter is None where they chose the epoch."""
        return {"value": self.value, "ci": None if self.chosen else [self.low, self.high]}


@dataclass(frozen=True)
class Subgroup:
    """Some of the patients.

    Attributes:
        name: what they have in common.
        low, high: patients of each class.
        images: theirs.
        aucs: by arm; empty where a class has fewer than five patients.
    """

    name: str
    low: int
    high: int
    images: int
    aucs: Mapping[str, Auc]

    def as_json(self) -> dict[str, object]:
        """`name, low, high, images, auc`; the last one by arm, None for counts alone."""
        aucs = {arm: auc.as_json() for arm, auc in self.aucs.items()} or None
        counts = {"low": self.low, "high": self.high, "images": self.images}
        return {"name": self.name, **counts, "auc": aucs}


@dataclass(frozen=True)
class Subgroups:
    """The patients by one of their properties.

    Attributes:
        by: the property.
        groups: every patient is in one; those of whom it is not known come last.
        arms: names of the arms.
        cut: of numbers, that between the two groups.
        cut_is_median: whether it is these patients' median, and nobody chose it.
    """

    by: str
    groups: Sequence[Subgroup]
    arms: Sequence[str]
    cut: float | None = None
    cut_is_median: bool = False

    def as_json(self) -> dict[str, object]:
        """`by, cut, cut_is_median, groups`."""
        groups = [group.as_json() for group in self.groups]
        return {"by": self.by, "cut": self.cut, "cut_is_median": self.cut_is_median, "groups": groups}

    def frame(self, names: Mapping[str, str] | None = None) -> pd.DataFrame:
        """A row a subgroup, as text; `names` are what people call the arms."""
        rows = []
        for group in self.groups:
            row: dict[str, object] = {
                self.by: group.name,
                "low grade": group.low,
                "high grade": group.high,
                "images": group.images,
            }
            for arm in self.arms:
                auc = group.aucs.get(arm)
                row[f"AUC, {(names or {}).get(arm, arm)}"] = (
                    "too few"
                    if auc is None
                    else interval_text(auc.value, (auc.low, auc.high), chosen=auc.chosen)
                )
            rows.append(row)
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """What the numbers are."""
        cut = ""
        if self.cut is not None:
            whose = "the median of these patients" if self.cut_is_median else "as it was given"
            cut = f"; cut at {self.cut:g}, {whose}"
        few = any(not group.aucs for group in self.groups)
        alone = f" Fewer than {ENOUGH} patients of a class: counts alone." if few else ""
        here = any(auc.chosen for group in self.groups for auc in group.aucs.values())
        none = (
            f", which an arm has not whose epoch these patients chose ({CHOSEN_HERE})" if here else ""
        )
        return (
            f"By {self.by}{cut}: AUC over patients with its 95% interval{none}.{alone} "
            "Whether the subgroups differ is not tested."
        )


def subgroups_table(made: Sequence[Subgroups]) -> pd.DataFrame:
    """All subgroups in one table, a row each; the first column is what they are made by."""
    frames = {one.by: one.frame().rename(columns={one.by: "subgroup"}) for one in made}
    return pd.concat(frames, names=["by", None]).reset_index(level=0).reset_index(drop=True)


def subgroups(
    scores: Scores,
    by: str,
    values: Mapping[str, object],
    cut: float | None = None,
    chosen: Collection[str] = (),
    *,
    named: bool = False,
) -> Subgroups:
    """AUC over patients of each subgroup.

    Numbers (more than five different ones, or any that are not whole) make two groups: up to the cut,
    and above it.

    >>> scores = Scores.of([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9], ["a", "b", "c", "d"], ["fused"])
    >>> of_sex = subgroups(scores, "sex", {"a": "f", "b": "m", "c": "f", "d": "f"})
    >>> [(group.name, group.low, group.high, dict(group.aucs)) for group in of_sex.groups]
    [('f', 1, 2, {}), ('m', 1, 0, {})]

    Args:
        scores: of the arms.
        by: what the property is called.
        values: it, by patient; those who are missing, None or empty are not known.
        cut: of numbers; their median over the patients unless given.
        chosen: names of arms whose epoch these patients chose: their AUCs have no interval.
        named: the values are names, also where they are numbers, and there may be any number of them.

    Raises:
        EvaluationError: a cut of what is no number, nobody's value is known, or more than twelve
            subgroups.
    """
    texts = pd.Series([_text(values.get(str(patient))) for patient in scores.patient_names])
    if not (texts != "").any():
        raise EvaluationError(f"no patient has a value of {by}.")
    numbers = pd.to_numeric(texts.mask(texts == ""), errors="coerce")
    are_numbers = bool((numbers.notna() == (texts != "")).all())
    if cut is not None and not are_numbers:
        odd = texts[(texts != "") & numbers.isna()].iloc[0]
        raise EvaluationError(f"{by} cannot be cut at {cut:g}: {odd!r} is no number.")
    median = False
    if cut is None and not named and are_numbers and _is_number(numbers.dropna()):
        cut, median = float(numbers.median()), True
    if cut is not None:
        above = np.where(numbers > cut, f"above {cut:g}", f"{cut:g} or less")
        names = pd.Series(above).mask(numbers.isna(), UNKNOWN)
        order = [f"{cut:g} or less", f"above {cut:g}"]
    else:
        names = texts.mask(texts == "", UNKNOWN)
        order = sorted(set(names) - {UNKNOWN}, key=_by_number)
    if len(order) > MOST_LEVELS and not named:
        raise EvaluationError(f"{by} has {len(order)} values, expected {MOST_LEVELS} at most.")
    of_images = names.to_numpy()[scores.codes]
    groups = [
        _subgroup(name, scores.subset(of_images == name), chosen)
        for name in [*order, UNKNOWN]
        if (of_images == name).any()
    ]
    return Subgroups(by, groups, scores.names, cut, median)


def _subgroup(name: str, scores: Scores, chosen: Collection[str]) -> Subgroup:
    high = int(scores.patient_labels.sum())
    low = len(scores.patient_labels) - high
    aucs = {}
    if min(low, high) >= ENOUGH:
        counted = scores.at("patient")
        estimate = auc_estimate(counted, "delong")
        for arm, title in enumerate(scores.names):
            here = title in chosen
            limits = (np.nan, np.nan) if here else auc_limits(counted, arm, method="delong")
            aucs[title] = Auc(float(estimate.aucs[arm]), *limits, here)
    return Subgroup(name, low, high, len(scores.labels), aucs)


def _is_number(numbers: pd.Series) -> bool:
    return numbers.nunique() > FEW_CODES or bool((numbers % 1 != 0).any())


def _text(value: object) -> str:
    """1.0 is the code 1: a column with gaps is read as fractions. Empty where it is missing."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _by_number(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
