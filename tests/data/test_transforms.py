"""Augmentation: one geometry for both panes, noise drawn apart, everything from the seed."""

import numpy as np
import pytest

from mufnet_lightning.data.transforms import Augmentation, PairTransform

SIZE = 64
CROP = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
NO_NOISE = Augmentation(flip=0.5, affine=1.0, elastic=1.0, noise=0, speckle=0, gamma=0)
NO_GEOMETRY = Augmentation(flip=0, affine=0, elastic=0, noise=1, speckle=1, gamma=1)


def test_both_panes_get_the_same_geometry() -> None:
    transform = PairTransform(NO_NOISE, SIZE)
    for seed in range(50):
        moved = transform({"bmode": CROP, "ceus": CROP}, seed)
        assert (moved["bmode"] == moved["ceus"]).all()
        assert not (moved["bmode"] == CROP).all()


def test_each_pane_gets_its_own_noise() -> None:
    moved = PairTransform(NO_GEOMETRY, SIZE)({"bmode": CROP, "ceus": CROP}, 1)
    noise = {name: moved[name].astype(int) - CROP for name in moved}
    correlation = np.corrcoef(noise["bmode"].ravel(), noise["ceus"].ravel())[0, 1]
    assert (moved["bmode"] != moved["ceus"]).any()
    # gamma moves both the same way where it is drawn alike; speckle and noise are independent
    assert correlation < 0.6


def test_the_same_seed_gives_the_same_pair_whatever_came_before() -> None:
    first, second = PairTransform(Augmentation(), SIZE), PairTransform(Augmentation(), SIZE)
    for warm_up in range(5):
        second({"bmode": CROP, "ceus": CROP}, warm_up)
    for seed in range(20):
        a = first({"bmode": CROP, "ceus": CROP}, seed)
        b = second({"bmode": CROP, "ceus": CROP}, seed)
        assert all((a[name] == b[name]).all() for name in a)


def test_seeds_differ() -> None:
    transform = PairTransform(Augmentation(), SIZE)
    results = {transform({"bmode": CROP}, seed)["bmode"].tobytes() for seed in range(50)}
    assert len(results) > 40


def test_an_arm_alone_sees_the_geometry_that_it_sees_in_the_pair() -> None:
    transform = PairTransform(NO_NOISE, SIZE)
    for seed in range(10):
        pair = transform({"bmode": CROP, "ceus": CROP}, seed)
        alone = transform({"ceus": CROP}, seed)
        assert (pair["ceus"] == alone["ceus"]).all()


def test_everything_off_changes_nothing() -> None:
    off = Augmentation(flip=0, affine=0, elastic=0, noise=0, speckle=0, gamma=0)
    moved = PairTransform(off, SIZE)({"bmode": CROP}, 3)
    assert (moved["bmode"] == CROP).all()


@pytest.mark.parametrize("only", ["flip", "affine", "elastic", "noise", "speckle", "gamma"])
def test_each_transform_changes_the_crop_and_keeps_its_shape_and_type(only: str) -> None:
    strengths = dict.fromkeys(["flip", "affine", "elastic", "noise", "speckle", "gamma"], 0.0)
    moved = PairTransform(Augmentation(**{**strengths, only: 1.0}), SIZE)({"ceus": CROP}, 5)["ceus"]
    assert moved.shape == CROP.shape
    assert moved.dtype == np.uint8
    assert (moved != CROP).any()


def test_elastic_moves_a_pixel_by_some_two_percent_of_the_side() -> None:
    # a horizontal ramp shows how far each pixel came from the left or right
    only = Augmentation(flip=0, affine=0, elastic=1, noise=0, speckle=0, gamma=0)
    ramp = np.repeat(np.arange(128, dtype=np.uint8)[None, :, None], 128, axis=0).repeat(3, axis=2)
    transform = PairTransform(only, 128)
    shifts = [
        (transform({"bmode": ramp}, s)["bmode"].astype(float) - ramp)[30:-30, 30:-30] for s in range(60)
    ]
    assert 0.01 < np.std(shifts) / 128 < 0.03
