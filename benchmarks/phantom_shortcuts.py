"""What do readers reach on a phantom who do not look for the signal?

    python benchmarks/phantom_shortcuts.py [--work FOLDER] [--patients N] [--seed N]

Simulates two phantoms of 400 patients: the default one, and one whose CEUS pane shows c by the timing
of the bolus alone. Reads their files as a cheater would: mean and spread of grey in the box, the box,
the centre, the scanner, the clip's file size, the number of annotated frames; and of the second
phantom, single frames with whatever simple features tell of them. Each is a logistic regression (for
single frames a random forest too), scored on patients it was not fitted on, by the AUC over patients
with its 95% interval (bootstrap), beside the ceiling. For contrast, readers who look at the right
thing: how fine the texture is, and the curve of intensity over time.

Exits with 1 when a reader of mean intensities reaches 0.6, when another trivial reader is above chance,
or when the readers of texture and of the curve are not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.evaluation.statistics.bootstrap import bootstrap_of
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.phantom.truth import read_truth
from mufnet_lightning.system.processes import in_processes

MEANS = ["bmode_mean", "ceus_mean"]
SPREADS = ["bmode_sd", "ceus_sd"]
BANDS = (0.006, 0.012, 0.024, 0.048)  # of the pane: widths between which the texture's power is taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep the phantoms here [a temporary folder]")
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--pane-size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        return run(options.work, options)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> int:
    size = ["--patients", str(options.patients), "--seed", str(options.seed)]
    default = work / f"default-{options.seed}"
    if not default.exists():
        shape = ["--frames", str(options.frames), "--pane-size", str(options.pane_size)]
        mufnet("phantom", str(default), *size, *shape)
    timing = work / f"timing-{options.seed}"
    if not timing.exists():
        shape = ["--frames", "16", "--clip-length", "16", "--pane-size", "128"]
        mufnet("phantom", str(timing), *size, *shape, "--ceus-signal", "timing")
    rows = [*readers_of_default(default), *readers_of_timing(timing)]
    table = pd.DataFrame(rows).set_index(["phantom", "reader"])
    print(table.drop(columns="wanted").round(3).to_string())
    failed = [name for name, row in table.iterrows() if not holds(row)]
    for name in failed:
        print("NO ", *name)
    print(f"{len(table) - len(failed)} of {len(table)} readers reach what they should")
    return 1 if failed else 0


def holds(row: Any) -> bool:
    """Whether a reader reaches what it should."""
    if row["wanted"] == "signal":
        return bool(row["ci_low"] > 0.5)
    chance = bool(row["ci_low"] <= 0.5)
    return chance and row["auc"] < 0.6 if row["wanted"] == "below 0.6" else chance


def readers_of_default(cohort: Path) -> list[dict[str, Any]]:
    """Rows of the table, of the default phantom."""
    frames = read_frames(cohort)
    patients = frames.drop(columns=["scanner", "center"]).groupby("patient_id").mean()
    first = frames.groupby("patient_id").first()
    known = pd.get_dummies(first[["center", "scanner"]]).astype(float)
    patients["frames"] = frames.groupby("patient_id").size()
    patients = patients.join(known)
    of = partial(row, cohort, "default", patients)
    bands = {pane: [f"{pane}_band{i}" for i in range(len(BANDS) - 1)] for pane in ("bmode", "ceus")}
    return [
        of("mean grey of both panes", MEANS, "below 0.6"),
        of("mean and SD of both panes", MEANS + SPREADS, "below 0.6"),
        of("box: place and size", ["x", "y", "width", "height"]),
        of("centre", [name for name in known if name.startswith("center")]),
        of("scanner", [name for name in known if name.startswith("scanner")]),
        of("file size of the clip", ["bytes"]),
        of("number of annotated frames", ["frames"]),
        of("texture of B-mode", bands["bmode"], "signal", "bmode"),
        of("texture of CEUS", bands["ceus"], "signal", "ceus"),
        of("texture of both", bands["bmode"] + bands["ceus"], "signal"),
    ]


def readers_of_timing(cohort: Path) -> list[dict[str, Any]]:
    """Rows of the table, of a phantom whose CEUS pane shows timing alone."""
    frames = read_frames(cohort)
    of = partial(row, cohort, "timing", arm="ceus")
    features = ["ceus_mean", "ceus_sd", *(f"ceus_band{i}" for i in range(len(BANDS) - 1)), "ceus_rest"]
    forest = RandomForestClassifier(100, min_samples_leaf=20, random_state=0, n_jobs=2)
    one = frames.groupby("patient_id").nth(5).set_index("patient_id")
    curves = frames.groupby("patient_id").apply(tempo).to_frame("tempo")
    curves["label"] = frames.groupby("patient_id")["label"].first()
    by_frame = frames.set_index("patient_id")
    return [
        of(one, "one frame", features),
        of(one, "one frame, random forest", features, model=forest),
        of(by_frame, "each frame, averaged", features),
        of(by_frame, "each frame and its time, random forest", [*features, "frame"], model=forest),
        of(curves, "curve over time", ["tempo"], "signal"),
    ]


def row(
    cohort: Path,
    phantom: str,
    table: pd.DataFrame,
    reader: str,
    features: list[str],
    wanted: str = "chance",
    arm: str = "fused",
    model: Any = None,
) -> dict[str, Any]:
    """A reader's AUC over patients, out of ten folds; `table` has a row a patient or a frame."""
    if model is None:
        model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=0)
    score = cross_val_predict(
        model,
        table[features].to_numpy(),
        table["label"].to_numpy(),
        groups=table.index,
        cv=folds,
        method="predict_proba",
    )[:, 1]
    means = table.assign(score=score).groupby(level=0)[["label", "score"]].mean()
    interval = bootstrap_of(Scores.of(means["label"], means["score"], means.index)).interval()
    return {
        "phantom": phantom,
        "reader": reader,
        "auc": interval.value,
        "ci_low": interval.limits[0],
        "ci_high": interval.limits[1],
        "ceiling": read_truth(cohort)["ceilings"][arm],
        "wanted": wanted,
    }


