"""Are risks right after recalibration? Trainings on phantoms, each held against its test patients.

    python benchmarks/recalibration.py [--seeds 20] [--work FOLDER]

Each seed simulates 400 patients with two frames each (a quarter of high grade), trains the fused arm
with the tiny encoder at 96 pixels on 180 of them (configs/demo.yaml), selects the epoch and fits the
recalibration on 180 others, and holds the risks against the 40 that are left. Prints a row a seed, and
in how many of them calibration slope 1 and intercept 0 lie in their 95% intervals. The scores
themselves, taken as risks, stand beside. Exits with 1 where slope or intercept is missed by more than
one seed in twenty.

    python benchmarks/recalibration.py --simulate 1000

does the same with scores that are drawn and not learnt (slope 1.32, intercept -1.28, AUC 0.85), for
several sizes of the validation part: it shows what fitting the recalibration costs the intervals.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from mufnet_lightning.evaluation.risks import with_risks
from mufnet_lightning.evaluation.statistics.recalibration import recalibrate
from mufnet_lightning.evaluation.statistics.risk_calibration import RiskCalibration, risk_calibration

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STUDY = "recalibration"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here, and go on with what is there")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--high-share", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--simulate", type=int, metavar="STUDIES")
    options = parser.parse_args()
    if options.simulate:
        print(simulated(options.simulate).to_string(index=False))
        return 0
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        return run(options.work, options)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> int:
    os.chdir(work)
    rows = []
    for seed in range(options.first, options.first + options.seeds):
        start = time.perf_counter()
        rows.append(trained(seed, options))
        shown = {name: f"{value:.3f}" for name, value in rows[-1].items()}
        print(f"seed {seed}: {shown} in {time.perf_counter() - start:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    missed = {}
    for of in ("risk", "score"):
        for name, right in (("slope", 1), ("intercept", 0)):
            low, high = table[f"{of}_{name}_low"], table[f"{of}_{name}_high"]
            held = int(((low <= right) & (right <= high)).sum())
            missed[of, name] = len(table) - held
            print(f"{of}: {name} {right} in its interval in {held} of {len(table)} seeds")
    allowed = len(table) // 20
    return int(max(missed["risk", "slope"], missed["risk", "intercept"]) > allowed)


def trained(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Of one phantom: AUC, and what came of the risks and of the scores of its test patients."""
    from mufnet_lightning.data.folds import make_folds
    from mufnet_lightning.tracking.runs import find_runs, find_study, resolve_artifact

    cohort, store, name = f"cohort{seed}", f"store{seed}", f"seed{seed}"
    try:
        known = {one.name: one for one in find_runs(find_study(STUDY), finished=True)}
    except Exception:  # no study yet
        known = {}
    if name not in known:
        size = ["--patients", str(options.patients), "--frames", "2", "--clip-length", "12"]
        shape = ["--pane-size", "160", "--high-share", str(options.high_share)]
        if not Path(store).is_dir():
            mufnet("phantom", cohort, *size, *shape, "--seed", str(100 + seed))
            mufnet("prepare", cohort, store)
        words = [f"--config={CONFIGS / config}.yaml" for config in ("fused", "demo")]
        patients = pd.read_csv(Path(store) / "manifest.csv").drop_duplicates("patient_id")
        folds = make_folds(patients, "paper", n_folds=2, test_share=0.1, seed=seed)
        folds.to_csv(f"folds{seed}.csv", index=False)
        words += [f"--data.store={store}", f"--data.folds_from=folds{seed}.csv"]
        words += [f"--seed_everything={seed}", f"--tracking.study={STUDY}"]
        words += [f"--tracking.run_name={name}", f"--trainer.max_epochs={options.epochs}"]
        mufnet("fit", *words, "--explain.enabled=false", "--trainer.enable_progress_bar=false")
        known = {one.name: one for one in find_runs(find_study(STUDY), finished=True)}
    run = known[name]
    # as the run did it; anew, so that trainings that are kept can be held against another fit
    table = with_risks(pd.read_csv(resolve_artifact(run.id, "predictions.csv"))).table
    test = table[table["split"] == "test"].groupby("patient_id")
    patients = test.agg({"label": "first", "score": "mean", "risk": "first"})
    row = {"auc": run.metrics["test/patient_auc"]}
    for of in ("risk", "score"):
        row |= numbers(of, risk_calibration(patients["label"], patients[of]))
    return row


def numbers(of: str, calibration: RiskCalibration) -> dict[str, float]:
    row = {f"{of}_p": calibration.p}
    for name in ("slope", "intercept"):
        estimate = getattr(calibration, name)
        row |= {
            f"{of}_{name}": estimate.value,
            f"{of}_{name}_low": estimate.low,
            f"{of}_{name}_high": estimate.high,
        }
    return row


def simulated(studies: int) -> pd.DataFrame:
    """Coverage on 5/15, 10/30 and 26/74 test patients, by the size of the validation part."""
    rng = np.random.default_rng(12)
    rows = []
    for test in ((5, 15), (10, 30), (26, 74)):
        for val in ((4, 12), (21, 59), (45, 135), (250, 750)):
            held = []
            for _ in range(studies):
                labels, scores = drawn(rng, *val)
                fit = recalibrate(labels, scores)
                labels, scores = drawn(rng, *test)
                one = risk_calibration(labels, fit.apply(scores))
                slope, intercept = one.slope, one.intercept
                covered = (slope.low <= 1 <= slope.high, intercept.low <= 0 <= intercept.high)
                held.append((*covered, one.p > 0.05, one.brier_skill))
            slopes, intercepts, kept, skill = np.mean(held, axis=0)
            sizes = {"validation": f"{val[0]}/{val[1]}", "test": f"{test[0]}/{test[1]}"}
            rows.append(
                {
                    **sizes,
                    "slope 1 held": f"{slopes:.3f}",
                    "intercept 0 held": f"{intercepts:.3f}",
                    "p above 0.05": f"{kept:.3f}",
                    "Brier skill": f"{skill:.3f}",
                }
            )
    return pd.DataFrame(rows)


def drawn(rng: np.random.Generator, high: int, low: int) -> tuple[np.ndarray, np.ndarray]:
    """Patients and scores with slope 1.32 and intercept -1.28, as a network of the phantom had them."""
    d = float(np.sqrt(2) * norm.ppf(0.85))
    labels = np.repeat([1, 0], [high, low])
    signal = d * (rng.normal(size=high + low) + (labels - 0.5) * d)
    return labels, expit((signal + logit(0.26) + 1.28) / 1.32)


def mufnet(*words: str) -> None:
    from mufnet_lightning.cli import main as command

    with quiet():
        code = command(list(words))
    if code:
        raise SystemExit(f"mufnet {' '.join(words)} ended with {code}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


if __name__ == "__main__":
    sys.exit(main())
