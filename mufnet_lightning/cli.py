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
from mufnet_lightning.system.log import start_logging

if TYPE_CHECKING:
    from mufnet_lightning.evaluation.statistics.characteristics import Kind

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
    start_logging()
    try:
        if arguments and arguments[0] in LIGHTNING_VERBS:
            from mufnet_lightning.training.run import run_lightning

            run_lightning(arguments)
        elif arguments and arguments[0] == "cv":
            # what it does not know is for `fit`
            options, rest = build_parser().parse_known_args(arguments)
            options.call(options, rest)
        else:
            options = build_parser().parse_args(arguments)
            options.call(options)
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
    _add_compare(verbs)
    _add_characteristics(verbs)
    _add_explain(verbs)
    _add_report(verbs)
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
    parser.set_defaults(call=run)
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
    from mufnet_lightning.phantom.generate import PhantomOptions, write_phantom

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
    from mufnet_lightning.store.prepare import prepare_store

    prepare_store(
        options.cohort, options.store, margin=options.margin, with_grades=not options.without_grades
    )


def _add_cv(verbs: Verbs) -> None:
    parser = _verb(verbs, "cv", "run all folds of one arm under one parent run", _cv)
    parser.usage = (
        "mufnet cv [-h] [--fold K,...] [--folds-from FILE_OR_RUN] [--restart] "
        "--config FILE [--config FILE ...] [FIT OPTIONS]"
    )
    parser.epilog = "The rest is given to `mufnet fit`. Called again, it goes on where it stopped."
    parser.add_argument(
        "--fold",
        type=_whole_numbers,
        metavar="K,...",
        help="these folds alone, as in 0,3; a later call runs the others",
    )
    parser.add_argument(
        "--folds-from",
        metavar="FILE_OR_RUN",
        help="the patients of this folds.csv or run, so that the arms of a study share them",
    )
    parser.add_argument(
        "--restart", action="store_true", help="begin anew, even if an earlier call can be continued"
    )


def _cv(options: argparse.Namespace, fit_arguments: list[str]) -> None:
    from mufnet_lightning.study.cross_validate import cross_validate

    cross_validate(fit_arguments, options.restart, options.fold, options.folds_from)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as in 0,3, got {text!r}") from None


def _add_compare(verbs: Verbs) -> None:
    parser = _verb(verbs, "compare", "put arms side by side: Table 2, paired tests, figures", _compare)
    parser.add_argument(
        "arms",
        nargs="+",
        metavar="ARM",
        help="a predictions CSV, or the id of a run or of a cross-validation; NAME=ARM gives a name",
    )
    parser.add_argument(
        "--level", choices=("image", "patient"), default="image", help="unit of numbers"
    )
    parser.add_argument(
        "--method",
        choices=("delong", "obuchowski"),
        help="variance of AUCs [obuchowski over images, delong over patients]",
    )
    parser.add_argument(
        "--threshold",
        choices=("0.5", "youden"),
        default="0.5",
        help="above it a score is called high; youden: chosen on each arm's validation scores",
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        default=0,
        metavar="N",
        help="also AUC intervals from N resamples of the patients",
    )
    parser.add_argument(
        "--selection",
        action="store_true",
        help="what choosing the epoch on the test set would have gained (needs data.watch_test)",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what is printed")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write tables (CSV, JSON, LaTeX) and figures (PNG, PDF)"
    )
    parser.add_argument("--study", help="MLflow experiment to record it in [that of the first run]")
    parser.add_argument("--no-record", action="store_true", help="leave MLflow alone")


def _compare(options: argparse.Namespace) -> None:
    if len(options.arms) < 2:
        raise InputFault("compare needs two arms or more")
    if options.bootstrap < 0:
        raise InputFault(f"--bootstrap is {options.bootstrap}, expected 0 or more")
    from mufnet_lightning.study.compare import compare, record_comparison, write_comparison

    comparison = compare(
        options.arms,
        level=options.level,
        method=options.method,
        threshold=options.threshold,
        bootstrap=options.bootstrap,
        selection=options.selection,
    )
    if options.out:
        write_comparison(comparison, options.out)
    print(comparison.json() if options.format == "json" else comparison.text())
    if not options.no_record:
        run_id = record_comparison(comparison, options.study)
        print(f"recorded as run {run_id}", file=sys.stderr)


