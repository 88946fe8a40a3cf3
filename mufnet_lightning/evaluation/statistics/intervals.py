"""Intervals of proportions and of means over folds.

Wilson EB. Probable inference, the law of succession, and statistical inference. JASA 1927;22:209-212.
Rao JNK, Scott AJ. A simple method for the analysis of clustered binary data. Biometrics
1992;48:577-585.
Korn EL, Graubard BI. Confidence intervals for proportions with small expected number of positive counts
estimated from survey data. Survey Methodology 1998;24:193-201.
Dean N, Pagano M. Evaluating confidence interval methods for binomial proportions in clustered surveys.
Journal of Survey Statistics and Methodology 2015;3:484-503.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

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


def wilson_clustered(successes: ArrayLike, trials: ArrayLike, level: float = 0.95) -> Estimate:
    """Proportion of trials that are correlated inside a patient, with Wilson's interval.

    The proportion is the ratio Σ successes / Σ trials over patients. Its variance between patients,
    divided by that of independent trials, is the design effect (Rao & Scott 1992); Wilson's
    interval is taken at the number of trials over the design effect, made smaller still for the
    degrees of freedom of few patients (Korn & Graubard 1998; with Wilson: Dean & Pagano 2015). The
    effective number is never above the real one. Where all trials have one outcome, no
    correlation can be seen, and each patient counts as a single trial.

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
    if value in (0, 1):
        low, high = _wilson(value, patients, level)
        return Estimate(value, low, high, "One outcome only: each patient counts as one trial.")
    variance = patients / (patients - 1) * ((hits - value * counts) ** 2).sum() / total**2
    independent = value * (1 - value) / total
    tail = (1 + level) / 2
    few = (stdtrit(total - 1, tail) / stdtrit(patients - 1, tail)) ** 2
    effective = min(total, few * total * independent / variance) if variance > 0 else total
    low, high = _wilson(value, effective, level)
    return Estimate(value, low, high)


def mean_t(
    values: ArrayLike, level: float = 0.95, limits: tuple[float, float] | None = (0.0, 1.0)
) -> Estimate:
    """Mean over F folds ± t(F − 1) · SD / √F, the interval of the paper's Table 2.

    The folds' training sets overlap, so their results are not independent and the interval's
    coverage is not known (Bengio Y, Grandvalet Y. No unbiased estimator of the variance of K-fold
    cross-validation. JMLR 2004;5:1089-1105).

    >>> interval = mean_t([0.81, 0.86, 0.79, 0.84, 0.88])
    >>> f"{interval.value:.3f} ({interval.low:.3f}, {interval.high:.3f})"
    '0.836 (0.791, 0.881)'

    Args:
        values: (F,), a metric of each fold.
        level: coverage, between 0 and 1.
        limits: what the metric cannot leave; the interval is cut there.

    Raises:
        EvaluationError: fewer than two folds, or a fold without a value.
    """
    folds = np.asarray(values, np.float64)
    if folds.ndim != 1 or len(folds) < 2:
        raise EvaluationError(f"an interval over folds needs at least two of them, not {folds.size}.")
    if not np.isfinite(folds).all():
        raise EvaluationError(f"fold {np.flatnonzero(~np.isfinite(folds))[0]} has no value.")
    mean = float(folds.mean())
    half = float(stdtrit(len(folds) - 1, (1 + level) / 2) * folds.std(ddof=1) / np.sqrt(len(folds)))
    low, high = mean - half, mean + half
    if limits is not None:
        low, high = max(limits[0], low), min(limits[1], high)
    note = "" if half else "All folds have the same value: the interval has no width."
    return Estimate(mean, low, high, note)


def _wilson(value: float, trials: float, level: float) -> tuple[float, float]:
    z2 = float(ndtri((1 + level) / 2)) ** 2
    centre = (value * trials + z2 / 2) / (trials + z2)
    half = np.sqrt(z2 * (value * (1 - value) * trials + z2 / 4)) / (trials + z2)
    # at 0 and 1 the limit is exact; rounding must not leave it a little off
    low = 0.0 if value == 0 else float(max(0.0, centre - half))
    high = 1.0 if value == 1 else float(min(1.0, centre + half))
    return low, high
