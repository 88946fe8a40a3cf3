"""Patients whose crops are nearly the same: one person under two ids, or one scan that was filed twice.

Such twins on both sides of a split let a network recognise what it has learnt by heart. Each crop has a
perceptual hash (signs of the low frequencies of its cosine transform; Zauner C, 2010), and crops of two
patients whose hashes are near are held against each other, pixel by pixel, with some play for boxes
that were drawn apart: shifts of an eighth of the side, and 8% of zoom. Where the pictures lie on each
other best, two correlations are taken: of the pictures, which a dark lesion on bright tissue alone
makes high, and of their fine structure, without slow changes of grey. Their mean is the similarity.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mufnet_lightning.store.inputs import TWINS
from mufnet_lightning.system.files import write_part
from mufnet_lightning.system.processes import cores, progress_bar
from mufnet_lightning.system.sheets import meant, shown
from mufnet_lightning.vocabulary import PATHS

log = logging.getLogger(__name__)
ALIKE = 0.72
"""Similarity from which two crops are taken for one scan, or one lesion; see benchmarks/twins.py."""
CERTAIN = 0.9
"""Similarity from which they are one scan for sure."""
NEAR = 22
"""Of 63 signs: more that differ, and crops are not looked at; 2 to 3% of a phantom's strangers are."""
MOST_LOOKS = 200_000
"""Pairs of crops that are looked at, those with the nearest hashes first."""
SHOWN = 5
OF_A_CLIP = 6
"""Crops of a clip that stand for all of it."""
_HASHED, _SIGNS = 32, 8
_LOOKED, _PLAY = 64, 8
_ROWS = 512
_HOPE = 0.68
"""Correlation of the pictures below which no zoom will make them alike."""
_ZOOMS = (0.96, 0.92)
_SLOW, _FAST = 4.0, 1.0
"""Standard deviations, in 64ths of the side, between which structure is fine."""
_EVEN = 3.0
_INSIDE = slice(_PLAY, -_PLAY)
_PICTURES = 20_000
"""Kept at once: 4 KB each."""
_AT_ONCE = 128


@dataclass(frozen=True)
class Twins:
    """Two patients, and the crops of theirs that are most alike.

    Attributes:
        patients: ids.
        crops: file names, of the one and of the other.
        similarity: of these, `ALIKE` to 1.
        labels: of the patients, 0 or 1; None where it is not known.
    """

    patients: tuple[str, str]
    crops: tuple[str, str]
    similarity: float
    labels: tuple[int | None, int | None] = (None, None)

    def __str__(self) -> str:
        (one, other), (first, second) = self.patients, self.crops
        grades = "" if self.labels[0] == self.labels[1] else ", one of low and one of high grade"
        known = grades if None not in self.labels else ""
        return (
            f"patients {one!r} and {other!r}{known} look alike ({self.similarity:.2f}): {first} and "
            f"{second}"
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
    files: Mapping[str, Path] | None = None,
) -> list[Twins]:
    """Patients of a store who look alike, the most alike first; of each two the best pair of crops.

    Args:
        root: of the store.
        rows: of its manifest.
        fingerprints: by the file name of each crop; a crop without one is not compared.
        odd: names of crops that show nothing (see `looks`), which are alike for no reason.
        files: where the crops lie, by their names, if that is not in the store.
    """
    left_out = set(odd)
    best: dict[tuple[str, str], Twins] = {}
    with ThreadPoolExecutor(cores()) as threads:  # OpenCV lets them run side by side
        for column in PATHS:
            chosen = [
                (str(row["patient_id"]), str(row[column]), name, row["label"])
                for row in some_of_each_clip(rows)
                if row[column]
                for name in [Path(str(row[column])).name]
                if name not in left_out and name in fingerprints
            ]
            codes = np.array([fingerprints[name] for _, _, name, _ in chosen], np.uint64)
            names = np.unique([patient for patient, *_ in chosen], return_inverse=True)[1]
            near = _near(codes, names)
            places = [files[name] if files else root / path for _, path, name, _ in chosen]
            for (one, other), alike in zip(near, _alike(near, places, threads), strict=True):
                if alike < ALIKE:
                    continue
                (a, _, first, label), (b, _, second, its_label) = chosen[one], chosen[other]
                key = (a, b) if a < b else (b, a)
                if key not in best or alike > best[key].similarity:
                    crops, labels = (first, second), (_label(label), _label(its_label))
                    twins = Twins((a, b), crops, alike, labels)
                    best[key] = twins if a < b else Twins((b, a), crops[::-1], alike, labels[::-1])
    return sorted(best.values(), key=lambda twins: -twins.similarity)


