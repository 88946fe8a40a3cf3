"""The `mufnet` command: one verb a step, from a scanner's clips to scores.

Nothing heavy is imported here; a verb imports what it needs when it is called, so that `mufnet --help`
and a mistyped word are answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

LIGHTNING_VERBS = {
    "fit": "train one arm on one fold, then score validation and test with the selected checkpoint",
    "validate": "score the validation part with a checkpoint",
    "test": "score the test part with a checkpoint",
    "predict": "score every pair of a store, for the next patient",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0: done. 2: bad input or usage, told in plain sentences on standard error. 1: a fault of ours, with
    its traceback. 130: interrupted from the keyboard.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in LIGHTNING_VERBS:
            from mufnet_lightning.experiment import run_lightning

            run_lightning(arguments)
        elif arguments and arguments[0] == "cv":
            # what it does not know is for `fit`
            options, rest = build_parser().parse_known_args(arguments)
            options.run(options, rest)
        else:
            options = build_parser().parse_args(arguments)
            options.run(options)
    except InputFault as fault:
        for line in fault.faults:
            print(f"mufnet: {line}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # argparse has said what is wrong, or has printed the help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("mufnet: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `mufnet ... | head`: nobody reads on, and that is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of every verb that is not Lightning's own."""
    parser = argparse.ArgumentParser(
        prog="mufnet",
        description="Grade kidney tumours from paired B-mode and contrast-enhanced ultrasound.",
        epilog="`mufnet VERB --help` tells what a verb takes.",
    )
    parser.add_argument("--version", action="version", version=f"mufnet {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_phantom(verbs)
    _add_prepare(verbs)
    _add_cv(verbs)
    for (
        verb,
        summary,
    ) in LIGHTNING_VERBS.items():  # answered by LightningCLI; listed here for --help
        verbs.add_parser(verb, help=summary, add_help=False)
    return parser


def _verb(verbs: Verbs, name: str, summary: str, run: Callable[..., None]) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_phantom(verbs: Verbs) -> None:
    parser = _verb(verbs, "phantom", "write a simulated cohort whose ceilings are known", _phantom)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; must not exist yet")
    parser.add_argument("--patients", type=int, default=100, help="number of patients")
    parser.add_argument("--high-share", type=float, default=0.26, help="share of high grade")
    parser.add_argument("--frames", type=int, default=60, help="annotated frames of each clip")
    parser.add_argument(
        "--clip-length", type=int, default=None, help="frames of each clip [twice --frames]"
    )
    parser.add_argument("--pane-size", type=int, default=320, help="side of each pane, pixels")
    parser.add_argument("--centers", type=int, default=2, help="number of centres")
    parser.add_argument("--auc-bmode", type=float, default=0.838, help="ceiling of the B-mode pane")
    parser.add_argument("--auc-ceus", type=float, default=0.845, help="ceiling of the CEUS pane")
    parser.add_argument("--format", choices=("avi", "mp4"), default="avi", help="MJPG AVI or MP4")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files byte for byte")


def _phantom(options: argparse.Namespace) -> None:
    from mufnet_lightning.cohort.phantom import PhantomOptions, write_phantom

    write_phantom(
        options.out,
        PhantomOptions(
            patients=options.patients,
            high_share=options.high_share,
            frames=options.frames,
            clip_length=options.clip_length,
            pane_size=options.pane_size,
            centers=options.centers,
            auc_bmode=options.auc_bmode,
            auc_ceus=options.auc_ceus,
            video_format=options.format,
            seed=options.seed,
        ),
    )


def _add_prepare(verbs: Verbs) -> None:
    parser = _verb(verbs, "prepare", "check a cohort, cut its paired crops, write a store", _prepare)
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="folder with the tables")
    parser.add_argument("store", type=Path, metavar="STORE", help="folder to write")
    parser.add_argument(
        "--margin", type=float, default=0.0, help="context around each box, as a share of its side"
    )
    parser.add_argument(
        "--without-grades",
        action="store_true",
        help="patients.csv has no grade or label: a store for `mufnet predict` only",
    )


def _prepare(options: argparse.Namespace) -> None:
    from mufnet_lightning.cohort.prepare import prepare_store

    prepare_store(
        options.cohort, options.store, margin=options.margin, with_grades=not options.without_grades
    )


def _add_cv(verbs: Verbs) -> None:
    parser = _verb(verbs, "cv", "run all folds of one arm under one parent run", _cv)
    parser.usage = "mufnet cv [-h] [--restart] --config FILE [--config FILE ...] [FIT OPTIONS]"
    parser.epilog = "The rest is given to `mufnet fit`. Called again, it goes on where it stopped."
    parser.add_argument(
        "--restart", action="store_true", help="begin anew, even if an earlier call can be continued"
    )


def _cv(options: argparse.Namespace, fit_arguments: list[str]) -> None:
    from mufnet_lightning.study.cross_validate import cross_validate

    cross_validate(fit_arguments, restart=options.restart)
