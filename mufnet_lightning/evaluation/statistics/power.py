"""What a comparison of a given size can find out: simulated, since formulas mislead at few patients.

Scores are normal within each class, with the AUC that is asked for; two arms' scores are correlated.
Each simulated study is judged by the test and the intervals that `mufnet compare` prints over patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from mufnet_lightning.evaluation.statistics.auc import PairedTest
from mufnet_lightning.evaluation.statistics.auc_intervals import independent_limits
from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.differences import CERTAIN
from mufnet_lightning.evaluation.statistics.scores import Scores

SIGNIFICANT = 0.05
MOST_PAIRS = 30_000
"""High times low patients up to which a printed test's power is simulated; above, the normal
approximation is as good."""
MOST_SCORES = 16_000_000
"""Scores that are drawn for one planned size, some five seconds; of larger sizes fewer studies are."""
LEAST_STUDIES = 10


@dataclass(frozen=True)
class PlannedSize:
    """What studies of one size would show.

    Attributes:
        high, low: patients of each class.
        widths: mean width of the 95% interval of each arm's AUC; none for a power alone.
        power: share of studies whose paired test of the AUCs is below 0.05; NaN for one arm.
        repeats: simulated studies.
        approximated: whether the studies were too few to count how many of them are below 0.05: the
            power is then that of the normal approximation at their mean standard error.
    """

    high: int
    low: int
    widths: tuple[float, ...]
    power: float
    repeats: int
    approximated: bool = False

    def as_json(self) -> dict[str, object]:
        """By the attributes' names."""
        power = None if np.isnan(self.power) else self.power
        return {
            "high": self.high,
            "low": self.low,
            "widths": [*self.widths],
            "power": power,
            "repeats": self.repeats,
            "approximated": self.approximated,
        }


