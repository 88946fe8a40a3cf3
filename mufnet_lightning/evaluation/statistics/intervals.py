"""Intervals of proportions and of means over folds.

Wilson EB. Probable inference, the law of succession, and statistical inference. JASA 1927;22:209-212.
Kish L. Survey Sampling. Wiley 1965, section 11.7.
Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall 1993, chapter 11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri, stdtrit

from mufnet_lightning.evaluation.statistics.checks import EvaluationError


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: NaN only where it is not defined, and then `note` says why.
        low, high: limits of the interval.
        note: what is degenerate, if anything.
    """

    value: float
    low: float
    high: float
    note: str = ""

    @property
    def limits(self) -> tuple[float, float]:
        """Both of them."""
        return self.low, self.high

    def as_json(self) -> dict[str, object]:
        """`{"value", "ci"}`; a value that is not defined is None."""
        return {"value": finite(self.value), "ci": [self.low, self.high]}


def finite(value: float) -> float | None:
    """The number, or None for NaN and the infinite, which JSON does not know."""
    return value if np.isfinite(value) else None


def wilson(successes: float, trials: float, level: float = 0.95) -> Estimate:
    """Proportion of independent trials with Wilson's score interval.

    >>> interval = wilson(18, 20)
    >>> f"{interval.value:.2f} ({interval.low:.3f}, {interval.high:.3f})"
    '0.90 (0.699, 0.972)'

    Args:
        successes: from 0 to `trials`.
        trials: how many; an effective number need not be whole. With 0 trials the value is NaN
            and the interval 0 to 1, and the note says so.
        level: coverage, between 0 and 1.
    """
    if not 0 <= successes <= trials:
        raise EvaluationError(f"{successes} successes do not fit {trials} trials.")
    if trials == 0:
        return Estimate(float("nan"), 0.0, 1.0, "Nothing to count: the proportion is not defined.")
    low, high = _wilson(successes / trials, trials, level)
    return Estimate(successes / trials, low, high)


def clustered_proportion(successes: ArrayLike, trials: ArrayLike, level: float = 0.95) -> Estimate:
    """Proportion of trials that are correlated inside a patient, with an interval over patients.

    The proportion is Σ successes / Σ trials. The interval leaves out one patient at a time (jackknife),
    on the logit scale, with Student's t at patients − 1 degrees of freedom; it holds where clips
    differ in length, which Wilson's with a design effect does not (docs/coverage.md). Where hardly a
    patient fails, or succeeds, the jackknife sees no spread: then Wilson's interval takes over, as if
    each patient were one trial (Kish's effective number where the clips differ in length). With x
    the number of such patients, its weight is 1 / (1 + (x / 0.1)²). Patients who fail alike show no
    spread either: the interval is never narrower than Wilson's of all trials, as if independent.

    >>> interval = clustered_proportion([9, 8, 10, 4], [10, 10, 10, 8])
    >>> f"{interval.value:.2f} ({interval.low:.2f}, {interval.high:.2f})"
    '0.82 (0.31, 0.98)'

    Args:
        successes, trials: (P,), of each patient; patients without trials have no influence.
        level: coverage, between 0 and 1.
    """
    hits, counts = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    hits, counts = hits[counts > 0], counts[counts > 0]
    patients, total = len(counts), float(counts.sum())
    if patients == total:  # one trial each: they are independent
        return wilson(float(hits.sum()), total, level)
    value = float(hits.sum() / total)
    if patients == 1:
        return Estimate(value, 0.0, 1.0, "A single patient: the interval is 0 to 1.")
    effective = total**2 / float((counts**2).sum())
    outer = np.array(_wilson(value, effective, level))
    if value in (0, 1):
        note = "One outcome only: each patient counts as one trial."
        return Estimate(value, float(outer[0]), float(outer[1]), note)
    off = 0.5 / total  # half a trial: what keeps the log odds finite
    left = logit(np.clip((hits.sum() - hits) / (total - counts), off, 1 - off))
    error = np.sqrt((patients - 1) / patients * ((left - left.mean()) ** 2).sum())
    half = float(stdtrit(patients - 1, (1 + level) / 2)) * error
    inner = logit(value) + np.array([-half, half])
    rare = min(value, 1 - value) * effective
    weight = 1 / (1 + (rare / 0.1) ** 2)
    low, high = expit((1 - weight) * inner + weight * logit(np.clip(outer, 1e-12, 1 - 1e-12)))
    alone = _wilson(value, total, level)
    return Estimate(value, min(float(low), alone[0]), max(float(high), alone[1]))


@dataclass(frozen=True)
class FoldSpread:
    """How much the trainings of a cross-validation differ; no interval.

    Attributes:
        mean: of the metric over folds.
        sd: their standard deviation (n − 1); NaN for a single fold.
        low, high: the least and the greatest.
        folds: how many.
    """

    mean: float
    sd: float
    low: float
    high: float
    folds: int

    def as_json(self) -> dict[str, object]:
        """By the attributes' names."""
        return {
            "mean": self.mean,
            "sd": finite(self.sd),
            "low": self.low,
            "high": self.high,
            "folds": self.folds,
        }


def fold_spread(values: ArrayLike) -> FoldSpread:
    """Mean, SD and range over folds.

    Mean ± t over folds, which papers print as a 95% interval, holds the truth in 29 to 53% where the
    folds are tested on one set of patients (docs/coverage.md): it is not given.

    >>> spread = fold_spread([0.81, 0.86, 0.79, 0.84, 0.88])
    >>> f"{spread.mean:.3f} ± {spread.sd:.3f}, {spread.low} to {spread.high}"
    '0.836 ± 0.036, 0.79 to 0.88'

    Args:
        values: (F,), a metric of each fold.

    Raises:
        EvaluationError: no fold, or one without a value.
    """
    folds = np.asarray(values, np.float64)
    if folds.ndim != 1 or not len(folds):
        raise EvaluationError("a spread over folds needs folds.")
    if not np.isfinite(folds).all():
        raise EvaluationError(f"fold {np.flatnonzero(~np.isfinite(folds))[0]} has no value.")
    sd = float(folds.std(ddof=1)) if len(folds) > 1 else float("nan")
    return FoldSpread(float(folds.mean()), sd, float(folds.min()), float(folds.max()), len(folds))


def _wilson(value: float, trials: float, level: float) -> tuple[float, float]:
    z2 = float(ndtri((1 + level) / 2)) ** 2
    centre = (value * trials + z2 / 2) / (trials + z2)
    half = np.sqrt(z2 * (value * (1 - value) * trials + z2 / 4)) / (trials + z2)
    # at 0 and 1 the limit is exact; rounding must not leave it a little off
    low = 0.0 if value == 0 else float(max(0.0, centre - half))
    high = 1.0 if value == 1 else float(min(1.0, centre + half))
    return low, high
