"""What makes a training faster does not make it another one; on the CPU, where everybody can run it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.runs import TrackedRun, find_runs, find_study
from mufnet_lightning.training.callbacks.finite import FiniteLoss

SAME = "demo"
OWN = Path(__file__).parents[1] / "own"


def latest() -> TrackedRun:
    return find_runs(find_study(SAME), finished=True, most=1, verb="fit")[0]


@pytest.mark.slow
def test_device_augmentation_resident_crops_and_a_compiled_step_train_the_same_network(
    fitted: str, tiny: list[str]
) -> None:
    plain = latest()
    assert plain.id == fitted
    overlay = ["--config=gpu", "--trainer.precision=32-true", "--model.compile=aot_eager"]
    words = [*tiny[:2], *overlay, *tiny[2:], "--optimizer.init_args.fused=true"]
    assert main(["fit", *words]) == 0
    fast = latest()
    assert fast.id != fitted
    for name in ("train/loss", "val_selected/loss", "test/loss"):
        # the same draws, to the rounding of the pixels
        assert fast.metrics[name] == pytest.approx(plain.metrics[name], rel=0.02)


@pytest.mark.slow
def test_mixed_precision_trains_on_the_cpu_too(work: Path, tiny: list[str]) -> None:
    assert main(["fit", *tiny, "--trainer.precision=bf16-mixed", "--model.channels_last=true"]) == 0
    assert 0 < latest().metrics["train/loss"] < 2


def test_an_unknown_backend_is_refused_by_name(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--model.compile=faster"]) == 2
    told = capsys.readouterr().err
    assert "model.compile is 'faster', expected true, false or one of" in told
    assert "reduce-overhead" in told
    assert "inductor" in told


@pytest.mark.parametrize("resident", ["true", "false"])
def test_no_step_waits_for_the_device_to_read_a_number_from_it(
    work: Path, tiny: list[str], resident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(OWN))
    operations = importlib.import_module("operations")
    operations.COUNTS.clear()
    on_device = ["--data.augment=device", f"--data.resident={resident}", "--data.batch_size=8"]
    count = "--trainer.callbacks=operations.Counting"
    # on a CPU, where nobody waits for it, each loss is looked at; on a GPU a copy is, when it is there
    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", Callback.on_train_batch_end)
    assert main(["fit", *tiny, *on_device, count, "--model.modality_dropout=0.3"]) == 0
    counts: dict[str, int] = operations.COUNTS
    assert counts["aten::convolution"] > 20
    waits = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")
    assert [name for name in waits if name in counts] == []
