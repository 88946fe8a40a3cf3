"""What a threshold makes of scores: confusion, rates with intervals, Youden's threshold, patients.

An image is called high when its score is above the threshold; at 0.5 this is what the argmax of a
two-class softmax says.

Youden WJ. Index for rating diagnostic tests. Cancer 1950;3:32-35.
"""

from __future__ import annotations

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
    one_label_each,
    require_both_classes,
)
from mufnet_lightning.evaluation.statistics.intervals import Estimate, clustered_proportion, wilson
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.vocabulary import THRESHOLD


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold; high is the positive class."""

    tp: int
    fp: int
    fn: int
    tn: int

    def rates(self) -> dict[str, float]:
        """accuracy to npv, and f1; NaN where nothing is counted, as the PPV without a positive call."""
        return {name: float(value) for name, value in rates(self.tp, self.fp, self.fn, self.tn).items()}


@dataclass(frozen=True)
class Threshold:
    """Youden's threshold.

    Attributes:
        value: halfway between two neighbouring scores.
        sensitivity, specificity: on the scores that it was chosen on, so optimistic.
        note: says so when no threshold is better than chance.
    """

    value: float
    sensitivity: float
    specificity: float
    note: str = ""


@dataclass(frozen=True)
class PatientScores:
    """One row a patient, in order of appearance: names (P,), labels (P,), scores (K, P)."""

    patients: NDArray[np.generic]
    labels: Flags
    scores: Floats


def rates(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> dict[str, Floats]:
    """accuracy, sensitivity, specificity, ppv, npv and f1 from counts of any common shape.

    NaN where the denominator is 0.
    """
    tp, fp, fn, tn = (np.asarray(counts, np.float64) for counts in (tp, fp, fn, tn))
    parts = {
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }
    with np.errstate(invalid="ignore"):
        return {name: above / below for name, (above, below) in parts.items()}


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: ArrayLike = THRESHOLD) -> Confusion:
    """Counts of one arm, `labels` and `scores` (N,).

    A score above the threshold, one or (N,) one for each, calls it high.

    >>> confusion([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9])
    Confusion(tp=2, fp=1, fn=0, tn=1)
    """
    positive = as_labels(labels)
    return _confusion(positive, _one_arm(scores, positive) > np.asarray(threshold, np.float64))


def confusion_of(scores: Scores, arm: int = 0, threshold: float | Floats = THRESHOLD) -> Confusion:
    """`confusion` of one arm of scores that are checked already."""
    return _confusion(scores.labels, scores.scores[arm] > threshold)


def _confusion(positive: Flags, called: Flags) -> Confusion:
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    return Confusion(tp, fp, int(positive.sum()) - tp, int((~positive).sum()) - fp)


def rate_intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike | None = None,
    threshold: ArrayLike = THRESHOLD,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """accuracy, sensitivity, specificity, ppv and npv of one arm, each with its interval.

    >>> rates = rate_intervals([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], ["a", "b", "c", "c"])
    >>> rates["specificity"].value, rates["sensitivity"].note
    (0.5, 'A single patient: the interval is 0 to 1.')

    Args:
        labels, scores: (N,).
        patients: (N,), the patient of each image. With them the interval is one over patients
            (`clustered_proportion`); without, or with one image a patient, it is Wilson's.
        threshold: one, or (N,) one for each; a score above it calls the image high.
        level: coverage of the intervals, between 0 and 1.

    Returns:
        By name. A rate that counts nothing has the value NaN, the interval 0 to 1 and a note.
    """
    positive = as_labels(labels)
    called = _one_arm(scores, positive) > np.asarray(threshold, np.float64)
    codes = np.arange(len(positive)) if patients is None else as_codes(patients, len(positive))[0]
    return _rate_intervals(positive, called, codes, level)


def rates_of(
    scores: Scores, arm: int = 0, threshold: float | Floats = THRESHOLD, level: float = 0.95
) -> dict[str, Estimate]:
    """`rate_intervals` of one arm of scores that are checked already."""
    return _rate_intervals(scores.labels, scores.scores[arm] > threshold, scores.codes, level)


def _rate_intervals(positive: Flags, called: Flags, codes: Codes, level: float) -> dict[str, Estimate]:
    everything = np.ones(len(positive), bool)
    counted = {
        "accuracy": (called == positive, everything),
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "ppv": (positive, called),
        "npv": (~positive, ~called),
    }
    intervals = {}
    for name, (hit, within) in counted.items():
        if within.any():
            trials = np.bincount(codes[within])
            successes = np.bincount(codes[within], weights=hit[within])
            intervals[name] = clustered_proportion(successes, trials, level)
        else:
            intervals[name] = wilson(0, 0, level)
    return intervals


def youden_threshold(labels: ArrayLike, scores: ArrayLike) -> Threshold:
    """The threshold with the highest sensitivity + specificity − 1; for validation scores only.

    Candidates lie halfway between neighbouring distinct scores. Of several best ones, the nearest to
    0.5 is taken, then the lower. Where none is better than calling all images alike, it is 0.5.

    >>> youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]).value
    0.4

    Args:
        labels, scores: (N,), both classes.
    """
    positive = as_labels(labels)
    return _youden(positive, _one_arm(scores, positive))


def youden_of(scores: Scores, arm: int = 0) -> Threshold:
    """`youden_threshold` of one arm of scores that are checked already."""
    return _youden(scores.labels, scores.scores[arm])


def _youden(positive: Flags, scores: Floats) -> Threshold:
    require_both_classes(positive)
    values, place = np.unique(scores, return_inverse=True)
    high = np.bincount(place, weights=positive, minlength=len(values))
    low = np.bincount(place, weights=~positive, minlength=len(values))
    sensitivity = 1 - np.cumsum(high)[:-1] / high.sum()
    specificity = np.cumsum(low)[:-1] / low.sum()
    cuts = values[:-1] + np.diff(values) / 2
    index = sensitivity + specificity - 1
    best = np.flatnonzero(index >= np.max(index, initial=-1.0) - 1e-12)
    if not len(best) or index[best[0]] <= 1e-12:
        kept = _confusion(positive, scores > THRESHOLD).rates()
        note = f"No threshold is better than chance on these scores; {THRESHOLD} is kept."
        return Threshold(THRESHOLD, kept["sensitivity"], kept["specificity"], note)
    chosen = best[np.argmin(np.abs(cuts[best] - THRESHOLD))]
    return Threshold(float(cuts[chosen]), float(sensitivity[chosen]), float(specificity[chosen]))


def patient_scores(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> PatientScores:
    """The mean score of each patient's images.

    >>> patient_scores([0, 1, 1], [0.25, 0.5, 1.0], ["a", "b", "b"]).scores.tolist()
    [[0.25, 0.75]]

    Args:
        labels: (N,).
        scores: (N,) or (K, N).
        patients: (N,), the patient of each image.

    Raises:
        EvaluationError: a patient has images of both classes.
    """
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    codes, names = as_codes(patients, len(positive))
    label = one_label_each(positive, codes, names)
    count = np.bincount(codes)
    means = np.stack([np.bincount(codes, values) / count for values in arms])
    return PatientScores(names, label, means)


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates (T,) at every distinct score, from (0, 0) to (1, 1).

    >>> [rates.tolist() for rates in roc_curve([0, 1, 0, 1], [0.1, 0.4, 0.5, 0.9])]
    [[0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0]]

    Args:
        labels: (N,), both classes.
        scores: (N,).
    """
    positive = as_labels(labels)
    require_both_classes(positive)
    values, place = np.unique(-_one_arm(scores, positive), return_inverse=True)
    high = np.bincount(place, weights=positive, minlength=len(values)).cumsum()
    low = np.bincount(place, weights=~positive, minlength=len(values)).cumsum()
    return np.concatenate([[0], low / low[-1]]), np.concatenate([[0], high / high[-1]])


def _one_arm(scores: ArrayLike, positive: Flags) -> Floats:
    arms = as_scores(scores, len(positive))
    if len(arms) > 1:
        raise EvaluationError(f"this takes the scores of one arm, not of {len(arms)}.")
    return np.asarray(arms[0])
