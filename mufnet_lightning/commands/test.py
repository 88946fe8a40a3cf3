"""`mufnet test --run`: a trained model on another cohort's patients, external validation.

With `--ckpt_path` or `--config` in place of `--run`, test is LightningCLI's (see `lightning`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, several
from mufnet_lightning.store.info import StoreInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Test:
    """Validate a trained model externally: as it is, on the patients of another cohort.

    Prints AUC and rates over patients and over images with their intervals, at the model's own
    threshold, and records them with figures and predictions.csv as a run of its own, which `mufnet
    compare` takes as an arm. Patients who trained the model are named and left out.

    With --ckpt_path in place of --run the options are LightningCLI's, and the test part of the model's
    own cohort is scored; `mufnet test --help` tells them.

    Args:
        reference: id of a run or of a cross-validation (its folds together), models:/NAME/VERSION, a
            saved model's folder, or a checkpoint
        store: of the other cohort, with grades
        by: subgroups of the patients; columns of the store or of the cohort's tables, as center,sex;
            size:4 cuts numbers at 4 and not at their median
        cohort: folder that the store was made from, with the patients.csv of these columns
        device: cpu, cuda, or auto
        format: what is printed
        out: also write predictions.csv, external.json and subgroups.csv into this folder
        study: MLflow experiment to record it in; the model's own unless given
        no_record: leave MLflow alone
    """

    reference: Annotated[str, option("RUN", called="run")]
    store: Annotated[Path, option("DIR")]
    by: Annotated[tuple[str, ...], several("A,B,...")] = ()
    cohort: Annotated[Path | None, option("DIR", there="cohort folder")] = None
    device: str = "auto"
    format: Literal["table", "json"] = "table"
    out: Annotated[Path | None, option("DIR")] = None
    study: Annotated[str | None, option("NAME")] = None
    no_record: bool = False

    def run(self) -> None:
        """Score, print, write, record.

        Raises:
            InputFault: there is nothing to validate with.
        """
        StoreInfo.read(self.store)
        from mufnet_lightning.evaluation.text import json_text
        from mufnet_lightning.study.external import (
            RESULT,
            SUBGROUPS,
            record_external,
            validate_externally,
        )
        from mufnet_lightning.study.out_folder import make_folder, remove_files, write_files
        from mufnet_lightning.training.messages import quiet_libraries
        from mufnet_lightning.vocabulary import PREDICTIONS

        if self.out:
            make_folder(self.out)
            remove_files((PREDICTIONS, RESULT, SUBGROUPS), self.out)
        with quiet_libraries():
            result = validate_externally(self.reference, self.store, self.by, self.cohort, self.device)
        if self.out:
            write_files(result.files(), self.out)
        print(json_text(result.as_json()) if self.format == "json" else result.text())
        if not self.no_record:
            run_id = record_external(result, self.study)
            line = f"external validation recorded as run {run_id}"
            log.info("%s", line) if self.format == "json" else print(f"\n{line}")
