"""The column `risk` of predictions: fitted on validation patients, and held against test patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.decision_curve import DecisionCurve, decision_curve
from mufnet_lightning.evaluation.statistics.recalibration import Recalibration, recalibrate
from mufnet_lightning.evaluation.statistics.risk_calibration import RiskCalibration, risk_calibration
from mufnet_lightning.evaluation.statistics.scores import Scores

RISK = "risk"


@dataclass(frozen=True, eq=False)
class RiskTable:
    """Predictions with risks, and how these were made.

    Attributes:
        table: the predictions, with the column `risk` behind `score`: the same on all rows of a
            patient in a part, empty where there is none.
        recalibration: fitted on all validation patients, for patients to come; None where there is
            none.
        of_fold: of the test rows of each fold, by its number; by `all` of rows that several folds
            tested.
        reason: why test patients, or some of them, have no risk; empty where all have one.
    """

    table: pd.DataFrame
    recalibration: Recalibration | None
    of_fold: Mapping[str, Recalibration]
    reason: str = ""

    @property
    def notes(self) -> list[str]:
        """What must be known of the recalibrations, a sentence or two each; each is said once."""
        by_note: dict[str, list[str]] = {}
        for fold, one in self.of_fold.items():
            if one.note and one != self.recalibration:
                by_note.setdefault(one.note, []).append(fold)
        own = [self.recalibration.note] if self.recalibration and self.recalibration.note else []
        of_folds = [f"Risks of test fold {', '.join(folds)}: {n}" for n, folds in by_note.items()]
        return [*own, *of_folds, *([self.doubt] if self.doubt else [])]

    @property
    def doubt(self) -> str:
        """Why calibration slope and test of pooled test patients would mislead; empty elsewhere.

        A fold whose recalibration is flat gives its test patients the share of high grade of all the
        others. The more of its own are high, the lower that share: pooled over folds such risks run
        against the grades by construction.
        """
        flat = [fold for fold, one in self.of_fold.items() if one.is_flat]
        if not flat or len(self.of_fold) < 2:
            return ""
        return (
            f"The recalibrations of test folds {', '.join(flat)} of {len(self.of_fold)} show no "
            "relation of scores and grades: the risks there are the other folds' share of high grade, "
            "which is the lower the more patients of the fold itself are high: calibration slope and "
            "test of the pooled risks are not given."
        )

    def as_json(self) -> dict[str, object]:
        """As `evaluation/recalibration.json` has it."""
        return {
            "new_patients": self.recalibration and self.recalibration.as_json(),
            "test_patients": {fold: one.as_json() for fold, one in self.of_fold.items()},
            "reason": self.reason,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class RecordedRecalibration:
    """How an earlier run made risks of new patients, for test patients who are scored alone.

    Attributes:
        recalibration: None where there is none.
        reason: why there is none.
    """

    recalibration: Recalibration | None
    reason: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> RecordedRecalibration:
        """Of what `RiskTable.as_json` gave; what cannot be read has a reason."""
        fit = content.get("new_patients")
        if not isinstance(fit, Mapping):
            return cls(None, str(content.get("reason") or "the model's run recorded no recalibration."))
        try:
            return cls(Recalibration.from_json(fit))
        except EvaluationError as error:
            return cls(None, str(error))

    def risks(self, table: pd.DataFrame) -> RiskTable:
        """Predictions of patients none of whom it was fitted on, with their risks."""
        return RiskTable(with_risk(table, self.recalibration), self.recalibration, {}, self.reason)


@dataclass(frozen=True, eq=False)
class RiskReport:
    """What is said of the risks of a part's patients.

    Attributes:
        labels, risks: (P,), of each patient.
        calibration: of them.
        decisions: net benefit of them.
    """

    labels: Floats
    risks: Floats
    calibration: RiskCalibration
    decisions: DecisionCurve

    def numbers(self) -> dict[str, float]:
        """As metrics: `patient_risk_brier`, `patient_risk_calibration_slope` and so on."""
        return {f"patient_risk_{name}": value for name, value in self.calibration.numbers().items()}


def fitted(rows: pd.DataFrame) -> tuple[Recalibration | None, str]:
    """A recalibration on validation rows of a predictions table; or None, and why not.

    A patient whom several folds validated counts once, with the mean of all those scores.
    """
    if rows.empty:
        return None, "no validation patients were scored with the others, and on them it is fitted."
    try:
        return recalibrate(rows["label"], rows["score"], rows["patient_id"]), ""
    except EvaluationError as error:
        return None, str(error)


def with_risks(table: pd.DataFrame) -> RiskTable:
    """Predictions of validation and test patients with their risks.

    The risks of a fold's test rows come from the validation rows of all patients whom this fold does
    not test: of one fit its own validation patients; of protocol `paper` every patient outside the
    test part, out of fold; of `nested` and `center` the other folds' too. A test patient's label never
    has a part in the fit of intercept and slope behind that patient's risk; but of `nested` and
    `center` the other folds' validation scores come from networks that trained on that patient.
    Validation rows themselves are given the risk of the fit that
    they were in, which flatters: it is not to be tested on them.

    Args:
        table: rows of `val` and `test`, see `prediction_table`; a column `risk` in it is replaced.
    """
    rows = table.drop(columns=RISK, errors="ignore").reset_index(drop=True)
    risk = np.full(len(rows), np.nan)
    is_val, is_test = (rows["split"] == part for part in ("val", "test"))
    recalibration, why_none = fitted(rows[is_val])
    if recalibration is not None:
        for _, fold in rows[is_val].groupby("fold", dropna=False, sort=False):
            risk[fold.index] = _risks(fold, recalibration)
    of_fold: dict[str, Recalibration] = {}
    reasons = [] if is_test.any() else [why_none]
    # an own name for rows that several folds tested: they stand in no fold
    folds = rows["fold"].astype("Int64").astype("string").fillna("all")
    for name, fold in rows[is_test].groupby(folds[is_test]):
        tested = rows["patient_id"].isin(set(fold["patient_id"]))
        own, reason = fitted(rows[is_val & ~tested])
        if own is None:
            reasons.append(reason)
        else:
            of_fold[str(name)] = own
            risk[fold.index] = _risks(fold, own)
    rows = _inserted(rows, risk)
    return RiskTable(rows, recalibration, of_fold, " ".join(dict.fromkeys(filter(None, reasons))))


def with_risk(table: pd.DataFrame, recalibration: Recalibration | None) -> pd.DataFrame:
    """Rows of an image each with the risk of their patients, by a recalibration that was fitted before.

    Args:
        table: with `patient_id` and `score`.
        recalibration: without one the column is empty.
    """
    risk = np.full(len(table), np.nan) if recalibration is None else _risks(table, recalibration)
    return _inserted(table, risk)


def risk_report(rows: pd.DataFrame, doubt: str = "") -> RiskReport | None:
    """What is said of the risks of a part; None where not all its patients have one, or of one class.

    Args:
        rows: of a part, with the column `risk`.
        doubt: why slope and test are not given, see `RiskTable.doubt`.
    """
    if RISK not in rows or rows.empty or rows[RISK].isna().any():
        return None
    patients = Scores.of(rows["label"], rows[RISK], rows["patient_id"].to_numpy()).at("patient")
    labels, risks = patients.labels.astype(np.float64), patients.scores[0]
    if labels.min() == labels.max():
        return None
    calibration = risk_calibration(labels, risks)
    if doubt:
        calibration = calibration.without_test(doubt)
    return RiskReport(labels, risks, calibration, decision_curve(labels, risks))


def _inserted(table: pd.DataFrame, risk: Floats) -> pd.DataFrame:
    """The table with the column behind `score`."""
    rows = table.drop(columns=RISK, errors="ignore")
    rows.insert(list(rows.columns).index("score") + 1, RISK, risk)
    return rows


def _risks(rows: pd.DataFrame, recalibration: Recalibration) -> Floats:
    """Of each row, from the mean score of its patient's rows."""
    means = rows.groupby("patient_id")["score"].transform("mean").to_numpy(np.float64)
    usable = (means >= 0) & (means <= 1)  # of a module of somebody's own they need not be
    risk = np.full(len(rows), np.nan)
    risk[usable] = recalibration.apply(means[usable])
    return risk
