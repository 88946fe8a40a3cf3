"""What a GPU would be asked to do, where there is none: tensors of a device, without numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch._dynamo import register_backend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mufnet_lightning.data.augmentation import Augmentation
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.device_augmentation import BatchAugmentation, drawn_tensors
from mufnet_lightning.models.fusion import drop_modalities
from mufnet_lightning.models.losses import ClassBalancedFocalLoss
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet

SIZE, COUNT = 64, 4
EVERYTHING = Augmentation(flip=1, affine=1, elastic=1, noise=1, speckle=1, gamma=1)
MODALITIES = ("bmode", "ceus")


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the names of all operations, and apart those whose tensors are not all of one device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()
        self.across: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry it out."""
        made = func(*args, **(kwargs or {}))
        held = [value for value in (*args, made) if isinstance(value, Tensor)]
        self.names[func.name()] += 1
        # a number on the host is handed on with the call; nothing is copied for it
        held = [value for value in held if value.ndim or value.device.type != "cpu"]
        if len({value.device.type for value in held}) > 1:
            self.across[func.name()] += 1
        return made


def of_second(step: Callable[[], object]) -> Operations:
    """Of the second of two steps: the first makes things that later ones have."""
    step()
    operations = Operations()
    with operations:
        step()
    return operations


def batch_of(device: str, channels: int = 3) -> dict[str, Tensor]:
    """Shapes alone: what a loader's batch is on the device."""
    drawn = drawn_tensors(EVERYTHING, SIZE, 0)
    made = {
        name: torch.empty(COUNT, *one.shape, dtype=torch.int32, device=device)
        for name, one in drawn.items()
    }
    for name in MODALITIES:
        made[name] = torch.empty(COUNT, channels, SIZE, SIZE, dtype=torch.uint8, device=device)
    return made


@pytest.mark.parametrize("channels", [1, 3])
def test_the_host_does_not_wait_in_the_augmentation_of_a_batch(channels: int) -> None:
    # a copy from the host's pageable memory ends when the GPU has done all that it was asked before
    augment = BatchAugmentation(SIZE)
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch = batch_of("cuda", channels)
        operations = of_second(lambda: augment(batch, MODALITIES))
        assert augment(batch, MODALITIES)["ceus"].device.type == "cuda"
    assert sum(operations.names.values()) > 30
    assert operations.across == {}


def test_where_a_pixel_is_taken_from_is_no_matrix_product() -> None:
    # PyTorch can be told to round the factors of those to 10 bits
    with Operations() as operations:
        BatchAugmentation(SIZE)(
            {
                **{n: torch.stack([v] * 2) for n, v in drawn_tensors(EVERYTHING, SIZE, 1).items()},
                "ceus": torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8),
            },
            ["ceus"],
        )
    assert operations.names["aten::grid_sampler_2d"] == 1
    products = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
    assert [name for name in products if name in operations.names] == []


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_network_and_loss_mix_no_devices_and_wait_for_none(share: float) -> None:
    loss_of = ClassBalancedFocalLoss([60, 40])
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):  # such a network cannot be moved there later
            net = MufNet(encoder="test_efficientnet").train()
        loss_of.to("cuda")
        batch = batch_of("cuda")
        labels = torch.empty(COUNT, dtype=torch.int64, device="cuda")

        def step() -> None:
            pictures = {name: batch[name] for name in MODALITIES}
            if share:
                pictures["present"] = drop_modalities(COUNT, 2, share, torch.device("cuda"))
            assert loss_of(net(pictures).logits, labels).device.type == "cuda"

        operations = of_second(step)
    assert operations.names["aten::convolution"] > 10
    assert operations.across == {}
    # what has no numbers fails by itself where one is read


def test_one_graph_is_made_for_all_epochs(phantom_store: Path, own_blocks: object) -> None:
    sizes: list[int] = []
    torch._dynamo.reset()  # it keeps what it learnt of sizes in the tests before

    @register_backend(name="noting")  # type: ignore[misc]
    def noting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        sizes.append(max(len(one) for one in inputs if one.ndim == 4))
        return graph.forward

    data = RoiPairDataModule(str(phantom_store), image_size=16, batch_size=16, num_workers=0)
    module = MufNetModule(encoder="own_blocks.Encoder", pretrained=False, compile="noting")
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)
    assert len(data.part_rows("train")) % 16 not in (0, 1)  # the last batch is smaller
    assert sizes == [16]


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        (True, {"mode": "default"}),
        ("reduce-overhead", {"mode": "reduce-overhead"}),
        ("aot_eager", {"backend": "aot_eager"}),
    ],
)
def test_a_mode_of_the_compiler_can_be_asked_for_by_name(
    asked: bool | str,
    settings: dict[str, str],
    phantom_store: Path,
    own_blocks: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[dict[str, str]] = []

    def noted(function: Any, **given: str) -> Any:
        handed.append(given)
        return function

    monkeypatch.setattr(torch, "compile", noted)
    data = RoiPairDataModule(str(phantom_store), image_size=16, batch_size=16, num_workers=0)
    module = MufNetModule(encoder="own_blocks.Encoder", pretrained=False, compile=asked)
    Trainer(fast_dev_run=1, accelerator="cpu", logger=False, enable_progress_bar=False).fit(
        module, datamodule=data
    )
    assert handed == [settings]
