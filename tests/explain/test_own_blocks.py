"""Networks with somebody's own encoder or fusion are explained like ours, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.maps import activation_maps
from mufnet_lightning.explain.sanity import randomised
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.vocabulary import STAGES

OWN = Path(__file__).parent / "own"
BOTH = ("bmode", "ceus")
STAGES_OF = "own_networks.Stages"


@pytest.fixture(autouse=True)
def own_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(OWN))


def network(
    encoder: str = STAGES_OF, fusion: str = "own_networks.Halves", share: bool = True
) -> MufNet:
    torch.manual_seed(0)
    net = MufNet(BOTH, encoder, share_encoder=share, fusion=fusion)
    torch.nn.init.uniform_(net.head.weight, -0.2, 1.0)  # something speaks for either class
    return net.eval()


def pictures() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {m: torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8) for m in BOTH}


@pytest.mark.parametrize("encoder", [STAGES_OF, "own_networks.ChannelsLast"])
@pytest.mark.parametrize("share", [True, False])
def test_maps_are_those_of_plain_autograd(encoder: str, share: bool) -> None:
    net, images = network(encoder, share=share), pictures()
    encoders = list(net.encoders) * (2 if share else 1)
    maps = [one(images[m]) for m, one in zip(BOTH, encoders, strict=True)]
    pooled = torch.stack([one.pool(m) for m, one in zip(maps, encoders, strict=True)], dim=1)  # type: ignore[operator]
    assert net.fusion is not None
    logits = net.head(net.fusion(pooled)[0])
    explained = activation_maps(net, images, [1] * 3).maps
    last = encoder != STAGES_OF
    for modality, features in zip(BOTH, maps, strict=True):
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), features, retain_graph=True)
        weight = gradient.mean(dim=(1, 2) if last else (2, 3), keepdim=True)
        cam = (weight * features).sum(dim=3 if last else 1).relu().detach().numpy()
        expected = np.stack([cv2.resize(one, (64, 64)) for one in cam])
        assert expected.max() > 0
        np.testing.assert_allclose(explained[modality], expected, atol=1e-5 * expected.max())


def test_a_layer_is_named_in_the_encoder_itself() -> None:
    net, images = network(), pictures()
    assert activation_maps(net, images, layer="second.0").grid == (15, 15)
    with pytest.raises(
        InputFault, match=r"Stages has no layer 'blocks\.3'; it has first, second, third and theirs"
    ):
        activation_maps(net, images, layer="blocks.3")


@pytest.mark.parametrize("share", [True, False])
def test_its_weights_are_drawn_anew_until_none_is_left(share: bool) -> None:
    net = network(share=share)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.25)  # nothing is as it was initialised
    before = {name: value.clone() for name, value in net.named_parameters()}
    drawn = [
        {name for name, value in other.named_parameters() if not torch.equal(value, before[name])}
        for _, other in randomised(net)
    ]
    assert len(drawn) == len(STAGES)
    assert drawn[0] == {"head.weight", "head.bias", "fusion.share"}
    assert drawn[0] < drawn[1] < drawn[2] < drawn[3] == set(before)


@pytest.mark.parametrize(
    ("encoder", "fusion", "layer", "sentence"),
    [
        (
            "own_networks.Flat",
            "softmax",
            None,
            "Flat has no feature maps there, but a tensor of the shape",
        ),
        ("own_networks.Again", "softmax", "third", "this layer is passed more than once"),
        (
            STAGES_OF,
            "own_networks.OfEachFeature",
            None,
            r"model.fusion OfEachFeature gives weights of the shape \(3, 2, 6\); to be explained it "
            r"needs one for each image and modality, \(3, 2\)",
        ),
        (STAGES_OF, "own_networks.Cut", None, "no score depends on the encoder's maps"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    encoder: str, fusion: str, layer: str | None, sentence: str
) -> None:
    net, images = network(encoder, fusion), pictures()
    with pytest.raises(InputFault, match=sentence):
        activation_maps(net, images, layer=layer)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
