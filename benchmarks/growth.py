"""Do time and memory stay in proportion as the cohort grows ten- and hundredfold?

    python benchmarks/growth.py [--pairs 1000 10000 100000] [--work FOLDER] [--only VERB ...]

For cohorts of as many annotated frames: `mufnet prepare` (clips of 24 frames of 160 × 80 pixels),
`mufnet fit` (one epoch of the tiny encoder at 32 × 32 pixels, batches of 256, with evaluation, figures
and Grad-CAM), `mufnet compare` of two arms (over images, with figures), and the patient-level bootstrap
of both (2,000 resamples). Each is a process of its own. Prints its seconds, those that it takes more
than with the smallest cohort, for each further pair, and the peak of its memory with that of its worker
processes, without the pages of mapped files (they belong to the disk's cache). Exits with 1 where the
largest takes over twice as long for a further pair as the one before it, or over 5 KB of memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FRAMES, PANE, BOX = 24, 80, 32
A_PATIENT = 48
VERBS = ("prepare", "fit", "compare", "bootstrap")
SLOWER = 2.0
KB_A_PAIR = 5.0
BOOTSTRAP = (
    "import pandas as pd; from mufnet_lightning.evaluation import bootstrap_aucs; "
    "a, b = (pd.read_csv(f'{name}.csv') for name in ('one', 'two')); "
    "found = bootstrap_aucs(a.label, [a.score, b.score], a.patient_id); "
    "print(found.interval(0), found.interval(1))"
)


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, and MB at its peak."""

    seconds: float
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--work", type=Path, help="keep everything here")
    parser.add_argument("--only", nargs="+", choices=VERBS, default=list(VERBS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = (options.work or Path(folder)).resolve()
        costs = {size: measured(work / str(size), size, options.only) for size in sorted(options.pairs)}
    print("| | pairs | s | ms a further pair | MB |\n|---|---|---|---|---|")
    beyond = 0
    for verb in options.only:
        before: tuple[int, Cost, float] | None = None
        first = costs[min(costs)][verb]
        for size, of_size in costs.items():
            cost = of_size[verb]
            further = 1000 * (cost.seconds - first.seconds) / (size - min(costs)) if before else 0.0
            shown = f"{further:.3f}" if before else ""
            print(f"| {verb} | {size:,} | {cost.seconds:.1f} | {shown} | {cost.memory:.0f} |")
            if before and before[2] > 0 and size == max(costs):
                more = 1000 * (cost.memory - before[1].memory) / (size - before[0])
                beyond += further > SLOWER * before[2] or more > KB_A_PAIR
            before = (size, cost, further)
    print(f"\n{beyond} of {len(options.only)} out of proportion")
    return int(beyond > 0)


def measured(folder: Path, pairs: int, verbs: Sequence[str]) -> dict[str, Cost]:
    """What each verb costs with a cohort of this size."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cohort").is_dir():
        write_cohort(folder / "cohort", pairs)
        write_scores(folder, pairs)
    configs = [f"--config={CONFIGS / name}.yaml" for name in ("fused", "demo")]
    words = {
        "prepare": ["prepare", "cohort", "store"],
        "fit": [
            *("fit", *configs, "--data.store=store", "--data.image_size=32", "--data.batch_size=256"),
            *("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"),
        ],
        "compare": ["compare", "one.csv", "two.csv", "--out=tables"],
    }
    costs = {}
    for verb in verbs:
        mufnet = ["-m", "mufnet_lightning", *words[verb]] if verb in words else ["-c", BOOTSTRAP]
        costs[verb] = cost_of([sys.executable, *mufnet], folder)
        print(f"{pairs:,} {verb}: {costs[verb]}", file=sys.stderr, flush=True)
    return costs


def cost_of(command: Sequence[str], folder: Path) -> Cost:
    """Run a command; its memory, and that of all that it starts, is looked at ten times a second."""
    start, peak, ended = time.perf_counter(), 0.0, threading.Event()
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.1):
                peak = max(peak, memory_of(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        failed = process.wait()
        ended.set()
        watcher.join()
    if failed:
        raise SystemExit(f"{command}: {(folder / 'log.txt').read_text()[-2000:]}")
    return Cost(time.perf_counter() - start, peak)


def memory_of(pid: int) -> float:
    """MB that a process and all below it have for themselves."""
    total = 0.0
    try:
        # of pages that a fork shares with its parent, each has its part
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:")) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            total += sum(memory_of(int(child)) for child in children)
    except OSError:  # it has ended
        pass
    return total


def write_cohort(folder: Path, pairs: int) -> None:
    """Clips that differ in a last byte or some, of two panes with noise; a box in every frame."""
    (folder / "clips").mkdir(parents=True)
    clips = -(-pairs // FRAMES)
    one = folder / "clips" / "one.avi"
    writer = cv2.VideoWriter(str(one), cv2.VideoWriter.fourcc(*"MJPG"), 20, (2 * PANE, PANE))
    for frame in np.random.default_rng(0).integers(0, 256, (FRAMES, PANE, 2 * PANE, 3), np.uint8):
        writer.write(cv2.GaussianBlur(frame, (0, 0), 3))
    writer.release()
    content = one.read_bytes()
    one.unlink()
    for clip in range(clips):
        (folder / "clips" / f"{clip}.avi").write_bytes(content + clip.to_bytes(4, "little"))
    owner = np.arange(clips) * FRAMES // A_PATIENT
    patients = np.arange(owner[-1] + 1)
    pd.DataFrame({"patient_id": patients, "grade": 1 + patients % 4}).to_csv(
        folder / "patients.csv", index=False
    )
    panes = {"bmode_pane": f"0,0,{PANE},{PANE}", "ceus_pane": f"{PANE},0,{PANE},{PANE}"}
    paths = [f"clips/{clip}.avi" for clip in range(clips)]
    table = {"clip_id": np.arange(clips), "patient_id": owner, "path": paths, **panes}
    pd.DataFrame(table).to_csv(folder / "clips.csv", index=False)
    number = np.arange(pairs)
    box = {"x": 20, "y": 20, "width": BOX, "height": BOX, "pane": "bmode"}
    boxes = {"clip_id": number // FRAMES, "frame": number % FRAMES, **box}
    pd.DataFrame(boxes).to_csv(folder / "boxes.csv", index=False)


def write_scores(folder: Path, pairs: int) -> None:
    """Test scores of two arms, of as many images."""
    rng, number = np.random.default_rng(1), np.arange(pairs)
    patient = number // A_PATIENT
    label = patient % 2
    of_patient = rng.normal(label, 1, (1, pairs))[0, ::A_PATIENT]
    for name in ("one", "two"):
        logit = of_patient[patient] + label + rng.normal(0, 1, pairs)
        columns = {"pair_id": [f"p{n:06d}" for n in number], "patient_id": patient, "label": label}
        score = np.round(1 / (1 + np.exp(-logit)), 6)
        table = pd.DataFrame({**columns, "score": score, "split": "test"})
        table.to_csv(folder / f"{name}.csv", index=False)


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    sys.exit(main())
