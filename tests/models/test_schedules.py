"""A training that was stopped and goes on has the learning rates of one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import lr_scheduler

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.models.module import MufNetModule

EPOCHS = 6
BATCHES = 3  # of an epoch

Schedule = Callable[[torch.optim.Optimizer], dict[str, Any]]


def plateau(monitor: str, threshold: float = 1e-4, **options: Any) -> Schedule:
    def schedule(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        # a loss that does not rise counts as a plateau, so that the rate falls every few epochs
        scheduler = lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.7, patience=0, threshold=threshold
        )
        return {"scheduler": scheduler, "monitor": monitor, **options}

    return schedule


SCHEDULES: dict[str, Schedule] = {
    "step": lambda optimizer: {"scheduler": lr_scheduler.StepLR(optimizer, 2, 0.5)},
    "cosine": lambda optimizer: {"scheduler": lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)},
    "every other epoch": lambda optimizer: {
        "scheduler": lr_scheduler.ExponentialLR(optimizer, 0.5),
        "frequency": 2,
    },
    "one cycle": lambda optimizer: {
        "scheduler": lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * BATCHES),
        "interval": "step",
    },
    "plateau of validation": plateau("val/loss"),
    "plateau of training": plateau("train/loss"),
    "plateau every other epoch": plateau("val/loss", threshold=5.0, frequency=2),
}


class Rates(Callback):
    """Learning rate and momentum at every batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.seen.append((trainer.global_step, float(group["lr"]), float(group["momentum"])))


class Tiny(MufNetModule):
    """An own encoder of one convolution, and a schedule that the test chooses."""

    schedule: Schedule

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}


def train(
    store: Path, folder: Path, schedule: Schedule, epochs: int, ckpt_path: Path | None = None
) -> tuple[list[tuple[int, float, float]], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    module = Tiny(encoder="own_blocks.Encoder", pretrained=False)
    module.schedule = schedule
    data = RoiPairDataModule(str(store), image_size=16, batch_size=16, num_workers=0)
    rates = Rates()
    trainer = Trainer(
        max_epochs=epochs,
        limit_train_batches=BATCHES,
        accelerator="cpu",
        logger=False,
        callbacks=[rates, ModelCheckpoint(folder, "last", enable_version_counter=False)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return rates.seen, {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_stopped_training_goes_on_as_if_never_stopped(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType, name: str
) -> None:
    schedule = SCHEDULES[name]
    whole, weights = train(phantom_store, tmp_path / "whole", schedule, EPOCHS)
    assert len(whole) == EPOCHS * BATCHES
    assert len({rate for _, rate, _ in whole}) > 1
    # stopped twice, once after an epoch on which every other schedule is stepped and once not
    seen = []
    ckpt_path: Path | None = None
    for epochs in (2, 3, EPOCHS):
        part, last = train(phantom_store, tmp_path / "broken", schedule, epochs, ckpt_path)
        seen += part
        ckpt_path = tmp_path / "broken" / "last.ckpt"
    assert seen == whole
    assert weights.keys() == last.keys()
    for key, value in weights.items():
        torch.testing.assert_close(last[key], value, rtol=0, atol=0)


def test_a_checkpoint_says_what_a_schedule_is_behind_with(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType
) -> None:
    behind = {}
    for name in ("step", "plateau of validation", "one cycle"):
        train(phantom_store, tmp_path / name, SCHEDULES[name], 1)
        content = torch.load(tmp_path / name / "last.ckpt", weights_only=True)
        (behind[name],) = content["mufnet_schedules"]
    assert behind["step"] == behind["one cycle"] == []
    (metric,) = behind["plateau of validation"]
    assert 0 < metric < 10


def test_a_module_without_a_schedule_trains_and_goes_on(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def optimizer_alone(module: MufNetModule) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)

    monkeypatch.setattr(Tiny, "configure_optimizers", optimizer_alone)
    train(phantom_store, tmp_path, SCHEDULES["step"], 1)
    seen, _ = train(phantom_store, tmp_path, SCHEDULES["step"], 2, tmp_path / "last.ckpt")
    assert {rate for _, rate, _ in seen} == {0.1}


def test_the_papers_optimiser_is_the_default() -> None:
    module = MufNetModule(encoder="test_efficientnet", pretrained=False)
    configured: Any = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert type(optimizer) is torch.optim.SGD
    expected = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0, "nesterov": False}
    assert expected.items() <= optimizer.defaults.items()
    assert type(scheduler) is lr_scheduler.StepLR
    assert (scheduler.step_size, scheduler.gamma) == (10, 0.5)