def planned_size(
    high: int,
    low: int,
    aucs: tuple[float, ...],
    correlation: float = 0.5,
    repeats: int = 2000,
    seed: int = 0,
    widths: bool = True,
) -> PlannedSize:
    """Simulate studies of one or two arms over patients.

    >>> planned_size(5, 15, (0.838, 0.909), repeats=500, widths=False).power < 0.1
    True

    Args:
        high, low: patients of each class, two at least.
        aucs: of one arm or of two, each between 0 and 1.
        correlation: of the two arms' scores within a class, from 0 to below 1.
        repeats: simulated studies; fewer where more than `MOST_SCORES` scores would be drawn, and the
            power is then approximated.
        seed: the same seed gives the same studies.
        widths: whether the intervals' widths are wanted.

    Raises:
        EvaluationError: a number that cannot be.
    """
    _check(high, low, aucs, correlation)
    rng = np.random.default_rng([seed, high, low])
    root = np.linalg.cholesky([[1.0, correlation], [correlation, 1.0]])[: len(aucs), : len(aucs)]
    shift = np.sqrt(2) * ndtri(np.array(aucs))
    detected, width, errors, done = 0, np.zeros(len(aucs)), 0.0, 0
    affordable = max(LEAST_STUDIES, MOST_SCORES // (len(aucs) * (high + low)))
    approximated = affordable < repeats
    repeats = min(repeats, affordable)
    chunk = max(1, 1_000_000 // (high + low))
    while done < repeats:
        count = min(chunk, repeats - done)
        drawn = root @ rng.standard_normal((count, len(aucs), high + low))
        drawn[:, :, :high] += shift[:, None]
        values, placed_high, placed_low = _placed(drawn, high)
        spread = placed_high.var(axis=2, ddof=1) / high + placed_low.var(axis=2, ddof=1) / low
        if widths:
            for auc, variance in zip(values, spread, strict=True):
                limits = [
                    independent_limits(*one, high, low) for one in zip(auc, variance, strict=True)
                ]
                width += [upper - lower for lower, upper in limits]
        if len(aucs) == 2:
            error = np.sqrt(
                np.diff(placed_high, axis=1)[:, 0].var(axis=1, ddof=1) / high
                + np.diff(placed_low, axis=1)[:, 0].var(axis=1, ddof=1) / low
            )
            errors += float(error.sum())
            difference = values[:, 0] - values[:, 1]
            tested = error > CERTAIN  # as `auc_difference` does
            shown = tested & (np.abs(difference) > ndtri(1 - SIGNIFICANT / 2) * error)
            detected += int(shown.sum())
        done += count
    power = float("nan")
    if len(aucs) == 2:
        power = _normal(aucs[0] - aucs[1], errors / repeats) if approximated else detected / repeats
    mean = tuple(float(value) for value in width / repeats) if widths else ()
    return PlannedSize(high, low, mean, power, repeats, approximated)


def power_of(scores: Scores, pair: tuple[int, int], test: PairedTest, effect: float) -> float:
    """The chance that a test like the one done finds a true difference of `effect` in AUC.

    It does not depend on the difference that was seen. It is simulated, at the number of patients, the
    mean of both AUCs and the correlation of both arms' scores; at many patients it is approximated from
    the standard error. NaN over images and over folds, where an approximation promises too much, and
    where no test was made.

    Args:
        scores: that were tested.
        pair: which of the arms.
        test: of them.
        effect: a difference of AUCs above 0 and below 0.5.
    """
    if not 0 < effect < 0.5:
        raise EvaluationError(f"a difference of {effect} is asked for, expected one from 0 to 0.5.")
    over_patients = len(scores.patient_names) == len(scores.labels)
    high = int(scores.labels.sum())
    low = len(scores.labels) - high
    if np.isnan(test.p) or test.freedom is not None or not over_patients or min(high, low) < 2:
        return float("nan")
    if high * low > MOST_PAIRS:
        return _normal(effect, test.error) if 0 < test.error < np.inf else float("nan")
    middle = float(np.clip(_mean_auc(scores, pair), 0.5 + effect / 2, 0.995 - effect / 2))
    aucs = (middle + effect / 2, middle - effect / 2)
    return planned_size(high, low, aucs, _correlation(scores, pair), 1000, widths=False).power


def _normal(effect: float, error: float) -> float:
    reach = ndtri(1 - SIGNIFICANT / 2)
    return float(ndtr(effect / error - reach) + ndtr(-effect / error - reach))


def _placed(drawn: Floats, high: int) -> tuple[Floats, Floats, Floats]:
    """AUCs (R, K) and placements (R, K, high), (R, K, low), of scores (R, K, N) without ties."""
    order = np.argsort(drawn, axis=2)
    is_high = order < high
    low_below = np.cumsum(~is_high, axis=2)
    high_above = high - np.cumsum(is_high, axis=2)
    low = drawn.shape[2] - high
    placed = np.empty(drawn.shape)
    np.put_along_axis(placed, order, np.where(is_high, low_below / low, high_above / high), axis=2)
    return placed[:, :, :high].mean(axis=2), placed[:, :, :high], placed[:, :, high:]


def _mean_auc(scores: Scores, pair: tuple[int, int]) -> float:
    high, low = (scores.scores[:, chosen] for chosen in (scores.labels, ~scores.labels))
    above = high[list(pair), :, None] - low[list(pair), None, :]
    return float((np.sign(above) / 2 + 0.5).mean())


def _correlation(scores: Scores, pair: tuple[int, int]) -> float:
    """Of both arms' normal scores within a class, mean of the classes; from 0 to 0.98."""
    values = []
    for chosen in (scores.labels, ~scores.labels):
        count = int(chosen.sum())
        normal = [ndtri(rankdata(scores.scores[arm, chosen]) / (count + 1)) for arm in pair]
        if count > 2 and all(one.std() > 0 for one in normal):
            values.append((float(np.corrcoef(*normal)[0, 1]), count))
    if not values:
        return 0.5
    mean = np.average([value for value, _ in values], weights=[count for _, count in values])
    return float(np.clip(mean, 0, 0.98))


def _check(high: int, low: int, aucs: tuple[float, ...], correlation: float) -> None:
    if min(high, low) < 2:
        raise EvaluationError(
            f"{high} high and {low} low patients: expected two or more of each class."
        )
    if len(aucs) not in (1, 2) or not all(0 < auc < 1 for auc in aucs):
        raise EvaluationError("one AUC or two are expected, each between 0 and 1.")
    if not 0 <= correlation < 1:
        raise EvaluationError(f"a correlation of {correlation} is asked for, expected 0 to below 1.")
