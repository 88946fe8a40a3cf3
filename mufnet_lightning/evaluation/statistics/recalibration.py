"""From a patient's score to a risk: intercept and slope on the logit scale.

    logit(risk) = intercept + slope * logit(score)

The score is the mean of a patient's images. The slope takes out that a network is too sure or not sure
enough (Cox 1958; Platt 1999), the intercept that its classes were drawn evenly in training: a sampler
that makes high grade as frequent as low moves every logit by a constant, and an intercept fitted on
patients with the shares of the clinic takes that constant off again (Saerens et al. 2002). Where the
patients at hand do not have those shares, the slope can still be trusted and the intercept cannot:
`Recalibration.at_share` moves it.

The line is fitted where the validation patients are and says nothing beyond: a new patient whose logit
lies further out than theirs, by more than one SD, is taken at that end.

Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.
Platt J. Probabilistic outputs for support vector machines. Advances in large margin classifiers.
1999:61-74.
Saerens M, Latinne P, Decaestecker C. Adjusting the outputs of a classifier to new a priori
probabilities. Neural Comput 2002;14:21-41.
Steyerberg EW. Clinical prediction models. 2nd ed. Springer 2019, chapter 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.firth import FLAT, fit_intercept, fit_line
from mufnet_lightning.evaluation.statistics.scores import Scores

NEAREST = 1e-3
"""To 0 and 1: a score beyond it counts as this far from them, and no risk is nearer to them either.
No cohort of some hundred patients tells one in a thousand from one in a million."""
SLOPE_SD = 3.0
"""Of the weak prior of the slope around 0, in slopes per SD of the logits: an AUC of 0.92 has about 2.6
(weakly informative as in Gelman A et al. Ann Appl Stat 2008;2:1360-1383)."""
SLACK_SD = 1.0
"""How far beyond the validation patients' logits the line is followed, in SDs of these logits."""
STEEP = 10.0
"""A slope beyond it makes much of little: a score that moves by .01 moves the risk's logit by .4."""
NARROW = 0.05
"""Scores of validation patients that span less hardly tell a patient from a scanner's settings."""


