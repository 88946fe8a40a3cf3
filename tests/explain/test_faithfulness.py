"""Deletion and insertion: a network that looks at one known quadrant, and the ends of the curves."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mufnet_lightning.explain.faithfulness import Curves, deletion_insertion, random_maps
from mufnet_lightning.models.mufnet import MufNet, MufNetOutput

BOTH = ("bmode", "ceus")
SIZE = 32


class OneQuadrant(nn.Module):
    """Sees the stripes in the upper left quadrant of one modality, and nothing else."""

    modalities = BOTH

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality = modality

    def forward(self, images: dict[str, Tensor]) -> MufNetOutput:
        seen = images[self.modality][:, :, : SIZE // 2, : SIZE // 2].float() / 255
        stripes = (seen[..., ::2] - seen[..., 1::2]).mean(dim=(1, 2, 3))
        logits = torch.stack([torch.zeros_like(stripes), 8 * stripes - 4], dim=1)
        return MufNetOutput(logits, logits.new_full((len(logits), 2), 0.5))


def one_quadrant(modality: str) -> MufNet:
    """In place of a MUF-Net: it has what the curves need of one."""
    return cast("MufNet", OneQuadrant(modality))


def blur(image: Tensor) -> Tensor:
    pixels = image.permute(1, 2, 0).float().numpy()
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.1 * max(image.shape[1:]))
    return torch.from_numpy(soft).permute(2, 0, 1)


def striped(count: int = 2) -> dict[str, Tensor]:
    one = torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8)
    one[..., ::2] = 255
    return {m: one.clone() for m in BOTH}


def quadrant(modality: str, count: int = 2) -> dict[str, np.ndarray]:
    maps = {m: np.zeros((count, SIZE, SIZE), np.float32) for m in BOTH}
    maps[modality][:, : SIZE // 2, : SIZE // 2] = 0.1
    return maps


@pytest.mark.parametrize("modality", BOTH)
def test_the_perfect_map_is_better_than_chance_and_its_opposite_worse(modality: str) -> None:
    net, images, high = one_quadrant(modality), striped(), np.array([1, 1])
    perfect = quadrant(modality)
    opposite = {m: 1 - maps for m, maps in perfect.items()}

    def areas(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return deletion_insertion(net, images, high, [maps], steps=16)[0].areas()

    best, worst = areas(perfect), areas(opposite)
    for seed in range(5):
        chance = areas(random_maps(BOTH, 2, (4, 4), (SIZE, SIZE), seed))
        assert (best["deletion"] < chance["deletion"]).all()
        assert (chance["deletion"] < worst["deletion"]).all()
        assert (best["insertion"] > chance["insertion"]).all()
        assert (chance["insertion"] > worst["insertion"]).all()


@pytest.mark.parametrize("modality", BOTH)
def test_pixels_of_both_modalities_go_in_one_order(modality: str) -> None:
    (curves,) = deletion_insertion(
        one_quadrant(modality), striped(), np.array([1, 0]), [quadrant(modality)], steps=8
    )
    # the quadrant is an eighth of all pixels, so the first step takes it and the others nothing
    assert curves.deletion[0, 0] > 0.98
    assert curves.deletion[0, 1] < 0.1
    np.testing.assert_allclose(curves.deletion[:, 1:], curves.deletion[:, 1:2].repeat(8, axis=1))
    np.testing.assert_allclose(curves.insertion, curves.deletion[:, [-1, *[0] * 8]])
    np.testing.assert_allclose(curves.deletion[0] + curves.deletion[1], 1, rtol=1e-6)


@pytest.mark.parametrize(("modalities", "size"), [(BOTH, (64, 64)), (("ceus",), (64, 48))])
def test_curves_go_from_the_whole_image_to_the_blurred_one_and_back(
    modalities: tuple[str, ...], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    net = MufNet(modalities, "test_efficientnet", dropout=0.5)
    torch.nn.init.normal_(net.head.weight)
    images = {m: torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8) for m in BOTH}
    blurred = {m: torch.stack([blur(image) for image in images[m]]) for m in BOTH}
    classes = np.array([0, 1, 1])
    with torch.no_grad():
        shares = [net.eval()(batch).logits.softmax(1) for batch in (images, blurred)]
    whole, soft = (share[range(3), classes].numpy() for share in shares)
    assert not np.allclose(whole, soft, atol=1e-3)
    net.train()
    net.encoders[0].eval()
    modes = [module.training for module in net.modules()]
    maps = random_maps(modalities, 3, (2, 2), size)
    other = {m: 1 - of_modality for m, of_modality in maps.items()}
    curves, opposite = deletion_insertion(net, images, classes, [maps, other], steps=4)
    assert [module.training for module in net.modules()] == modes
    assert curves.deletion.shape == curves.insertion.shape == (3, 5)
    np.testing.assert_allclose(curves.deletion[:, [0, -1]].T, [whole, soft], rtol=1e-5)
    np.testing.assert_allclose(curves.insertion[:, [0, -1]].T, [soft, whole], rtol=1e-5)
    (again,) = deletion_insertion(net, images, classes, [maps], steps=4)
    np.testing.assert_array_equal(curves.deletion, again.deletion)
    (alone,) = deletion_insertion(net, images, classes, [other], steps=4)
    np.testing.assert_array_equal(opposite.insertion, alone.insertion)
    assert not np.allclose(curves.insertion, opposite.insertion)


def test_equal_values_of_a_map_go_by_lot_whatever_the_device_sorts_first() -> None:
    rng = np.random.default_rng(3)
    maps = {m: rng.integers(0, 4, (2, SIZE, SIZE)).astype(np.float32) for m in BOTH}
    (curves,) = deletion_insertion(one_quadrant("ceus"), striped(), np.array([1, 1]), [maps], 5, [7, 1])
    flat = np.stack([maps[m] for m in BOTH], axis=1).reshape(2, -1)
    lots = np.random.default_rng([7, 1]).random(flat.shape, np.float32)
    images = torch.stack([striped()[m] for m in BOTH], dim=1).float()
    soft = torch.stack([blur(image) for image in images.flatten(0, 1)]).reshape(images.shape)
    for row in range(2):
        order = np.lexsort((lots[row], -flat[row]))
        for step in range(6):
            gone = np.zeros(flat.shape[1], bool)
            gone[order[: -(-step * flat.shape[1] // 5)]] = True
            taken = torch.from_numpy(gone.reshape(2, 1, SIZE, SIZE))
            mixed = torch.where(taken, soft[row], images[row])
            batch = {m: mixed[None, place] for place, m in enumerate(BOTH)}
            share = one_quadrant("ceus")(batch).logits.softmax(1)[0, 1].item()
            assert curves.deletion[row, step] == pytest.approx(share, rel=1e-4)


def test_areas_are_those_of_a_step_and_of_a_slope() -> None:
    slope, even = np.linspace(1, 0, 6), np.full(6, 0.3)
    areas = Curves(np.stack([slope, even]), np.stack([even, 1 - slope**2])).areas()
    assert areas["deletion"] == pytest.approx([0.5, 0.3])
    assert areas["insertion"] == pytest.approx([0.3, 1 - np.trapezoid(slope[::-1] ** 2, dx=0.2)])


def test_random_maps_are_as_coarse_as_the_grid() -> None:
    maps = random_maps(BOTH, 4, (3, 2), (48, 40), seed=1)
    assert all(m.shape == (4, 48, 40) for m in maps.values())
    assert not np.allclose(maps["bmode"], maps["ceus"])
    np.testing.assert_array_equal(maps["ceus"], random_maps(BOTH, 4, (3, 2), (48, 40), 1)["ceus"])
    coarse = np.stack([cv2.resize(m, (2, 3), interpolation=cv2.INTER_AREA) for m in maps["bmode"]])
    again = np.stack([cv2.resize(m, (40, 48)) for m in coarse])
    assert np.corrcoef(again.ravel(), maps["bmode"].ravel())[0, 1] > 0.97
    (even,) = random_maps(("ceus",), 1, (1, 1), (8, 8))["ceus"]
    assert np.ptp(even) == 0
