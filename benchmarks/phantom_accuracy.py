"""Do the three arms learn what a phantom holds, and nothing more?

    python benchmarks/phantom_accuracy.py [--work FOLDER]

Simulates 400 patients with six frames each, trains the three arms with the tiny encoder at 96 pixels
(configs/demo.yaml), and prints each arm's patient-level test AUC beside what the true b, c or both
reach on the same patients. Exits with 1 when an arm is more than 0.08 below the truth, when the fused
arm is not above both single arms, when an arm is above its ceiling beyond chance, or when it all took
more than 15 minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mufnet_lightning.study.ceilings import beside_the_truth
from mufnet_lightning.vocabulary import ARMS

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MINUTES = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--high-share", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        return run(options.work, options)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> int:
    os.chdir(work)
    start = time.perf_counter()
    size = ["--patients", str(options.patients), "--frames", "6", "--clip-length", "12"]
    shape = ["--pane-size", "224", "--high-share", str(options.high_share)]
    mufnet("phantom", "cohort", *size, *shape, "--seed", str(options.seed))
    mufnet("prepare", "cohort", "store")
    for arm in ARMS:
        configs = [f"--config={CONFIGS / name}.yaml" for name in (arm, "demo")]
        mufnet("fit", *configs, "--data.store=store", "--tracking.study=phantom-accuracy")
    minutes = (time.perf_counter() - start) / 60
    table = beside_the_truth(Path("cohort"), "phantom-accuracy")
    print(table.round(3).to_string())
    singles = table.loc[["bmode", "ceus"], "auc"].max()
    checks = {
        "every arm within 0.08 of the truth": bool((table["difference"].abs() <= 0.08).all()),
        "fused above both single arms": bool(table.loc["fused", "auc"] > singles),
        "no arm above its ceiling beyond chance": bool((table["ci_low"] <= table["ceiling"]).all()),
        f"{minutes:.1f} of {MINUTES} minutes": minutes <= MINUTES,
    }
    for check, passed in checks.items():
        print(f"{'yes' if passed else 'NO '} {check}")
    return 0 if all(checks.values()) else 1


def mufnet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mufnet_lightning", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
