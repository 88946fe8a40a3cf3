"""What acting on a risk is worth: net benefit over thresholds, beside treating all and none.

Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction models. Med
Decis Making 2006;26:565-574.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.risk_calibration import checked_risks

THRESHOLDS = tuple(percent / 100 for percent in range(1, 100))


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefits at T thresholds, in true positives per patient.

    Attributes:
        thresholds: (T,), the risk from which on a patient is treated.
        model: (T,), of treating those whose risk is at least the threshold.
        treat_all: (T,); of treating none it is 0.
        patients, high: how many patients, and how many of them are high.
    """

    thresholds: Floats
    model: Floats
    treat_all: Floats
    patients: int
    high: int


def decision_curve(
    labels: ArrayLike, risks: ArrayLike, thresholds: ArrayLike = THRESHOLDS
) -> DecisionCurve:
    """Net benefit of a model: share of true positives − share of false positives × t / (1 − t).

    The threshold t says how many treated in vain one treated in time is worth: at 0.2 it is four. A
    model is of use at a threshold where its net benefit is above that of treating all and above 0.
    No interval is given: one for each threshold would not answer which of them to use.

    >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.3, 0.4, 0.9], [0.2])
    >>> curve.model.round(4).tolist(), curve.treat_all.round(4).tolist()
    ([0.4375], [0.375])

    Args:
        labels: (P,) of 0 and 1, of patients.
        risks: (P,), probabilities and not scores: a score's thresholds mean nothing.
        thresholds: (T,), between 0 and 1.

    Raises:
        EvaluationError: a risk outside 0 to 1, or a threshold that is not between 0 and 1.
    """
    positive, values = checked_risks(labels, risks)
    levels = np.asarray(thresholds, np.float64)
    if levels.ndim != 1 or not len(levels) or not ((levels > 0) & (levels < 1)).all():
        raise EvaluationError("thresholds of a decision curve are between 0 and 1.")
    treated = values >= levels[:, None]
    odds = levels / (1 - levels)
    share = float(positive.mean())
    model = (treated & positive).mean(axis=1) - (treated & ~positive).mean(axis=1) * odds
    return DecisionCurve(levels, model, share - (1 - share) * odds, len(values), int(positive.sum()))
