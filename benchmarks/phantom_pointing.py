"""Do the maps of a trained network point at the phantom's signal, and those of random weights not?

    python benchmarks/phantom_pointing.py [--work FOLDER] [--seed N]

The cohort is that of phantom_accuracy.py (give its --work folder to use it again): 400 patients with
six frames each. Its crops are cut with context around the boxes (--margin), since a crop that shows
the tumour alone leaves nowhere else to point. The fused arm is trained as there, and its maps on the
test patients are held against the tumours that were simulated: is a map's maximum in the signal (the
pointing game), and how much of its energy?

Twice: Grad-CAM of the last feature maps, whose 3 x 3 cells at 96 pixels are as large as the tumour
itself; and of the stage before, with 6 x 6 cells. Exits with 1 unless for both modalities the share of
the finer maps' energy that lies in the signal is above chance (the signal's share of the crop), with
the 95% interval over patients, and that of networks with random weights is not, with the 95% interval
over networks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mufnet_lightning.explain.record import read_tables
from mufnet_lightning.tracking.runs import find_runs, find_study

STUDY = "phantom-pointing"
LAYER = "blocks.3"  # of test_efficientnet
DRAWS = "20"  # random networks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--margin", default="0.5")
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        return run(options.work, options)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> int:
    os.chdir(work)
    if not Path("cohort").exists():
        size = ["--patients", str(options.patients), "--frames", "6", "--clip-length", "12"]
        shape = ["--pane-size", "224", "--high-share", "0.4", "--seed", options.seed]
        mufnet("phantom", "cohort", *size, *shape)
    store = f"store-margin-{options.margin}"
    mufnet("prepare", "cohort", store, "--margin", options.margin)
    mufnet(
        "fit",
        "--config=fused",
        "--config=demo",
        f"--data.store={store}",
        f"--tracking.study={STUDY}",
        "--explain.enabled=false",
    )

    (latest,) = find_runs(find_study(STUDY), verb="fit", finished=True, most=1)
    for layer in ((), ("--layer", LAYER)):
        mufnet("explain", "--run", latest.id, "--phantom", "cohort", "--draws", DRAWS, *layer)
    checks = {}
    for row in read_tables(latest.id, f"gradcam-{LAYER}").summary.pointing:
        if row.kind == "energy":
            assert row.gain.ci is not None
            assert row.random_weights is not None
            assert row.random_weights.ci is not None
            checks[f"{row.modality}: maps above chance"] = row.gain.ci[0] > 0
            checks[f"{row.modality}: random weights not above chance"] = row.random_weights.ci[0] <= 0
    for check, passed in checks.items():
        print(f"{'yes' if passed else 'NO '} {check}")
    return 0 if all(checks.values()) else 1


def mufnet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mufnet_lightning", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
