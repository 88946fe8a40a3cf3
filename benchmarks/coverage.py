"""How often does each printed 95% interval hold the truth, and how often does each test err?

    python benchmarks/coverage.py [--studies 2000] [--seed 0] [--tables over_patients ...]

Simulates studies at the sizes that users have: 5 patients of high and 15 of low grade (the paper's test
cohort), 13 and 19, 26 and 74; AUCs from 0.75 to 0.97; images of which a patient's share 0.2 to 0.8 of
their variance, in clips of unequal length. Scores are normal within a class: an AUC knows their order
alone. Where folds are the topic, a model (a regularised linear discriminant) is fitted in each anew.
Every interval and test is that of the package, called as `mufnet compare` calls it. Prints the tables
of docs/coverage.md; takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pool

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from mufnet_lightning.evaluation.statistics.auc import auc_estimate, delong, wald_interval
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_limits
from mufnet_lightning.evaluation.statistics.differences import auc_difference
from mufnet_lightning.evaluation.statistics.intervals import clustered_proportion, wilson
from mufnet_lightning.evaluation.statistics.paired_rates import rate_differences
from mufnet_lightning.evaluation.statistics.scores import Scores

SIZES = ((5, 15), (13, 19), (26, 74))
AUCS = (0.75, 0.85, 0.91, 0.97)
SHARED = (0.2, 0.5, 0.8)
"""Of the variance, between the images of a patient."""
NEAR_ONE = 0.995
"""Studies with an observed AUC above it, and below 1, are counted apart too."""
BETWEEN = 0.5
"""Correlation of two arms' scores."""
CLIP, UNEQUAL = 20, 0.6
"""Mean images of a patient, and the SD of their number's logarithm."""
FOLDS, FEATURES = 5, 10
Array = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=2000, help="simulated, of each kind [2000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", nargs="+", choices=TABLES.values(), help="these alone [all]")
    options = parser.parse_args()
    start = time.perf_counter()
    with Pool() as pool:  # a table each
        jobs = [
            (title, pool.apply_async(_lines, (table, options)))
            for title, table in TABLES.items()
            if options.tables is None or table in options.tables
        ]
        for title, job in jobs:
            print("\n".join([f"\n### {title}\n", *job.get()]), flush=True)
    print(f"\n{options.studies} studies of each kind, {time.perf_counter() - start:.0f} s.")


def _lines(name: str, options: argparse.Namespace) -> list[str]:
    return list(globals()[name](options.studies, options.seed))


TABLES = {
    "AUC over patients: coverage (DeLong's plain), mean width": "over_patients",
    "AUC over images: coverage, lowest to highest over AUCs": "over_images",
    "Rates: coverage, lowest to highest over shared variances": "rates",
    "Differences over patients": "differences",
    "Differences over images": "image_differences",
    "Paired tests of rates: false positives": "paired_rates",
    "Five folds, a model fitted in each": "folds",
}


def over_patients(studies: int, seed: int) -> Iterator[str]:
    yield f"| high / low | {' | '.join(f'AUC {auc}' for auc in AUCS)} |"
    yield "|---|" + "---|" * len(AUCS)
    for high, low in SIZES:
        cells = []
        for auc in AUCS:
            held, plain, width = 0, 0, 0.0
            for rng in streams(studies, seed, high, low, auc):
                scores = arms(rng, high, low, (auc,))
                lower, upper = auc_limits(scores)
                held += lower <= auc <= upper
                width += upper - lower
                lower, upper = wald_interval(auc_estimate(scores, "delong"))
                plain += lower <= auc <= upper
            cells.append(f"{held / studies:.1%} ({plain / studies:.0%}), {width / studies:.2f}")
        yield f"| {high} / {low} | {' | '.join(cells)} |"


