"""What the journal, the digests, the checks for numbers and the synced writes cost a training.

    git worktree add ../before COMMIT
    python benchmarks/safety_cost.py --before ../before [--rounds 5] [--epochs 12]

Trains the same network on the same phantom with this tree and with an earlier one, in turn, a
process each. An epoch is counted from its first batch to the first batch of the next one:
validation, numbers, checkpoints and whatever a run records are in it. The first two epochs warm up
and do not count. Prints the seconds of an epoch (median over all of them) and the ratio of each
round, by the clock and of the CPU (all threads of the process, so that what else runs on the machine
counts less), at two sizes: one where an epoch is a few steps of a tiny network and each of them ends in
a checkpoint, which is the worst case, and one where an epoch has as many steps as a user's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

HERE = Path(__file__).resolve()
TREE = HERE.parents[1]
TIMES = "EPOCH_TIMES"
"""Environment variable: the file that the seconds of each epoch go into."""
Times = list[list[float]]
"""Of each epoch: by the clock, and of the CPU."""
SIZES = {
    "6 steps an epoch": ["--trainer.limit_train_batches=6", "--trainer.limit_val_batches=2"],
    "60 steps an epoch": [
        "--trainer.limit_train_batches=60",
        "--data.batch_size=8",
        "--trainer.limit_val_batches=2",
    ],
}


class EpochTimes(Callback):
    """Seconds from the beginning of each epoch to that of the next: by the clock, and of the CPU."""

    def __init__(self) -> None:
        self.began: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.began.append((time.perf_counter(), time.process_time()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them down."""
        times = [
            [after - before for before, after in zip(*pair, strict=True)]
            for pair in zip(self.began, self.began[1:], strict=False)
        ]
        Path(os.environ[TIMES]).write_text(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of an earlier version")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "now": TREE}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        phantom = ["--patients=60", "--high-share=0.5", "--frames=8", "--clip-length=8"]
        mufnet(trees["before"], work, "phantom", "cohort", *phantom, "--pane-size=128")
        mufnet(trees["before"], work, "prepare", "cohort", "store")
        print("| | before, s | now, s | ratio | of each round |\n|---|---|---|---|---|")
        for name, words in SIZES.items():
            rounds: dict[str, list[Times]] = {"before": [], "now": []}
            for number in range(options.rounds):
                order = list(trees.items())[:: 1 if number % 2 == 0 else -1]
                for which, tree in order:
                    rounds[which].append(fit_times(tree, work, options.epochs, words))
            for place, kind in enumerate(("by the clock", "of the CPU")):
                medians = {
                    which: [statistics.median(epoch[place] for epoch in one) for one in all_rounds]
                    for which, all_rounds in rounds.items()
                }
                pairs = zip(medians["before"], medians["now"], strict=True)
                each = ", ".join(f"{now / before:.3f}" for before, now in pairs)
                before, now = (
                    statistics.median(epoch[place] for one in rounds[which] for epoch in one)
                    for which in ("before", "now")
                )
                row = f"| {name}, {kind} | {before:.3f} | {now:.3f} | {now / before:.3f} | {each} |"
                print(row, flush=True)


def fit_times(tree: Path, work: Path, epochs: int, words: list[str]) -> Times:
    """Seconds of the epochs of a fit with the code of `tree`, without the first two."""
    configs = [f"--config={tree / 'configs' / name}.yaml" for name in ("fused", "demo")]
    settings = [
        "--data.store=store",
        f"--trainer.max_epochs={epochs + 3}",  # the last one has no next
        "--trainer.callbacks+=safety_cost.EpochTimes",
        "--trainer.enable_progress_bar=false",
        "--explain.enabled=false",
        "--tracking.figures=false",
        "--trainer.accelerator=cpu",
    ]
    times = work / "times.json"
    mufnet(tree, work, "fit", *configs, *settings, *words, **{TIMES: str(times)})
    seconds: Times = json.loads(times.read_text())
    return seconds[2:]


def mufnet(tree: Path, work: Path, *words: str, **environment: Any) -> None:
    """Run the command with the code of `tree`."""
    path = os.pathsep.join([str(tree), str(HERE.parent)])
    own = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    subprocess.run(
        [sys.executable, "-m", "mufnet_lightning", *words],
        check=True,
        cwd=work,
        env=own,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
