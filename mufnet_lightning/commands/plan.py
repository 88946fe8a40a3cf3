"""`mufnet plan`: what a study of a planned size can find out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mufnet_lightning.commands.options import option, words
from mufnet_lightning.errors import InputFault


@dataclass(frozen=True)
class Plan:
    """Tell how wide the intervals of a test will be, and what a paired test can find, by simulation.

    Args:
        low: test patients of low grade
        high: test patients of high grade
        auc: the AUC over patients that is expected; two for a paired test of two arms
        correlation: of both arms' scores within a grade, from 0 to below 1
        repeats: studies to simulate
        seed: of the simulation
        format: what is printed
    """

    low: Annotated[int, option("N")]
    high: Annotated[int, option("N")]
    auc: Annotated[tuple[float, ...], words("AUC", dash=True)]
    correlation: Annotated[float, option("R")] = 0.5
    repeats: Annotated[int, option("N")] = 2000
    seed: Annotated[int, option("N")] = 0
    format: Literal["table", "json"] = "table"

    def __post_init__(self) -> None:
        faults = [
            f"--{name} is {value}, expected {least} or more"
            for name, value, least in (
                ("low", self.low, 2),
                ("high", self.high, 2),
                ("repeats", self.repeats, 100),
                ("seed", self.seed, 0),
            )
            if value < least
        ]
        if len(self.auc) not in (1, 2):
            faults.append(f"--auc takes one AUC or two, not {len(self.auc)}")
        faults += [
            f"--auc is {auc}, expected a number above 0 and below 1"
            for auc in self.auc
            if not 0 < auc < 1
        ]
        if not 0 <= self.correlation < 1:
            faults.append(f"--correlation is {self.correlation}, expected 0 to below 1")
        if faults:
            raise InputFault(faults)

    def run(self) -> None:
        """Print it."""
        from mufnet_lightning.study.plan import plan_study

        plan = plan_study(
            self.high, self.low, self.auc, self.correlation, repeats=self.repeats, seed=self.seed
        )
        print(plan.json() if self.format == "json" else plan.text())
