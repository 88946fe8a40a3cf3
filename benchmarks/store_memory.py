"""Does reading a large crop store take more memory than reading a small one?

    python benchmarks/store_memory.py [--pairs 50000] [--small 500] [--size 64]

Writes two stores of small crops, then builds the caches of each in one fresh process and reads one
epoch of training, validation and test batches in another. Prints by how much each process grew at its
peak. Exits with 1 when the large store takes over 100 MB more than the small one, in building or in
reading.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ALLOWED = 100.0  # MB
CROP = 24  # side of a PNG, pixels


@dataclass(frozen=True)
class Measurement:
    """What one process did: pairs, seconds, and its growth at the peak in MB."""

    pairs: int
    seconds: float
    growth: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=50_000, help="of the large store [50000]")
    parser.add_argument("--small", type=int, default=500, help="pairs of the small store [500]")
    parser.add_argument("--size", type=int, default=64, help="data.image_size, pixels [64]")
    options = parser.parse_args()
    more = []
    with tempfile.TemporaryDirectory() as folder:
        stores = [Path(folder) / "small", Path(folder) / "large"]
        for store, pairs in zip(stores, (options.small, options.pairs), strict=True):
            write_store(store, pairs)
        print(f"{'peak growth, MB':<20}{'small':>10}{'large':>10}{'more':>10}{'pairs/s':>10}")
        for work in (build, read):
            small, large = (in_fresh_process(work, store, options.size) for store in stores)
            more.append(large.growth - small.growth)
            speed = large.pairs / large.seconds
            numbers = f"{small.growth:10.1f}{large.growth:10.1f}{more[-1]:10.1f}{speed:10.0f}"
            print(f"{work.__name__:<20}{numbers}", flush=True)
    within = max(more) <= ALLOWED
    print(
        f"{options.pairs:,} pairs take {'within' if within else 'over'} {ALLOWED:.0f} MB of what "
        f"{options.small:,} pairs take"
    )
    return 0 if within else 1


def build(store: Path, size: int) -> Measurement:
    """Make the caches at size × size; their files are left for `read`."""
    from mufnet_lightning.data.datamodule import RoiPairDataModule

    start, before = time.perf_counter(), begin()
    data = RoiPairDataModule(str(store), image_size=size, num_workers=0)
    data.prepare_data()
    return Measurement(len(data.labels), time.perf_counter() - start, peak() - before)


def read(store: Path, size: int) -> Measurement:
    """Go through one epoch of training batches, then through validation and test batches."""
    from mufnet_lightning.data.datamodule import RoiPairDataModule

    start, before = time.perf_counter(), begin()
    data = RoiPairDataModule(str(store), image_size=size, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    loaders = [data.train_dataloader(), *data.val_dataloader(), data.test_dataloader()]
    pairs = sum(len(batch["row"]) for loader in loaders for batch in loader)
    return Measurement(pairs, time.perf_counter() - start, peak() - before)


def in_fresh_process(work: Callable[[Path, int], Measurement], store: Path, size: int) -> Measurement:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(work, store, size).result()


def begin() -> float:
    """Forget the peak so far (imports had one); resident memory now, MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak() -> float:
    """Most resident memory since `begin`, MB, with the pages of memory-mapped files."""
    return resident("VmHWM")


def resident(name: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def write_store(root: Path, pairs: int) -> None:
    """A store as `mufnet prepare` writes it, of noise; up to 400 patients, half of high grade."""
    import cv2
    import numpy as np
    import pandas as pd

    from mufnet_lightning import __version__
    from mufnet_lightning.store.info import StoreInfo
    from mufnet_lightning.store.store import COLUMNS
    from mufnet_lightning.vocabulary import MODALITIES

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (256, CROP, CROP, 3), dtype=np.uint8)
    images = [cv2.imencode(".png", pixels)[1].tobytes() for pixels in noise]
    patients = min(400, pairs // 5)
    patient = np.arange(pairs) * patients // pairs
    high = patient % 2
    columns: dict[str, object] = {name: "" for name, kind in COLUMNS.items() if kind == "str"}
    columns |= {name: 0 for name, kind in COLUMNS.items() if kind == "Int64"}
    columns |= {
        "pair_id": [f"p{number:06d}" for number in range(pairs)],
        "patient_id": [f"P{number:04d}" for number in patient],
        "clip_id": [f"C{number:04d}" for number in patient],
        "frame": np.arange(pairs),
        "grade": 1 + 2 * high,
        "label": high,
        "box_width": CROP,
        "box_height": CROP,
        "box_pane": "ceus",
    }
    (root / "crops").mkdir(parents=True)
    for modality in MODALITIES:
        paths = [f"crops/p{number:06d}_{modality}.png" for number in range(pairs)]
        for path in paths:
            (root / path).write_bytes(images[rng.integers(len(images))])
        columns[f"{modality}_path"] = paths
    manifest = pd.DataFrame(columns, index=range(pairs), columns=list(COLUMNS))
    manifest.to_csv(root / "manifest.csv", index=False)
    info = StoreInfo(
        mufnet=__version__,
        created="2026-01-01T00:00:00+00:00",
        margin=0.0,
        with_grades=True,
        pairs=pairs,
        patients=patients,
        low=patients - patients // 2,
        high=patients // 2,
        modalities=MODALITIES,
        crops=pairs * len(MODALITIES),
        digest=f"{pairs:064d}",
    )
    (root / "store.json").write_text(json.dumps(info.as_json()))


if __name__ == "__main__":
    sys.exit(main())