def _alike(
    near: Sequence[tuple[int, int]], places: Sequence[Path], threads: ThreadPoolExecutor
) -> Iterator[float]:
    """The similarity of each pair of crops, by where they lie in `places`."""
    needed = sorted({place for pair in near for place in pair})
    picture: Callable[[int], _Small]
    if len(needed) <= _PICTURES:
        read = threads.map(_picture, [places[place] for place in needed])
        picture = dict(zip(needed, read, strict=True)).__getitem__
    else:
        picture = lru_cache(_PICTURES)(lambda place: _picture(places[place]))

    def of_some(start: int) -> list[float]:
        return [
            _similarity(picture(one), picture(other)) for one, other in near[start : start + _AT_ONCE]
        ]

    starts = range(0, len(near), _AT_ONCE)
    with progress_bar("comparing patients", len(starts)) as advance:
        for some in threads.map(of_some, starts):
            advance()
            yield from some


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The mean of two correlations, of the pictures and of their fine structure, -1 to 1.

    Args:
        one, other: 64 × 64 grey levels.
    """
    return _similarity(_Small.of(one), _Small.of(other))


@dataclass(frozen=True)
class _Small:
    """A small grey picture (64 × 64), its inner part, and whether that is even."""

    whole: NDArray[np.float32] | NDArray[np.uint8]
    is_even: bool

    @classmethod
    def of(cls, whole: NDArray[np.float32] | NDArray[np.uint8]) -> _Small:
        return cls(whole, float(whole[_INSIDE, _INSIDE].std()) < _EVEN)


def _similarity(one: _Small, other: _Small) -> float:
    if one.is_even or other.is_even:
        return -1.0  # OpenCV takes an even picture for like any other
    pictures = one.whole.astype(np.float32), other.whole.astype(np.float32)
    best = _laid_over(*pictures)
    if best.correlation < _HOPE:
        return best.correlation / 2  # the other way round will not be much better
    best = max(best, _laid_over(*pictures[::-1]), key=lambda laid: laid.correlation)
    for zoom in _ZOOMS:
        for whole, part in (pictures, pictures[::-1]):
            for pair in ((_zoomed(whole, zoom), part), (part, _zoomed(whole, zoom))):
                best = max(best, _laid_over(*pair), key=lambda laid: laid.correlation)
    return (best.correlation + best.of_the_fine_structure()) / 2


@dataclass(frozen=True)
class _LaidOver:
    """The inner part of one picture on another, where it fits best."""

    correlation: float
    whole: NDArray[np.float32]
    part: NDArray[np.float32]
    row: int
    column: int

    def of_the_fine_structure(self) -> float:
        """The correlation there, or a pixel beside it."""
        everywhere = _correlations(_fine(self.whole), _fine(self.part))
        rows, columns = (slice(max(0, at - 1), at + 2) for at in (self.row, self.column))
        return float(everywhere[rows, columns].max())


def _laid_over(whole: NDArray[np.float32], part: NDArray[np.float32]) -> _LaidOver:
    everywhere = _correlations(whole, part)
    row, column = divmod(int(everywhere.argmax()), everywhere.shape[1])
    return _LaidOver(float(everywhere[row, column]), whole, part, row, column)


def _correlations(whole: NDArray[np.float32], part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the inner part of a picture with another, at every shift."""
    return cv2.matchTemplate(whole, part[_INSIDE, _INSIDE], cv2.TM_CCOEFF_NORMED).astype(np.float32)


