"""Two processes (gloo, CPU): shares of the draws are disjoint, and every test image counts once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]

DRAWN = """
import sys
from lightning.pytorch import Callback
from mufnet_lightning.training.cli import MufnetCLI
from mufnet_lightning.data.sampler import ClassBalancedSampler

class Draws(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        assert type(trainer.train_dataloader.sampler) is ClassBalancedSampler
        with open(f"rank{trainer.global_rank}.txt", "a") as file:
            print(trainer.current_epoch, *batch["row"].tolist(), file=file)

class Drawing(MufnetCLI):
    def before_fit(self):
        self.trainer.callbacks.append(Draws())

Drawing(sys.argv[1:])
"""


def spawn(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


def drawn(path: Path) -> dict[int, list[int]]:
    epochs: dict[int, list[int]] = {}
    for line in path.read_text().splitlines():
        epoch, *rows = map(int, line.split())
        epochs.setdefault(epoch, []).extend(rows)
    return epochs


@pytest.mark.slow
def test_two_processes_share_the_draws_and_score_every_image_once(work: Path, tiny: list[str]) -> None:
    Path("draw.py").write_text(DRAWN)
    words = [*tiny, "--trainer.max_epochs=2", "--data.batch_size=8"]
    spawn("draw.py", "fit", *words, "--trainer.logger=false", *TWO)
    first, second = drawn(Path("rank0.txt")), drawn(Path("rank1.txt"))
    for epoch in (0, 1):
        assert len(first[epoch]) == len(second[epoch])
    Path("rank0.txt").unlink()
    spawn("draw.py", "fit", *words, "--trainer.logger=false", "--trainer.devices=1")
    alone = drawn(Path("rank0.txt"))
    for epoch in (0, 1):
        together = [row for pair in zip(first[epoch], second[epoch], strict=True) for row in pair]
        assert together[: len(alone[epoch])] == alone[epoch]
    assert first[0] != first[1]

    # one checkpoint, scored by one process and by two (25 pairs do not divide evenly into batches)
    assert main(["fit", *tiny]) == 0
    (trained,) = mlflow_client().search_runs(["1"])
    again = [f"--ckpt_path={trained.info.run_id}", "--trainer.accelerator=cpu"]
    for verb, part in (("test", "test"), ("validate", "val")):
        assert main([verb, *again]) == 0
        spawn("-m", "mufnet_lightning", verb, *again, *TWO)
        runs = mlflow_client().search_runs(
            ["1"], f"tags.verb = '{verb}'", order_by=["attributes.start_time"]
        )
        one, two = (pd.read_csv(resolve_artifact(run.info.run_id, "predictions.csv")) for run in runs)
        pd.testing.assert_frame_equal(one, two, rtol=1e-5)
        numbers = {n: v for n, v in runs[0].data.metrics.items() if n.startswith(f"{part}/")}
        assert {f"{part}/auc_ci_low", f"{part}/patient_auc_ci_high", f"{part}/brier"} <= set(numbers)
        for name, value in numbers.items():
            assert abs(runs[1].data.metrics[name] - value) < 1e-5, name
