"""Arms side by side: Table 2 and the paired tests, as `mufnet compare --format json` prints them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.results import ArmComparison, ArmResult, PairResult
from mufnet_lightning.evaluation.statistics.auc import AucEstimate, PairedTest, auc_estimate
from mufnet_lightning.evaluation.statistics.auc_intervals import OUT_OF_FOLD, auc_limits
from mufnet_lightning.evaluation.statistics.checks import EvaluationError, Floats
from mufnet_lightning.evaluation.statistics.differences import auc_difference
from mufnet_lightning.evaluation.statistics.intervals import Estimate
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.paired_rates import RateDifference, rate_differences
from mufnet_lightning.evaluation.statistics.power import power_of
from mufnet_lightning.evaluation.statistics.rates import rates_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.vocabulary import (
    CHOSEN_HERE,
    EFFECT,
    PAIRED_RATES,
    THRESHOLD,
    IntervalRule,
    Level,
    Method,
)

DEFAULT_METHOD: dict[Level, Method] = {"image": "obuchowski", "patient": "delong"}
POOLED = (
    "Pooled out of folds: the scores of the folds' models are not on one scale, so the AUC is a "
    "little lower than the mean of the folds' own (by 0.003 to 0.03 in simulations)"
)
POOLED_INTERVALS: dict[IntervalRule, str] = {
    "small-sample": f"its interval allows for it and takes {OUT_OF_FOLD:g} times the variance",
    "plain": "the plain interval does not allow for it, nor for how much the folds' models differ, and "
    "holds the truth too seldom",
}
CHOSEN_NOTE = (
    f"{CHOSEN_HERE}: these patients chose the epoch, so the numbers flatter and carry no interval"
)


def compare_arms(
    scores: Scores,
    level: Level = "image",
    method: Method | None = None,
    thresholds: ArrayLike = THRESHOLD,
    confidence: float = 0.95,
    *,
    intervals: IntervalRule = "small-sample",
    margin: float | None = None,
    effect: float = EFFECT,
    chosen: Collection[str] = (),
    planned: Sequence[tuple[str, str]] | None = None,
    waiting: int = 0,
) -> ArmComparison:
    """AUC, rates and paired tests of K arms on the same images.

    The intervals of accuracy to npv are Wilson's at patient level, and over patients at image level
    (`clustered_proportion`), whatever the method of the AUC.

    >>> labels, patients = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "c", "d"]
    >>> arms = [[0.1, 0.4, 0.3, 0.2, 0.7, 0.9], [0.5, 0.4, 0.3, 0.2, 0.7, 0.6]]
    >>> result = compare_arms(Scores.of(labels, arms, patients, ["fused", "ceus"]))
    >>> [(arm.name, round(arm.auc, 3), arm.rates["sensitivity"].value) for arm in result.arms]
    [('fused', 0.778, 0.6666666666666666), ('ceus', 0.667, 0.6666666666666666)]
    >>> result.method, round(result.tests[0].p, 3)
    ('obuchowski', 0.519)

    Args:
        scores: of the arms.
        level: `patient` takes the mean score of each patient's images.
        method: of the AUC's variance; obuchowski at image level and delong at patient level
            unless given. DeLong at image level takes correlated images for independent ones.
        thresholds: for all arms, (K,) one for each, or (K, N) one for each score, alike on a
            patient's images; a score above it is called high.
        confidence: coverage of all intervals, between 0 and 1.
        intervals: of the AUCs, see `auc_limits`.
        margin: of non-inferiority, a difference of AUCs above 0; without, it is not judged.
        effect: the difference of AUCs that each test's power is given for.
        chosen: names of arms whose epoch these very patients chose: such an arm has no interval, and
            none of its pairs a test.
        planned: the pairs of names that are tested, as it was laid down before the scores were seen;
            Holm's correction is over these. Each two unless given.
        waiting: further tests, of arms that have no scores yet: Holm's correction counts each as one
            that shows nothing, so that a corrected p only gets smaller when it is made.

    Raises:
        EvaluationError: one class only, or thresholds, a margin or planned pairs that do not fit.
    """
    if margin is not None and not 0 < margin < 0.5:
        raise EvaluationError(f"a margin of {margin} is asked for, expected one from 0 to 0.5.")
    cuts = np.asarray(thresholds, np.float64)
    cuts = cuts[:, None] if cuts.ndim == 1 else cuts
    arms, images = scores.scores.shape
    if cuts.shape not in ((), (arms, 1), (arms, images)):
        raise EvaluationError(
            f"thresholds of the shape {np.shape(thresholds)} do not fit {arms} arms of {images} images."
        )
    cuts = np.broadcast_to(cuts, scores.scores.shape)
    if level == "patient":
        cuts = scores.over_patients(cuts)
    method = method or DEFAULT_METHOD[level]
    counted = scores.at(level)
    estimate = auc_estimate(counted, method)
    rows = []
    for arm, name in enumerate(scores.names):
        rates = rates_of(counted, arm, cuts[arm], confidence)
        limits = auc_limits(counted, arm, confidence, method=method, rule=intervals, estimate=estimate)
        here = name in chosen
        if here:
            limits = np.nan, np.nan
            rates = {rate: _without_interval(value) for rate, value in rates.items()}
        pooled = POOLED if here else f"{POOLED}; {POOLED_INTERVALS[intervals]}"
        notes = [
            "" if here else estimate.notes[arm],
            f"{pooled}." if scores.is_out_of_fold(arm) else "",
            *(f"{rate}: {value.note}" for rate, value in rates.items() if value.note),
            CHOSEN_NOTE if here else "",
        ]
        rows.append(
            ArmResult(
                name,
                images,
                len(scores.patient_names),
                float(estimate.aucs[arm]),
                limits,
                float(estimate.covariance[arm, arm]),
                rates,
                _threshold(cuts[arm]),
                tuple(note for note in notes if note),
                chosen=here,
            )
        )
    plain = intervals == "plain"
    pairs = _pairs(scores.names, planned)
    tests = _tests(counted, estimate, cuts, rows, pairs, plain, margin, effect, confidence, waiting)
    return ArmComparison(
        tuple(rows), tests, level, method, confidence, intervals, margin, planned is not None
    )


def _pairs(names: Sequence[str], planned: Sequence[tuple[str, str]] | None) -> list[tuple[int, int]]:
    """The places of the arms that are tested against each other."""
    if planned is None:
        return list(combinations(range(len(names)), 2))
    places = {name: place for place, name in enumerate(names)}
    seen = set[frozenset[str]]()
    for pair in planned:
        strange = [name for name in pair if name not in places]
        if strange:
            raise EvaluationError(
                f"a test of {' and '.join(pair)} is planned, but there is no arm {strange[0]} "
                f"(there are {', '.join(names)})."
            )
        if len(set(pair)) < 2 or frozenset(pair) in seen:
            why = "twice" if len(set(pair)) == 2 else "of one arm"
            raise EvaluationError(f"a test of {' and '.join(pair)} is planned {why}.")
        seen.add(frozenset(pair))
    return [(places[a], places[b]) for a, b in planned]


def _threshold(cuts: Floats) -> float | tuple[float, ...]:
    distinct = np.unique(cuts.round(12)).tolist()
    return float(distinct[0]) if len(distinct) == 1 else tuple(distinct)


def _tests(
    scores: Scores,
    estimate: AucEstimate,
    cuts: Floats,
    arms: list[ArmResult],
    pairs: list[tuple[int, int]],
    plain: bool,
    margin: float | None,
    effect: float,
    confidence: float,
    waiting: int,
) -> tuple[PairResult, ...]:
    here = [arms[a].chosen or arms[b].chosen for a, b in pairs]
    tests = [
        _untested(estimate, arms, pair)
        if chosen
        else auc_difference(
            scores,
            estimate,
            pair,
            None if plain else (arms[pair[0]].auc_ci, arms[pair[1]].auc_ci),
            confidence,
        )
        for pair, chosen in zip(pairs, here, strict=True)
    ]
    adjusted = _holm([test.p for test in tests], waiting)
    rates: list[Mapping[str, RateDifference]] = []
    powers: list[float] = []
    with progress_bar("paired tests", len(pairs)) as advance:
        for (a, b), test, chosen in zip(pairs, tests, here, strict=True):
            pooled = scores.is_out_of_fold(a) or scores.is_out_of_fold(b)
            differences = {} if pooled else rate_differences(scores, (a, b), (cuts[a], cuts[b]))
            rates.append(
                {
                    name: replace(rate, p=np.nan) if chosen else rate
                    for name, rate in differences.items()
                }
            )
            powers.append(np.nan if chosen else power_of(scores, (a, b), test, effect))
            advance()
    adjusted_rates = {
        name: _holm([rate[name].p if rate else np.nan for rate in rates], waiting)
        for name in PAIRED_RATES
    }
    return tuple(
        PairResult(
            arms[a].name,
            arms[b].name,
            test.auc_difference,
            (test.low, test.high),
            test.covariance,
            test.z,
            test.p,
            float(adjusted[number]),
            (test.note,) if test.note else (),
            test.freedom,
            powers[number],
            effect,
            rates[number],
            {name: float(adjusted_rates[name][number]) for name in rates[number]},
            None if margin is None or not np.isfinite(test.low) else bool(test.low > -margin),
            chosen,
        )
        for number, ((a, b), test, chosen) in enumerate(zip(pairs, tests, here, strict=True))
    )


def _untested(estimate: AucEstimate, arms: list[ArmResult], pair: tuple[int, int]) -> PairedTest:
    """Of two arms one of which these patients chose."""
    a, b = pair
    names = " and ".join(arms[arm].name for arm in pair if arms[arm].chosen)
    why = f"{CHOSEN_HERE}: these patients chose the epoch of {names}, so nothing is tested"
    difference, covariance = estimate.aucs[a] - estimate.aucs[b], estimate.covariance[a, b]
    nan = float("nan")
    return PairedTest(float(difference), float(covariance), nan, nan, nan, nan, why)


def _without_interval(rate: Estimate) -> Estimate:
    """A note is kept where it says why the value is not defined; others are of the interval."""
    nan = float("nan")
    return Estimate(rate.value, nan, nan, rate.note if np.isnan(rate.value) else "")


def _holm(p_values: list[float], waiting: int) -> Floats:
    """Over the tests that were made, and those still to be made; NaN stays NaN."""
    p = np.array(p_values, np.float64)
    made = np.isfinite(p)
    p[made] = holm(np.append(p[made], np.ones(waiting)))[: made.sum()]
    return p