def over_images(studies: int, seed: int) -> Iterator[str]:
    columns = " | ".join(f"{shared} shared" for shared in SHARED)
    yield f"| high / low | {columns} | observed AUC above {NEAR_ONE} (studies) | plain Obuchowski |"
    yield "|---|" + "---|" * (len(SHARED) + 2)
    for high, low in SIZES:
        cells, plains, near = [], [], []
        for shared in SHARED:
            shares = []
            for auc in AUCS:
                held, plain = 0, 0
                for rng in streams(studies, seed, high, low, auc, shared):
                    scores = arms(rng, high, low, (auc,), shared)
                    lower, upper = auc_limits(scores)
                    held += lower <= auc <= upper
                    estimate = auc_estimate(scores, "obuchowski")
                    if NEAR_ONE < estimate.aucs[0] < 1:
                        near.append(lower <= auc <= upper)
                    lower, upper = wald_interval(estimate)
                    plain += lower <= auc <= upper
                shares.append(held / studies)
                plains.append(plain / studies)
            cells.append(spread(shares))
        of_those = f"{np.mean(near):.1%} ({len(near)})" if near else "none"
        yield f"| {high} / {low} | {' | '.join(cells)} | {of_those} | {spread(plains)} |"


def rates(studies: int, seed: int) -> Iterator[str]:
    shares = (0.75, 0.85, 0.95)
    titles = [f"images, rate {share}" for share in shares]
    yield f"| patients | {' | '.join(titles)} | patients (Wilson) |"
    yield "|---|" + "---|" * (len(shares) + 1)
    for patients in sorted({count for size in SIZES for count in size}):
        cells = []
        for share in shares:
            coverages = []
            for shared in SHARED:
                held = 0
                for rng in streams(studies, seed, patients, share, shared):
                    trials = clip_lengths(rng, patients)
                    noise = np.sqrt(1 - shared)
                    easy = ndtr((ndtri(share) - np.sqrt(shared) * rng.normal(size=patients)) / noise)
                    lower, upper = clustered_proportion(rng.binomial(trials, easy), trials).limits
                    held += lower <= share <= upper
                coverages.append(held / studies)
            cells.append(spread(coverages))
        plain = []
        for share in shares:
            limits = [wilson(count, patients).limits for count in range(patients + 1)]
            inside = [low <= share <= high for low, high in limits]
            drawn = np.random.default_rng(seed).binomial(patients, share, studies)
            plain.append(float(np.mean(np.array(inside)[drawn])))
        yield f"| {patients} | {' | '.join(cells)} | {spread(plain)} |"


PAIRS = ((0.75, 0.75), (0.85, 0.85), (0.91, 0.91), (0.97, 0.97))
APART = ((0.85, 0.75), (0.909, 0.838), (0.97, 0.85))


def differences(studies: int, seed: int) -> Iterator[str]:
    yield "| high / low | false positives | coverage, equal | coverage, apart | Wald | margin |"
    yield "|---|---|---|---|---|---|"
    for high, low in SIZES:
        wrong, equal, apart, wald, margin = [], [], [], [], []
        for pair in (*PAIRS, *APART):
            truth = pair[0] - pair[1]
            held, plain, positive, shown = 0, 0, 0, 0
            for rng in streams(studies, seed, high, low, *pair):
                scores = arms(rng, high, low, pair)
                estimate = auc_estimate(scores, "delong")
                limits = (auc_limits(scores, 0), auc_limits(scores, 1))
                test = auc_difference(scores, estimate, (0, 1), limits)
                held += test.low <= truth <= test.high
                positive += test.p < 0.05
                shown += test.low > truth  # of the arm that is worse by just the margin
                other = auc_difference(scores, estimate, (0, 1), None)
                plain += other.low <= truth <= other.high
            if truth:
                apart.append(held / studies)
                wald.append(plain / studies)
            else:
                wrong.append(positive / studies)
                equal.append(held / studies)
            margin.append(shown / studies)
        yield (
            f"| {high} / {low} | {spread(wrong)} | {spread(equal)} | {spread(apart)} | {spread(wald)} "
            f"| {spread(margin)} |"
        )


