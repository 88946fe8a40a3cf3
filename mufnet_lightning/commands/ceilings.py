"""`mufnet ceilings`: a phantom's arms beside what the truth behind it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mufnet_lightning.commands.options import option, word


@dataclass(frozen=True)
class Ceilings:
    """Put a phantom's arms beside what the truth behind it reaches.

    An arm above its ceiling, beyond chance, leaks; one far below it, with many patients, does not
    learn.

    Args:
        cohort: folder that `mufnet phantom` wrote
        study: MLflow experiment of the runs
    """

    cohort: Annotated[Path, word("COHORT", there="cohort folder")]
    study: Annotated[str, option("NAME")] = "demo"

    def run(self) -> None:
        """Print the patient-level test AUC of each arm's latest run, and what b, c or both reach."""
        from mufnet_lightning.study.ceilings import beside_the_truth

        print(beside_the_truth(self.cohort, self.study).round(3).to_string())
