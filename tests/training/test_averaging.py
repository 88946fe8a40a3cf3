"""The mean of the last epochs: what is in it, and that it goes on where a training stopped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mufnet_lightning.errors import InputFault
from mufnet_lightning.training.callbacks.averaging import TailAverage, first_averaged_epoch
from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint, SelectedCheckpoint


class Killed(Exception):
    """A training ends here."""


class Small(LightningModule):
    """A linear layer behind batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Steps(Callback):
    """The weights after every step, and a stop before an epoch."""

    def __init__(self, stop: int | None = None) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.stop = stop

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.stop:
            raise Killed

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        self.weights.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def trained(
    folder: Path, epochs: int, share: float, stop: int | None = None, start: Path | None = None
) -> tuple[dict[str, Tensor], Steps, Path]:
    """The weights at the end, those after every step, and the last checkpoint."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(16, 3), torch.randint(2, (16,)))
    last, steps, module = LastCheckpoint(), Steps(stop), Small()
    last.dirpath = str(folder)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TailAverage(share) if share else Callback(), steps, last],
    )
    with pytest.raises(Killed) if stop is not None else nullcontext():
        trainer.fit(module, DataLoader(data, batch_size=4), ckpt_path=start, weights_only=True)
    return module.state_dict(), steps, folder / "last.ckpt"


def test_it_is_the_mean_over_the_steps_of_the_last_epochs_and_the_checkpoint_has_it(
    tmp_path: Path,
) -> None:
    weights, steps, last = trained(tmp_path, 4, 0.5)
    assert len(steps.weights) == 16
    mean = {
        name: torch.stack([one[name].double() for one in steps.weights[8:]]).mean(0) for name in weights
    }
    kept = torch.load(last, weights_only=True)
    for name, value in mean.items():
        if value.numel() > 1:  # not the count of batches
            torch.testing.assert_close(weights[name].double(), value, rtol=1e-5, atol=1e-6)
    for name, tensor in kept["state_dict"].items():
        assert torch.equal(tensor, weights[name])
    for name, tensor in kept["current_model_state"].items():
        assert torch.equal(tensor, steps.weights[-1][name])
    assert kept["epoch"] == 3


@pytest.mark.parametrize("stop", [2, 3])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole, steps, _ = trained(tmp_path / "whole", 4, 0.5)
    _, _, last = trained(tmp_path / "first", 4, 0.5, stop)
    gone_on, second, _ = trained(tmp_path / "second", 4, 0.5, start=last)
    assert len(second.weights) == 4 * (4 - stop)
    for name, value in whole.items():
        assert torch.equal(value, gone_on[name]), name
    assert torch.equal(second.weights[-1]["net.0.weight"], steps.weights[-1]["net.0.weight"])


def test_a_longer_training_averages_its_own_last_epochs(tmp_path: Path) -> None:
    whole, _, _ = trained(tmp_path / "whole", 8, 0.25)
    _, _, last = trained(tmp_path / "first", 4, 0.25)
    longer, _, _ = trained(tmp_path / "second", 8, 0.25, start=last)
    for name, value in whole.items():
        assert torch.equal(value, longer[name]), name


def test_without_a_mean_it_goes_on_from_the_trained_weights(tmp_path: Path) -> None:
    _, steps, _ = trained(tmp_path / "whole", 4, 0)
    _, _, last = trained(tmp_path / "first", 2, 1.0)
    _, second, _ = trained(tmp_path / "second", 4, 0, start=last)
    assert torch.equal(second.weights[-1]["net.0.weight"], steps.weights[-1]["net.0.weight"])


@pytest.mark.parametrize(
    ("epochs", "share", "first"), [(100, 0.25, 75), (10, 0.25, 7), (1, 0.25, 0), (3, 1.0, 0)]
)
def test_at_least_the_last_epoch_is_averaged(epochs: int, share: float, first: int) -> None:
    assert first_averaged_epoch(epochs, share) == first


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InputFault, match=r"set trainer\.max_epochs"):
        first_averaged_epoch(-1, 0.25)
    with pytest.raises(InputFault, match="keep is last, which selects no epoch"):
        SelectedCheckpoint("last", "val/auc")
    with pytest.raises(InputFault, match="average_share is 0"):
        SelectedCheckpoint("average", average_share=0)
