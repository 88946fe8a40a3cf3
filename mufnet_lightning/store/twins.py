"""Patients whose crops are nearly the same: one person under two ids, or one scan that was filed twice.

Such twins on both sides of a split let a network recognise what it has learnt by heart. Each crop has a
perceptual hash (signs of the low frequencies of its cosine transform; Zauner C, 2010), and crops of two
patients whose hashes are near are held against each other, pixel by pixel, with some play for boxes
that were drawn apart: the highest correlation over shifts of an eighth of the side.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

TWINS = "twins.csv"
"""In a store: pairs of patients who look alike, where there are any."""
ALIKE = 0.88
"""Correlation from which two crops are taken for one scan; 1 of 79,800 pairs of strangers had 0.86."""
SURE = 0.97
"""Correlation from which two crops are one scan, whatever was done to the file."""
NEAR = 22
"""Of 63 signs: more that differ, and crops are not looked at; some 1% of strangers' crops are."""
MOST_LOOKS = 200_000
"""Pairs of crops that are looked at, those with the nearest hashes first."""
SHOWN = 5
OF_A_CLIP = 6
"""Crops of a clip that stand for all of it."""
_HASHED, _SIGNS = 32, 8
_LOOKED, _PLAY = 64, 8
_ROWS = 512
_HOPE = 0.2


@dataclass(frozen=True)
class Twins:
    """Two patients, and the crops of theirs that are most alike.

    Attributes:
        patients: ids.
        crops: file names, of the one and of the other.
        similarity: correlation of these, `ALIKE` to 1.
        labels: of the patients, 0 or 1; None where it is not known.
    """

    patients: tuple[str, str]
    crops: tuple[str, str]
    similarity: float
    labels: tuple[int | None, int | None] = (None, None)

    @property
    def contradict(self) -> bool:
        """Whether they are surely one scan, and yet of two grades."""
        known = None not in self.labels
        return known and self.labels[0] != self.labels[1] and self.similarity >= SURE

    def __str__(self) -> str:
        (one, other), (first, second) = self.patients, self.crops
        return (
            f"patients {one!r} and {other!r} look alike ({self.similarity:.2f}): {first} and {second}"
        )


def fingerprint(rgb: NDArray[np.uint8]) -> int:
    """The perceptual hash of a crop (H, W, 3): 63 bits."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_HASHED, _HASHED), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:_SIGNS, :_SIGNS].ravel()[1:]
    bits = waves > np.median(waves)
    return int(sum(1 << place for place in np.flatnonzero(bits).tolist()))


def find_twins(
    root: Path,
    rows: Sequence[Mapping[str, object]],
    fingerprints: Mapping[str, int],
    odd: Iterable[str],
) -> list[Twins]:
    """Patients of a store who look alike, the most alike first; of each two the best pair of crops.

    Args:
        root: of the store.
        rows: of its manifest.
        fingerprints: by the file name of each crop.
        odd: names of crops that show nothing (see `looks`), which are alike for no reason.
    """
    left_out = set(odd)
    best: dict[tuple[str, str], Twins] = {}
    for column in ("bmode_path", "ceus_path"):
        chosen = [
            (str(row["patient_id"]), str(row[column]), row["label"])
            for row in _sparse(rows)
            if row[column] and Path(str(row[column])).name not in left_out
        ]
        pictures = _Pictures(root)
        codes = np.array([fingerprints[Path(path).name] for _, path, _ in chosen], np.uint64)
        names = np.unique([patient for patient, _, _ in chosen], return_inverse=True)[1]
        for one, other in _near(codes, names):
            (a, first, label), (b, second, its_label) = chosen[one], chosen[other]
            alike = similarity(pictures[first], pictures[second])
            key = (a, b) if a < b else (b, a)
            if alike >= ALIKE and (key not in best or alike > best[key].similarity):
                crops, labels = (
                    (Path(first).name, Path(second).name),
                    (_label(label), _label(its_label)),
                )
                twins = Twins((a, b), crops, alike, labels)
                best[key] = twins if a < b else Twins((b, a), crops[::-1], alike, labels[::-1])
    return sorted(best.values(), key=lambda twins: -twins.similarity)


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The highest correlation of two pictures (64 × 64 grey levels) over shifts, -1 to 1."""
    inside = slice(_PLAY, -_PLAY)
    highest = -1.0
    for whole, part in ((one, other), (other, one)):
        everywhere = cv2.matchTemplate(whole, part[inside, inside], cv2.TM_CCOEFF_NORMED)
        highest = max(highest, float(everywhere.max()))
        if highest < ALIKE - _HOPE:
            break  # the other way round will not be much better
    return highest


