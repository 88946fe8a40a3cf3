"""The paper's whole experiment: arms cross-validated on the same folds, compared, with its report.

    python -m mufnet_lightning.commands.study --config OVERLAY.yaml --patients patients.csv --out DIR

`make study` calls it. Called again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.comparison import Level
from mufnet_lightning.report.page import write_report
from mufnet_lightning.study.compare import compare, record_comparison, write_comparison, write_files
from mufnet_lightning.study.cross_validate import cross_validate
from mufnet_lightning.study.table_one import printed, table_one
from mufnet_lightning.tracking.runs import find_run, mlflow_client

ARMS = ("configs/bmode.yaml", "configs/ceus.yaml", "configs/fused.yaml")
LEVELS: tuple[Level, ...] = ("patient", "image")


def run_study(
    arms: Sequence[str],
    overlays: Sequence[str] = (),
    options: Sequence[str] = (),
    patients: Path | None = None,
    out: Path = Path("results"),
) -> list[str]:
    """Cross-validate each arm, all on the first one's folds; compare them; describe the patients.

    Prints Table 1 and Table 2, over patients and over images, and writes them with their figures and
    the report of the study under `out`.

    Args:
        arms: a configuration each.
        overlays: laid over each of them.
        options: of `mufnet fit`, for all of them.
        patients: patients.csv in the cohort's folder, for Table 1 by grade and for the report.
        out: folder to write.

    Returns:
        The parent runs' ids.

    Raises:
        InputFault: an arm cannot be run as asked, or the patients cannot be described.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    table = table_one(patients, "grade") if patients else None  # a bad table is told at once
    words_of = {arm: [f"--config={file}" for file in (arm, *overlays)] + list(options) for arm in arms}
    _check_same_images(words_of)
    runs: list[str] = []
    for arm, words in words_of.items():
        print(f"\n== {Path(arm).stem}", flush=True)
        runs.append(cross_validate(words, folds_from=runs[0] if runs else None))
    if table is not None:
        texts = {"table1.csv": printed(table, "csv"), "table1.json": printed(table, "json")}
        write_files({name: text.encode() for name, text in texts.items()}, out)
        print(f"\n== Table 1\n{printed(table, 'table')}")
    for level in LEVELS:
        comparison = compare(runs, level=level)
        folder = out / f"over_{level}s"
        write_comparison(comparison, folder)
        run_id = record_comparison(comparison)
        if table is not None:
            mlflow_client().log_text(run_id, printed(table, "csv"), "table1.csv")
        print(f"\n== Table 2, over {level}s\n{comparison.text()}")
        print(f"written to {folder}, recorded as run {run_id}", flush=True)
    study = find_run(runs[0]).study
    cohort = patients.parent if patients and patients.name == "patients.csv" else None
    file, _ = write_report(study, cohort, out / "report.html")
    print(f"\n== Report: {file}", flush=True)
    return runs


def _check_same_images(words_of: Mapping[str, Sequence[str]]) -> None:
    """Arms that were scored on different images cannot be compared: tell it before they are trained."""
    from mufnet_lightning.training.cli import MufnetCLI
    from mufnet_lightning.training.messages import quiet_libraries

    quiet_libraries()
    counts = {
        Path(arm).stem: len(MufnetCLI.parse(["fit", *words]).datamodule.usable_rows)
        for arm, words in words_of.items()
    }
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        raise InputFault(
            f"the arms can use different numbers of pairs ({told}), since some pairs lack a modality; "
            "set data.complete_pairs to true to use those that have both"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="a configuration each")
    parser.add_argument("--config", action="append", default=[], help="laid over each arm's")
    parser.add_argument("--patients", type=Path, help="patients.csv, for Table 1")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write")
    known, rest = parser.parse_known_args(argv)
    try:
        run_study(known.arms, known.config, rest, known.patients, known.out)
    except InputFault as fault:
        for line in fault.faults:
            print(f"mufnet: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mufnet: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
