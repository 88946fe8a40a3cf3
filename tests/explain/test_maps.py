"""Activation maps against Grad-CAM written out with plain autograd, for every layout of the network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.maps import activation_maps
from mufnet_lightning.explain.options import Method
from mufnet_lightning.models.encoder import Encoder
from mufnet_lightning.models.mufnet import MufNet

BOTH = ("bmode", "ceus")


def network(
    modalities: Sequence[str] = BOTH,
    encoder: str = "test_efficientnet",
    share_encoder: bool = True,
) -> MufNet:
    torch.manual_seed(0)
    net = MufNet(modalities, encoder, share_encoder, dropout=0.5)
    for module in net.modules():  # statistics of their own, as after training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_(0, 0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    torch.nn.init.uniform_(net.head.weight, -0.2, 1.0)  # something speaks for either class
    return net


def encoders_of(net: MufNet) -> list[Encoder]:
    return [encoder for encoder in net.encoders if isinstance(encoder, Encoder)]


def pictures(modalities: Sequence[str] = BOTH, count: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {m: torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8) for m in modalities}


def written_out(net: MufNet, images: dict[str, torch.Tensor], c: int) -> dict[str, np.ndarray]:
    """Selvaraju's Grad-CAM, an encoder call for each modality, without any library."""
    net.eval()
    encoders = encoders_of(net) * (len(net.modalities) if net.share_encoder else 1)
    maps = [encoder(images[m]) for m, encoder in zip(net.modalities, encoders, strict=True)]
    pooled = torch.stack([e.pool(f) for e, f in zip(encoders, maps, strict=True)], dim=1)
    fused = pooled[:, 0] if net.fusion is None else net.fusion(pooled)[0]
    logits = net.head(fused)
    cams = {}
    for modality, features in zip(net.modalities, maps, strict=True):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), features, retain_graph=True)
        weight = gradient.mean(dim=(2, 3), keepdim=True)
        cam = (weight * features).sum(dim=1).relu().detach().numpy()
        cams[modality] = np.stack([cv2.resize(m, (64, 64)) for m in cam])
    return cams


@pytest.mark.parametrize("c", [0, 1])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("modalities", [BOTH, ("ceus", "bmode"), ("bmode",), ("ceus",)])
def test_maps_are_those_of_plain_autograd(modalities: Sequence[str], share: bool, c: int) -> None:
    net, images = network(modalities, share_encoder=share), pictures()
    expected = written_out(net, images, c)
    explained = activation_maps(net, images, [c] * 3)
    assert list(explained.maps) == list(modalities)
    for modality in modalities:
        assert expected[modality].max() > 0
        np.testing.assert_allclose(
            explained.maps[modality], expected[modality], atol=1e-5 * expected[modality].max()
        )


def test_each_image_has_the_map_of_its_own_class() -> None:
    net, images = network(), pictures()
    mixed = activation_maps(net, images, [0, 1, 0]).maps["ceus"]
    for row, c in enumerate([0, 1, 0]):
        alone = activation_maps(net, images, [c] * 3).maps["ceus"]
        np.testing.assert_allclose(mixed[row], alone[row], rtol=1e-4, atol=1e-7)


