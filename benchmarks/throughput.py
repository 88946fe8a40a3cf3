"""How many pairs a second are trained, and what bounds it, side by side in one run.

    python benchmarks/throughput.py [--encoder test_efficientnet] [--size 96] [--batch 32] [--pairs 960]
        [--precision 32-true] [--epochs 3] [--workers 0] [--device cpu] [--only PART ...]
    python benchmarks/throughput.py --encoder efficientnet_b3 --size 300 --batch 64 --workers 8
        --precision bf16-mixed --compile --channels-last --fused [--cudnn-benchmark] [--json FILE]
    python benchmarks/throughput.py ... --profile    what a step's time goes to, kernel by kernel

Same network, batch and precision in each part; each runs in a process of its own, on a phantom's store
that is made first:

    limit            forward, backward and step on one batch that is on the device: plain PyTorch, as
                     asked for
    eager fp32       the same without any of it, every sum in 32 bits; PyTorch's own default on a GPU
                     is `eager tf32`: factors of convolutions rounded to 10 bits
    loader           the loader alone, augmenting
    device           the loader without pictures changed, and the augmentation on the device alone
    resident         crops on the device, drawn and augmented there, alone
    bare             a plain loop over our loader: to the device, forward, backward, step
    timm             the same loop over a dataset that reads PNGs and augments with Albumentations
    monai            the same with MONAI's transforms and CacheDataset, where it is installed
    fit              `mufnet fit` in its steady state: the steps of all epochs but the first
    fit, device      the same with data.augment: device
    fit, resident    the same with data.resident: true

Prints pairs/s (the best of some rounds), the ratios to the limit and to the bare loop, peak memory of
the process and of the GPU, and of `mufnet fit` the seconds of an epoch, validation included.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.models.losses import ClassBalancedFocalLoss
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.vocabulary import MODALITIES

HERE = Path(__file__).resolve()
CONFIGS = HERE.parents[1] / "configs"
STEADY = "steady.json"
SECONDS = 8.0
"""How long a part that has no epochs is timed."""


class Steady(Callback):
    """Times the training steps of all epochs but the first; as a callback of `mufnet fit`."""

    def __init__(self) -> None:
        self._pairs, self._seconds = 0, 0.0
        self._epochs: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here to the next one is an epoch, with its validation."""
        _wait(pl_module.device)
        self._epochs.append(time.perf_counter())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """An epoch's first batch is loaded by now: what starts the workers is not a step."""
        if batch_idx == 0:
            _wait(pl_module.device)
            self._start, self._of_epoch = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts what came after the first batch."""
        if batch_idx == 0:
            _wait(pl_module.device)
            self._start = time.perf_counter()
            return
        self._of_epoch += len(batch["label"])
        if batch_idx + 1 == trainer.num_training_batches and trainer.current_epoch > 0:
            _wait(pl_module.device)
            self._pairs += self._of_epoch
            self._seconds += time.perf_counter() - self._start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves what it counted in the working folder."""
        memory = torch.cuda.max_memory_allocated() if pl_module.device.type == "cuda" else 0
        epochs = [b - a for a, b in itertools.pairwise([*self._epochs, time.perf_counter()])]
        found = {"pairs": self._pairs, "seconds": self._seconds, "gpu": memory}
        found["epoch"] = statistics.median(epochs[1:] or epochs)
        Path(STEADY).write_text(json.dumps(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", default="test_efficientnet")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--pairs", type=int, default=960)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="of all parts; the best of each is told")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        help="torch.compile in the limit and in fit; a mode of it",
    )
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--fused", action="store_true", help="the optimizer as one kernel")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="trainer.benchmark of Lightning")
    parser.add_argument("--json", type=Path, help="all numbers")
    parser.add_argument("--profile", action="store_true", help="kernels of the limit's step, instead")
    parser.add_argument("--only", nargs="+", help="these parts alone")
    parser.add_argument("--work", type=Path, help="keep the store here")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        torch.backends.cudnn.benchmark = options.cudnn_benchmark
        if options.part == "profile":
            print(profiled(options))
            return 0
        pairs, seconds, gpu = PARTS[options.part](options)
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        numbers = {"rate": pairs / seconds, "host": host, "gpu": gpu / 1e6}
        if options.part.startswith("fit"):
            numbers["epoch"] = json.loads(Path(STEADY).read_text())["epoch"]
        print(json.dumps(numbers))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        make_store(options, work)
        if options.profile:
            command = [sys.executable, str(HERE), *sys.argv[1:], "--part", "profile"]
            return subprocess.run(command, cwd=work).returncode
        return compare_parts(options, work)


