"""`mufnet report`: a study as one page."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import option, word

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML file for a study.

    Args:
        study: name of the study: the MLflow experiment
        cohort: the cohort's folder: adds Table 1, scanners and, of a phantom, the ceilings
        out: file to write; report-STUDY.html unless given
        no_record: leave MLflow alone
    """

    study: Annotated[str, word("STUDY")]
    cohort: Annotated[Path | None, option("DIR", there="cohort folder")] = None
    out: Annotated[Path | None, option("FILE")] = None
    no_record: bool = False

    def run(self) -> None:
        """Write it and print where it is."""
        from mufnet_lightning.report.page import write_report
        from mufnet_lightning.tracking.left_over import send_left_over
        from mufnet_lightning.tracking.views import run_link_line

        send_left_over(10)
        file, run_id = write_report(self.study, self.cohort, self.out, not self.no_record)
        print(file)
        if run_id:
            log.info("recorded as run %s", run_id)
            line = run_link_line(run_id)
            if line:
                log.info("%s", line)  # the file alone is the result
