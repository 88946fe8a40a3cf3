"""How much longer does `mufnet prepare` take than decoding its clips, and a second call?

    python benchmarks/prepare_speed.py [--patients 100] [--frames 12] [--rounds 3] [--work FOLDER]

Simulates dual-pane clips (704 × 384 pixels, MJPEG) with twice as many frames as are annotated, and then
in turns: decodes all frames of all clips, split over the cores (the processes have started and imported
OpenCV before the clock does); prepares a store of them with the command; and calls it once more. Prints
the best of each, and exits with 1 where the command takes over 1.2 times the decoding and `--start`
seconds (the imports of a fresh process), or the second call over 0.5 s.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mufnet_lightning.system.processes import cores

RATIO, AGAIN = 1.2, 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--frames", type=int, default=12, help="annotated, of each patient")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--start", type=float, default=0.0, help="seconds that starting may take [0]")
    parser.add_argument("--work", type=Path, help="keep the cohort here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
        return compare(options)


def compare(options: argparse.Namespace) -> int:
    if not Path("cohort").is_dir():
        length = ["--frames", str(options.frames), "--clip-length", str(2 * options.frames)]
        patients = ["--patients", str(options.patients), "--high-share", "0.3"]
        mufnet("phantom", "cohort", *patients, *length, "--pane-size", "320")
    clips = sorted(str(path) for path in Path("cohort/clips").iterdir())
    context = multiprocessing.get_context("spawn")
    best = {"decoding": float("inf"), "first call": float("inf"), "second call": float("inf")}
    with context.Pool(cores()) as pool:
        pool.map(decoded, clips[: 2 * cores()], chunksize=1)  # starts and imports
        for _ in range(options.rounds):
            shutil.rmtree("store", ignore_errors=True)
            start = time.perf_counter()
            frames = sum(pool.imap_unordered(decoded, clips))
            best["decoding"] = min(best["decoding"], time.perf_counter() - start)
            for call in ("first call", "second call"):
                start = time.perf_counter()
                mufnet("prepare", "cohort", "store")
                best[call] = min(best[call], time.perf_counter() - start)
    annotated = options.patients * options.frames
    print(f"{annotated:,} of {frames:,} frames, {cores()} cores\n")
    print("| | s | times decoding |\n|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {seconds:.2f} | {seconds / best['decoding']:.2f} |")
    slow = best["first call"] > RATIO * best["decoding"] + options.start
    return int(slow or best["second call"] > AGAIN)


def decoded(clip: str) -> int:
    """How many frames a clip has, each of them decoded."""
    import cv2

    cv2.setNumThreads(1)
    capture, count = cv2.VideoCapture(clip, cv2.CAP_FFMPEG), 0
    while capture.read()[0]:
        count += 1
    return count


def mufnet(*words: str) -> None:
    command = [sys.executable, "-m", "mufnet_lightning", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
