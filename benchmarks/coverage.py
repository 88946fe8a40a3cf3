"""How often does each 95% interval hold the truth, and how often does each test find what is not there?

    python benchmarks/coverage.py [--repeats 1000] [--bootstraps 250] [--seed 0]

Simulates 100 patients, 26 of high grade, with 60 images each. A patient's images share half of their
variance: score = shift · label + √½ · patient + √½ · image, all normal. The image-level AUC is
Φ(shift / √2); that of the patients' means follows from their variance. A second arm has the same
AUC, with correlation ½ between the arms' patient and image effects, so every difference that a test
finds between the two is false. Prints a Markdown table: the share of intervals that hold the
truth (nominally 95%), their mean width, and the share of tests below 0.05 (nominally 5%).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import ttest_rel

from mufnet_lightning.evaluation.statistics.auc import auc_interval, compare_aucs, delong, obuchowski
from mufnet_lightning.evaluation.statistics.bootstrap import bootstrap_aucs
from mufnet_lightning.evaluation.statistics.intervals import mean_t
from mufnet_lightning.evaluation.statistics.rates import patient_scores, rate_intervals

PATIENTS, HIGH, IMAGES, FOLDS = 100, 26, 60, 5
SHARED = 0.5  # of the variance, between the images of a patient and between the arms
AUC = 0.845  # at image level


@dataclass(frozen=True)
class Result:
    """Of one method on one cohort: the truth, its interval, and whether its test is below 0.05."""

    method: str
    truth: float
    low: float
    high: float
    false_positive: bool | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=1000, help="simulated cohorts [1000]")
    parser.add_argument("--bootstraps", type=int, default=250, help="resamples of each [250]")
    parser.add_argument("--auc", type=float, default=AUC, help=f"at image level [{AUC}]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    by_method: dict[str, list[Result]] = defaultdict(list)
    for repeat in range(options.repeats):
        cohort = simulate(np.random.default_rng([options.seed, repeat]), shift_of(options.auc))
        for result in results(*cohort, options.auc, options.bootstraps, repeat):
            by_method[result.method].append(result)
    print(table(by_method))
    print(f"\n{options.repeats} cohorts, {time.perf_counter() - start:.0f} s.")


def simulate(
    rng: np.random.Generator, shift: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels (N,), scores (2, N), patients (N,) and folds (N,) of one cohort."""
    patients = np.repeat(np.arange(PATIENTS), IMAGES)
    labels = patients < HIGH
    cholesky = np.linalg.cholesky([[1, SHARED], [SHARED, 1]])
    effects = (cholesky @ rng.normal(size=(2, PATIENTS)))[:, patients]
    noise = cholesky @ rng.normal(size=(2, PATIENTS * IMAGES))
    scores = shift * labels + np.sqrt(SHARED) * effects + np.sqrt(1 - SHARED) * noise
    folds = np.concatenate([np.arange(HIGH), np.arange(PATIENTS - HIGH)]) % FOLDS  # stratified
    return labels, scores, patients, folds[patients]


def results(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    image_auc: float,
    bootstraps: int,
    seed: int,
) -> Iterator[Result]:
    shift = shift_of(image_auc)
    patient_auc = float(ndtr(shift / np.sqrt(2 * (SHARED + (1 - SHARED) / IMAGES))))
    naive, clustered = delong(labels, scores), obuchowski(labels, scores, patients)
    pooled = patient_scores(labels, scores, patients)
    by_patient = delong(pooled.labels, pooled.scores)
    for method, estimate, truth in (
        ("image, DeLong", naive, image_auc),
        ("image, Obuchowski", clustered, image_auc),
        ("patient, DeLong", by_patient, patient_auc),
    ):
        positive = compare_aucs(estimate, 0, 1).p < 0.05
        yield Result(f"AUC: {method}", truth, *auc_interval(estimate, 0), positive)
        if estimate is not naive:
            yield Result(f"AUC: {method}, logit", truth, *auc_interval(estimate, 0, scale="logit"))

    resampled = bootstrap_aucs(labels, scores, patients, bootstraps, seed)
    interval, difference = resampled.interval(0), resampled.difference(0, 1)
    positive = not difference.low <= 0 <= difference.high
    yield Result(
        "AUC: image, bootstrap over patients", image_auc, interval.low, interval.high, positive
    )

    aucs = np.stack(
        [delong(labels[folds == fold], scores[:, folds == fold]).aucs for fold in range(FOLDS)]
    )
    mean = mean_t(aucs[:, 0])
    positive = bool(ttest_rel(aucs[:, 0], aucs[:, 1]).pvalue < 0.05)
    yield Result("AUC: image, mean ± t over folds", image_auc, mean.low, mean.high, positive)

    # at the threshold where sensitivity and specificity are equal, by symmetry
    right = float(ndtr(shift / 2))
    for method, who in (("independent images", None), ("patients' design effect", patients)):
        rates = rate_intervals(labels, scores[0], who, threshold=shift / 2)
        for name in ("sensitivity", "specificity"):
            yield Result(f"{name}: Wilson, {method}", right, *rates[name].limits)


def shift_of(auc: float) -> float:
    return float(np.sqrt(2) * ndtri(auc))


def table(by_method: dict[str, list[Result]]) -> str:
    lines = [
        "| method | coverage of 95% intervals | mean width | false positives at 0.05 |",
        "|---|---|---|---|",
    ]
    for method, repeats in sorted(by_method.items(), key=lambda item: item[0].split(":")[0]):
        held = [result.low <= result.truth <= result.high for result in repeats]
        width = np.mean([result.high - result.low for result in repeats])
        positives = [result.false_positive for result in repeats if result.false_positive is not None]
        rate = f"{np.mean(positives):.1%}" if positives else ""
        lines.append(f"| {method} | {np.mean(held):.1%} | {width:.3f} | {rate} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
