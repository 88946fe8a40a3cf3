"""Do the three arms learn what a phantom holds, and nothing more?

    python benchmarks/phantom_accuracy.py [--work FOLDER]

Simulates 400 patients with six frames each, trains the three arms on them with the tiny encoder at 96
pixels (configs/demo.yaml), and lets each grade 1,000 further patients. Prints each arm's patient-level
AUC on these beside what the true b, c or both reach on the same patients. Exits with 1 when an arm is
more than 0.08 below the truth, when the fused arm is not above both single arms, when an arm is above
its ceiling beyond chance, or when it all took more than 20 minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mufnet_lightning.phantom.truth import read_truth
from mufnet_lightning.study.ceilings import truth_table
from mufnet_lightning.study.external import validate_externally
from mufnet_lightning.tracking.runs import find_runs, find_study
from mufnet_lightning.vocabulary import ARMS

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MINUTES = 20
STUDY = "phantom-accuracy"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--others", type=int, default=1000, help="who are graded [1000]")
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
    shape = ["--frames", "6", "--clip-length", "12", "--pane-size", "224"]
    shape += ["--high-share", str(options.high_share)]
    cohorts = {
        "cohort": (options.patients, options.seed),
        "others": (options.others, options.seed + 1000),
    }
    for cohort, (patients, seed) in cohorts.items():
        mufnet("phantom", cohort, "--patients", str(patients), "--seed", str(seed), *shape)
        mufnet("prepare", cohort, f"{cohort}-store")
    scores = {}
    for arm in ARMS:
        configs = [f"--config={CONFIGS / name}.yaml" for name in (arm, "demo")]
        mufnet("fit", *configs, "--data.store=cohort-store", f"--tracking.study={STUDY}")
        run = find_runs(find_study(STUDY), finished=True, most=1, arm=arm, verb="fit")[0]
        scores[arm] = validate_externally(run.id, Path("others-store")).counted
    minutes = (time.perf_counter() - start) / 60
    table = truth_table(read_truth(Path("others")), scores)
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