def _zoomed(picture: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    """Its middle, as large as the whole."""
    side = round(_LOOKED * zoom)
    start = (_LOOKED - side) // 2
    middle = picture[start : start + side, start : start + side]
    return cv2.resize(middle, (_LOOKED, _LOOKED), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _fine(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    fast, slow = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (_FAST, _SLOW))
    return (fast - slow).astype(np.float32)


def twin_warnings(twins: Sequence[Twins]) -> list[str]:
    """Who looks alike, in a sentence or some."""
    named = [f"{pair}; are they one person?" for pair in twins[:SHOWN]]
    more = len(twins) - SHOWN
    return named + ([f"{more:,} more pairs of patients look alike, see {TWINS}"] if more > 0 else [])


def keep_twins(root: Path, twins: Sequence[Twins]) -> None:
    """Write them into a store; nothing where there are none."""
    if twins:
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["patient_id", "twin_id", "crop", "twin_crop", "similarity"])
        table.writerows(
            [
                *map(shown, pair.patients),
                *(f"crops/{crop}" for crop in pair.crops),
                f"{pair.similarity:.3f}",
            ]
            for pair in twins
        )
        write_part(root / TWINS, text.getvalue())


def read_twins(root: Path) -> list[tuple[str, str]]:
    """The patients of a store who look alike, two by two; none in a store of an earlier version."""
    if not (root / TWINS).is_file():
        return []
    with open(root / TWINS, encoding="utf-8", newline="") as file:
        return [(meant(line["patient_id"]), meant(line["twin_id"])) for line in csv.DictReader(file)]


def leaders(twins: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each patient with twins the first, by id, of all who hang together.

    >>> leaders([("b", "a"), ("b", "c"), ("x", "y")])
    {'a': 'a', 'b': 'a', 'c': 'a', 'x': 'x', 'y': 'x'}
    """
    from scipy.sparse import coo_array  # workers that cut crops need none of it
    from scipy.sparse.csgraph import connected_components

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


def _picture(path: Path) -> _Small:
    """A crop as a small grey picture."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert grey is not None, path
    return _Small.of(
        cv2.resize(grey, (_LOOKED, _LOOKED), interpolation=cv2.INTER_AREA).astype(np.uint8)
    )


def some_of_each_clip(rows: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    """Some rows of each clip, evenly; rows without a clip all."""
    of_clip: dict[tuple[object, object], list[Mapping[str, object]]] = {}
    for number, row in enumerate(rows):
        of_clip.setdefault((row["patient_id"], row["clip_id"] or number), []).append(row)
    for own in of_clip.values():
        places = np.linspace(0, len(own) - 1, min(OF_A_CLIP, len(own))).round().astype(int)
        yield from (own[place] for place in places.tolist())


def _near(codes: NDArray[np.uint64], names: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of crops of two patients whose hashes are near, the nearest first, `MOST_LOOKS` at most."""

    def blocks() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for start in range(0, len(codes), _ROWS):
            block = slice(start, start + _ROWS)
            apart = np.bitwise_count(codes[block, None] ^ codes[None, start:])
            strangers = np.triu(names[block, None] != names[None, start:], 1)
            yield start, np.where(strangers, apart, 64).astype(np.uint8)

    counts = np.zeros(65, np.int64)
    for _, apart in blocks():
        counts += np.bincount(apart.ravel(), minlength=65)
    within = np.cumsum(counts[: NEAR + 1])
    left_out = int(within[-1]) - MOST_LOOKS
    if left_out > 0:
        log.warning(
            "warning: of the pairs of crops that may be alike, %s were not looked at",
            f"{left_out:,}",
        )
    farthest = min(NEAR, int(np.searchsorted(within, MOST_LOOKS)))
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(farthest + 1)]
    room = MOST_LOOKS - (int(within[farthest - 1]) if farthest else 0)
    for start, apart in blocks():
        for row, column in np.argwhere(apart <= farthest).tolist():
            distance = int(apart[row, column])
            if distance < farthest or len(pairs[farthest]) < room:
                pairs[distance].append((row + start, column + start))
    return [pair for of_distance in pairs for pair in of_distance]


def _label(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return None
