"""Which settings make a training step fastest, and from which batch on a larger one no longer pays.

    python benchmarks/step_settings.py [--encoder efficientnet_b3] [--size 300] [--device cuda]
        [--batches 32 64 128 256] [--only NAME ...] [--seconds 4] [--longest 150] [--json FILE]

Forward, backward and step of the fused arm on random pictures that are on the device already; no store
is needed. Each setting with each batch runs in a process of its own, for `longest` seconds at most;
where that was too short, the row says so. A compiled step takes long to make. Prints a row a setting
and batch: pairs/s, the ratio to eager 32 bits with the same batch, seconds until the first two steps
were done, and peak memory of the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import throughput
import torch

HERE = Path(__file__).resolve()
PLAIN = "eager fp32"
MIXED: dict[str, Any] = {"precision": "bf16-mixed", "tf32": True}
LAST: dict[str, Any] = {**MIXED, "channels_last": True}
FUSED: dict[str, Any] = {**LAST, "fused": True}
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "eager tf32": {"tf32": True},
    "bf16": MIXED,
    "bf16, channels last": LAST,
    "bf16, channels last, fused SGD": FUSED,
    "the same, cuDNN's benchmark": {**FUSED, "cudnn_benchmark": True},
    "tf32, channels last, fused SGD, compiled": {**FUSED, "precision": "32-true", "compile": "default"},
    "bf16, fused SGD, compiled": {**MIXED, "fused": True, "compile": "default"},
    "bf16, channels last, fused SGD, compiled": {**FUSED, "compile": "default"},
    "the same, compiled: reduce-overhead": {**FUSED, "compile": "reduce-overhead"},
    "the same, compiled: max-autotune-no-cudagraphs": {
        **FUSED,
        "compile": "max-autotune-no-cudagraphs",
    },
    "the same, compiled: max-autotune": {**FUSED, "compile": "max-autotune"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", default="efficientnet_b3")
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--longest", type=float, default=150.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="all numbers, written after each of them")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options, options.one[0], int(options.one[1]))))
        return 0
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(
        f"{options.encoder} at {options.size} × {options.size}, PyTorch {torch.__version__}, {name}\n"
    )
    print(
        "| setting | batch | pairs/s | of eager fp32 | s to start | GPU MB |\n|---|---|---|---|---|---|"
    )
    rows: list[dict[str, Any]] = []
    for batch in options.batches:
        for setting in options.only:
            row = {"setting": setting, "batch": batch, **in_process(options, setting, batch)}
            rows.append(row)
            print(f"| {setting} | {batch} | {told(row, rows)} |", flush=True)
            if options.json:
                options.json.write_text(json.dumps({"device": name, "rows": rows}, indent=1))
    return 0


def in_process(options: argparse.Namespace, setting: str, batch: int) -> dict[str, Any]:
    """What `measured` says, or why it does not."""
    words = ["--encoder", options.encoder, "--size", str(options.size), "--device", options.device]
    words += ["--seconds", str(options.seconds), "--one", setting, str(batch)]
    command = [sys.executable, str(HERE), *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as run:
        try:
            output, errors = run.communicate(timeout=options.longest)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # with the processes that compile for it
            return {"fault": f"not done in {options.longest:.0f} s"}
    if run.returncode:
        return {"fault": (errors.strip().splitlines() or ["no reason"])[-1][:100]}
    numbers: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return numbers


def told(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    if "fault" in row:
        return f"{row['fault']} | | | "
    plain = [r for r in rows if r["setting"] == PLAIN and r["batch"] == row["batch"] and "rate" in r]
    ratio = f"{row['rate'] / plain[0]['rate']:.2f}" if plain else ""
    return f"{row['rate']:.0f} | {ratio} | {row['start']:.0f} | {row['gpu'] / 1e6:.0f}"


def measured(options: argparse.Namespace, setting: str, batch: int) -> dict[str, float]:
    asked: dict[str, Any] = {
        "tf32": False,
        "precision": "32-true",
        "compile": None,
        "channels_last": False,
    }
    asked |= {"fused": False, "cudnn_benchmark": False} | SETTINGS[setting]
    torch.backends.cudnn.allow_tf32 = asked["tf32"]
    torch.backends.cudnn.benchmark = asked["cudnn_benchmark"]
    throughput.SECONDS = options.seconds
    shape = batch, 3, options.size, options.size
    pictures: dict[str, torch.Tensor] = {
        name: torch.randint(256, shape, dtype=torch.uint8, device=options.device)
        for name in throughput.MODALITIES
    }
    pictures["label"] = torch.randint(2, (batch,), device=options.device)
    given = argparse.Namespace(
        encoder=options.encoder, device=options.device, batch=batch, part="limit", **asked
    )
    start = time.perf_counter()
    step = throughput.training_step(given)
    step(pictures)
    step(pictures)
    if options.device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter() - start
    pairs, seconds, gpu = throughput.timed(given, lambda: step(pictures))
    return {"rate": pairs / seconds, "start": started, "gpu": gpu}


if __name__ == "__main__":
    sys.exit(main())
