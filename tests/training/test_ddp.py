"""Two processes (gloo, CPU): shares of the draws are disjoint, and every test image counts once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from apart import Apart

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.liveness import alive
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]

DRAWS = """
from lightning.pytorch import Callback
from mufnet_lightning.data.sampler import ClassBalancedSampler

class Draws(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        assert type(trainer.train_dataloader.sampler) is ClassBalancedSampler
        with open(f"{trainer.world_size}-rank{trainer.global_rank}.txt", "a") as file:
            print(trainer.current_epoch, *batch["row"].tolist(), file=file)
"""


def drawn(path: Path) -> dict[int, list[int]]:
    epochs: dict[int, list[int]] = {}
    for line in path.read_text().splitlines():
        epoch, *rows = map(int, line.split())
        epochs.setdefault(epoch, []).extend(rows)
    return epochs


@pytest.mark.slow
def test_two_processes_share_the_draws_and_score_every_image_once(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("draws.py").write_text(DRAWS)
    words = [*tiny, "--trainer.max_epochs=2", "--data.batch_size=8", "--trainer.callbacks=draws.Draws"]
    words += ["--checkpoint.keep=average"]  # of the last epoch, by both processes
    monkeypatch.setenv("PYTHONPATH", str(work), prepend=os.pathsep)  # for the second process
    with Apart("fit", *words, *TWO) as command:
        assert command.wait(400) == 0, command.printed()[-3000:]
    (trained,) = mlflow_client().search_runs(["1"])
    first, second = drawn(Path("2-rank0.txt")), drawn(Path("2-rank1.txt"))
    for epoch in (0, 1):
        assert len(first[epoch]) == len(second[epoch])
    monkeypatch.syspath_prepend(str(work))
    assert main(["fit", *words, "--trainer.devices=1", "--trainer.logger=false"]) == 0
    alone = drawn(Path("1-rank0.txt"))
    for epoch in (0, 1):
        together = [row for pair in zip(first[epoch], second[epoch], strict=True) for row in pair]
        assert together[: len(alone[epoch])] == alone[epoch]
    assert first[0] != first[1]

    # one checkpoint, scored by two processes at the end of `fit`, and by one (25 pairs do not divide
    # evenly into batches)
    again = [f"--ckpt_path={trained.info.run_id}", "--trainer.accelerator=cpu"]
    for verb in ("validate", "test"):
        assert main([verb, *again, "--trainer.devices=1"]) == 0
    (alone_val,) = mlflow_client().search_runs(["1"], "tags.verb = 'validate'")
    (alone_test,) = mlflow_client().search_runs(["1"], "tags.verb = 'test'")
    for part, one in (("val", alone_val), ("test", alone_test)):
        tables = [
            pd.read_csv(resolve_artifact(run.info.run_id, "predictions.csv")) for run in (trained, one)
        ]
        # of few patients a risk moves with the last digits of a score
        scored, expected = (
            t[t["split"] == part].drop(columns="risk").reset_index(drop=True) for t in tables
        )
        assert len(expected) > 0
        pd.testing.assert_frame_equal(scored, expected, rtol=1e-5)
        own = "val_selected/" if part == "val" else "test/"
        numbers = {
            n.removeprefix(f"{part}/"): v
            for n, v in one.data.metrics.items()
            if n.startswith(f"{part}/") and "_risk_" not in n
        }
        assert {"auc_ci_low", "patient_auc_ci_high", "brier"} <= set(numbers)
        for name, value in numbers.items():
            assert abs(trained.data.metrics[own + name] - value) < 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize("dead", [1, 0])
def test_where_one_process_is_killed_the_others_end_and_say_so(
    work: Path, tiny: list[str], dead: int
) -> None:
    words = [*tiny, "--trainer.max_epochs=500", *TWO]
    with Apart("fit", *words) as first:
        first.wait_for(lambda: list(Path("mlruns").glob("checkpoints/*/last.ckpt")))
        children = psutil.Process(first.pid).children()
        (second,) = (one for one in children if "fit" in one.cmdline())
        killed = time.monotonic()
        (psutil.Process(first.pid) if dead == 0 else second).kill()
        code = first.wait(60)
        psutil.wait_procs([second], timeout=60)
        # or nobody has asked how it ended
        assert not second.is_running() or second.status() == psutil.STATUS_ZOMBIE
        assert time.monotonic() - killed < 30
    err = first.printed()
    assert "Traceback" not in err
    (run,) = mlflow_client().search_runs(["1"])
    if dead == 0:
        assert "the first process of this training has ended, so this one ends too" in err
        assert not alive(run.info.run_id)
        return
    assert code == 2
    sentence = "process 1 (of 0 to 1) of this training ended by signal 9, so the others end too"
    assert sentence in err
    assert run.info.status == "FAILED"
    assert sentence in run.data.tags["reason"]
