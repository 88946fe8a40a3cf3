"""`mufnet cv`: all folds of one arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, rest, several
from mufnet_lightning.commands.places import check_places
from mufnet_lightning.commands.quick_check import check_run
from mufnet_lightning.errors import InputFault


@dataclass(frozen=True)
class Cv:
    """Run all folds of one arm under one parent run. Called again, it goes on where it stopped.

    What else is given is for `mufnet fit`, and its help tells it.

    Args:
        fold: these folds alone, as in 0,3; a later call runs the others
        folds_from: the patients of this folds.csv or run, so that the arms of a study share them
        restart: begin anew, even if an earlier call can be continued
        jobs: folds at once; as many as there are GPUs, or shares of the CPU's cores, unless given
        threads: of the CPU, that each fold computes with; their number decides the last bits there
        engine: local (this machine) or ray; see docs/cluster.md
        ray_address: of a running Ray cluster, as auto or HOST:6379
        fit: options of `mufnet fit`
    """

    fold: Annotated[tuple[int, ...], several("K,...")] = ()
    folds_from: Annotated[str | None, option("FILE_OR_RUN")] = None
    restart: bool = False
    jobs: int | None = None
    threads: int | None = None
    engine: Literal["local", "ray"] | None = None
    ray_address: Annotated[str | None, option("ADDRESS")] = None
    fit: Annotated[tuple[str, ...], rest()] = ()

    def __post_init__(self) -> None:
        check_places(self.jobs, self.threads, self.engine, self.ray_address)

    def run(self) -> None:
        """Run the folds that are not done yet."""
        if any(argument.partition("=")[0] == "--ckpt_path" for argument in self.fit):
            raise InputFault("cv cannot take --ckpt_path: a stopped cv goes on by itself")
        # a table from elsewhere has folds of its own
        check_run("fit", self.fit, () if self.folds_from else self.fold)
        from mufnet_lightning.study.cross_validate import cross_validate
        from mufnet_lightning.study.engine_choice import chosen_engine
        from mufnet_lightning.tracking.left_over import send_left_over
        from mufnet_lightning.tracking.views import run_link_line

        send_left_over(10)
        engine = chosen_engine(self.engine, self.jobs, self.ray_address)
        run_id = cross_validate(
            self.fit,
            self.restart,
            self.fold or None,
            self.folds_from,
            engine=engine,
            threads=self.threads,
        )
        line = run_link_line(run_id)
        if line:
            print(line)
