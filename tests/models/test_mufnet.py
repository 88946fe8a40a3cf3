"""The network's laws: shapes, shared weights, fusion, single arms."""

import pytest
import torch

from mufnet_lightning.errors import InputFault
from mufnet_lightning.models.encoder import Encoder
from mufnet_lightning.models.ensemble import Ensemble
from mufnet_lightning.models.fusion import AdaptiveWeightFusion, drop_modalities
from mufnet_lightning.models.mufnet import MufNet

TINY = "test_efficientnet"


def images(n: int = 4, size: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (n, 3, size, size)
    return {
        name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for name in ("bmode", "ceus")
    }


def test_the_papers_encoder_gives_the_papers_maps() -> None:
    encoder = Encoder("efficientnet_b3").eval()
    with torch.inference_mode():
        maps = encoder(torch.zeros(1, 3, 300, 300, dtype=torch.uint8))
        assert maps.shape == (1, 1536, 10, 10)
        torch.testing.assert_close(encoder.pool(maps), maps.mean(dim=(2, 3)))


def test_the_encoder_normalises_as_timm_does() -> None:
    encoder = Encoder(TINY).eval()
    batch = images()["bmode"]
    config = encoder.backbone.pretrained_cfg
    mean, std = (torch.tensor(config[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        expected = encoder.backbone.forward_features((batch.float() / 255 - mean) / std)
        torch.testing.assert_close(encoder(batch), expected)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("modalities", [("bmode", "ceus"), ("bmode",), ("ceus",)])
def test_shapes_and_encoders(share: bool, modalities: tuple[str, ...]) -> None:
    net = MufNet(modalities, TINY, share_encoder=share)
    assert len(net.encoders) == (1 if share else len(modalities))
    logits, weights = net(images())
    assert logits.shape == (4, 2)
    assert weights.shape == (4, len(modalities))


def test_stacking_gives_what_one_pass_a_modality_gives() -> None:
    net = MufNet(encoder=TINY).eval()
    batch = images()
    with torch.inference_mode():
        (encoder,) = net.encoders
        assert isinstance(encoder, Encoder)
        apart = [encoder.pool(encoder(batch[m])) for m in ("bmode", "ceus")]
        torch.testing.assert_close(net.encode(batch), torch.stack(apart, dim=1))


def test_a_single_arm_does_not_look_at_the_other_modality() -> None:
    net = MufNet(("ceus",), TINY).eval()
    batch = images()
    with torch.inference_mode():
        first = net(batch).logits
        batch["bmode"] = torch.zeros_like(batch["bmode"])
        torch.testing.assert_close(net(batch).logits, first)
        torch.testing.assert_close(net({"ceus": batch["ceus"]}).logits, first)


def test_two_encoders_each_see_their_own_modality() -> None:
    net = MufNet(encoder=TINY, share_encoder=False)
    net(images()).logits.sum().backward()
    for encoder in net.encoders:
        assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


def test_fusion_is_the_weighted_sum() -> None:
    fusion = AdaptiveWeightFusion(24)
    features = torch.randn(5, 2, 24)
    fused, weights = fusion(features)
    expected = weights[:, :1] * features[:, 0] + weights[:, 1:] * features[:, 1]
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    same = features[:, :1].expand(5, 2, 24)
    torch.testing.assert_close(fusion(same)[1], torch.full((5, 2), 0.5))


def test_swapping_the_modalities_swaps_the_weights() -> None:
    fusion = AdaptiveWeightFusion(24)
    features = torch.randn(5, 2, 24)
    torch.testing.assert_close(fusion(features.flip(1))[1], fusion(features)[1].flip(1))
    torch.testing.assert_close(fusion(features.flip(1))[0], fusion(features)[0])


def test_sigmoid_weights_need_not_sum_to_one() -> None:
    _, weights = AdaptiveWeightFusion(24, normalize="sigmoid")(torch.randn(5, 2, 24) * 5)
    assert ((weights > 0) & (weights < 1)).all()
    assert not torch.allclose(weights.sum(1), torch.ones(5))


def test_an_unknown_encoder_is_told_with_what_there_is() -> None:
    with pytest.raises(InputFault, match=r"timm does not have.*efficientnet"):
        MufNet(encoder="efficientnet_b99x")


def test_a_missing_modality_is_an_error() -> None:
    with pytest.raises(KeyError):
        MufNet(encoder=TINY)({"bmode": images()["bmode"]})


@pytest.mark.parametrize("normalize", ["softmax", "sigmoid"])
def test_a_modality_that_is_not_there_counts_for_nothing(normalize: str) -> None:
    net = MufNet(encoder=TINY, fusion=normalize).eval()
    batch = images()
    batch["present"] = torch.tensor([[True, False]] * 2 + [[True, True]] * (len(batch["bmode"]) - 2))
    with torch.inference_mode():
        lacking = net(batch)
        assert (lacking.weights[:2, 1] == 0).all()
        if normalize == "softmax":
            torch.testing.assert_close(lacking.weights.sum(1), torch.ones(len(lacking.weights)))
        other = {**batch, "ceus": batch["ceus"].clone()}
        other["ceus"][:2] = 7
        torch.testing.assert_close(net(other).logits, lacking.logits)
        del batch["present"]
        torch.testing.assert_close(net(batch).logits[2:], lacking.logits[2:])
        assert not torch.allclose(net(batch).logits[:2], lacking.logits[:2])


def test_each_modality_is_lost_as_often() -> None:
    torch.manual_seed(0)
    present = drop_modalities(20_000, 2, 0.3, torch.device("cpu"))
    assert present.any(dim=1).all()
    shares = (~present).double().mean(dim=0)
    torch.testing.assert_close(shares, torch.full((2,), 0.15, dtype=torch.double), atol=0.01, rtol=0)
    assert drop_modalities(100, 2, 0.0, torch.device("cpu")).all()


def test_an_ensemble_says_what_each_of_its_networks_says() -> None:
    nets = [MufNet(encoder=TINY) for _ in range(3)]
    batch = images()
    ensemble = Ensemble(nets).eval()
    with torch.inference_mode():
        output = ensemble(batch)
        for k, net in enumerate(nets):
            alone = net(batch)
            torch.testing.assert_close(output.scores[k], alone.logits.softmax(1)[:, 1])
            torch.testing.assert_close(output.weights[k], alone.weights)
    with pytest.raises(ValueError, match="kinds"):
        Ensemble([MufNet(encoder=TINY), MufNet(("bmode",), TINY)])
