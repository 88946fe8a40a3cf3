"""Weights drawn anew, stage by stage; rank correlation against SciPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats

from mufnet_lightning.explain.maps import activation_maps
from mufnet_lightning.explain.sanity import randomised, randomised_maps, rank_correlation
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.vocabulary import STAGES

BOTH = ("bmode", "ceus")


def trained(
    modalities: Sequence[str] = BOTH,
    encoder: str = "test_efficientnet",
    share_encoder: bool = True,
) -> MufNet:
    """A network in which nothing is as it was initialised."""
    torch.manual_seed(3)
    net = MufNet(modalities, encoder, share_encoder)
    for name, value in net.state_dict().items():
        if value.is_floating_point() and not name.endswith((".mean", ".std")):
            value.add_(0.05 + 0.05 * torch.rand_like(value))
    return net


def learned(net: MufNet) -> dict[str, torch.Tensor]:
    """Weights and statistics, from the input to the output."""
    return {
        name: value.clone()
        for name, value in net.state_dict().items()
        if value.is_floating_point() and not name.endswith((".mean", ".std"))
    }


def changed(net: MufNet, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in learned(net).items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_resnet", "test_convnext"])
@pytest.mark.parametrize(("modalities", "share"), [(BOTH, True), (BOTH, False), (("ceus",), True)])
def test_weights_are_drawn_anew_from_the_output_back_until_none_is_left(
    modalities: Sequence[str], share: bool, encoder: str
) -> None:
    net = trained(modalities, encoder, share_encoder=share)
    before = learned(net)
    stages = [(name, changed(other, before)) for name, other in randomised(net)]
    assert tuple(name for name, _ in stages) == STAGES
    drawn = [names for _, names in stages]
    assert drawn[0] == {name for name in before if name.startswith(("head.", "fusion."))}
    assert drawn[0] < drawn[1] < drawn[2] < drawn[3] == set(before)
    for names in drawn:
        kept = []
        for number in range(len(net.encoders)):
            of_one = [name for name in before if name.startswith(f"encoders.{number}.")]
            flags = [name in names for name in of_one]
            assert flags == sorted(flags)
            kept.append(flags.count(False))
        assert len(set(kept)) == 1


def test_the_network_and_torchs_stream_are_left_alone() -> None:
    net = trained().train()
    before, stream = learned(net), torch.get_rng_state()
    for _, other in randomised(net):
        assert torch.equal(torch.get_rng_state(), stream)
        torch.nn.init.zeros_(other.head.weight)
    assert not changed(net, before)
    assert all(module.training for module in net.modules())


def test_seed_and_draw_decide_the_weights_and_none_is_where_a_training_begins() -> None:
    net = trained()

    def weights(*words: int) -> torch.Tensor:
        *_, (_, last) = randomised(net, *words)
        return last.get_parameter("encoders.0.backbone.conv_stem.weight")

    assert torch.equal(weights(1, 2), weights(1, 2))
    different = [weights(0, 0), weights(0, 1), weights(1, 0), weights(1, 1)]
    for seed in (0, 1):
        torch.manual_seed(seed)
        begun = MufNet(BOTH, "test_efficientnet")
        different.append(begun.get_parameter("encoders.0.backbone.conv_stem.weight"))
    for i, one in enumerate(different):
        assert not any(torch.equal(one, other) for other in different[:i])


def test_randomised_maps_are_those_of_the_randomised_networks_inside_a_scoring_loop_too() -> None:
    net = trained(share_encoder=False)
    images = {m: torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8) for m in BOTH}
    classes = np.array([1, 0])
    expected = [
        (stage, activation_maps(other, images, [1, 0], "layercam").maps)
        for draw in (0, 1)
        for stage, other in randomised(net, 7, draw)
    ]
    with torch.inference_mode():
        drawn = list(randomised_maps(net, images, classes, "layercam", draws=2, seed=7))
        assert torch.is_inference_mode_enabled()
    assert [stage for stage, _ in drawn] == [*STAGES, *STAGES]
    for (_, maps), (_, wanted) in zip(drawn, expected, strict=True):
        for modality in BOTH:
            np.testing.assert_array_equal(maps[modality], wanted[modality])


def test_rank_correlation_is_spearmans_and_an_even_map_proves_nothing() -> None:
    rng = np.random.default_rng(0)
    first = rng.random((6, 9, 7)).round(1)  # with ties
    second = (first + rng.random((6, 9, 7))).round(1)
    expected = [
        stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)
    ]
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(first, np.exp(3 * first)) == pytest.approx(np.ones(6))
    even = np.full((6, 9, 7), 0.25)
    assert (rank_correlation(first, even) == 0).all()
    assert np.isnan(rank_correlation(even, first)).all()
    assert np.isnan(rank_correlation(even, even)).all()
