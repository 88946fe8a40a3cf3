"""`mufnet study`: the paper's whole experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mufnet_lightning.commands.options import again, option, rest, word, words
from mufnet_lightning.commands.places import check_places
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.configs import find_config
from mufnet_lightning.vocabulary import ARMS, PREFIXES

if TYPE_CHECKING:
    from mufnet_lightning.study.engines import Engine
    from mufnet_lightning.study.spec import StudySpec


@dataclass(frozen=True)
class Study:
    """Cross-validate arms on the same folds, compare them, describe the patients, write the report.

    Called again, it goes on where it stopped. What else is given is for `mufnet fit`, of all arms.

    Args:
        file: of a study, by name or path, as configs/study.yaml; or none, and --arms has the arms
        arms: a configuration each
        config: laid over each of them; may be given again
        patients: patients.csv in the cohort's folder, for Table 1 by grade and for the report
        out: folder to write; results unless given, here or in the file
        dry_run: tell which folds are left and how long they will take, from one epoch of each arm
        jobs: folds at once; as many as there are GPUs, or shares of the CPU's cores, unless given
        threads: of the CPU, that each fold computes with; their number decides the last bits there
        engine: local (this machine) or ray; see docs/cluster.md
        ray_address: of a running Ray cluster, as auto or HOST:6379
        fit: options of `mufnet fit`
    """

    file: Annotated[str | None, word("FILE")] = None
    arms: Annotated[tuple[str, ...], words("CONFIG", dash=True)] = ARMS
    config: Annotated[tuple[str, ...], again("FILE")] = ()
    patients: Annotated[Path | None, option("FILE", there="file")] = None
    out: Annotated[Path | None, option("DIR")] = None
    dry_run: bool = False
    jobs: int | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] | None = None
    ray_address: Annotated[str | None, option("ADDRESS")] = None
    fit: Annotated[tuple[str, ...], rest()] = ()

    def __post_init__(self) -> None:
        check_places(self.jobs, self.threads, self.engine, self.ray_address)
        if self.file is not None and self.arms != ARMS:
            raise InputFault("a study file has its own arms: --arms is no option beside it")

    def run(self) -> None:
        """Run the folds that are not done yet; print Tables 1 and 2 and write all under `out`."""
        spec = self.spec()
        for arm in spec.arms:
            try:
                check_run("fit", arm.arguments)
            except InputFault as fault:
                raise InputFault([f"arm {arm.name}: {one}" for one in fault.faults]) from None
        if self.dry_run:
            print_outlook(spec)
        else:
            from mufnet_lightning.study.engine_choice import chosen_engine

            engine = chosen_engine(self.engine, self.jobs, self.ray_address)
            run_study(spec, engine, self.threads)

    def spec(self) -> StudySpec:
        """What is to be done."""
        from mufnet_lightning.study.spec import StudySpec

        if self.file is None:
            spec = StudySpec.of_configurations(self.arms, self.config, self.fit)
        else:
            for name in self.config:
                find_config(name)  # what is not there is not the file's fault
            spec = StudySpec.read(find_config(self.file), self.config, self.fit)
        return replace(spec, patients=self.patients or spec.patients, out=self.out or spec.out)


def print_outlook(spec: StudySpec) -> None:
    """Print what a study is going to do.

    Raises:
        InputFault: an arm cannot be run as asked.
    """
    from mufnet_lightning.study.arm_checks import check_arms
    from mufnet_lightning.study.outlook import outlook, outlook_table

    check_arms(spec.arms)
    print(outlook_table(outlook(spec.arms)).to_string(index=False))
    tests = "each two arms" if spec.planned is None else f"{len(spec.planned)} planned pairs"
    print(f"\nTested: {tests}. Hours: folds one after another, their tests and pictures not counted.")


def run_study(spec: StudySpec, engine: Engine | None = None, threads: int | None = None) -> list[str]:
    """Cross-validate each arm, all on the first one's folds; compare them; describe the patients.

    Prints Table 1 and Table 2, over patients and over images, and writes them with their figures and
    the report of the study under the study's `out`.

    Args:
        spec: arms, planned tests and what is written.
        engine, threads: see `cross_validate`.

    Returns:
        The parent runs' ids.

    Raises:
        InputFault: an arm cannot be run as asked, or the patients cannot be described.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    from mufnet_lightning.report.page import write_report
    from mufnet_lightning.study.arm_checks import check_arms
    from mufnet_lightning.study.compare import compare, record_comparison, write_comparison
    from mufnet_lightning.study.cross_validate import cross_validate_arms
    from mufnet_lightning.study.out_folder import write_files
    from mufnet_lightning.study.recorded_study import record_study
    from mufnet_lightning.study.table_one import table_one
    from mufnet_lightning.tracking.left_over import send_left_over
    from mufnet_lightning.tracking.runs import find_run, mlflow_client, open_study
    from mufnet_lightning.tracking.views import run_link_line

    patients, out = spec.patients, spec.out
    table = table_one(patients, "grade") if patients else None  # a bad table is told at once
    checked = check_arms(spec.arms)
    send_left_over(10)
    record_study(open_study(checked.study), checked.keys, spec.planned)
    runs = cross_validate_arms(spec.arms, engine=engine, threads=threads)
    if table is not None:
        write_files(
            {
                "table1.csv": table.printed("csv"),
                "table1.json": table.printed("json"),
            },
            out,
        )
        print(f"\n== Table 1\n{table.printed('table')}")
    named = [f"{name}={run_id}" for name, run_id in runs.items()]
    for level in reversed(PREFIXES):
        comparison = compare(named, level=level, planned=spec.planned)
        folder = out / f"over_{level}s"
        write_comparison(comparison, folder)
        run_id = record_comparison(comparison)
        if table is not None:
            mlflow_client().log_text(run_id, table.printed("csv"), "table1.csv")
        print(f"\n== Table 2, over {level}s\n{comparison.text()}")
        print(f"written to {folder}, recorded as run {run_id}", flush=True)
    ids = list(runs.values())
    study = find_run(ids[0]).study
    cohort = patients.parent if patients and patients.name == "patients.csv" else None
    file, _ = write_report(study, cohort, out / "report.html")
    print(f"\n== Report: {file}", flush=True)
    line = run_link_line(ids[0])
    if line:
        print(f"\n{line}", flush=True)
    return ids
