"""Do faster ways to train change what is learnt by more than another seed does?

    python benchmarks/fast_paths.py [--work FOLDER] [--seeds 3]

Trains the fused arm on the demo's phantom (160 patients, six frames each; tiny encoder at 96 pixels, 16
epochs) as it is from some seeds, and then from the first seed in each faster way: augmentation on the
device, resident crops, bf16, a compiled step, channels last, and all of them. Prints AUC over patients
and over images of the 32 test patients, and exits with 1 where a way differs from the plain training of
its seed by more than the seeds differ among themselves.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mufnet_lightning.tracking.runs import find_runs, find_study

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STUDY = "fast-paths"
WAYS = {
    "data.augment device": ["--data.augment=device"],
    "data.resident true": ["--data.resident=true"],
    "trainer.precision bf16-mixed": ["--trainer.precision=bf16-mixed"],
    "model.compile true": ["--model.compile=true"],
    "model.channels_last true": ["--model.channels_last=true"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here, and go on with what is there")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
        return compare_ways(options.seeds)


def compare_ways(seeds: int) -> int:
    if not Path("store").is_dir():
        words = ["--patients", "160", "--high-share", "0.4", "--frames", "6", "--clip-length", "12"]
        mufnet("phantom", "cohort", *words, "--pane-size", "224")
        mufnet("prepare", "cohort", "store")
    plain = [trained(f"seed{seed}", [f"--seed_everything={seed}"]) for seed in range(seeds)]
    every = [word for words in WAYS.values() for word in words]
    ways = {name: trained(name.split()[0], words) for name, words in {**WAYS, "all": every}.items()}
    print("| | AUC over patients | over images |\n|---|---|---|")
    for seed, (patients, images) in enumerate(plain):
        print(f"| as it is, seed {seed} | {patients:.3f} | {images:.3f} |")
    spread = max(images for _, images in plain) - min(images for _, images in plain)
    beyond = 0
    for name, (patients, images) in ways.items():
        beyond += abs(images - plain[0][1]) > spread
        print(f"| {name}, seed 0 | {patients:.3f} | {images:.3f} |")
    print(f"\nover images the seeds differ by up to {spread:.3f}; {beyond} of {len(ways)} ways by more")
    return int(beyond > 0)


def trained(name: str, words: list[str]) -> tuple[float, float]:
    """AUC over patients and over images of a training, which is not done twice."""
    try:
        known = {run.name: run for run in find_runs(find_study(STUDY), finished=True)}
    except Exception:  # no study yet
        known = {}
    if name not in known:
        configs = [f"--config={CONFIGS / config}.yaml" for config in ("fused", "demo")]
        where = ["--data.store=store", f"--tracking.study={STUDY}", f"--tracking.run_name={name}"]
        quiet = ["--explain.enabled=false", "--trainer.enable_progress_bar=false"]
        mufnet("fit", *configs, *where, *quiet, "--tracking.figures=false", *words)
        known = {run.name: run for run in find_runs(find_study(STUDY), finished=True)}
    metrics = known[name].metrics
    return metrics["test/patient_auc"], metrics["test/auc"]


def mufnet(*words: str) -> None:
    print("mufnet", *words, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mufnet_lightning", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
