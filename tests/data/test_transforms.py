"""Augmentation: one geometry for both panes, noise drawn apart, everything from the seed."""

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from scipy.stats import kstest, uniform

from mufnet_lightning.data.augmentation import (
    ELASTIC_SD,
    ELASTIC_SIGMA,
    Augmentation,
    Geometry,
    draw_geometry,
    draw_noise,
    grid_of,
    pair_draws,
)
from mufnet_lightning.data.device_augmentation import DRAWN, BatchAugmentation, drawn_tensors
from mufnet_lightning.data.transforms import PairGeometry, PairTransform, moved_crops
from mufnet_lightning.errors import InputFault

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


def test_the_one_map_is_the_affine_and_then_the_elastic_step() -> None:
    """Against OpenCV's own affine step, followed by the displacement alone, away from the border."""
    smooth = cv2.GaussianBlur(CROP, (0, 0), 3)
    everything = Augmentation(flip=0.5, affine=1, elastic=1, noise=0, speckle=0, gamma=0)
    for seed in range(20):
        drawn = draw_geometry(everything, SIZE, np.random.default_rng(seed))
        assert drawn.displacement is not None
        (once,) = moved_crops([smooth], drawn)
        flags, border = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, cv2.BORDER_REFLECT_101
        turned = cv2.warpAffine(smooth, drawn.matrix, (SIZE, SIZE), flags=flags, borderMode=border)
        alone = Geometry(np.eye(2, 3, dtype=np.float32), drawn.displacement)
        (twice,) = moved_crops([turned], alone)
        difference = (once.astype(int) - twice)[6:-6, 6:-6]
        assert np.abs(difference).mean() < 0.6
        assert np.abs(once.astype(int) - smooth).mean() > 2  # it did move


def test_an_elastic_displacement_has_the_spread_and_the_smoothness_that_are_named() -> None:
    only = Augmentation(flip=0, affine=0, elastic=1)
    for size in (96, 300):
        grid = grid_of(size)
        drawn = [draw_geometry(only, size, np.random.default_rng(s)).displacement for s in range(400)]
        fields = np.stack([one for one in drawn if one is not None])
        assert len(fields) == 400
        assert np.std(fields) == pytest.approx(ELASTIC_SD * size, rel=0.05)
        assert abs(fields.mean()) < 0.1 * ELASTIC_SD * size
        # a Gaussian of SD σ that smooths white noise leaves a correlation of exp(-d² / 4σ²)
        for apart in (1, 2, 4):
            distance = apart * grid.cell / (ELASTIC_SIGMA * size)
            pairs = fields[:, :, :-apart].ravel(), fields[:, :, apart:].ravel()
            expected = np.exp(-(distance**2) / 4)
            assert np.corrcoef(*pairs)[0, 1] == pytest.approx(expected, abs=0.04)


def test_rotation_scale_and_shift_are_even_within_their_ranges() -> None:
    only = Augmentation(flip=0, affine=1, elastic=0)
    drawn = [draw_geometry(only, 100, np.random.default_rng(seed)).matrix for seed in range(2000)]
    forward = np.linalg.inv(np.stack([m[:, :2] for m in drawn]))
    turns = np.rad2deg(np.arctan2(-forward[:, 1, 0], forward[:, 0, 0]))
    scales = np.linalg.norm(forward, axis=1)
    middle = np.array([49.5, 49.5, 1], np.float32)
    shifts = -np.einsum("nij,nj->ni", forward, np.stack([m @ middle - middle[:2] for m in drawn]))
    for values, low, high in ((turns, -20, 20), (scales, 0.9, 1.1), (shifts, -5, 5)):
        assert kstest(values.ravel(), uniform(low, high - low).cdf).pvalue > 1e-3


def test_noise_has_the_spread_that_is_named() -> None:
    grey = np.full((SIZE, SIZE, 3), 128, np.uint8)
    off = dict.fromkeys(["flip", "affine", "elastic", "noise", "speckle", "gamma"], 0.0)
    made = {
        name: np.stack(
            [
                PairTransform(Augmentation(**{**off, name: 1.0}), SIZE)({"ceus": grey}, s)["ceus"]
                for s in range(200)
            ]
        ).astype(float)
        for name in ("noise", "speckle", "gamma")
    }
    spread = (made["noise"] - 128).std(axis=(1, 2, 3)) / 255
    assert spread.min() > 0.009
    assert spread.max() < 0.043
    assert spread.mean() == pytest.approx(0.025, abs=0.002)
    assert abs(made["noise"].mean() - 128) < 0.2
    factors = made["speckle"] / 128
    assert (factors.min(), factors.max()) == pytest.approx((0.8, 1.2), abs=0.01)
    assert factors.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.03)
    assert (made["speckle"] == made["speckle"][..., :1]).all()  # alike in all channels
    assert not (made["noise"] == made["noise"][..., :1]).all()
    exponents = np.log(made["gamma"][:, 0, 0, 0] / 255) / np.log(128 / 255)
    assert kstest(exponents, uniform(0.8, 0.45).cdf).pvalue > 1e-3


