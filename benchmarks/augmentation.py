"""How long is a pair augmented, beside other libraries' transforms composed to do the same?

    python benchmarks/augmentation.py [--size 300] [--pairs 40] [--device cpu]

One core; crops of random smooth pixels. Ours, in the loader, with the default probabilities, with
everything on, and with nothing on; colour pairs and grey ones. Beside it the same steps out of
Albumentations (composed, one geometry for both crops), and of MONAI and TorchIO where they are
installed (`uv pip install monai torchio kornia`), everything on. Then a batch of 32 on the device, ours
and kornia's. Prints milliseconds a pair, the least of five rounds, and the ratio to ours with
everything on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import albumentations as A
import cv2
import numpy as np
import torch

from mufnet_lightning.data.augmentation import ELASTIC_SD, ELASTIC_SIGMA, Augmentation
from mufnet_lightning.data.device_augmentation import DRAWN, BatchAugmentation, drawn_tensors
from mufnet_lightning.data.transforms import PairTransform

EVERYTHING = Augmentation(1, 1, 20, 0.1, 0.05, 1, 1, 1, 1)
NOTHING = Augmentation(0, 0, 20, 0.1, 0.05, 0, 0, 0, 0)
Pair = dict[str, np.ndarray]
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    colour = {
        name: cv2.GaussianBlur(random.integers(0, 255, (options.size,) * 2 + (3,), np.uint8), (0, 0), 2)
        for name in ("bmode", "ceus")
    }
    grey = {name: np.ascontiguousarray(crop[..., :1]) for name, crop in colour.items()}
    made: dict[str, float] = {}
    for what, pair in (
        ("colour", colour),
        ("grey", grey),
        ("grey and colour", {**colour, "bmode": grey["bmode"]}),
    ):
        for name, strength in (
            ("everything", EVERYTHING),
            ("default", Augmentation()),
            ("nothing", NOTHING),
        ):
            made[f"ours, {what}, {name} on"] = per_pair(
                PairTransform(strength, options.size), pair, options.pairs
            )
    for name, peer in peers(options.size):
        made[f"{name}, colour, everything on"] = per_pair(peer, colour, max(5, options.pairs // 4))
    for name, batched in batches(options.size, options.device):
        made[f"{name}, batch of {BATCH} on {options.device}"] = batched(colour)
    ours = made["ours, colour, everything on"]
    print(
        f"{options.size} × {options.size} pixels, one core"
        + (f", {torch.cuda.get_device_name()}" if options.device == "cuda" else "")
    )
    print("| | ms a pair | times ours, colour, everything on |\n|---|---|---|")
    for name, value in made.items():
        print(f"| {name} | {value:.2f} | {value / ours:.2f} |")


def per_pair(transform: Callable[[Pair, int], object], pair: Pair, pairs: int) -> float:
    """Milliseconds, the least of five rounds."""
    transform(pair, 0)
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for seed in range(pairs):
            transform(pair, seed)
        rounds.append((time.perf_counter() - start) / pairs)
    return 1e3 * min(rounds)


def peers(size: int) -> Iterator[tuple[str, Callable[[Pair, int], object]]]:
    yield "Albumentations", composed(size)
    try:
        yield "MONAI", monai_transforms(size)
    except ImportError:
        print("MONAI is not installed")
    try:
        yield "TorchIO", torchio_transforms(size)
    except ImportError:
        print("TorchIO is not installed")


def composed(size: int) -> Callable[[Pair, int], object]:
    """The steps as Albumentations has them, one geometry for both crops."""
    border = cv2.BORDER_REFLECT_101
    geometry = A.Compose(
        [
            A.HorizontalFlip(p=1),
            A.VerticalFlip(p=1),
            A.Affine(
                rotate=(-20, 20),
                scale=(0.9, 1.1),
                translate_percent=(-0.05, 0.05),
                border_mode=border,
                p=1,
            ),
            A.ElasticTransform(
                alpha=ELASTIC_SD * size * ELASTIC_SIGMA * size / 0.07,
                sigma=ELASTIC_SIGMA * size,
                border_mode=border,
                p=1,
            ),
        ],
        additional_targets={"ceus": "image"},
    )
    noise = A.Compose(
        [
            A.RandomGamma(gamma_limit=(80, 125), p=1),
            A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True, p=1),
            A.GaussNoise(std_range=(0.01, 0.04), p=1),
        ]
    )

    def augment(pair: Pair, seed: int) -> object:
        geometry.set_random_seed(seed)
        moved = geometry(image=pair["bmode"], ceus=pair["ceus"])
        noise.set_random_seed(seed)
        return [noise(image=moved[name])["image"] for name in ("image", "ceus")]

    return augment


def monai_transforms(size: int) -> Callable[[Pair, int], object]:
    """As far as MONAI has them (no noise that multiplies); both crops as one picture."""
    from monai.transforms import (
        Compose,
        Rand2DElastic,
        RandAdjustContrast,
        RandFlip,
        RandGaussianNoise,
    )

    cell = ELASTIC_SIGMA * size
    transforms = Compose(
        [
            RandFlip(prob=1, spatial_axis=0),
            RandFlip(prob=1, spatial_axis=1),
            Rand2DElastic(  # affine and elastic in one
                spacing=(cell, cell),
                magnitude_range=(0.01 * size, 0.03 * size),
                prob=1,
                rotate_range=np.deg2rad(20),
                scale_range=(0.1, 0.1),
                translate_range=(0.05 * size, 0.05 * size),
                padding_mode="reflection",
            ),
        ]
    )
    noise = Compose(
        [RandAdjustContrast(prob=1, gamma=(0.8, 1.25)), RandGaussianNoise(prob=1, std=0.04)]
    )

    def augment(pair: Pair, seed: int) -> object:
        transforms.set_random_state(seed)
        both = np.concatenate([pair["bmode"], pair["ceus"]], axis=2).transpose(2, 0, 1)
        moved = transforms(both.astype(np.float32) / 255)
        return [noise(moved[:3]), noise(moved[3:])]

    return augment


def torchio_transforms(size: int) -> Callable[[Pair, int], object]:
    """As far as TorchIO has them, both crops as one picture of six channels."""
    import torchio

    transforms = torchio.Compose(
        [
            torchio.RandomFlip(axes=(0, 1), flip_probability=1),
            torchio.RandomAffine(scales=(0.1, 0.1, 0), degrees=(0, 0, 20), translation=(15, 15, 0)),
            torchio.RandomElasticDeformation(
                num_control_points=(12, 12, 5), max_displacement=(12, 12, 0)
            ),
            torchio.RandomGamma(log_gamma=0.22),
            torchio.RandomNoise(std=(0.01, 0.04)),
        ]
    )

    def augment(pair: Pair, seed: int) -> object:
        torch.manual_seed(seed)
        both = np.concatenate([pair["bmode"], pair["ceus"]], axis=2).transpose(2, 0, 1)
        return transforms(torch.from_numpy(both.astype(np.float32) / 255)[..., None])

    return augment


def batches(size: int, device: str) -> Iterator[tuple[str, Callable[[Pair], float]]]:
    """Milliseconds a pair of a whole batch on the device, everything on."""
    augment = BatchAugmentation(size)
    drawn = [drawn_tensors(EVERYTHING, size, seed) for seed in range(BATCH)]
    stacked = {name: torch.stack([one[name] for one in drawn]).to(device) for name in DRAWN}

    def on_device(pair: Pair) -> dict[str, torch.Tensor]:
        crops = {name: torch.from_numpy(crop.transpose(2, 0, 1).copy()) for name, crop in pair.items()}
        return {
            name: crop.expand(BATCH, -1, -1, -1).contiguous().to(device) for name, crop in crops.items()
        }

    def timed(step: Callable[[], object]) -> float:
        rounds = []
        for _ in range(4):
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            rounds.append((time.perf_counter() - start) / BATCH)
        return 1e3 * min(rounds)

    def ours(pair: Pair) -> float:
        batch = {**on_device(pair), **stacked}
        return timed(lambda: augment(batch, list(pair)))

    yield "ours", ours
    try:
        import kornia.augmentation as K
    except ImportError:
        print("kornia is not installed")
        return
    steps = K.AugmentationSequential(
        K.RandomHorizontalFlip(p=1),
        K.RandomVerticalFlip(p=1),
        K.RandomAffine(20, translate=(0.05, 0.05), scale=(0.9, 1.1), padding_mode="reflection", p=1),
        K.RandomElasticTransform(
            kernel_size=(2 * int(3 * ELASTIC_SIGMA * size) // 2 * 2 + 1,) * 2,
            sigma=(ELASTIC_SIGMA * size,) * 2,
            p=1,
        ),
        data_keys=["input"],
    )
    noise = torch.nn.Sequential(K.RandomGamma((0.8, 1.25), p=1), K.RandomGaussianNoise(std=0.025, p=1))

    def kornias(pair: Pair) -> float:
        batch = on_device(pair)
        both = torch.cat(list(batch.values()), dim=1)

        def step() -> object:
            moved = steps(both.float() / 255)
            return [noise(moved[:, :3].contiguous()), noise(moved[:, 3:].contiguous())]

        return timed(step)

    yield "kornia", kornias


if __name__ == "__main__":
    main()
