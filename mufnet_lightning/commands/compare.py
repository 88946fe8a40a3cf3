"""`mufnet compare`: arms side by side."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, words
from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import Level, Method, ThresholdRule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compare:
    """Put arms side by side: Table 2, paired tests, figures.

    Args:
        arms: a predictions CSV, or the id of a run or of a cross-validation; NAME=ARM gives a name
        level: unit of the numbers
        method: variance of AUCs; obuchowski over images, delong over patients unless given
        threshold: above it a score is called high; youden chooses it on each arm's validation scores
        bootstrap: also AUC intervals from so many resamples of the patients
        selection: what choosing the epoch on the test set would have gained (needs data.watch_test)
        format: what is printed
        out: write tables (CSV, JSON, LaTeX) and figures (PNG, PDF) into this folder
        study: MLflow experiment to record it in; that of the first run unless given
        no_record: leave MLflow alone
    """

    arms: Annotated[tuple[str, ...], words("ARM")]
    level: Level = "image"
    method: Method | None = None
    threshold: ThresholdRule = "0.5"
    bootstrap: Annotated[int, option("N")] = 0
    selection: bool = False
    format: Literal["table", "json"] = "table"
    out: Annotated[Path | None, option("DIR")] = None
    study: Annotated[str | None, option("NAME")] = None
    no_record: bool = False

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise InputFault("compare needs two arms or more")
        if self.bootstrap < 0:
            raise InputFault(f"--bootstrap is {self.bootstrap}, expected 0 or more")

    def run(self) -> None:
        """Print it; write and record it where asked."""
        from mufnet_lightning.study.compare import compare, record_comparison, write_comparison
        from mufnet_lightning.tracking.views import run_link_line

        comparison = compare(
            self.arms,
            level=self.level,
            method=self.method,
            threshold=self.threshold,
            bootstrap=self.bootstrap,
            selection=self.selection,
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
