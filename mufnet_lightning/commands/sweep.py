"""`mufnet sweep`: settings chosen by validation alone, then trained and tested."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mufnet_lightning.commands.options import again, option, rest, word
from mufnet_lightning.commands.places import check_places
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.system.configs import find_config

if TYPE_CHECKING:
    from mufnet_lightning.study.sweep import SearchResult
    from mufnet_lightning.study.sweep_file import SweepSpec


@dataclass(frozen=True)
class Sweep:
    """Choose settings by the validation patients, then train and test what was chosen as a study.

    No picture of a test patient is opened before the choice is made. Called again, it goes on where it
    stopped. What else is given is for `mufnet fit`, of all trials.

    Args:
        file: of a sweep, by name or path; see docs/sweep.md
        config: laid over its arm; may be given again
        patients: patients.csv in the cohort's folder, for Table 1 by grade and for the report
        out: folder to write; sweep unless given, here or in the file
        jobs: trials at once; as far as there is room, a quarter of them at most, unless given
        threads: of the CPU, that each trial computes with; their number decides the last bits there
        engine: local (this machine) or ray; see docs/cluster.md
        ray_address: of a running Ray cluster, as auto or HOST:6379
        fit: options of `mufnet fit`
    """

    file: Annotated[str, word("FILE")]
    config: Annotated[tuple[str, ...], again("FILE")] = ()
    patients: Annotated[Path | None, option("FILE", there="file")] = None
    out: Annotated[Path | None, option("DIR")] = None
    jobs: int | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] | None = None
    ray_address: Annotated[str | None, option("ADDRESS")] = None
    fit: Annotated[tuple[str, ...], rest()] = ()

    def __post_init__(self) -> None:
        check_places(self.jobs, self.threads, self.engine, self.ray_address)

    def run(self) -> None:
        """Run the trials that are not done yet; print what they chose, then its tables."""
        from mufnet_lightning.study.space import words_of

        spec = self.spec()
        check_run("fit", spec.arm.arguments)
        for corner in spec.space.corners():
            check_run("fit", (*spec.arm.arguments, *words_of(corner)))
        from mufnet_lightning.study.search import optuna_library

        optuna_library()
        from mufnet_lightning.commands.study import run_study
        from mufnet_lightning.study.engine_choice import chosen_engine
        from mufnet_lightning.study.sweep import chosen_study, search_settings
        from mufnet_lightning.tracking.left_over import send_left_over

        send_left_over(10)
        engine = chosen_engine(self.engine, self.jobs, self.ray_address)
        results = search_settings(spec, engine, at_once=self.jobs, threads=self.threads)
        write_results(spec, results)
        engine = chosen_engine(self.engine, self.jobs, self.ray_address)
        run_study(chosen_study(spec, results), engine, self.threads)

    def spec(self) -> SweepSpec:
        """What is to be done."""
        from mufnet_lightning.study.sweep_file import SweepSpec

        for name in self.config:
            find_config(name)  # what is not there is not the file's fault
        spec = SweepSpec.read(find_config(self.file), self.config, self.fit)
        return replace(spec, patients=self.patients or spec.patients, out=self.out or spec.out)


def write_results(spec: SweepSpec, results: list[SearchResult]) -> None:
    """Print what each search chose, and write its files; of nested searches with the fold's number.

    Raises:
        InputFault: the folder cannot be written to.
    """
    from mufnet_lightning.study.out_folder import write_files

    for result in results:
        of_fold = f"_fold{result.fold}" if spec.nested else ""
        names = {name: name.replace(".", f"{of_fold}.") for name in result.files}
        write_files({names[name]: text for name, text in result.files.items()}, spec.out)
        print(f"\n== {result.name}: {result.trials} trials")
        score = f"{spec.metric} {result.value:.3f}"
        print(f"chosen: trial {result.trial}, {score} (the largest of all, so it flatters)")
        for name, value in result.settings.items():
            print(f"  {name}: {value}")
        print(f"run {result.run_id}; {', '.join(names.values())} written to {spec.out}", flush=True)
