"""Seconds until `mufnet` has told a mistake or printed a help, beside those of an older install.

    python benchmarks/startup.py --before /path/to/older/.venv/bin/python --into docs/startup.md

Each install runs in a folder of its own, after a `fit --help` that warms the system's file cache and
describes the parser; each command runs `--times` times, of which the least counts. With `--into`, the
table replaces the one in that file.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mufnet_lightning.commands.verbs import VERBS

FUSED = ("--config", "configs/fused.yaml")
MISTAKES = {
    "a verb that is none": ("fitt",),
    "an option that `phantom` has not": ("phantom", "out", "--patint", "3"),
    "a word for `phantom`'s number": ("phantom", "out", "--patients", "many"),
    "a setting that `fit` has not": ("fit", *FUSED, "--trainer.max_epoch", "3"),
    "a word for `fit`'s number": ("fit", *FUSED, "--data.batch_size", "many"),
    "a configuration that is not there": ("fit", "--config", "configs/fuse.yaml"),
    "a configuration with an unknown key": ("fit", "--config", "wrong.yaml"),
    "a store that is not there": ("fit", *FUSED, "--data.store", "gone"),
    "a fold that is not there": ("fit", *FUSED, "--data.store", "store", "--data.fold", "9"),
    "a fold of `cv` that is not there": ("cv", *FUSED, "--data.store", "store", "--fold", "9"),
}
SMALL = ("--patients", "30", "--frames", "2", "--clip-length", "4", "--pane-size", "128")
MARK = "<!-- benchmarks/startup.py -->"


def seconds(
    python: Path, words: tuple[str, ...], folder: Path, expected: int, times: int
) -> float | None:
    """The least of some times; None if that install ends otherwise (it has no such verb, say)."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        command = [str(python), "-m", "mufnet_lightning", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - start)
        if done.returncode != expected:
            return None
    return min(taken)


def prepare(python: Path, folder: Path, store: Path) -> None:
    """A working folder with that install's configurations, a faulty one, and the store."""
    folder.mkdir()
    place = "import mufnet_lightning as m, pathlib; print(pathlib.Path(m.__file__).parents[1])"
    root = subprocess.run([python, "-c", place], capture_output=True, text=True, check=True, cwd=folder)
    shutil.copytree(Path(root.stdout.strip()) / "configs", folder / "configs")
    (folder / "wrong.yaml").write_text("data: {stor: x}\n")
    shutil.copytree(store, folder / "store")
    seconds(python, ("fit", "--help"), folder, 0, 1)


def table(pythons: list[Path], folder: Path, times: int) -> str:
    """Markdown: a row a command, a column an install."""
    here = [sys.executable, "-m", "mufnet_lightning"]
    subprocess.run([*here, "phantom", "cohort", *SMALL], cwd=folder, check=True, stdout=sys.stderr)
    subprocess.run([*here, "prepare", "cohort", "store"], cwd=folder, check=True, stdout=sys.stderr)
    folders = [folder / str(number) for number in range(len(pythons))]
    for python, own in zip(pythons, folders, strict=True):
        prepare(python, own, folder / "store")
    commands = [(name, words, 2) for name, words in MISTAKES.items()]
    commands += [("`mufnet --help`", ("--help",), 0)]
    commands += [(f"`mufnet {verb} --help`", (verb, "--help"), 0) for verb in VERBS]
    heads = ["before", "now"][-len(pythons) :]
    lines = [
        "| | " + " | ".join(f"{head}, s" for head in heads) + " |",
        "|---|" + "---|" * len(pythons),
    ]
    for name, words, expected in commands:
        cells = []
        for python, own in zip(pythons, folders, strict=True):
            taken = seconds(python, words, own, expected, times)
            cells.append("no such verb" if taken is None else f"{taken:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    """Print the table, or write it into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="Python of an older install")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--into", type=Path, help="file whose table is replaced")
    options = parser.parse_args()
    pythons = [*([options.before.absolute()] if options.before else []), Path(sys.executable)]
    with TemporaryDirectory() as folder:
        text = table(pythons, Path(folder), options.times)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} in the end"
    load = f"{machine}, Python {sys.version.split()[0]}"
    text = f"{MARK}\n{text}\n\n{load}\n{MARK}"
    if options.into is None:
        print(text)
    else:
        kept = options.into.read_text(encoding="utf-8")
        options.into.write_text(
            re.sub(f"{MARK}.*{MARK}", lambda _: text, kept, flags=re.S), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