def _add_characteristics(verbs: Verbs) -> None:
    parser = _verb(
        verbs, "characteristics", "describe the patients of two groups: Table 1", _characteristics
    )
    parser.add_argument("patients", type=Path, metavar="PATIENTS.csv", help="a row a patient")
    parser.add_argument(
        "--by",
        required=True,
        metavar="COLUMN",
        help="the two groups; grade means 1 and 2 against 3 and 4",
    )
    parser.add_argument(
        "--variables", metavar="A,B,...", help="columns to describe [all but ids and outcome]"
    )
    parser.add_argument(
        "--categories", default="", metavar="A,...", help="columns that are codes, not numbers"
    )
    parser.add_argument(
        "--numbers", default="", metavar="A,...", help="columns that are numbers, not codes"
    )
    parser.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="what is printed"
    )


def _characteristics(options: argparse.Namespace) -> None:
    from mufnet_lightning.study.table_one import printed, table_one

    kinds: dict[str, Kind] = {name: "category" for name in options.categories.split(",") if name}
    kinds |= {name: "number" for name in options.numbers.split(",") if name}
    variables = options.variables.split(",") if options.variables else None
    print(printed(table_one(options.patients, options.by, variables, kinds), options.format))


def _add_explain(verbs: Verbs) -> None:
    parser = _verb(verbs, "explain", "show and measure where a run's network looks: Grad-CAM", _explain)
    parser.add_argument(
        "--run", required=True, metavar="RUN", help="id of a run or of a cross-validation"
    )
    parser.add_argument(
        "--patient",
        action="append",
        default=[],
        metavar="ID",
        help="a montage of this patient instead of the test part; may be given again",
    )
    parser.add_argument("--all", action="store_true", help="also a montage of every test patient")
    parser.add_argument(
        "--method", choices=("gradcam", "gradcam++", "layercam"), default="gradcam", help="of the maps"
    )
    parser.add_argument(
        "--layer", metavar="NAME", help="layer of timm's network [its last feature maps]"
    )
    parser.add_argument(
        "--target",
        choices=("predicted", "true", "low", "high"),
        default="predicted",
        help="class that the maps speak for",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the lots, random weights and maps")
    parser.add_argument(
        "--draws", type=int, default=3, help="random networks of the sanity check; 0: no checks"
    )
    parser.add_argument("--store", metavar="DIR", help="where the crop store lies now")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument(
        "--phantom", type=Path, metavar="COHORT", help="a phantom's folder: also point at its signal"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write pictures and tables here too")


def _explain(options: argparse.Namespace) -> None:
    from mufnet_lightning.explain.options import ExplainOptions
    from mufnet_lightning.study.explain_folds import ExplainRequest, explain_run
    from mufnet_lightning.training.messages import quiet_libraries

    quiet_libraries()
    explain_run(
        ExplainRequest(
            options.run,
            ExplainOptions(options.method, options.layer, options.target, options.seed, options.draws),
            tuple(options.patient),
            options.all,
            options.store,
            options.device,
            options.phantom,
            options.out,
        )
    )


def _add_report(verbs: Verbs) -> None:
    parser = _verb(verbs, "report", "write one self-contained HTML file for a study", _report)
    parser.add_argument("study", metavar="STUDY", help="name of the study: the MLflow experiment")
    parser.add_argument(
        "--cohort",
        type=Path,
        metavar="DIR",
        help="the cohort's folder: adds Table 1, scanners and, of a phantom, the ceilings",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write [report-STUDY.html]")
    parser.add_argument("--no-record", action="store_true", help="leave MLflow alone")


def _report(options: argparse.Namespace) -> None:
    from mufnet_lightning.report.page import write_report

    file, run_id = write_report(options.study, options.cohort, options.out, not options.no_record)
    print(file)
    if run_id:
        print(f"recorded as run {run_id}", file=sys.stderr)