def make_store(options: argparse.Namespace, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    patients = max(20, options.pairs // 6)
    if not (work / "store").is_dir():
        words = ["--patients", str(patients), "--frames", "6", "--clip-length", "12"]
        mufnet(work, "phantom", "cohort", *words, "--pane-size", "224", "--high-share", "0.4")
        mufnet(work, "prepare", "cohort", "store")


def compare_parts(options: argparse.Namespace, work: Path) -> int:
    device = (
        torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    )
    print(
        f"{options.encoder} at {options.size} × {options.size}, batches of {options.batch}, "
        f"{options.precision}, {options.workers} loading workers, {device}\n"
    )
    parts = options.only or list(PARTS)
    best: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    words = [word for word in sys.argv[1:] if word != "--only" and word not in PARTS]
    for part in (
        parts * options.rounds
    ):  # one after the other: what disturbs one round disturbs all parts
        command = [sys.executable, str(HERE), *words, "--part", part]
        run = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if run.returncode:
            refused[part] = (run.stderr.strip().splitlines() or ["no reason"])[-1][:80]
            continue
        found = json.loads(run.stdout.strip().splitlines()[-1])
        print(f"{part}: {found['rate']:.0f} pairs/s", file=sys.stderr, flush=True)
        if found["rate"] > best.get(part, {"rate": 0.0})["rate"]:
            best[part] = found
    if options.json:
        options.json.write_text(
            json.dumps({"device": device, "best": best, "not run": refused}, indent=1)
        )
    columns = ["part", "pairs/s", "of the limit", "of bare", "host MB", "GPU MB", "s an epoch"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for part in parts:
        if part not in best:
            print(f"| {part} | not run: {refused[part]} | | | | | |")
            continue
        found = best[part]
        shares = [
            f"{found['rate'] / best[of]['rate']:.2f}" if of in best else "" for of in ("limit", "bare")
        ]
        numbers = [f"{found['rate']:.0f}", *shares, f"{found['host']:.0f}", f"{found['gpu']:.0f}"]
        numbers.append(f"{found['epoch']:.1f}" if "epoch" in found else "")
        print(f"| {part} | {' | '.join(numbers)} |")
    return 0


def limit(
    options: argparse.Namespace, eager: bool = False, tf32: bool = True
) -> tuple[int, float, float]:
    torch.backends.cudnn.allow_tf32 = tf32
    batch = next(made_whole(options, {}))
    step = training_step(options, eager)
    return timed(options, lambda: step(batch))


def profiled(options: argparse.Namespace) -> str:
    """What five steps of the limit take, by kernel."""
    from torch.profiler import ProfilerActivity, profile

    batch, step = next(made_whole(options, {})), training_step(options)
    timed(options, lambda: step(batch))
    activities = [ProfilerActivity.CPU]
    if options.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as made:
        for _ in range(5):
            step(batch)
        _wait(torch.device(options.device))
    first = "self_cuda_time_total" if options.device == "cuda" else "self_cpu_time_total"
    return str(made.key_averages().table(sort_by=first, row_limit=25, max_name_column_width=80))


def bare(options: argparse.Namespace) -> tuple[int, float, float]:
    step = training_step(options)
    return over(options, made_whole(options, {}), step)


def loader(options: argparse.Namespace, **settings: Any) -> tuple[int, float, float]:
    return over(options, made_whole(options, settings), lambda batch: None)


def augmented(options: argparse.Namespace) -> tuple[int, float, float]:
    """The augmentation on the device alone, of batches that are there."""
    data = datamodule(options, {"augment": "device"})
    loaded = next(iter(data.train_dataloader()))
    batch = {name: value.to(options.device) for name, value in loaded.items()}
    return timed(options, lambda: data.on_after_batch_transfer(batch, 0))


def fit(options: argparse.Namespace, **settings: Any) -> tuple[int, float, float]:
    """`mufnet fit` itself, in this process, so that its memory is this one's."""
    from mufnet_lightning.cli import main as command

    sys.path.insert(0, str(HERE.parent))
    words = [f"--config={CONFIGS / name}.yaml" for name in ("fused", "demo")]
    words += ["--data.store=store", f"--data.image_size={options.size}", "--tracking.study=throughput"]
    words += [f"--data.batch_size={options.batch}", f"--data.num_workers={options.workers}"]
    words += [f"--model.encoder={options.encoder}", f"--trainer.max_epochs={options.epochs}"]
    words += [f"--trainer.precision={options.precision}", "--explain.enabled=false"]
    words += ["--trainer.accelerator=" + ("gpu" if options.device == "cuda" else "cpu")]
    words += ["--trainer.callbacks=throughput.Steady", "--tracking.figures=false"]
    words += ["--trainer.deterministic=false"] if options.device == "cuda" else []
    words += [f"--model.compile={options.compile}"] if options.compile else []
    words += ["--optimizer.class_path=torch.optim.SGD"] if options.fused else []
    words += ["--optimizer.init_args.fused=true"] if options.fused else []
    words += ["--trainer.benchmark=true"] if options.cudnn_benchmark else []
    words += ["--model.channels_last=true"] if options.channels_last else []
    words += [f"--data.{name}={str(value).lower()}" for name, value in settings.items()]
    if command(["fit", *words]):
        raise SystemExit("mufnet fit failed")
    found = json.loads(Path(STEADY).read_text())
    return found["pairs"], found["seconds"], found["gpu"]


def timm_loop(options: argparse.Namespace) -> tuple[int, float, float]:
    """PNGs read and augmented with Albumentations in the loader."""
    import cv2
    from augmentation import composed
    from torch.utils.data import DataLoader, Dataset

    data = datamodule(options, {})
    manifest, rows = data.store.manifest, data.part_rows("train")
    augment = composed(options.size)

    class Pngs(Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            row = rows[index]
            pair = {}
            for name in MODALITIES:
                pixels = cv2.imread(str(data.store.root / manifest[f"{name}_path"].iloc[row]))
                assert pixels is not None
                pair[name] = cv2.resize(pixels[..., ::-1], (options.size,) * 2)
            moved = dict(zip(MODALITIES, augment(pair, index), strict=True))  # type: ignore[call-overload]
            crops = {n: torch.from_numpy(crop.transpose(2, 0, 1).copy()) for n, crop in moved.items()}
            return {**crops, "label": torch.tensor(int(data.labels[row]))}

    batches = DataLoader(
        Pngs(), options.batch, shuffle=True, num_workers=options.workers, drop_last=True
    )
    return over(options, to_device(options, itertools.cycle(batches)), training_step(options))


def monai_loop(options: argparse.Namespace) -> tuple[int, float, float]:
    """Crops in MONAI's CacheDataset, augmented by its transforms in the loader."""
    from augmentation import monai_transforms
    from monai.data import CacheDataset, DataLoader

    data = datamodule(options, {})
    caches = {name: data.store.cache(name, options.size) for name in MODALITIES}
    augment = monai_transforms(options.size)
    items = [
        {"label": int(data.labels[row]), "row": int(row), **{n: c[int(row)] for n, c in caches.items()}}
        for row in data.part_rows("train")
    ]

    def transform(item: dict[str, Any]) -> dict[str, Any]:
        made = augment({name: item[name] for name in MODALITIES}, item["row"])
        crops = {n: 255 * torch.as_tensor(crop) for n, crop in zip(MODALITIES, made, strict=True)}  # type: ignore[call-overload]
        return {"label": item["label"], **crops}

    dataset = CacheDataset(items, transform, progress=False)
    batches = DataLoader(
        dataset, batch_size=options.batch, shuffle=True, num_workers=options.workers, drop_last=True
    )
    return over(options, to_device(options, itertools.cycle(batches)), training_step(options))


def datamodule(options: argparse.Namespace, settings: dict[str, Any]) -> RoiPairDataModule:
    data = RoiPairDataModule(
        "store",
        image_size=options.size,
        batch_size=options.batch,
        num_workers=options.workers,
        **settings,
    )
    data.prepare_data()
    return data


def made_whole(options: argparse.Namespace, settings: dict[str, Any]) -> Iterator[dict[str, Tensor]]:
    """Endless batches on the device, as a Trainer hands them on."""
    data = datamodule(options, settings)
    loader = data.train_dataloader()
    epochs = itertools.chain.from_iterable(loader for _ in itertools.count())
    whole = (batch for batch in epochs if len(batch["label"]) == options.batch)
    return (data.on_after_batch_transfer(batch, 0) for batch in to_device(options, whole))


def to_device(options: argparse.Namespace, batches: Any) -> Iterator[dict[str, Tensor]]:
    for batch in batches:
        yield {
            name: value.to(options.device, non_blocking=True)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }


def training_step(
    options: argparse.Namespace, eager: bool = False
) -> Callable[[dict[str, Tensor]], object]:
    """Forward, backward and step in plain PyTorch; `bare`, on a CPU, as repeatable as `mufnet fit`."""
    torch.manual_seed(0)
    if options.part not in ("limit", "profile") and options.device == "cpu":
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    net = MufNet(encoder=options.encoder, dropout=0.0).to(options.device).train()
    loss_of = ClassBalancedFocalLoss([60, 40]).to(options.device)
    mixed = options.precision == "bf16-mixed" and not eager
    if options.channels_last and not eager:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(net, mode=options.compile) if options.compile and not eager else net
    fused = True if options.fused and not eager else None  # unless asked, PyTorch's own choice
    optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9, fused=fused)

    def step(batch: dict[str, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(options.device, torch.bfloat16, enabled=mixed):
            logits = forward(batch).logits
        loss_of(logits.float(), batch["label"], reduction="mean").backward()
        optimizer.step()

    return step


def over(
    options: argparse.Namespace,
    batches: Iterator[dict[str, Tensor]],
    step: Callable[[dict[str, Tensor]], object],
) -> tuple[int, float, float]:
    return timed(options, lambda: step(next(batches)))


def timed(options: argparse.Namespace, step: Callable[[], object]) -> tuple[int, float, float]:
    """Pairs and seconds, after ten steps to warm up; and peak GPU memory."""
    for _ in range(10):
        step()
    _wait(torch.device(options.device))
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        for _ in range(5):
            step()
        count += 5
        _wait(torch.device(options.device))
    seconds = time.perf_counter() - start
    gpu = torch.cuda.max_memory_allocated() if options.device == "cuda" else 0
    return count * options.batch, seconds, gpu


def mufnet(work: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "mufnet_lightning", *words], cwd=work, check=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


PARTS: dict[str, Callable[..., tuple[int, float, float]]] = {
    "limit": limit,
    "eager fp32": lambda options: limit(options, eager=True, tf32=False),
    "eager tf32": lambda options: limit(options, eager=True),
    "loader": loader,
    "device": augmented,
    "resident": lambda options: loader(options, augment="device", resident=True),
    "bare": bare,
    "timm": timm_loop,
    "monai": monai_loop,
    "fit": fit,
    "fit, device": lambda options: fit(options, augment="device"),
    "fit, resident": lambda options: fit(options, augment="device", resident=True),
}


if __name__ == "__main__":
    sys.exit(main())
