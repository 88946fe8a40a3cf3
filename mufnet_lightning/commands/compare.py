"""`mufnet compare`: arms side by side."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, several, words
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import EFFECT, IntervalRule, Level, Method, ThresholdRule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compare:
    """Put arms side by side: Table 2, paired tests, figures.

    Args:
        arms: a predictions CSV, or the id of a run or of a cross-validation; NAME=ARM gives a name
        level: unit of the numbers
        method: variance of AUCs; obuchowski over images, delong over patients unless given
        threshold: above it a score is called high; youden chooses it on each arm's validation scores
        intervals: of AUCs; plain is pROC's, which covers too little at few patients
        margin: also say of each two whether the first is shown not to be worse by this AUC or more
        effect: difference of AUCs that each test's power is given for
        planned: pairs of arms that are tested, as A:B; Holm's correction is over these alone
        selection: what choosing the epoch on the test set would have gained (needs data.watch_test)
        by: subgroups of the patients; columns of the cohort's tables or of the store, as center,sex;
            size:4 cuts numbers at 4 and not at their median
        cohort: folder with the patients.csv of these columns
        format: what is printed
        out: write tables (CSV, JSON, LaTeX) and figures (PNG, PDF) into this folder
        study: MLflow experiment to record it in; that of the first run unless given
        no_record: leave MLflow alone
    """

    arms: Annotated[tuple[str, ...], words("ARM")]
    level: Level = "image"
    method: Method | None = None
    threshold: ThresholdRule = "0.5"
    intervals: IntervalRule = "small-sample"
    margin: Annotated[float | None, option("AUC")] = None
    effect: Annotated[float, option("AUC")] = EFFECT
    planned: Annotated[tuple[str, ...], several("A:B,...")] = ()
    selection: bool = False
    by: Annotated[tuple[str, ...], several("A,B,...")] = ()
    cohort: Annotated[Path | None, option("DIR", there="cohort folder")] = None
    format: Literal["table", "json"] = "table"
    out: Annotated[Path | None, option("DIR")] = None
    study: Annotated[str | None, option("NAME")] = None
    no_record: bool = False

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InputFault("compare needs two arms or more")
        for pair in self.planned:
            if len(pair.split(":")) != 2 or not all(pair.split(":")):
                raise InputFault(f"--planned {pair}: expected two names of arms, as in fused:ceus")
        for name, value in (("margin", self.margin), ("effect", self.effect)):
            if value is not None and not 0 < value < 0.5:
                raise InputFault(f"--{name} is {value}, expected a number above 0 and below 0.5")

    @property
    def pairs(self) -> list[tuple[str, str]] | None:
        """The planned pairs; None where each two arms are tested."""
        named = [pair.split(":") for pair in self.planned]
        return [(a, b) for a, b in named] or None

    def run(self) -> None:
        """Print it; write and record it where asked."""
        from mufnet_lightning.study.compare import compare, record_comparison, write_comparison
        from mufnet_lightning.tracking.views import run_link_line

        comparison = compare(
            self.arms,
            level=self.level,
            method=self.method,
            threshold=self.threshold,
            intervals=self.intervals,
            margin=self.margin,
            effect=self.effect,
            selection=self.selection,
            by=self.by,
            cohort=self.cohort,
            planned=self.pairs,
        )
        if self.out:
            write_comparison(comparison, self.out)
        print(comparison.json() if self.format == "json" else comparison.text())
        if not self.no_record:
            run_id = record_comparison(comparison, self.study)
            log.info("recorded as run %s", run_id)
            line = run_link_line(run_id)
            if line:
                log.info("%s", line) if self.format == "json" else print(line)
