"""How much longer does explaining take than the passes through the network that it needs?

    python benchmarks/explain_speed.py [--pairs 1000] [--encoder efficientnet_b3] [--image-size 300]

Explains pairs of a store of random pictures (both modalities, shared encoder, batches of 8):
loading, maps at full size, every measure of every image. Side by side in the same run, batch by
batch in turns, the bare passes: a forward pass through the network on pictures that lie in memory,
and a backward pass from the class's logit to the feature maps. Exits with 1 when the first takes
more than 1.5 times the second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.explain.explain import explain_images
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.models.encoder import Encoder
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.store.store import COLUMNS

LIMIT = 1.5
BATCH = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--encoder", default="efficientnet_b3")
    parser.add_argument("--image-size", type=int, default=300)
    parser.add_argument("--turn", type=int, default=40, help="pairs of one turn")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net = MufNet(encoder=options.encoder).eval().to(device)
    with tempfile.TemporaryDirectory() as folder:
        make_store(Path(folder), options.pairs, options.image_size)
        data = RoiPairDataModule(folder, image_size=options.image_size, batch_size=BATCH, num_workers=0)
        data.prepare_data()
        rows = np.arange(options.pairs)
        bare(net, data, rows[:BATCH], device)  # warm
        explain_images(net, data, rows[:BATCH], ExplainOptions())
        seconds = {"bare": 0.0, "explained": 0.0}
        for start in range(0, options.pairs, options.turn):
            turn = rows[start : start + options.turn]
            for name in ("bare", "explained") if (start // options.turn) % 2 else ("explained", "bare"):
                begin = time.perf_counter()
                if name == "bare":
                    seconds["bare"] -= bare(net, data, turn, device)
                else:
                    explain_images(net, data, turn, ExplainOptions())
                seconds[name] += time.perf_counter() - begin
    ratio = seconds["explained"] / seconds["bare"]
    print(
        f"{options.pairs} pairs, {options.encoder} at {options.image_size} px, {device}: bare passes "
        f"{seconds['bare']:.1f} s, explained {seconds['explained']:.1f} s, ratio {ratio:.2f}"
    )
    print(f"{'yes' if ratio <= LIMIT else 'NO '} at most {LIMIT} times the bare passes")
    return 0 if ratio <= LIMIT else 1


def bare(net: MufNet, data: RoiPairDataModule, rows: NDArray[np.int64], device: str) -> float:
    """The passes alone; returns the seconds that loading took, which do not count."""
    spent = 0.0
    begin = time.perf_counter()
    batches = [{m: batch[m].to(device) for m in net.modalities} for batch in data.rows_dataloader(rows)]
    spent += time.perf_counter() - begin
    (encoder,) = (one for one in net.encoders if isinstance(one, Encoder))
    for images in batches:
        with torch.no_grad():
            maps = encoder(torch.cat([images[m] for m in net.modalities]))
        maps.requires_grad_()
        features = torch.stack(encoder.pool(maps).chunk(2), dim=1)
        assert net.fusion is not None
        logits = net.head(net.fusion(features)[0])
        logits.max(dim=1).values.sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
    return spent


def make_store(folder: Path, pairs: int, size: int) -> None:
    """A store of random pictures, ten a patient."""
    rng = np.random.default_rng(0)
    (folder / "crops").mkdir()
    names = []
    for number in range(16):  # a few pictures, again and again
        soft = cv2.GaussianBlur(rng.random((size, size, 3), np.float32), (0, 0), 4)
        name = f"crops/{number}.png"
        cv2.imwrite(str(folder / name), ((soft - 0.4) * 1275).clip(0, 255).astype(np.uint8))
        names.append(name)
    row = np.arange(pairs)
    table = pd.DataFrame(
        {
            "pair_id": [f"p{i:06d}" for i in row],
            "patient_id": [f"P{i // 10:04d}" for i in row],
            "clip_id": [f"P{i // 10:04d}-1" for i in row],
            "frame": row % 10,
            "phase": "",
            "center": "",
            "grade": 1 + 3 * (row // 10 % 2),
            "label": row // 10 % 2,
            "box_x": 0,
            "box_y": 0,
            "box_width": size,
            "box_height": size,
            "box_pane": "ceus",
            "bmode_path": [names[i % 16] for i in row],
            "ceus_path": [names[(i + 5) % 16] for i in row],
        }
    )
    table[list(COLUMNS)].to_csv(folder / "manifest.csv", index=False)
    info = {
        "format": "mufnet crop store",
        "format_version": 1,
        "margin": 0.0,
        "modalities": ["bmode", "ceus"],
        "digest": "0" * 64,
        "pairs": pairs,
    }
    (folder / "store.json").write_text(json.dumps(info))


if __name__ == "__main__":
    sys.exit(main())