def test_a_grey_crop_and_a_coloured_one_are_moved_as_they_are_alone() -> None:
    grey = CROP[..., :1].copy()
    transform = PairTransform(NO_NOISE, SIZE)
    for seed in range(10):
        pair = transform({"bmode": grey, "ceus": CROP}, seed)
        assert pair["bmode"].shape == (SIZE, SIZE, 1)
        alone = transform({"bmode": grey.repeat(3, axis=2), "ceus": CROP}, seed)
        assert (pair["bmode"] == alone["bmode"][..., :1]).all()
        assert (pair["ceus"] == alone["ceus"]).all()


def test_the_transform_of_albumentations_is_replayed_and_written_down() -> None:
    replayed = A.ReplayCompose([PairGeometry(elastic=1.0)])
    replayed.set_random_seed(3)
    first = replayed(image=CROP)
    again = A.ReplayCompose.replay(first["replay"], image=CROP)
    assert (first["image"] == again["image"]).all()
    assert (first["image"] != CROP).any()
    written = A.to_dict(A.Compose([PairGeometry(rotate=5.0)]))
    (one,) = A.from_dict(written).transforms
    assert isinstance(one, PairGeometry)
    assert one.rotate == 5.0
    mask = (CROP[..., 0] > 127).astype(np.uint8)
    both = A.Compose([PairGeometry()], seed=1)(image=CROP, mask=mask)
    assert set(np.unique(both["mask"])) <= {0, 1}
    with pytest.raises(InputFault, match=r"data\.augmentation\.flip"):
        PairGeometry(flip=2.0)
    with pytest.raises(ValueError, match="crops are square"):
        A.Compose([PairGeometry()])(image=CROP[:10])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [48, 65])
def test_a_batch_on_the_device_is_augmented_as_its_pairs_are_in_the_loader(
    channels: int, size: int
) -> None:
    random = np.random.default_rng(size)
    crops = {
        name: cv2.GaussianBlur(random.integers(0, 255, (size, size, 3), np.uint8), (0, 0), 1.5)
        for name in ("bmode", "ceus")
    }
    pair = {name: np.ascontiguousarray(crop[..., :channels]) for name, crop in crops.items()}
    everything = Augmentation(0.5, 0.7, 20, 0.1, 0.05, 0.5, 0.5, 0.5, 0.5)
    transform, seeds = PairTransform(everything, size), list(range(24))
    drawn = [drawn_tensors(everything, size, seed) for seed in seeds]
    batch = {name: torch.stack([one[name] for one in drawn]) for name in DRAWN}
    for name, crop in pair.items():
        batch[name] = torch.from_numpy(crop.transpose(2, 0, 1).copy()).expand(24, -1, -1, -1)
    augment = BatchAugmentation(size)
    made = augment({**batch, "row": torch.arange(24)}, list(pair))
    assert set(made) == {"bmode", "ceus", "row"}
    expected = [transform(pair, seed) for seed in seeds]
    for name in pair:
        loaded = np.stack([one[name] for one in expected]).transpose(0, 3, 1, 2).astype(int)
        difference = np.abs(made[name].numpy() - loaded)
        assert difference.mean() < 0.1
        assert (difference > 3).mean() < 1e-3
    # whichever batch a pair is in
    some = {name: value[5:9] for name, value in batch.items()}
    again = augment(some, list(pair))
    assert all(torch.equal(again[name], made[name][5:9]) for name in pair)


def test_what_is_drawn_of_noise_says_nothing_of_the_geometry_and_panes_differ() -> None:
    even = Augmentation(0.5, 0.5, 20, 0.1, 0.05, 0.5, 0.5, 0.5, 0.5)
    rows = []
    for seed in range(3000):
        geometry_draws, noise_draws = pair_draws(seed, 2)
        geometry = draw_geometry(even, SIZE, geometry_draws)
        drawn = [draw_noise(even, SIZE, draws) for draws in noise_draws]
        linear = geometry.matrix[:, :2]
        flips = [linear[0, 0] < 0, linear[1, 1] < 0]
        moved = [bool(linear[0, 1]), geometry.displacement is not None]
        noise = [[one.gamma != 1, one.speckle is not None, one.noise is not None] for one in drawn]
        numbers = [[one.gamma, one.noise_sd] for one in drawn]
        rows.append([*flips, *moved, *noise[0], *noise[1], *numbers[0], *numbers[1]])
    related = np.corrcoef(np.array(rows, float).T)
    apart = np.abs(related[:4, 4:])  # 3000 pairs: 0.018 is one standard error
    assert apart.max() < 0.08
    assert np.abs(related[4:7, 7:10]).max() < 0.08


def test_strong_scaling_is_mirrored_alike_on_the_device_and_in_the_loader() -> None:
    strong = Augmentation(
        flip=0, affine=1, rotate=20, scale=0.9, shift=0.3, elastic=0, noise=0, speckle=0, gamma=0
    )
    smooth = cv2.GaussianBlur(CROP, (0, 0), 2)
    transform, augment = PairTransform(strong, SIZE), BatchAugmentation(SIZE)
    for seed in range(60):
        expected = transform({"ceus": smooth}, seed)["ceus"]
        batch = {name: one[None] for name, one in drawn_tensors(strong, SIZE, seed).items()}
        batch["ceus"] = torch.from_numpy(smooth.transpose(2, 0, 1).copy())[None]
        made = augment(batch, ["ceus"])["ceus"][0].permute(1, 2, 0).numpy()
        assert np.abs(made.astype(int) - expected).mean() < 0.5
