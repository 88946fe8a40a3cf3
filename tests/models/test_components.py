"""Own classes by class path: made with their arguments, or refused before anything is called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.components import component, component_class
from mufnet_lightning.models.encoder import make_encoder
from mufnet_lightning.models.fusion import make_fusion
from mufnet_lightning.models.losses import make_loss
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.models.mufnet import MufNet

OWN_ENCODER = {"class_path": "own_blocks.Encoder", "init_args": {"width": 6}}


def images(n: int = 4, size: int = 32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (n, 3, size, size)
    return {
        name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for name in ("bmode", "ceus")
    }


def test_a_class_path_with_and_without_arguments_makes_that_class(own_blocks: ModuleType) -> None:
    plain = component("own_blocks.Encoder", nn.Module)
    assert type(plain) is own_blocks.Encoder
    assert plain.num_features == 4
    wide = component(OWN_ENCODER, nn.Module)
    assert wide.num_features == 6
    bare = component({"class_path": "own_blocks.Encoder", "init_args": None}, nn.Module)
    assert bare.num_features == 4


def test_own_arguments_stand_above_what_the_caller_gives(own_blocks: ModuleType) -> None:
    given = {"class_path": "own_blocks.Encoder", "init_args": {"width": 9}}
    assert component(given, nn.Module, width=2).num_features == 9
    assert component("own_blocks.Encoder", nn.Module, width=2).num_features == 2


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "subprocess.run",
        "builtins.exec",
        "own_blocks.function",
        "own_blocks.NotATransform",
        "own_blocks.MADE",
        "pathlib.Path",
    ],
)
@pytest.mark.parametrize("make", ["component", "encoder", "fusion", "loss", "module"])
def test_what_is_no_subclass_is_refused_and_never_called(
    own_blocks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, make: str
) -> None:
    def called(*args: object, **options: object) -> None:
        raise AssertionError(f"{path} was called")

    monkeypatch.setattr(os, "system", called)
    monkeypatch.setattr(subprocess, "run", called)
    trace = tmp_path / "trace"
    spec = {"class_path": path, "init_args": {"args": ["touch", str(trace)]}}
    makers: dict[str, Any] = {
        "component": lambda: component(spec, nn.Module),
        "encoder": lambda: make_encoder(spec),
        "fusion": lambda: make_fusion(spec, 8),
        "loss": lambda: make_loss(spec, [1, 1]),
        "module": lambda: MufNetModule(encoder=spec, pretrained=False),
    }
    with pytest.raises(InputFault, match=r"expected the class path of a torch\.nn\."):
        makers[make]()
    assert own_blocks.MADE == []
    assert not trace.exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.Encoder", "cannot be imported .*PYTHONPATH"),
        ("own_blocks.Missing", "module own_blocks has no Missing"),
        ("Encoder", "expected the class path"),
        ("own_blocks.", "expected the class path"),
        ("own blocks.Encoder", "expected the class path"),
        ({"init_args": {"width": 3}}, "expected class_path and init_args"),
        ({"class_path": "own_blocks.Encoder", "width": 3}, "expected class_path and init_args"),
        ({"class_path": "own_blocks.Encoder", "init_args": [3]}, "expected class_path and init_args"),
        ({"class_path": "own_blocks.Encoder", "init_args": {"width": print}}, "expected class_path"),
        ({"class_path": "own_blocks.Encoder", "init_args": {"depth": 3}}, "unexpected keyword.*depth"),
    ],
)
def test_a_wrong_specification_is_one_sentence(own_blocks: ModuleType, spec: Any, message: str) -> None:
    with pytest.raises(InputFault, match=message) as caught:
        component(spec, nn.Module, setting="model.encoder")
    assert str(caught.value).startswith("model.encoder")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_of_ours_is_told_with_ours(own_blocks: ModuleType) -> None:
    with pytest.raises(InputFault, match=r"model.fusion is 'hardmax', expected softmax, sigmoid or"):
        MufNet(encoder="own_blocks.Encoder", fusion="hardmax")
    with pytest.raises(InputFault, match=r"model.loss is 'hinge', expected class_balanced_focal or"):
        MufNetModule(encoder="own_blocks.Encoder", loss="hinge")


def test_nothing_is_called_to_find_a_class(own_blocks: ModuleType) -> None:
    cls, arguments = component_class(OWN_ENCODER, nn.Module)
    assert cls is own_blocks.Encoder
    assert arguments == {"width": 6}


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("modalities", [("bmode", "ceus"), ("ceus",)])
def test_a_network_of_own_blocks_scores_and_learns(
    own_blocks: ModuleType, share: bool, modalities: tuple[str, ...]
) -> None:
    net = MufNet(modalities, OWN_ENCODER, share, {"class_path": "own_blocks.Fusion"})
    assert {type(encoder) for encoder in net.encoders} == {own_blocks.Encoder}
    assert len(net.encoders) == (1 if share else len(modalities))
    logits, weights = net(images())
    assert logits.shape == (4, 2)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_timm_names_are_still_names_also_those_with_a_dot(own_blocks: ModuleType) -> None:
    assert make_encoder("test_efficientnet.r160_in1k").num_features == 256
    with pytest.raises(InputFault, match="timm does not have"):
        make_encoder("efficientnet_b99x")


def test_an_encoder_without_features_or_pooling_is_told(own_blocks: ModuleType) -> None:
    with pytest.raises(InputFault, match=r"NotAnEncoder needs `num_features` .* and `pool"):
        MufNet(encoder="own_blocks.NotAnEncoder")


def test_pretrained_weights_are_the_encoders_own_or_are_missed(own_blocks: ModuleType) -> None:
    net = MufNet(encoder="own_blocks.PretrainedEncoder", share_encoder=False)
    net.load_pretrained()
    for encoder in net.encoders:
        weight = encoder.get_parameter("convolution.weight")
        torch.testing.assert_close(weight, torch.full_like(weight, 0.25))
    with pytest.raises(InputFault, match=r"Encoder has no load_pretrained.*model.pretrained to false"):
        MufNet(encoder="own_blocks.Encoder").load_pretrained()


@pytest.mark.parametrize("encoder", ["test_efficientnet", OWN_ENCODER])
def test_a_fresh_network_is_made_alike_and_drawn_anew(
    own_blocks: ModuleType, encoder: str | dict[str, Any]
) -> None:
    torch.manual_seed(0)
    net = MufNet(("ceus", "bmode"), encoder, False, {"class_path": "own_blocks.Fusion"}, 0.1, 3)
    torch.manual_seed(0)
    again = net.fresh()
    assert again.modalities == ("ceus", "bmode")
    assert again.dropout.p == 0.1
    assert type(again.fusion) is own_blocks.Fusion
    state, other = net.state_dict(), again.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert not torch.equal(net.fresh().head.weight, again.head.weight)
    with torch.no_grad():
        again.head.weight.zero_()
    assert net.head.weight.any()


def test_an_own_loss_gets_the_class_counts(own_blocks: ModuleType) -> None:
    loss = make_loss({"class_path": "own_blocks.Loss", "init_args": {"smoothing": 0.1}}, [30, 10])
    torch.testing.assert_close(loss.get_buffer("weights"), torch.tensor([4 / 3, 4.0]))
    assert loss.smoothing == 0.1
    values = loss(torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1]), reduction="none")
    assert values.shape == (5,)


def test_settings_of_own_blocks_go_through_a_file_that_holds_no_code(
    own_blocks: ModuleType, tmp_path: Path
) -> None:
    module = MufNetModule(
        ("bmode", "ceus"),
        OWN_ENCODER,
        pretrained=False,
        fusion={"class_path": "own_blocks.Fusion", "init_args": {"start": 2.0}},
        loss="own_blocks.Loss",
    )
    content = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    torch.save(content, tmp_path / "own.ckpt")
    loaded = torch.load(tmp_path / "own.ckpt", weights_only=True)
    again = MufNetModule(**loaded["hyper_parameters"])
    again.load_state_dict(loaded["state_dict"])
    assert type(again.net.encoders[0]) is own_blocks.Encoder
    assert type(again.loss) is own_blocks.Loss
    module.eval()
    again.eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(images()).logits, module(images()).logits, rtol=0, atol=0)