@dataclass(frozen=True)
class Recalibration:
    """From scores to risks.

    Attributes:
        intercept, slope: on the logit scale; the slope is never negative.
        high, low: validation patients of each class that it was fitted on.
        note: what is degenerate, if anything; a sentence or two.
        limits: logits of scores between which the line is followed; a score beyond them is taken at
            that end. None in files of earlier versions, which follow it everywhere.
    """

    intercept: float
    slope: float
    high: int
    low: int
    note: str = ""
    limits: tuple[float, float] | None = None

    @property
    def is_flat(self) -> bool:
        """Whether no relation of scores and grades came out: every risk is the same."""
        return self.slope == 0

    @property
    def score_limits(self) -> tuple[float, float]:
        """Between which scores the line is followed; one beyond them has the risk of the nearer one."""
        low, high = (float(expit(limit)) for limit in self.limits or (-np.inf, np.inf))
        return max(low, NEAREST), min(high, 1 - NEAREST)

    def apply(self, scores: ArrayLike) -> Floats:
        """The risk of each patient, (P,), from the mean score of the patient's images, (P,).

        >>> Recalibration(-1.1, 1.3, 21, 59).apply([0.2, 0.5, 0.8]).round(2).tolist()
        [0.05, 0.25, 0.67]

        Raises:
            EvaluationError: a score outside 0 to 1.
        """
        logits = _logits(np.asarray(scores, np.float64))
        if self.limits is not None:
            logits = np.clip(logits, *self.limits)
        risks: Floats = np.clip(expit(self.intercept + self.slope * logits), NEAREST, 1 - NEAREST)
        return risks

    def at_share(self, share: float) -> Recalibration:
        """The same for patients of whom another share is of high grade: the intercept moves.

        >>> recalibration = Recalibration(0.0, 1.0, 20, 60)
        >>> recalibration.at_share(0.5).apply([0.25]).round(3).tolist()
        [0.5]

        Args:
            share: between 0 and 1, of the patients to come; the fitted one is `high / (high + low)`.
        """
        if not 0 < share < 1:
            raise EvaluationError(f"a share of patients is between 0 and 1, not {share}.")
        moved = float(logit(share) - logit(self.high / (self.high + self.low)))
        return replace(self, intercept=self.intercept + moved)

    def as_json(self) -> dict[str, object]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Recalibration:
        """Of plain data; what a later version added is left out.

        Raises:
            EvaluationError: something that is needed is not there, or is no number.
        """
        try:
            return cls(
                float(content["intercept"]),  # type: ignore[arg-type]
                float(content["slope"]),  # type: ignore[arg-type]
                int(content["high"]),  # type: ignore[call-overload]
                int(content["low"]),  # type: ignore[call-overload]
                str(content.get("note", "")),
                _limits(content.get("limits")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"not a recalibration: {error!r}") from None


def recalibrate(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None
) -> Recalibration:
    """Fit intercept and slope on validation patients, never on those that the risks are tested on.

    The slope is that of Firth's penalised likelihood with a weak prior: finite where four patients of
    high grade are separated from twelve of low, hardly moved with a hundred, and the same risks at any
    scale of the scores' logits, which a network after few epochs may have ten times too narrow. The
    intercept then gives the mean risk the share of high grade.

    Scores that rank the patients the wrong way would have a negative slope. They get slope 0, which
    gives everybody the share of high grade as the risk, and the note says so. So it does where the
    slope is steep, or the scores span little: small differences of scores then make large ones of risk.

    >>> recalibrate([0, 0, 0, 1], [0.2, 0.4, 0.6, 0.9]).apply([0.2, 0.9]).round(2).tolist()
    [0.06, 0.59]

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,), from 0 to 1.
        patients: (N,), the patient of each image; without, each is one of its own.

    Raises:
        EvaluationError: one class only, or a score outside 0 to 1.
    """
    given = Scores.of(labels, scores, patients).at("patient")
    if len(given.scores) > 1:
        raise EvaluationError(f"this takes the scores of one arm, not of {len(given.scores)}.")
    positive, values = given.labels, _logits(given.scores[0])
    high, low = int(positive.sum()), int((~positive).sum())
    if not high or not low:
        name = "low" if high == 0 else "high"
        raise EvaluationError(f"all {high + low} patients are of {name} grade, and risks need both.")
    slack = SLACK_SD * float(np.std(values))
    limits = (float(values.min()) - slack, float(values.max()) + slack)
    if np.ptp(values) < FLAT:
        note = "All scores are alike: every risk is the share of high grade."
        return Recalibration(float(logit(high / (high + low))), 0.0, high, low, note, limits)
    line = fit_line(values, positive, SLOPE_SD)
    if line.slope > 0:
        note = _amplified(given.scores[0], line.slope)
        return Recalibration(line.intercept, line.slope, high, low, note, limits)
    note = (
        f"The scores rank these {high + low} patients the wrong way (slope {line.slope:.2f}), so the "
        "slope is set to 0: every risk is their share of high grade."
    )
    return Recalibration(fit_intercept(0 * values, positive), 0.0, high, low, note, limits)


def _amplified(scores: Floats, slope: float) -> str:
    """What is said where small differences of scores make large ones of risk; empty elsewhere."""
    span = float(np.ptp(scores))
    if span >= NARROW and slope <= STEEP:
        return ""
    steep = f"a slope of {slope:.0f}" if slope > STEEP else f"a slope of {slope:.1f}"
    narrow = f"The scores of these {len(scores)} patients span only {span:.2g}: " * (span < NARROW)
    text = f"{narrow}{steep} makes large differences of risk of small ones of score, as another scanner"
    return f"{text[0].upper()}{text[1:]} may bring them about."


def _limits(content: object) -> tuple[float, float] | None:
    if content is None:
        return None
    low, high = map(float, content)  # type: ignore[call-overload]
    if not low <= high:
        raise ValueError(f"limits from {low} to {high}")
    return low, high


def _logits(scores: Floats) -> Floats:
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise EvaluationError("risks are made of scores from 0 to 1.")
    values: Floats = logit(np.clip(scores, NEAREST, 1 - NEAREST))
    return values
