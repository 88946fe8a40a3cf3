"""The module in a real trainer: one engine for final numbers, initial weights, own blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.scores import curve_numbers, part_means

OWN: dict[str, Any] = {"encoder": "own_blocks.Encoder", "pretrained": False}


def make_trainer(*callbacks: Callback, epochs: int = 1) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def make_data(store: Path, **options: Any) -> RoiPairDataModule:
    settings: dict[str, Any] = {"image_size": 16, "batch_size": 16, "num_workers": 0, **options}
    return RoiPairDataModule(str(store), **settings)


@dataclass(frozen=True)
class Initial:
    """What `tracking.checkpoints.read_checkpoint` returns, as far as the module asks."""

    state_dict: dict[str, torch.Tensor]
    hyper_parameters: dict[str, Any]
    trained: list[dict[str, Any]] = field(default_factory=list)


class Curves(Callback):
    """The numbers of each epoch's validation."""

    def __init__(self) -> None:
        self.numbers: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MufNetModule)
        if trainer.state.fn == "fit":
            self.numbers.append(pl_module.numbers["val"])
            auc = trainer.callback_metrics["val/auc"]
            assert auc.dtype == torch.float32
            assert auc == torch.tensor(pl_module.numbers["val"]["auc"], dtype=torch.float32)


def test_final_numbers_are_numpys_in_full_and_curves_are_torchmetrics(
    phantom_store: Path, own_blocks: ModuleType
) -> None:
    module, data, curves = MufNetModule(**OWN), make_data(phantom_store), Curves()
    trainer = make_trainer(curves)
    trainer.fit(module, datamodule=data)
    patients = data.store.manifest["patient_id"].factorize()[0]

    scores = module.latest["val"]
    rows = torch.from_numpy(patients)[scores["row"]]
    means = part_means(scores, ["bmode", "ceus"])
    assert curves.numbers == [{**means, **curve_numbers(scores, rows)}]

    # a name of its own: one more point of `val/...` would not be of an epoch
    for verb, part, prefix in (("validate", "val", "val_selected"), ("test", "test", "test")):
        getattr(trainer, verb)(module, datamodule=data, verbose=False)
        scores = module.latest[part]
        expected = part_means(scores, ["bmode", "ceus"]) | part_numbers(
            scores["label"].numpy(),
            scores["score"].double().numpy(),
            data.store.manifest["patient_id"].to_numpy()[scores["row"].numpy()],
        )
        assert module.numbers[part] == pytest.approx(expected, abs=1e-12)
        for name, value in module.numbers[part].items():
            logged = trainer.callback_metrics[f"{prefix}/{name}"]
            assert logged.dtype == torch.float64
            assert logged.item() == value


def test_a_network_that_diverged_scores_nobody(phantom_store: Path, own_blocks: ModuleType) -> None:
    module = MufNetModule(**OWN)
    torch.nn.init.constant_(module.net.head.bias, float("nan"))
    with pytest.raises(InputFault, match="the network gives no number"):
        make_trainer().test(module, datamodule=make_data(phantom_store), verbose=False)


def test_what_training_starts_from_is_handed_over(own_blocks: ModuleType) -> None:
    before = MufNetModule(**OWN)
    cohorts = [{"digest": "d", "cohort": "c", "patients": {"P": 1}, "train": ["P"]}]
    handed = Initial(before.state_dict(), dict(before.hparams), cohorts)

    module = MufNetModule(**OWN, init_from="runs:/before")
    with pytest.raises(InputFault, match=r"init_from is runs:/before, but nobody has read it.*initial"):
        module.initialise_weights()
    module.initial = handed
    module.initialise_weights()
    for name, value in before.net.state_dict().items():
        assert torch.equal(module.net.state_dict()[name], value), name
    assert module.trained_before == cohorts

    # another pair of classes keeps its own head
    other = MufNetModule(**OWN, classes=("benign", "malignant"))
    own = other.net.head.weight.clone()
    other.initial = handed
    other.initialise_weights()
    assert torch.equal(other.net.head.weight, own)
    name = "fusion.attention.0.weight"
    assert torch.equal(other.net.get_parameter(name), before.net.get_parameter(name))

    # a network of another kind is refused
    wide = MufNetModule(encoder={"class_path": "own_blocks.Encoder", "init_args": {"width": 7}})
    wide.initial = handed
    with pytest.raises(InputFault, match="do not fit this network"):
        wide.initialise_weights()


def test_weights_are_initialised_once(own_blocks: ModuleType) -> None:
    module = MufNetModule(encoder="own_blocks.PretrainedEncoder", pretrained=True)
    module.initialise_weights()
    torch.nn.init.zeros_(module.net.encoders[0].get_parameter("convolution.weight"))
    module.initialise_weights()
    assert not module.net.encoders[0].get_parameter("convolution.weight").any()


def test_own_blocks_train_together(phantom_store: Path, own_blocks: ModuleType) -> None:
    module = MufNetModule(
        encoder={"class_path": "own_blocks.Encoder", "init_args": {"width": 6}},
        pretrained=False,
        fusion="own_blocks.Fusion",
        loss={"class_path": "own_blocks.Loss", "init_args": {"smoothing": 0.1}},
    )
    data = make_data(
        phantom_store,
        sampler={"class_path": "own_blocks.EveryImage", "init_args": {"limit": 32}},
        transform="own_blocks.Shift",
    )
    start = {name: value.clone() for name, value in module.net.named_parameters()}
    trainer = make_trainer(epochs=2)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 4
    counts = torch.tensor(data.class_counts, dtype=torch.float32)
    torch.testing.assert_close(module.loss.get_buffer("weights"), counts.sum() / counts)
    assert {n for n, value in module.net.named_parameters() if not torch.equal(value, start[n])} == set(
        start
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "model.dropout"),
        ({"beta": 1.0}, "model.beta"),
        ({"gamma": -1.0}, "model.gamma"),
        ({"classes": ["one"]}, "two classes"),
    ],
)
def test_settings_out_of_range_are_told(
    own_blocks: ModuleType, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputFault, match=message):
        MufNetModule(**OWN, **options)
