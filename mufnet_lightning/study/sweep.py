"""A sweep from its file to what it chose: looked at as a whole, searched, and laid down as a study."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.fold_checks import check_classes
from mufnet_lightning.errors import InputFault
from mufnet_lightning.study.arm_checks import check_recorded, devices_of
from mufnet_lightning.study.engines import Engine
from mufnet_lightning.study.local_engine import LocalEngine
from mufnet_lightning.study.pooling import CHOSEN_FROM, CHOSEN_IN
from mufnet_lightning.study.search import Search
from mufnet_lightning.study.search_run import find_search
from mufnet_lightning.study.search_schedule import run_searches
from mufnet_lightning.study.space import words_of
from mufnet_lightning.study.spec import StudySpec
from mufnet_lightning.study.sweep_file import SweepSpec
from mufnet_lightning.study.sweep_record import (
    CHOSEN,
    TRIALS,
    chosen_configuration,
    chosen_settings,
    record_search,
    trial_table,
)
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.system.signals import terminated_as_interrupted
from mufnet_lightning.training.messages import quiet_libraries

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """What a search chose.

    Attributes:
        fold: whose validation patients it was by.
        run_id: of the search.
        name: of that run.
        trial: number of the chosen one.
        value: of the metric; the largest of all, so it flatters.
        trials: how many were trained.
        settings: the chosen values, by name.
        files: table of trials, and the whole configuration, by their names.
    """

    fold: int
    run_id: str
    name: str
    trial: int
    value: float
    trials: int
    settings: dict[str, object]
    files: dict[str, str]

    @classmethod
    def of(cls, search: Search) -> SearchResult:
        """Of a search whose trials have ended.

        Raises:
            InputFault: no trial has a score.
        """
        best = search.best()
        files = {TRIALS: csv_text(trial_table(search)), CHOSEN: chosen_configuration(search)}
        return cls(
            search.fold,
            search.parent.id,
            search.parent.name,
            best.number,
            float(best.value or 0.0),
            search.trained(),
            chosen_settings(search),
            files,
        )


def search_settings(
    spec: SweepSpec,
    engine: Engine | None = None,
    *,
    at_once: int | None = None,
    threads: int | None = None,
) -> list[SearchResult]:
    """Run all trials that are not done yet: of one search, or of one in each outer fold.

    Trials run in processes of their own, so a script that calls this needs
    `if __name__ == "__main__":`. No crop of a patient who is tested later is opened.

    Args:
        spec: of the sweep.
        engine: where the trials run; `LocalEngine` unless given.
        at_once: trials of a search that run together; a quarter of them unless given, at most, as far
            as the engine has room.
        threads: of the CPU, that each computes with.

    Returns:
        What was chosen, a search each.

    Raises:
        InputFault: the sweep cannot be run as asked, or trials could not be.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    results: list[SearchResult] = []

    def finish(search: Search) -> None:
        if not (search.parent.is_finished and search.parent.metrics.get("trials") == search.trained()):
            record_search(search)
        results.append(SearchResult.of(search))

    with quiet_libraries(), terminated_as_interrupted():
        searches = list(_searches(spec, threads))
        run_searches(searches, len(searches), engine or LocalEngine(), finish, at_once)
    return sorted(results, key=lambda result: result.fold)


def chosen_study(spec: SweepSpec, results: list[SearchResult]) -> StudySpec:
    """The study that trains and tests what was chosen: all folds with the one, or each with its own."""
    first = results[0]
    trials = sum(result.trials for result in results)
    tags = {CHOSEN_FROM: str(trials), CHOSEN_IN: "folds" if spec.nested else "one fold"}
    of_folds = {result.fold: words_of(result.settings) for result in results} if spec.nested else {}
    arguments = (*spec.arm.arguments, *words_of(first.settings))
    arm = replace(spec.arm, arguments=arguments, of_folds=of_folds, tags=tags)
    return StudySpec((arm,), None, spec.patients, spec.out)


def _searches(spec: SweepSpec, threads: int | None) -> Iterator[Search]:
    """Looked at as a whole before the first is made."""
    from mufnet_lightning.training.cli import MufnetCLI

    corners = list(spec.space.corners())
    own = ("--data.with_test=false",)
    words = [*spec.arm.arguments, *own]
    folds: tuple[int, ...] = ()
    scored = ""
    faults: dict[str, None] = {}
    with progress_bar("space", len(corners)) as advance:
        for number, corner in enumerate(corners):
            try:
                cli = MufnetCLI([*words, *words_of(corner)], run=False)
                check_recorded(cli, "sweep")
                if not number:
                    folds = _folds(spec, cli.datamodule.folds)
                    scored = _who_is_scored(cli.datamodule)
                elif _who_is_scored(cli.datamodule) != scored:
                    raise InputFault("it decides who is scored, and cannot be chosen")
                for fold in folds:
                    cli.datamodule.fold = fold
                    cli.check_before_training()
            except InputFault as fault:
                shown = ", ".join(f"{name} {value}" for name, value in corner.items())
                where = f" (with {shown})" if number else ""  # the first is the arm as it is, nearly
                faults |= dict.fromkeys(f"{one}{where}" for one in fault.faults)
                if not number:
                    break
            advance()
    if faults:
        raise InputFault(list(faults))
    for fold in folds:
        cli = MufnetCLI([*words, *words_of(corners[0]), f"--data.fold={fold}"], run=False)
        data = cli.datamodule
        split = data.folds
        for tested in folds if spec.nested else sorted(set(split["fold"]))[:1]:
            here = split[(split["fold"] == tested) & (split["part"] == "test")]
            check_classes(
                here["label"].to_numpy(), f"{data.store_path}: the test part of fold {tested}"
            )
        yield find_search(
            spec,
            cli,
            folds,
            csv_text(split),
            devices_of(cli),
            threads,
        )


def _who_is_scored(data: RoiPairDataModule) -> str:
    """Store, split and pairs, as a text: the same for all that are compared."""
    pairs = data.store.manifest["pair_id"].iloc[data.usable_rows]
    return "\n".join([data.store.digest, csv_text(data.folds), *map(str, pairs)])


def _folds(spec: SweepSpec, split: pd.DataFrame) -> tuple[int, ...]:
    """The folds that have a search of their own.

    Raises:
        InputFault: patients who would choose are patients who are tested.
    """
    tested = {
        int(str(fold)): frozenset(rows.loc[rows["part"] == "test", "patient_id"])
        for fold, rows in split.groupby("fold")
    }
    if spec.nested:
        return tuple(sorted(tested))
    if len(set(tested.values())) > 1:
        raise InputFault(
            "each fold tests other patients, so those who validate in one fold are tested in another, "
            "and a choice by them would flatter; set `nested: true` for a search inside each fold, or "
            "data.protocol to paper, whose folds share one test part"
        )
    return (min(tested),)
