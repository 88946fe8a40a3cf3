"""What a test of a planned size can find out, and how many patients it would take."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pandas as pd

from mufnet_lightning.evaluation.statistics.power import PlannedSize, planned_size
from mufnet_lightning.evaluation.text import json_text

log = logging.getLogger(__name__)

MULTIPLES = (1, 2, 4, 8)
ENOUGH = 0.8
"""The power that studies are planned for."""


@dataclass(frozen=True)
class StudyPlan:
    """Of the size that was asked for, and of multiples of it.

    Attributes:
        aucs: that are expected, of one arm or two.
        correlation: of both arms' scores within a grade.
        sizes: the size that was asked for, then twice as large and so on.
    """

    aucs: tuple[float, ...]
    correlation: float
    sizes: tuple[PlannedSize, ...]

    def json(self) -> str:
        """`aucs`, `correlation` and `sizes` as text."""
        return json_text(
            {
                "aucs": [*self.aucs],
                "correlation": self.correlation,
                "sizes": [size.as_json() for size in self.sizes],
            }
        )

    def table(self) -> pd.DataFrame:
        """A row a size."""
        rows = []
        for size in self.sizes:
            row: dict[str, object] = {
                "low grade": size.low,
                "high grade": size.high,
                "patients": size.low + size.high,
            }
            for auc, width in zip(self.aucs, size.widths, strict=True):
                row[f"width of the interval at AUC {auc:g}"] = f"{width:.3f}"
            if len(self.aucs) == 2:
                row["power"] = f"{size.power:.1%}"
            rows.append(row)
        return pd.DataFrame(rows)

    def text(self) -> str:
        """As it is printed."""
        first = self.sizes[0]
        lines = [
            f"{first.repeats} simulated studies of each size; 95% intervals and tests over patients, "
            "as `mufnet compare` prints them of models that are tested on one cohort (protocol paper, "
            "external validation)."
        ]
        if len(self.aucs) == 2:
            a, b = self.aucs
            lines[0] += (
                f" Power: how often the paired test of AUC {a:g} against {b:g} is below 0.05, at a "
                f"correlation of {self.correlation:g} between the arms' scores. Out of folds "
                "(protocols nested, center and kfold) another test is printed, whose power is far "
                "smaller, and intervals are wider."
            )
        else:
            lines[0] += " Out of folds (protocols nested, center and kfold) they are wider."
        large = [size for size in self.sizes if size.approximated]
        if large:
            lines.append(
                f"From {large[0].low} low-grade and {large[0].high} high-grade patients on fewer "
                f"studies are simulated ({large[0].repeats} and fewer), and a power is the normal "
                "approximation."
            )
        lines += ["", self.table().to_string(index=False)]
        if len(self.aucs) == 2:
            enough = [size for size in self.sizes if size.power >= ENOUGH]
            if first.power >= ENOUGH:
                verdict = "The planned size can answer: its power is 80% or more."
            elif enough:
                verdict = (
                    f"The planned size cannot answer: its power is {first.power:.0%}. The usual 80% "
                    f"are reached by {enough[0].low} low-grade and {enough[0].high} high-grade test "
                    "patients, or somewhat fewer."
                )
            else:
                verdict = (
                    f"The planned size cannot answer, nor can {self.sizes[-1].low} low-grade and "
                    f"{self.sizes[-1].high} high-grade test patients: no size here has a power of 80%."
                )
            lines += ["", verdict]
        return "\n".join(lines)


def plan_study(
    high: int,
    low: int,
    aucs: tuple[float, ...],
    correlation: float = 0.5,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> StudyPlan:
    """Simulate the planned size, and 2, 4 and 8 times as many patients.

    Args:
        high, low: test patients of each grade.
        aucs: expected over patients, of one arm or two.
        correlation: of both arms' scores within a grade.
        repeats: simulated studies of each size.
        seed: of the simulation.

    Raises:
        EvaluationError: a number that cannot be.
    """
    sizes = []
    for multiple in MULTIPLES:
        log.info("simulating %s low-grade and %s high-grade patients", low * multiple, high * multiple)
        sizes.append(planned_size(high * multiple, low * multiple, aucs, correlation, repeats, seed))
    return StudyPlan(aucs, correlation, tuple(sizes))
