"""Which weights should a training keep: of the best validation epoch, of the last one, or their mean?

    python benchmarks/selection.py [--work FOLDER] [--seeds 8] [--epochs 40] [--frames 6]

Each seed simulates another cohort of the paper's size (100 patients, 26 of high grade) and trains the
fused arm on its fold 0 (64 patients to train on, 16 to validate, 20 to test on) with the tiny encoder
at 96 pixels. The paper's schedule is kept in proportion: the rate is halved after each tenth of the
epochs. What each rule would keep is taken from that one training:

    val/auc   the epoch with the highest validation AUC over images
    val/loss  the epoch with the lowest validation loss
    last      the last epoch
    average   the mean of the weights over the steps of the last quarter (`TailAverage`)

Each is scored on the cohort's own 20 test patients, and on the patients of a further phantom, the same
for all seeds, with two frames a clip. Prints AUCs over patients by seed, means, SDs, paired differences
to val/auc with a 95% t interval over the seeds, and by how much the validation AUC flatters: that of
the kept weights minus that of the further patients. A seed that was run before is read from the folder.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from numpy.typing import NDArray

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.evaluation.statistics.intervals import mean_t
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.training.callbacks.averaging import TailAverage

RULES = ("val/auc", "val/loss", "last", "average")
WEIGHTS = dict[str, torch.Tensor]


class Module(MufNetModule):
    """With the paper's schedule on fewer epochs."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        tenth = max(1, int(self.trainer.max_epochs or 10) // 10)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=tenth, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}


class Candidates(Callback):
    """What each rule would keep."""

    def __init__(self) -> None:
        self.weights: dict[str, WEIGHTS] = {}
        self.epochs: dict[str, int] = {}
        self._best: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._keep("last", trainer, pl_module)
        for rule, sign in (("val/auc", 1), ("val/loss", -1)):
            value = sign * float(trainer.callback_metrics[rule])
            if rule not in self._best or value > self._best[rule]:
                self._best[rule] = value
                self._keep(rule, trainer, pl_module)

    def _keep(self, rule: str, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights[rule] = copy.deepcopy(pl_module.net.state_dict())  # type: ignore[operator, union-attr]
        self.epochs[rule] = trainer.current_epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, help="keep everything here [a temporary folder]")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--further", type=int, default=400)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
        run(options.work, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options)


def run(work: Path, options: argparse.Namespace) -> None:
    os.chdir(work)
    phantom("further", options.further, 2, 999_983)
    rows = []
    for seed in range(options.first, options.first + options.seeds):
        file = Path(f"seed-{seed}.json")
        if not file.is_file():
            start = time.perf_counter()
            file.write_text(json.dumps(one_seed(seed, options)))
            print(f"seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        rows += json.loads(file.read_text())
    show(pd.DataFrame(rows))


def one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a rule: AUCs over patients of validation, test and further patients."""
    name = f"cohort-{seed}"
    phantom(name, options.patients, options.frames, seed)
    seed_everything(seed)
    data = data_of(name, seed)
    module = Module(encoder="test_efficientnet", pretrained=False, dropout=0.0)
    candidates, average = Candidates(), TailAverage()
    trainer = Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        callbacks=[average, candidates],
    )
    trainer.fit(module, datamodule=data)
    assert average.steps
    candidates.weights["average"] = module.net.state_dict()  # training ends with it
    candidates.epochs["average"] = options.epochs - 1
    candidates.weights = {rule: copy.deepcopy(candidates.weights[rule]) for rule in RULES}
    further = data_of("further", seed)
    rows = []
    for rule in RULES:
        module.net.load_state_dict(candidates.weights[rule])
        numbers: dict[str, Any] = {
            "seed": seed,
            "rule": rule,
            "epoch": candidates.epochs[rule],
            "val": patient_auc(module, data, data.part_rows("val")),
            "test": patient_auc(module, data, data.part_rows("test")),
            "further": patient_auc(module, further, further.usable_rows),
        }
        print(json.dumps(numbers), file=sys.stderr, flush=True)
        rows.append(numbers)
    return rows


def data_of(name: str, seed: int) -> RoiPairDataModule:
    """The paper's split, small pictures."""
    data = RoiPairDataModule(f"{name}-store", image_size=96, num_workers=0, seed=seed, split_seed=seed)
    data.prepare_data()
    return data


def patient_auc(module: MufNetModule, data: RoiPairDataModule, rows: NDArray[np.int64]) -> float:
    module.eval()
    with torch.inference_mode():
        batches = list(data.rows_dataloader(rows))
        scores = torch.cat([module(batch).logits.softmax(dim=1)[:, -1] for batch in batches])
    patients = data.store.manifest["patient_id"].to_numpy()[rows]
    return part_numbers(data.labels[rows], scores.double().numpy(), patients)["patient_auc"]


def show(table: pd.DataFrame) -> None:
    """Print it all."""
    seeds = table["seed"].nunique()
    print(f"{seeds} seeds, AUC over patients")
    for part in ("val", "test", "further"):
        wide = table.pivot_table(index="rule", columns="seed", values=part, sort=False).loc[list(RULES)]
        print(f"\n{part}\n{wide.round(3).to_string()}")
    rows = []
    for rule in RULES:
        mine = table[table["rule"] == rule].set_index("seed")
        base = table[table["rule"] == RULES[0]].set_index("seed")
        row = {"rule": rule, "epoch": f"{mine['epoch'].mean():.1f}"}
        for part in ("test", "further"):
            row[part] = f"{mine[part].mean():.3f} (SD {mine[part].std():.3f})"
            row[f"{part} - val/auc's"] = with_interval(mine[part] - base[part])
        row["val - further"] = with_interval(mine["val"] - mine["further"])
        rows.append(row)
    print(f"\n{pd.DataFrame(rows).to_string(index=False)}")


def with_interval(values: pd.Series[float]) -> str:
    """Mean and 95% t interval over the seeds."""
    if len(values) < 2 or not values.any():
        return f"{values.mean():+.3f}"
    mean = mean_t(values.to_numpy())
    return f"{mean.value:+.3f} ({mean.low:+.3f}, {mean.high:+.3f})"


def phantom(name: str, patients: int, frames: int, seed: int) -> None:
    """Simulate and cut a cohort, where that is not done yet."""
    if Path(f"{name}-store").is_dir():
        return
    size = [f"--patients={patients}", f"--frames={frames}", f"--clip-length={2 * frames}"]
    mufnet("phantom", name, *size, "--pane-size=224", f"--seed={seed}")
    mufnet("prepare", name, f"{name}-store")


def mufnet(*words: str) -> None:
    command = [sys.executable, "-m", "mufnet_lightning", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