def twin_warnings(twins: Sequence[Twins]) -> list[str]:
    """Who looks alike, in a sentence or some."""
    named = [f"{pair}; are they one person?" for pair in twins[:SHOWN]]
    more = len(twins) - SHOWN
    return named + ([f"{more:,} more pairs of patients look alike, see {TWINS}"] if more > 0 else [])


def keep_twins(root: Path, twins: Sequence[Twins]) -> None:
    """Write them into a store; nothing where there are none."""
    if twins:
        with open(root / TWINS, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["patient_id", "twin_id", "crop", "twin_crop", "similarity"])
            table.writerows(
                [*pair.patients, *(f"crops/{crop}" for crop in pair.crops), f"{pair.similarity:.3f}"]
                for pair in twins
            )


def read_twins(root: Path) -> list[tuple[str, str]]:
    """The patients of a store who look alike, two by two; none in a store of an earlier version."""
    if not (root / TWINS).is_file():
        return []
    with open(root / TWINS, encoding="utf-8", newline="") as file:
        return [(line["patient_id"], line["twin_id"]) for line in csv.DictReader(file)]


def leaders(twins: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each patient with twins the first, by id, of all who hang together.

    >>> leaders([("b", "a"), ("b", "c"), ("x", "y")])
    {'a': 'a', 'b': 'a', 'c': 'a', 'x': 'x', 'y': 'x'}
    """
    pairs = list(twins)
    names = sorted({name for pair in pairs for name in pair})
    if not names:
        return {}
    place = {name: number for number, name in enumerate(names)}
    ends = np.array([[place[one], place[other]] for one, other in pairs]).T
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(names),) * 2)
    group = connected_components(graph, directed=False)[1]
    first: dict[int, str] = {}
    return {name: first.setdefault(int(group[place[name]]), name) for name in names}


class _Pictures:
    """Small grey pictures of crops, read when they are looked at."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, NDArray[np.float32]] = {}

    def __getitem__(self, path: str) -> NDArray[np.float32]:
        if path not in self._known:
            grey = cv2.imread(str(self._root / path), cv2.IMREAD_GRAYSCALE)
            assert grey is not None, path
            small = cv2.resize(grey, (_LOOKED, _LOOKED), interpolation=cv2.INTER_AREA)
            self._known[path] = small.astype(np.float32)
        return self._known[path]


def _sparse(rows: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    """Some rows of each clip, evenly; rows without a clip all."""
    of_clip: dict[tuple[object, object], list[Mapping[str, object]]] = {}
    for number, row in enumerate(rows):
        of_clip.setdefault((row["patient_id"], row["clip_id"] or number), []).append(row)
    for own in of_clip.values():
        places = np.linspace(0, len(own) - 1, min(OF_A_CLIP, len(own))).round().astype(int)
        yield from (own[place] for place in places.tolist())


def _near(codes: NDArray[np.uint64], names: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of crops of two patients whose hashes are near, the nearest first."""
    ones, others, distances = [], [], []
    for start in range(0, len(codes), _ROWS):
        block = slice(start, start + _ROWS)
        apart = np.bitwise_count(codes[block, None] ^ codes[None, start:])
        near = (apart <= NEAR) & (names[block, None] != names[None, start:])
        row, column = np.nonzero(np.triu(near, 1))
        ones.append(row + start)
        others.append(column + start)
        distances.append(apart[row, column])
    if not ones:
        return []
    order = np.argsort(np.concatenate(distances), kind="stable")[:MOST_LOOKS]
    first, second = np.concatenate(ones)[order], np.concatenate(others)[order]
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _label(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None
