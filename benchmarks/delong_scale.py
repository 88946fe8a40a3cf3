"""Do time and memory of the AUCs' covariance grow in step with the images?

    python benchmarks/delong_scale.py [--images 1000000] [--runs 5]

Two arms, DeLong and Obuchowski (60 images a patient): N/2 and N images are timed in turn, so both see
the same machine, and the median of the ratios of each pair of runs is printed beside the memory at the
peak. Then DeLong beside the O(m n) way over all pairs at a size that it can bear. Exits with 1 when a
doubling takes over 3 times as long or over 2.2 times the memory, or when the two ways disagree.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from mufnet_lightning.evaluation.statistics.auc import delong, obuchowski

SMALL = 6000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1_000_000, help="of the larger size [1000000]")
    parser.add_argument("--runs", type=int, default=5, help="of each size, in turn [5]")
    options = parser.parse_args()
    sizes = (options.images // 2, options.images)
    good = True
    print("| method | images × 2 arms | seconds | ratio | peak MB | ratio |\n|---|---|---|---|---|---|")
    for name, work in (("DeLong", delong_of), ("Obuchowski", obuchowski_of)):
        cases = [case(images) for images in sizes]
        times = np.array([[seconds(work, *arrays) for arrays in cases] for _ in range(options.runs)])
        peaks = [peak(work, *arrays) for arrays in cases]
        slower, larger = float(np.median(times[:, 1] / times[:, 0])), peaks[1] / peaks[0]
        first, second = np.median(times, axis=0)
        print(f"| {name} | {sizes[0]:,} | {first:.2f} | | {peaks[0]:.0f} | |")
        print(
            f"| {name} | {sizes[1]:,} | {second:.2f} | {slower:.2f} | {peaks[1]:.0f} | {larger:.2f} |"
        )
        good &= slower <= 3 and larger <= 2.2
    arrays = case(SMALL)
    gain = np.median(
        [seconds(all_pairs, *arrays) / seconds(delong_of, *arrays) for _ in range(options.runs)]
    )
    agree = np.allclose(all_pairs(*arrays), delong_of(*arrays), rtol=0, atol=1e-12)
    print(f"\nAt {SMALL:,} images, going over all pairs takes {gain:.0f} times as long.")
    print("The two ways agree." if agree else "The two ways DISAGREE.")
    return 0 if good and agree else 1


def case(images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (N,), scores (2, N), patients (N,)."""
    rng = np.random.default_rng(images)
    labels = rng.random(images) < 0.43
    return labels, labels + rng.normal(size=(2, images)), np.arange(images) // 60


def delong_of(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    return delong(labels, scores).covariance


def obuchowski_of(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    return obuchowski(labels, scores, patients).covariance


def all_pairs(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """DeLong's covariance from the whole matrix of comparisons."""
    high, low = [], []
    for arm in scores:
        above = arm[labels][:, None] - arm[~labels]
        wins = (above > 0) + 0.5 * (above == 0)
        high.append(wins.mean(axis=1))
        low.append(wins.mean(axis=0))
    return np.asarray(np.cov(high) / labels.sum() + np.cov(low) / (~labels).sum())


def seconds(work: Callable[..., np.ndarray], *arrays: np.ndarray) -> float:
    start = time.perf_counter()
    work(*arrays)
    return time.perf_counter() - start


def peak(work: Callable[..., np.ndarray], *arrays: np.ndarray) -> float:
    """MB at the peak, beside the arrays that it was given."""
    tracemalloc.start()
    work(*arrays)
    highest = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return highest


if __name__ == "__main__":
    sys.exit(main())
