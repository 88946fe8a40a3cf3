"""What does modality dropout cost with both modalities, and what does it gain with one?

    python benchmarks/modality_dropout.py [--work FOLDER] [--share 0.3] [--seeds 2]

Simulates 400 patients with six frames each and trains, with the tiny encoder at 96 pixels
(configs/demo.yaml), the single arms, the fused arm, and the fused arm with modality dropout, from
several seeds. The 80 test patients are then graded whole, and by the fused networks also without CEUS
and without B-mode. Prints patient-level test AUCs, the mean over the seeds and each seed's. The plain
fused network, which `mufnet predict` does not let grade who lacks a modality, is asked all the same:
the missing one has weight 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from mufnet_lightning.inference.trained import Trained, load_trained
from mufnet_lightning.tracking.runs import find_runs, find_study
from mufnet_lightning.vocabulary import MODALITIES

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STUDY = "modality-dropout"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        run(options.work, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> None:
    os.chdir(work)
    size = ["--patients", str(options.patients), "--frames", "6", "--clip-length", "12"]
    if not Path("store").is_dir():
        mufnet("phantom", "cohort", *size, "--pane-size", "224", "--high-share", "0.4")
        mufnet("prepare", "cohort", "store")
    rows = []
    for seed in range(options.seeds):
        for arm in MODALITIES:
            trained = fit(arm, seed)
            rows.append((arm, arm, seed, auc(trained)))
        for name, share in (("fused", 0.0), (f"fused, dropout {options.share}", options.share)):
            trained = fit("fused", seed, share)
            rows.append((name, "both", seed, auc(trained)))
            rows += [(name, only, seed, auc(trained, [only])) for only in MODALITIES]
    table = pd.DataFrame(rows, columns=["network", "given", "seed", "auc"])
    wide = table.pivot_table(index=["network", "given"], columns="seed", values="auc", sort=False)
    wide.insert(0, "mean", wide.mean(axis=1))
    print(wide.round(3).to_string())


def fit(arm: str, seed: int, share: float = 0.0) -> Trained:
    """Train one network; what was trained before is taken as it is."""
    name = f"{arm}-{share}-{seed}"
    words = [f"--config={CONFIGS / config}.yaml" for config in (arm, "demo")]
    words += ["--data.store=store", f"--tracking.study={STUDY}", f"--tracking.run_name={name}"]
    words += [f"--seed_everything={seed}", f"--model.modality_dropout={share}"]
    try:
        known = {one.name: one for one in find_runs(find_study(STUDY), finished=True)}
    except Exception:  # no study yet
        known = {}
    if name not in known:
        mufnet("fit", *words, "--explain.enabled=false", "--trainer.enable_progress_bar=false")
        known = {one.name: one for one in find_runs(find_study(STUDY), finished=True)}
    return load_trained(known[name].id)


def auc(trained: Trained, only: Sequence[str] = ()) -> float:
    """Over the test patients, each the mean of its images; given only some modalities."""
    data, scores = trained.data, []
    rows = data.part_rows("test")
    with torch.inference_mode():
        for batch in data.rows_dataloader(rows):
            if only:
                there = torch.tensor([modality in only for modality in trained.net.modalities])
                batch["present"] = there.expand(len(batch["row"]), -1)
            scores.append(trained.net(batch).logits.softmax(dim=1)[:, -1])
    table = data.store.manifest.iloc[rows][["patient_id", "label"]].assign(score=torch.cat(scores))
    by_patient = table.groupby("patient_id").agg({"label": "first", "score": "mean"})
    return float(roc_auc_score(by_patient["label"].astype(int), by_patient["score"]))


def mufnet(*words: str) -> None:
    command = [sys.executable, "-m", "mufnet_lightning", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
