"""Draws docs/frame_and_crops.png: a dual-pane phantom frame, its box on both panes, and the two crops.

python docs/frame_and_crops.py COHORT STORE [--pair p000000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.geometry import Box, carry, parse_pane
from mufnet_lightning.store.store import CropStore

TITLES = {"bmode": "B-mode", "ceus": "CEUS"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--pair", default="p000000")
    options = parser.parse_args()
    store = CropStore.open(options.store)
    pair = store.manifest.set_index("pair_id").loc[options.pair]
    clip = (
        pd.read_csv(options.cohort / "clips.csv", dtype=str).set_index("clip_id").loc[pair["clip_id"]]
    )
    ((_, frame),) = iter_frames(options.cohort / clip["path"], [int(pair["frame"])])
    drawn = Box(*(int(pair[f"box_{side}"]) for side in ("x", "y", "width", "height")))
    panes = {modality: parse_pane(clip[f"{modality}_pane"]) for modality in TITLES}

    figure = Figure(figsize=(9, 4.4), dpi=130)
    grid = figure.add_gridspec(2, 2, width_ratios=[2.9, 1], wspace=0.04, hspace=0.18)
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(frame)
    whole.set_title("a frame of the clip, and the box carried from pane to pane", fontsize=9)
    for position, (modality, title) in enumerate(TITLES.items()):
        box = carry(drawn, panes[pair["box_pane"]], panes[modality])
        whole.add_patch(
            Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor="white", lw=1.4)
        )
        crop = cv2.imread(str(store.root / pair[f"{modality}_path"]))
        axis = figure.add_subplot(grid[position, 1])
        axis.imshow(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB))
        axis.set_title(f"{title} crop", fontsize=9)
        axis.axis("off")
    whole.axis("off")
    target = Path(__file__).with_name("frame_and_crops.png")
    figure.savefig(target, bbox_inches="tight")
    print(target)


if __name__ == "__main__":
    main()