def image_differences(studies: int, seed: int) -> Iterator[str]:
    yield "| high / low | equal arms: false positives | equal: coverage | apart: coverage |"
    yield "|---|---|---|---|"
    for high, low in SIZES:
        wrong, equal, apart = [], [], []
        for pair in (*PAIRS, *APART):
            truth = pair[0] - pair[1]
            for shared in (0.2, 0.8):
                held, positive = 0, 0
                for rng in streams(studies, seed, high, low, *pair, shared):
                    scores = arms(rng, high, low, pair, shared)
                    limits = (auc_limits(scores, 0), auc_limits(scores, 1))
                    estimate = auc_estimate(scores, "obuchowski")
                    test = auc_difference(scores, estimate, (0, 1), limits)
                    held += test.low <= truth <= test.high
                    positive += test.p < 0.05
                (apart if truth else equal).append(held / studies)
                if not truth:
                    wrong.append(positive / studies)
        yield f"| {high} / {low} | {spread(wrong)} | {spread(equal)} | {spread(apart)} |"


def paired_rates(studies: int, seed: int) -> Iterator[str]:
    yield "| high / low | over patients | over images |"
    yield "|---|---|---|"
    for high, low in SIZES:
        wrong: dict[str, list[float]] = {"patients": [], "images": []}
        for auc in (0.75, 0.91):
            for kind, shared in (("patients", None), ("images", 0.2), ("images", 0.8)):
                positive = np.zeros(3)
                cut = np.sqrt(2) * ndtri(auc) / 2
                for rng in streams(studies, seed, high, low, auc, shared or 0):
                    scores = arms(rng, high, low, (auc, auc), shared)
                    cuts = np.full(len(scores.labels), cut)
                    tests = rate_differences(scores, (0, 1), (cuts, cuts))
                    positive += [test.p < 0.05 for test in tests.values()]
                wrong[kind] += (positive / studies).tolist()
        yield f"| {high} / {low} | {spread(wrong['patients'])} | {spread(wrong['images'])} |"


def folds(studies: int, seed: int) -> Iterator[str]:
    names = (
        "pooled: coverage",
        "pooled, plain DeLong",
        "pooled less truth",
        "mean of folds less truth",
        "corrected t of the mean: coverage",
        "corrected t between equal arms: false positives",
        "pooled z: false positives",
        "one test cohort, mean ± t: coverage",
        "its paired t: false positives",
    )
    yield f"| high / low | true AUC | {' | '.join(names)} |"
    yield "|---|" + "---|" * (len(names) + 1)
    for high, low in SIZES:
        for auc in AUCS:
            rows = [
                _cross_validations(rng, high, low, auc)
                for rng in streams(studies, seed, high, low, auc)
            ]
            truth, *values = np.mean(rows, axis=0)
            cells = [
                f"{value:+.3f}" if number in (2, 3) else f"{value:.1%}"
                for number, value in enumerate(values)
            ]
            yield f"| {high} / {low} | {truth:.2f} | {' | '.join(cells)} |"


def _cross_validations(rng: np.random.Generator, high: int, low: int, auc: float) -> list[float]:
    """One cohort, two ways to train that are equally good: five folds of it, and the paper's way."""
    labels = np.arange(high + low) < high
    shift = np.zeros(FEATURES)
    shift[:3] = 1.15 * np.sqrt(2 / 3) * ndtri(auc)
    first = rng.normal(size=(high + low, FEATURES))
    second = BETWEEN * first + np.sqrt(1 - BETWEEN**2) * rng.normal(size=first.shape)
    seen = np.stack([first, second]) + shift * labels[:, None]
    fold = _fold_of(rng, labels)
    values, truths, aucs = np.empty((2, len(labels))), np.empty((2, FOLDS)), np.empty((2, FOLDS))
    for number in range(FOLDS):
        test = fold == number
        train = _drawn(rng, np.flatnonzero(~test), labels, 0.8)  # the rest validates
        for arm in (0, 1):
            weights, offset = _discriminant(seen[arm, train], labels[train])
            values[arm, test] = seen[arm, test] @ weights + offset
            truths[arm, number] = ndtr(weights @ shift / np.linalg.norm(weights) / np.sqrt(2))
            aucs[arm, number] = delong(labels[test], values[arm, test]).aucs[0]
    truth, mean = float(truths[0].mean()), float(aucs[0].mean())
    pooled = Scores(("a", "b"), labels, values, np.arange(len(labels)), folds=np.stack([fold, fold]))
    alone = Scores.of(labels, values)
    estimate = auc_estimate(pooled, "delong")
    limits = (auc_limits(pooled, 0), auc_limits(pooled, 1))
    quantile = float(student.ppf(0.975, FOLDS - 1))
    corrected = quantile * np.sqrt((1 / FOLDS + 0.25) * aucs[0].var(ddof=1))
    plain = wald_interval(estimate)
    # the paper's: one test part, the models of five folds of the rest
    test, rest = fold == 0, np.flatnonzero(fold != 0)
    inner = _fold_of(rng, labels[rest])
    ours, right = np.empty((2, FOLDS)), np.empty(FOLDS)
    for number in range(FOLDS):
        train = rest[inner != number]
        for arm in (0, 1):
            weights, offset = _discriminant(seen[arm, train], labels[train])
            ours[arm, number] = delong(labels[test], seen[arm, test] @ weights + offset).aucs[0]
            if not arm:
                right[number] = ndtr(weights @ shift / np.linalg.norm(weights) / np.sqrt(2))
    spread_ = quantile * ours[0].std(ddof=1) / np.sqrt(FOLDS)
    gap = ours[0] - ours[1]
    return [
        truth,
        limits[0][0] <= truth <= limits[0][1],
        plain[0] <= truth <= plain[1],
        float(estimate.aucs[0]) - truth,
        mean - truth,
        abs(mean - truth) <= corrected,
        auc_difference(pooled, estimate, (0, 1), limits).p < 0.05,
        auc_difference(alone, auc_estimate(alone, "delong"), (0, 1), None).p < 0.05,
        abs(ours[0].mean() - right.mean()) <= spread_,
        abs(gap.mean()) > quantile * gap.std(ddof=1) / np.sqrt(FOLDS),
    ]


