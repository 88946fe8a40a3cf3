"""`mufnet study`: the paper's whole experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import again, option, rest, words
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import ARMS, PREFIXES


@dataclass(frozen=True)
class Study:
    """Cross-validate arms on the same folds, compare them, describe the patients, write the report.

    Called again, it goes on where it stopped. What else is given is for `mufnet fit`, of all arms.

    Args:
        arms: a configuration each
        config: laid over each of them; may be given again
        patients: patients.csv in the cohort's folder, for Table 1 by grade and for the report
        out: folder to write
        fit: options of `mufnet fit`
    """

    arms: Annotated[tuple[str, ...], words("CONFIG", dash=True)] = ARMS
    config: Annotated[tuple[str, ...], again("FILE")] = ()
    patients: Annotated[Path | None, option("FILE", there="file")] = None
    out: Annotated[Path, option("DIR")] = Path("results")
    fit: Annotated[tuple[str, ...], rest()] = ()

    def run(self) -> None:
        """Run the folds that are not done yet; print Tables 1 and 2 and write all under `out`."""
        for arguments in self.arguments().values():
            check_run("fit", arguments)
        run_study(self.arguments(), self.patients, self.out)

    def arguments(self) -> dict[str, list[str]]:
        """What `mufnet fit` is given, by arm."""
        return {
            arm: [*(f"--config={file}" for file in (arm, *self.config)), *self.fit] for arm in self.arms
        }


def run_study(
    arms: Mapping[str, Sequence[str]], patients: Path | None = None, out: Path = Path("results")
) -> list[str]:
    """Cross-validate each arm, all on the first one's folds; compare them; describe the patients.

    Prints Table 1 and Table 2, over patients and over images, and writes them with their figures and
    the report of the study under `out`.

    Args:
        arms: arguments of `mufnet fit`, by the arm's configuration.
        patients: patients.csv in the cohort's folder, for Table 1 by grade and for the report.
        out: folder to write.

    Returns:
        The parent runs' ids.

    Raises:
        InputFault: an arm cannot be run as asked, or the patients cannot be described.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    from mufnet_lightning.report.page import write_report
    from mufnet_lightning.study.compare import (
        compare,
        record_comparison,
        write_comparison,
    )
    from mufnet_lightning.study.cross_validate import cross_validate
    from mufnet_lightning.study.out_folder import write_files
    from mufnet_lightning.study.table_one import table_one
    from mufnet_lightning.tracking.left_over import send_left_over
    from mufnet_lightning.tracking.runs import find_run, mlflow_client
    from mufnet_lightning.tracking.views import run_link_line

    table = table_one(patients, "grade") if patients else None  # a bad table is told at once
    _check_same_images(arms)
    send_left_over(10)
    runs: list[str] = []
    for arm, arguments in arms.items():
        print(f"\n== {Path(arm).stem}", flush=True)
        runs.append(cross_validate(arguments, folds_from=runs[0] if runs else None))
    if table is not None:
        write_files(
            {
                "table1.csv": table.printed("csv"),
                "table1.json": table.printed("json"),
            },
            out,
        )
        print(f"\n== Table 1\n{table.printed('table')}")
    for level in reversed(PREFIXES):
        comparison = compare(runs, level=level)
        folder = out / f"over_{level}s"
        write_comparison(comparison, folder)
        run_id = record_comparison(comparison)
        if table is not None:
            mlflow_client().log_text(run_id, table.printed("csv"), "table1.csv")
        print(f"\n== Table 2, over {level}s\n{comparison.text()}")
        print(f"written to {folder}, recorded as run {run_id}", flush=True)
    study = find_run(runs[0]).study
    cohort = patients.parent if patients and patients.name == "patients.csv" else None
    file, _ = write_report(study, cohort, out / "report.html")
    print(f"\n== Report: {file}", flush=True)
    line = run_link_line(runs[0])
    if line:
        print(f"\n{line}", flush=True)
    return runs


def _check_same_images(arms: Mapping[str, Sequence[str]]) -> None:
    """Arms that were scored on different images cannot be compared: tell it before they are trained."""
    from mufnet_lightning.training.messages import quiet_libraries
    from mufnet_lightning.training.parsed import DataCLI

    with quiet_libraries():
        pairs = {
            Path(arm).stem: len(DataCLI(arguments).datamodule.usable_rows)
            for arm, arguments in arms.items()
        }
    if len(set(pairs.values())) > 1:
        counts = ", ".join(f"{arm} {count}" for arm, count in pairs.items())
        raise InputFault(
            f"the arms can use different numbers of pairs ({counts}), since some pairs lack a "
            "modality; set data.complete_pairs to true to use those that have both"
        )