def tempo(frames: pd.DataFrame) -> float:
    """How often a tumour's enhancement comes and goes in the clip: the wave that fits best."""
    grey = frames["ceus_mean"].to_numpy() - frames["ceus_rest"].to_numpy()
    share = np.linspace(0, 1, len(grey))
    tempi = np.linspace(0.3, 2.1, 37)
    left = []
    for rounds in tempi:
        angle = 2 * np.pi * rounds * share
        waves = np.stack([np.ones_like(share), np.cos(angle), np.sin(angle)], axis=1)
        left.append(np.sum((grey - waves @ np.linalg.lstsq(waves, grey, rcond=None)[0]) ** 2))
    return float(tempi[np.argmin(left)])


def read_frames(cohort: Path) -> pd.DataFrame:
    """A row an annotated frame of a phantom: what its files tell of it, and the label."""
    clips = pd.read_csv(cohort / "clips.csv")
    boxes = pd.read_csv(cohort / "boxes.csv")
    patients = pd.read_csv(cohort / "patients.csv")
    jobs = [(cohort, clip, boxes[boxes["clip_id"] == clip["clip_id"]]) for _, clip in clips.iterrows()]
    frames = pd.concat(in_processes(read_clip, jobs, "reading"), ignore_index=True)
    patients["label"] = (patients["grade"] >= 3).astype(int)
    return frames.merge(patients[["patient_id", "label", "center"]], on="patient_id")


def read_clip(job: tuple[Path, Any, pd.DataFrame]) -> pd.DataFrame:
    cv2.setNumThreads(1)
    cohort, clip, boxes = job
    path = cohort / clip["path"]
    numbered = boxes.set_index("frame")
    panes = {name: list(map(int, clip[f"{name}_pane"].split(","))) for name in ("bmode", "ceus")}
    rows = []
    for frame, image in iter_frames(path, list(numbered.index)):
        box = numbered.loc[frame]
        x, y = box["x"] - panes["ceus"][0], box["y"] - panes["ceus"][1]
        told = {"patient_id": clip["patient_id"], "scanner": clip["scanner"], "frame": frame}
        told |= {"bytes": path.stat().st_size, "width": box["width"], "height": box["height"]}
        told |= {"x": x, "y": y}
        for name, (left, top, side, _) in panes.items():
            grey = image[top : top + side, left : left + side].mean(axis=2)
            inside = np.s_[y : y + box["height"], x : x + box["width"]]
            told |= {f"{name}_mean": grey[inside].mean(), f"{name}_sd": grey[inside].std()}
            told[f"{name}_rest"] = np.median(grey[grey > 0])
            smooth = [cv2.GaussianBlur(grey, (0, 0), width * side) for width in BANDS]
            for i, (fine, coarse) in enumerate(pairwise(smooth)):
                told[f"{name}_band{i}"] = np.log((fine - coarse)[inside].std() + 0.1)
        rows.append(told)
    return pd.DataFrame(rows)


def mufnet(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mufnet_lightning", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