def _fold_of(rng: np.random.Generator, labels: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    fold = np.empty(len(labels), np.intp)
    for side in (labels, ~labels):
        fold[side] = rng.permutation(np.arange(side.sum()) % FOLDS)
    return fold


def _drawn(
    rng: np.random.Generator, rows: npt.NDArray[np.intp], labels: npt.NDArray[np.bool_], share: float
) -> npt.NDArray[np.intp]:
    parts = [rng.permutation(rows[labels[rows] == side]) for side in (True, False)]
    return np.concatenate([part[: max(2, round(share * len(part)))] for part in parts])


def _discriminant(seen: Array, labels: npt.NDArray[np.bool_]) -> tuple[Array, float]:
    high, low = seen[labels].mean(axis=0), seen[~labels].mean(axis=0)
    within = np.cov(np.vstack([seen[labels] - high, seen[~labels] - low]).T)
    weights = np.linalg.solve(within + 0.2 * np.eye(FEATURES), high - low)
    return weights, float(-weights @ (high + low) / 2)


def streams(studies: int, seed: int, *key: float) -> Iterator[np.random.Generator]:
    for study in range(studies):
        yield np.random.default_rng([seed, study, *(round(1000 * number) for number in key)])


def arms(
    rng: np.random.Generator,
    high: int,
    low: int,
    aucs: Sequence[float],
    shared: float | None = None,
) -> Scores:
    """Scores of one arm or two over patients, or over images of which a patient's share a variance."""
    labels = np.arange(high + low) < high
    root = np.linalg.cholesky(BETWEEN + (1 - BETWEEN) * np.eye(len(aucs)))
    shift = np.sqrt(2) * ndtri(np.array(aucs))[:, None]
    effects = root @ rng.normal(size=(len(aucs), high + low))
    if shared is None:
        return Scores.of(labels, shift * labels + effects)
    patients = np.repeat(np.arange(high + low), clip_lengths(rng, high + low))
    noise = root @ rng.normal(size=(len(aucs), len(patients)))
    values = np.sqrt(shared) * effects[:, patients] + np.sqrt(1 - shared) * noise
    return Scores.of(labels[patients], shift * labels[patients] + values, patients)


def clip_lengths(rng: np.random.Generator, patients: int) -> npt.NDArray[np.int64]:
    lengths = CLIP * rng.lognormal(-(UNEQUAL**2) / 2, UNEQUAL, patients)
    return np.maximum(1, np.round(lengths)).astype(np.int64)


def spread(shares: Sequence[float]) -> str:
    return f"{min(shares):.1%} to {max(shares):.1%}"


if __name__ == "__main__":
    main()