def test_the_network_is_left_as_it_was_and_a_scoring_loop_is_no_obstacle() -> None:
    net, images = network(), pictures()
    net.train()
    net.encoders[0].eval()
    net.head.weight.grad = torch.ones_like(net.head.weight)
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        inside = {m: i.clone() for m, i in images.items()}
        explained = activation_maps(net, inside, [1, 1, 1])
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight))
    assert all(p.grad is None for name, p in net.named_parameters() if name != "head.weight")
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    net.eval()
    with torch.no_grad():
        output = net(images)
    np.testing.assert_allclose(explained.logits, output.logits.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(explained.weights, output.weights.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam"])
@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_every_method_works_on_every_kind_of_encoder(method: Method, encoder: str) -> None:
    net, images = network(encoder=encoder), pictures()
    maps = activation_maps(net, images, [0, 1, 1], method).maps
    for values in maps.values():
        assert values.shape == (3, 64, 64)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.min() >= 0


def test_a_layer_can_be_named() -> None:
    net, images = network(), pictures()
    last = activation_maps(net, images, [1] * 3).maps["bmode"]
    early = activation_maps(net, images, [1] * 3, layer="blocks.1").maps["bmode"]
    assert early.shape == last.shape
    assert not np.allclose(early, last)
    with pytest.raises(
        InputFault, match=r"test_efficientnet has no layer 'blocks\.99'; it has conv_stem"
    ):
        activation_maps(net, images, [1] * 3, layer="blocks.99")


def test_a_layer_before_an_activation_in_place_has_the_map_of_its_own_output() -> None:
    net, images = network(("ceus",), "test_resnet"), pictures(("ceus",))
    encoder, net = encoders_of(net)[0], net.eval()
    layers = dict(encoder.backbone.named_children())
    assert layers["act1"].inplace
    scaled = (images["ceus"] / 255 - encoder.get_buffer("mean")) / encoder.get_buffer("std")
    features = layers["bn1"](layers["conv1"](scaled)).detach().requires_grad_()
    maps = features.clone()
    for name in ("act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        maps = layers[name](maps)
    logits = net.head(encoder.pool(maps))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), features)
    assert (features < 0).any()
    even = gradient.mean(dim=(2, 3), keepdim=True)
    methods: tuple[tuple[Method, torch.Tensor], ...] = (
        ("gradcam", even),
        ("layercam", gradient.relu()),
    )
    for method, weight in methods:
        cam = (weight * features).sum(dim=1).relu().detach().numpy()
        expected = np.stack([cv2.resize(m, (64, 64)) for m in cam])
        explained = activation_maps(net, images, [1] * 3, method, "bn1").maps["ceus"]
        assert expected.max() > 0
        np.testing.assert_allclose(explained, expected, atol=1e-5 * expected.max())


def test_the_class_is_the_one_that_the_network_says_unless_told() -> None:
    net, images = network(), pictures(count=6)
    high = activation_maps(net, images).logits @ [-1, 1]
    net.head.bias.data[0] += float(np.median(high))  # half of them each
    explained = activation_maps(net, images)
    assert (explained.classes == explained.logits.argmax(axis=1)).all()
    assert sorted(explained.classes) == [0, 0, 0, 1, 1, 1]
    named = activation_maps(net, images, list(explained.classes))
    for modality in BOTH:
        np.testing.assert_array_equal(explained.maps[modality], named.maps[modality])


def test_gradients_go_back_to_the_layer_and_no_further() -> None:
    net, images = network(), pictures()
    frozen = list(net.head.parameters())
    for parameter in frozen:
        parameter.requires_grad_(False)
    tracked: dict[str, bool] = {}

    def follow(name: str, output: torch.Tensor) -> None:
        tracked[name] = output.requires_grad

    for name, block in encoders_of(net)[0].backbone.blocks.named_children():
        block.register_forward_hook(lambda *call, name=name: follow(name, call[-1]))
    activation_maps(net, images, [1] * 3, layer="blocks.2")
    assert tracked == {"0": False, "1": False, "2": False, "3": True, "4": True}
    activation_maps(net, images, [1] * 3)
    assert not any(tracked.values())
    left = [p for p in net.parameters() if not p.requires_grad]
    assert [id(p) for p in left] == [id(p) for p in frozen]
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("classifier", "no score depends on layer 'classifier'"),
        ("global_pool", "has no feature maps there, but a tensor of the shape"),
    ],
)
def test_a_layer_behind_the_feature_maps_is_told_and_the_network_left_as_it_was(
    layer: str, sentence: str
) -> None:
    net, images = network(), pictures()
    with pytest.raises(InputFault, match=sentence):
        activation_maps(net, images, [1] * 3, layer=layer)
    assert all(p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    assert np.isfinite(activation_maps(net, images, [1] * 3).maps["ceus"]).all()


def test_an_encoder_without_feature_maps_is_told() -> None:
    torch.manual_seed(0)
    net = MufNet(BOTH, "test_vit")
    size = encoders_of(net)[0].backbone.pretrained_cfg["input_size"][-1]
    images = {m: torch.zeros(1, 3, size, size) for m in BOTH}
    with pytest.raises(
        InputFault, match="test_vit has no feature maps there, but a tensor of the shape"
    ):
        activation_maps(net, images, [1])


def test_channels_that_come_last_are_told_from_rows_and_columns() -> None:
    net, images = network(encoder="test_mambaout"), pictures()
    net.eval()
    kept = []
    stage = encoders_of(net)[0].backbone.get_submodule("stages.1")
    handle = stage.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = net(images).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), kept[0])
    assert kept[0].shape[1] == kept[0].shape[2] != kept[0].shape[3]
    cam = (gradient.mean(dim=(1, 2), keepdim=True) * kept[0]).sum(dim=3).relu().detach().numpy()
    explained = activation_maps(net, images, [1] * 3, layer="stages.1")
    assert explained.grid == cam.shape[1:]
    for modality, part in zip(BOTH, np.split(cam, 2), strict=True):
        expected = np.stack([cv2.resize(m, (64, 64)) for m in part])
        np.testing.assert_allclose(explained.maps[modality], expected, atol=1e-5 * expected.max())
