"""Bootstrap over patients, stratified by class: whole patients are drawn, with all their images.

A resample is a weight for each patient, how many times it was drawn, and every statistic is computed
from weights; no image is copied. Within each class the patients' weights follow a multinomial
distribution, so each resample has as many patients of a class as the sample. A patient with any
high image belongs to the high class.

Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall 1993, chapters 8 and 13.
Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 2007;69:369-390.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mufnet_lightning.evaluation.statistics.checks import (
    Codes,
    EvaluationError,
    Flags,
    Floats,
    as_codes,
    as_labels,
    as_scores,
    require_both_classes,
)
from mufnet_lightning.evaluation.statistics.intervals import Estimate
from mufnet_lightning.evaluation.statistics.rates import rates
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import THRESHOLD

REPLICATES = 2000
CHUNK = 1 << 20  # weights held at a time


@dataclass(frozen=True)
class AucBootstrap:
    """AUCs of K arms on B resamples; the arms share the resamples, so differences are paired.

    Attributes:
        aucs: (K,) of the sample itself.
        replicates: (K, B); NaN where a resample has no image of the low class, which can only
            happen where every low image belongs to a patient with high ones too.
        note: why the spread of the replicates is less than the truth, if it is known to be.
    """

    aucs: Floats
    replicates: Floats
    note: str

    def interval(self, arm: int = 0, level: float = 0.95) -> Estimate:
        """Percentile interval of one AUC."""
        return _percentile(float(self.aucs[arm]), self.replicates[arm], level, self.note)

    def difference(self, a: int, b: int, level: float = 0.95) -> Estimate:
        """Percentile interval of auc[a] − auc[b]."""
        value = float(self.aucs[a] - self.aucs[b])
        replicates = self.replicates[a] - self.replicates[b]
        return _percentile(value, replicates, level, self.note, lowest=-1.0)


def bootstrap_aucs(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> AucBootstrap:
    """AUCs of one or more arms on resampled patients.

    >>> labels, patients = [0, 0, 0, 1, 1, 1], ["a", "a", "b", "c", "c", "d"]
    >>> drawn = bootstrap_aucs(labels, [0.1, 0.4, 0.3, 0.2, 0.7, 0.9], patients, replicates=200)
    >>> drawn.interval().limits
    (0.5, 1.0)

    Time grows with replicates × images; memory does not grow with the replicates.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) or (K, N).
        patients: (N,), the patient of each image.
        replicates: how many resamples.
        seed: the same seed gives the same resamples, whatever the scores.

    Raises:
        EvaluationError: only one class, or arrays that do not fit each other.
    """
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    codes, names = as_codes(patients, len(positive))
    return _bootstrap_aucs(positive, arms, codes, len(names), replicates, seed)


def bootstrap_of(scores: Scores, replicates: int = REPLICATES, seed: int = 0) -> AucBootstrap:
    """`bootstrap_aucs` of scores that are checked already."""
    return _bootstrap_aucs(
        scores.labels, scores.scores, scores.codes, len(scores.patient_names), replicates, seed
    )


def _bootstrap_aucs(
    positive: Flags, arms: Floats, codes: Codes, patients: int, replicates: int, seed: int
) -> AucBootstrap:
    require_both_classes(positive)
    sorted_arms = [_Sorted.of(positive, values) for values in arms]
    resampled = np.empty((len(arms), replicates))
    done = 0
    for weights in draw_patients(positive, codes, patients, replicates, seed):
        for arm, ordered in enumerate(sorted_arms):
            resampled[arm, done : done + len(weights)] = ordered.auc(weights, codes)
        done += len(weights)
    one = np.ones((1, patients))
    aucs = np.concatenate([ordered.auc(one, codes) for ordered in sorted_arms])
    return AucBootstrap(aucs, resampled, _warning(positive, codes, patients))


def bootstrap_rates(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    threshold: float = THRESHOLD,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """accuracy, sensitivity, specificity, ppv, npv and f1 of one arm, with percentile intervals.

    Every resample has the sample's own share of high patients: the intervals of ppv and npv are those
    at this share, and narrower than where it varies too, as in `rate_intervals`.

    Args:
        labels, scores, patients: (N,).
        threshold: a score above it calls the image high.
        replicates, seed: as for `bootstrap_aucs`.
        level: coverage of the intervals, between 0 and 1.
    """
    positive = as_labels(labels)
    (values,) = as_scores(scores, len(positive))
    codes, names = as_codes(patients, len(positive))
    called = values > threshold
    cells = (positive & called, ~positive & called, positive & ~called, ~positive & ~called)
    counts = np.stack([np.bincount(codes[cell], minlength=len(names)) for cell in cells], axis=1)
    drawn = [
        weights @ counts for weights in draw_patients(positive, codes, len(names), replicates, seed)
    ]
    resampled = rates(*np.concatenate(drawn).T)
    note = _warning(positive, codes, len(names))
    return {
        name: _percentile(float(value), resampled[name], level, note)
        for name, value in rates(*counts.sum(axis=0)).items()
    }


def draw_patients(
    positive: Flags, codes: Codes, patients: int, replicates: int, seed: int
) -> Iterator[Floats]:
    """Chunks (C, P) of the patients' weights, `replicates` rows in all.

    The patients of each class have a random stream of their own, so the rows are the same
    whatever the size of a chunk.
    """
    if replicates < 1:
        raise EvaluationError(f"a bootstrap needs at least one replicate, not {replicates}.")
    any_high = np.bincount(codes, weights=positive, minlength=patients) > 0
    strata = [np.flatnonzero(any_high), np.flatnonzero(~any_high)]
    streams = [np.random.default_rng([seed, number]) for number in range(len(strata))]
    chunk = max(1, CHUNK // len(codes))
    for start in range(0, replicates, chunk):
        weights = np.empty((min(chunk, replicates - start), patients))
        for members, stream in zip(strata, streams, strict=True):
            if len(members):
                shares = np.full(len(members), 1 / len(members))
                weights[:, members] = stream.multinomial(len(members), shares, size=len(weights))
        yield weights


def weighted_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> Floats:
    """AUC of one arm under each of B sets of weights; ties count half.

    Args:
        labels, scores: (N,).
        weights: (B, N), none negative.

    Returns:
        (B,); NaN where a class weighs nothing.
    """
    positive = as_labels(labels)
    (values,) = as_scores(scores, len(positive))
    return _Sorted.of(positive, values).auc(np.asarray(weights, np.float64), np.arange(len(values)))


@dataclass(frozen=True)
class _Sorted:
    """An arm's images in the order of their scores, sorted once for all resamples.

    Attributes:
        order: (N,), image numbers by rising score.
        high: (N,) labels in that order.
        starts: where each distinct score begins, or None where no two scores are equal.
    """

    order: Codes
    high: Flags
    starts: NDArray[np.intp] | None

    @classmethod
    def of(cls, positive: Flags, scores: Floats) -> _Sorted:
        order = np.argsort(scores, kind="stable")
        starts = np.concatenate([[0], np.flatnonzero(np.diff(scores[order])) + 1])
        return cls(order, positive[order], starts if len(starts) < len(scores) else None)

    def auc(self, weights: Floats, codes: Codes) -> Floats:
        """(B,) from weights of the patients (B, P)."""
        images = weights[:, codes[self.order]]
        high = images * self.high
        low = images - high
        if self.starts is not None:
            high = np.add.reduceat(high, self.starts, axis=1)
            low = np.add.reduceat(low, self.starts, axis=1)
        below = np.cumsum(low, axis=1)
        total = high.sum(axis=1) * below[:, -1]
        below -= low / 2  # ties count half
        with np.errstate(invalid="ignore"):
            return np.asarray(np.einsum("bn,bn->b", high, below) / total)


def _percentile(
    value: float, replicates: Floats, level: float, note: str, lowest: float = 0.0
) -> Estimate:
    known = replicates[np.isfinite(replicates)]
    if not len(known) or not np.isfinite(value):
        return Estimate(value, lowest, 1.0, "Not defined here: the interval is all that is possible.")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    if len(known) < len(replicates):
        left = f"Not defined on {len(replicates) - len(known)} of {len(replicates)} resamples."
        note = f"{note} {left}".strip()
    if low == high and not note:
        note = "All resamples have the same value: an interval without width is no certainty."
    return Estimate(value, float(low), float(high), note)


def _warning(positive: Flags, codes: Codes, patients: int) -> str:
    with_high = np.bincount(codes, weights=positive, minlength=patients) > 0
    if with_high.sum() > 1 and (~with_high).sum() != 1:
        return ""
    return "A class has a single patient, which every resample repeats: the interval is too narrow."
