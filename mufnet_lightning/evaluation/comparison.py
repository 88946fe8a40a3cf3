"""Arms side by side: Table 2 and the paired tests, as `mufnet compare --format json` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.statistics.auc import (
    AucEstimate,
    Method,
    auc_interval,
    compare_aucs,
    delong,
    obuchowski,
)
from mufnet_lightning.evaluation.statistics.checks import (
    EvaluationError,
    Floats,
    as_codes,
    as_labels,
    as_scores,
    one_label_each,
)
from mufnet_lightning.evaluation.statistics.intervals import Estimate
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.rates import patient_scores, rate_intervals

Level = Literal["image", "patient"]
DEFAULT_METHOD: dict[Level, Method] = {"image": "obuchowski", "patient": "delong"}


def compare_arms(
    names: Sequence[str],
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    level: Level = "image",
    method: Method | None = None,
    thresholds: ArrayLike = 0.5,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """AUC, rates and paired tests of K arms on the same images.

    The intervals of accuracy to npv are Wilson's: plain at patient level, with the design effect of the
    patients at image level, whatever the method of the AUC.

    Args:
        names: (K,) of the arms, no two alike.
        labels: (N,) of 0 and 1; the images of a patient share one label.
        scores: (K, N).
        patients: (N,), the patient of each image.
        level: `patient` takes the mean score of each patient's images.
        method: of the AUC's variance; obuchowski at image level and delong at patient level
            unless told. DeLong at image level takes correlated images for independent ones.
        thresholds: for all arms, (K,) one for each, or (K, N) one for each score, alike on a
            patient's images; a score above it is called high.
        confidence: coverage of all intervals, between 0 and 1.

    Returns:
        `arms`: for each `name`, `images`, `patients`, `auc`, `auc_ci`, `auc_variance`, and `accuracy`,
        `sensitivity`, `specificity`, `ppv`, `npv`, each `{"value", "ci"}`; also `threshold` (a list
        where there are several) and `notes`. `tests`: for each pair `a`, `b`, `auc_difference`,
        `covariance`, `z`, `p`; also `auc_difference_ci`, `p_holm` and `notes`. `level`, `method`,
        `confidence`. Fit for JSON: what is undefined or infinite is None, and a note says why.

    Raises:
        EvaluationError: one class only, a patient with two labels, or arrays that do not fit.
    """
    positive = as_labels(labels)
    arms = as_scores(scores, len(positive))
    codes, _ = as_codes(patients, len(positive))
    cuts = np.asarray(thresholds, np.float64)
    cuts = cuts[:, None] if cuts.ndim == 1 else cuts
    if len(names) != len(arms) or cuts.shape not in ((), (len(arms), 1), arms.shape):
        raise EvaluationError(
            f"{len(names)} names and thresholds of the shape {np.shape(thresholds)} do not fit "
            f"{len(arms)} arms."
        )
    cuts = np.broadcast_to(cuts, arms.shape)
    if len(set(names)) < len(names):
        raise EvaluationError("two arms have the same name.")
    images, number = len(positive), int(codes.max()) + 1
    if level == "patient":
        pooled = patient_scores(positive, arms, patients)
        cuts = patient_scores(positive, cuts, patients).scores
        positive, arms, codes = pooled.labels, pooled.scores, np.arange(number)
    else:
        one_label_each(positive, *as_codes(patients, len(positive)))
    method = method or DEFAULT_METHOD[level]
    estimate = delong(positive, arms) if method == "delong" else obuchowski(positive, arms, codes)
    rows = []
    for arm, name in enumerate(names):
        rates = rate_intervals(positive, arms[arm], codes, cuts[arm], confidence)
        notes = [
            estimate.notes[arm],
            *(f"{rate}: {found.note}" for rate, found in rates.items() if found.note),
        ]
        rows.append(
            {
                "name": name,
                "images": images,
                "patients": number,
                "auc": float(estimate.aucs[arm]),
                "auc_ci": list(auc_interval(estimate, arm, confidence)),
                "auc_variance": _finite(float(estimate.covariance[arm, arm])),
                **{rate: _entry(found) for rate, found in rates.items()},
                "threshold": _threshold(cuts[arm]),
                "notes": [note for note in notes if note],
            }
        )
    return {
        "arms": rows,
        "tests": _tests(names, estimate, confidence),
        "level": level,
        "method": method,
        "confidence": confidence,
    }


def _threshold(cuts: Floats) -> float | list[float]:
    distinct = np.unique(cuts.round(12)).tolist()
    return distinct[0] if len(distinct) == 1 else distinct


def _tests(names: Sequence[str], estimate: AucEstimate, confidence: float) -> list[dict[str, Any]]:
    pairs = list(combinations(range(len(names)), 2))
    tests = [compare_aucs(estimate, a, b, confidence) for a, b in pairs]
    adjusted = holm([test.p for test in tests])
    return [
        {
            "a": names[a],
            "b": names[b],
            "auc_difference": test.auc_difference,
            "auc_difference_ci": [test.low, test.high],
            "covariance": _finite(test.covariance),
            "z": _finite(test.z),
            "p": test.p,
            "p_holm": float(p),
            "notes": [test.note] if test.note else [],
        }
        for (a, b), test, p in zip(pairs, tests, adjusted, strict=True)
    ]


def _entry(estimate: Estimate) -> dict[str, Any]:
    return {"value": _finite(estimate.value), "ci": [estimate.low, estimate.high]}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
