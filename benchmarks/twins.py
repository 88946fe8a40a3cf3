"""Does `mufnet inspect` name the scans that were filed twice, and no strangers?

    python benchmarks/twins.py [--patients 400] [--twins 100] [--stills FOLDER] [--seed 0]

Makes sets of stills as a breast set is published: a picture a patient, in pairs.csv. Of some patients
a copy is filed under another id, as somebody else might have kept it: shifted by up to 5% of the side,
rescaled to 60 to 140%, a little of each side cut off, brighter or darker (gamma 0.85 to 1.2), encoded
as JPEG of quality 50 to 90. The pictures are crops of simulated patients, B-mode and CEUS a set each;
with `--stills`, also the pictures in a folder (its duplicates that nobody planted count as strangers:
what is named there needs a look). Prints for each set the recall with Wilson's 95% interval, and what
is named wrongly: as a share of the pairs that are named, of all pairs of strangers, and of the
pictures. Exits with 1 where a simulated set has a recall under 95%, or over 1% of its pictures named
wrongly.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import cv2
import numpy as np

from mufnet_lightning.evaluation import wilson
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.store.inspection.gather import inspect_path
from mufnet_lightning.store.prepare import prepare_store

RECALL, FALSE = 0.95, 0.01
SIDE = 500
"""Pixels, of stills larger than that."""


@dataclass(frozen=True)
class Tally:
    """What was named in a set."""

    pictures: int
    twins: int
    hits: int
    wrong: tuple[tuple[str, str, float], ...]

    def line(self, name: str) -> str:
        """A row of the table."""
        recall = wilson(self.hits, self.twins)
        strangers = comb(self.pictures, 2) - self.twins
        concerned = len({one for a, b, _ in self.wrong for one in (a, b)})
        named = self.hits + len(self.wrong)
        return (
            f"| {name} | {self.pictures} | {self.hits} of {self.twins} | {recall.value:.3f} "
            f"({recall.low:.3f} to {recall.high:.3f}) | {len(self.wrong)} of {named} | "
            f"{len(self.wrong) / strangers:.2e} | {concerned / self.pictures:.4f} |"
        )

    @property
    def passes(self) -> bool:
        """Whether it is as good as asked for."""
        concerned = len({one for a, b, _ in self.wrong for one in (a, b)})
        return self.hits >= RECALL * self.twins and concerned <= FALSE * self.pictures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--twins", type=int, default=100)
    parser.add_argument("--stills", type=Path, help="a folder of pictures, one a patient")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="wrongly named pairs to print [10]")
    options = parser.parse_args()
    print("| set | pictures | named | recall (95%) | wrong of the named | of strangers | of pictures |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sets = simulated(work, options.patients, options.seed)
        tallies = {name: tally(work / f"set {name}", sets[name], options) for name in sets}
        for name, one in tallies.items():
            print(one.line(name))
        if options.stills:
            files = sorted(path for path in options.stills.rglob("*.png") if "mask" not in path.name)
            real = tally(work / "stills", files, options)
            print(real.line(options.stills.name))
            for a, b, alike in real.wrong[: options.show]:
                print(f"    {alike:.3f} {a} and {b}")
    return int(not all(one.passes for one in tallies.values()))


def simulated(work: Path, patients: int, seed: int) -> dict[str, list[Path]]:
    """A crop of each patient, of each modality."""
    phantom = PhantomOptions(
        patients=patients, high_share=0.4, frames=2, clip_length=4, pane_size=256, seed=seed
    )
    write_phantom(work / "cohort", phantom)
    store = prepare_store(work / "cohort", work / "store")
    first = store.manifest.drop_duplicates("patient_id")
    return {name: [store.root / path for path in first[f"{name}_path"]] for name in ("bmode", "ceus")}


def tally(folder: Path, files: Sequence[Path], options: argparse.Namespace) -> Tally:
    """Plant twins in a set and count which are named."""
    rng = np.random.default_rng(options.seed)
    names, planted = write_set(folder, files, options.twins, rng)
    seen = inspect_path(folder, pairs=0)
    named = {pair.patients: pair.similarity for pair in seen.twins}
    wanted = {tuple(sorted(pair)) for pair in planted}
    wrong = tuple(
        (names[a], names[b], alike)
        for (a, b), alike in named.items()
        if tuple(sorted((a, b))) not in wanted
    )
    return Tally(len(names), len(wanted), len(wanted & {tuple(sorted(pair)) for pair in named}), wrong)


def write_set(
    folder: Path, files: Sequence[Path], twins: int, rng: np.random.Generator
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """A cohort of stills, some of them twice; returns the file of each patient, and who are twins."""
    (folder / "images").mkdir(parents=True)
    copied = rng.permutation(len(files))[:twins].tolist()
    names, planted, rows, patients = {}, [], [], []

    def add(patient: str, image: np.ndarray, ending: str, source: Path, quality: int = 0) -> None:
        path = f"images/{patient}{ending}"
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
        cv2.imwrite(str(folder / path), image, flags)
        names[patient] = source.name
        rows.append({"patient_id": patient, "bmode_path": path, "ceus_path": ""})
        patients.append({"patient_id": patient, "label": len(patients) % 2})

    for number, file in enumerate(files):
        add(f"S{number:04d}", picture(file), ".png", file)
    for number in copied:
        changed, quality = kept_by_somebody_else(picture(files[number]), rng)
        add(f"T{number:04d}", changed, ".jpg", files[number], quality)
        planted.append((f"S{number:04d}", f"T{number:04d}"))
    for name, table in (("patients", patients), ("pairs", rows)):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return names, planted


def picture(file: Path) -> np.ndarray:
    """A picture, no larger than needed."""
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    assert image is not None, file
    scale = min(1.0, SIDE / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def kept_by_somebody_else(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """The same scan: shifted, cut, rescaled, brighter or darker; and the quality to encode it with."""
    height, width = image.shape[:2]
    shift = rng.uniform(-0.05, 0.05, 2) * (width, height)
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    shown = cv2.warpAffine(image, moved, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    left, right = (round(side * width) for side in rng.uniform(0, 0.04, 2))
    top, bottom = (round(side * height) for side in rng.uniform(0, 0.04, 2))
    shown = shown[top : height - bottom, left : width - right]
    scale = rng.uniform(0.6, 1.4)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=method)
    bright = 255 * (shown / 255.0) ** rng.uniform(0.85, 1.2)
    return np.clip(bright, 0, 255).astype(np.uint8), int(rng.integers(50, 91))


if __name__ == "__main__":
    sys.exit(main())
