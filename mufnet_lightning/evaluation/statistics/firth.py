"""A logistic line through labels, the slope by Firth's penalised likelihood, with profile intervals.

The penalty is half the logarithm of the determinant of Fisher's information, so that slope and
intercept are finite even where the classes are separated.

Firth D. Bias reduction of maximum likelihood estimates. Biometrika 1993;80:27-38.
Heinze G, Schemper M. A solution to the problem of separation in logistic regression. Stat Med
2002;21:2409-2419 (the intervals).
Puhr R, Heinze G, Nold M, Lusa L, Geroldinger A. Firth's logistic regression with rare events: accurate
effect estimates and predictions? Stat Med 2017;36:2302-2317 (the intercept of `fit_line`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import chdtri, expit

from mufnet_lightning.evaluation.statistics.checks import Flags, Floats
from mufnet_lightning.evaluation.statistics.intervals import Estimate

FLAT = 1e-6
"""A spread of values below which there is no slope."""


@dataclass(frozen=True)
class Line:
    """`logit(risk) = intercept + slope * x`."""

    intercept: float
    slope: float


def fit_line(values: Floats, positive: Flags, slope_sd: float = np.inf) -> Line:
    """Fit a line: the slope by Firth's likelihood, then the intercept that gives the mean risk the
    share of positives.

    Args:
        values: (N,), not all alike.
        positive: (N,), of both classes.
        slope_sd: of a normal prior of the slope around 0, in slopes per SD of the values; none unless
            given.
    """
    curve = _Curve(values, positive, slope_sd)
    slope = curve.best()[1] / curve.scale
    return Line(fit_intercept(slope * values, positive), slope)


def fit_intercept(offset: Floats, positive: Flags) -> float:
    """The intercept at which the mean of `expit(intercept + offset)` is the share of positives."""
    return _root(lambda a: float(np.sum(positive - expit(a + offset))), -float(np.mean(offset)))


def intercept_estimate(offset: Floats, positive: Flags, level: float = 0.95) -> Estimate:
    """The intercept beside a given offset (N,), with its profile interval; labels of both classes.

    By plain likelihood: it has one peak, at `fit_intercept`, and falls to both sides. The penalty of
    Firth's has several where risks are sharp, and is not needed: with both classes the intercept is
    finite.
    """

    def height(a: float) -> float:
        return _likelihood(a + offset, positive)

    value = fit_intercept(offset, positive)
    return Estimate(value, *_limits(height, value, height(value), level))


def slope_estimate(values: Floats, positive: Flags, level: float = 0.95) -> Estimate:
    """The slope of a line with its own intercept, with its profile interval; labels of both classes.

    Where the values are all alike it is not defined, and the note says so.
    """
    if np.ptp(values) < FLAT:
        return Estimate(np.nan, -np.inf, np.inf, "All risks are alike: there is no slope.")
    curve = _Curve(values, positive)
    best = curve.best()
    low, high = _limits(curve.profile, best[1], curve.height(best), level)
    return Estimate(best[1] / curve.scale, low / curve.scale, high / curve.scale)


class _Curve:
    """The penalised likelihood of intercept and slope over standardised values."""

    def __init__(self, values: Floats, positive: Flags, slope_sd: float = np.inf) -> None:
        self.scale = float(np.std(values))
        self.values = (values - values.mean()) / self.scale
        self.positive = positive
        self.slope_sd = slope_sd

    def best(self) -> tuple[float, float]:
        """Where it is highest."""
        answer = minimize(self._minus, np.zeros(2), method="BFGS", jac=True)
        return float(answer.x[0]), float(answer.x[1])

    def height(self, line: tuple[float, float]) -> float:
        return -self._minus(np.array(line))[0]

    def profile(self, slope: float) -> float:
        """Its height at the best intercept beside a slope."""
        intercept = _root(lambda a: -self._minus(np.array([a, slope]))[1][0], 0.0)
        return self.height((intercept, slope))

    def _minus(self, line: Floats) -> tuple[float, Floats]:
        """Minus the likelihood, and its gradient."""
        x, (intercept, slope) = self.values, line
        logits = intercept + slope * x
        risk = expit(logits)
        weight = risk * (1 - risk)
        s0, s1, s2 = float(weight.sum()), float(weight @ x), float(weight @ x**2)
        determinant = s0 * s2 - s1 * s1
        leverage = weight * (s2 - 2 * s1 * x + s0 * x**2) / max(determinant, 1e-300)
        rest = self.positive - risk + leverage * (0.5 - risk)
        height = _likelihood(logits, self.positive) + 0.5 * _log(determinant)
        height -= 0.5 * (slope / self.slope_sd) ** 2
        return -height, -np.array([rest.sum(), rest @ x - slope / self.slope_sd**2])


def _likelihood(logits: Floats, positive: Flags) -> float:
    return float(np.sum(positive * logits - np.logaddexp(0, logits)))


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-300)))


def _root(function: Callable[[float], float], start: float) -> float:
    """Of a function that falls from above 0 to below it."""
    step = 1.0
    while function(start - step) < 0:
        step *= 2
    low, step = start - step, 1.0
    while function(start + step) > 0:
        step *= 2
    return float(brentq(function, low, start + step, xtol=1e-10))


def _limits(
    height: Callable[[float], float], value: float, best: float, level: float
) -> tuple[float, float]:
    """Where a profile has fallen from its best as far as the level of a likelihood ratio allows."""
    depth = float(chdtri(1, 1 - level)) / 2

    def above(there: float) -> float:
        return height(there) - best + depth

    limits = []
    for side in (-1.0, 1.0):
        step = 0.5
        while above(value + side * step) > 0:
            step *= 2
        limits.append(float(brentq(above, value, value + side * step, xtol=1e-6)))
    return limits[0], limits[1]
