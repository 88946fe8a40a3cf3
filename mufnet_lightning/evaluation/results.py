"""What a comparison of arms says: of each arm, and of each two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mufnet_lightning.evaluation.statistics.intervals import Estimate, FoldSpread, finite
from mufnet_lightning.evaluation.statistics.paired_rates import RateDifference
from mufnet_lightning.vocabulary import RATES, IntervalRule, Level, Method


@dataclass(frozen=True)
class ArmResult:
    """What is said of one arm.

    Attributes:
        name: of the arm.
        images, patients: how many were scored.
        auc: from 0 to 1.
        auc_ci: its interval.
        auc_variance: infinite where it cannot be estimated.
        rates: accuracy, sensitivity, specificity, ppv and npv, by name, each with its interval; the
            value of one that counts nothing is NaN.
        threshold: above it a score was called high; several where images had different ones.
        notes: what is degenerate or not defined, and why.
        over_folds: of a cross-validation, each metric's spread over the folds.
        chosen: whether these patients chose the epoch: then the limits of `auc_ci` and `rates` are NaN.
    """

    name: str
    images: int
    patients: int
    auc: float
    auc_ci: tuple[float, float]
    auc_variance: float
    rates: Mapping[str, Estimate]
    threshold: float | tuple[float, ...]
    notes: tuple[str, ...]
    over_folds: Mapping[str, FoldSpread] | None = None
    chosen: bool = False

    def as_json(self) -> dict[str, object]:
        """An entry of `arms`: the contract's keys, `threshold`, `notes`, and `over_folds` of a cv.

        Where these patients chose the epoch the limits are None, and `chosen_here` is true.
        """
        cuts = self.threshold
        entry: dict[str, object] = {
            "name": self.name,
            "images": self.images,
            "patients": self.patients,
            "auc": self.auc,
            "auc_ci": None if self.chosen else list(self.auc_ci),
            "auc_variance": finite(self.auc_variance),
            **{name: self._rate_json(self.rates[name]) for name in RATES},
            "threshold": [*cuts] if isinstance(cuts, tuple) else cuts,
            "notes": list(self.notes),
        }
        if self.chosen:
            entry["chosen_here"] = True
        if self.over_folds:
            entry["over_folds"] = {name: mean.as_json() for name, mean in self.over_folds.items()}
        return entry

    def _rate_json(self, rate: Estimate) -> dict[str, object]:
        return {**rate.as_json(), **({"ci": None} if self.chosen else {})}


@dataclass(frozen=True)
class PairResult:
    """The tests between two arms.

    Attributes:
        a, b: the arms' names.
        auc_difference: a's AUC minus b's.
        auc_difference_ci: its interval, see `auc_difference`; NaN where one of them was chosen here.
        covariance: of the two AUCs; infinite where it cannot be estimated.
        z, p: of the test of equal AUCs; NaN where none can be made.
        freedom: degrees of freedom of Student's distribution that p is from; None for the normal.
        p_holm: Holm's, over all pairs that are tested.
        notes: what is degenerate, and why.
        power: the chance that such a test finds a true difference of `effect`; NaN where it cannot be
            told.
        effect: a difference of AUCs.
        rates: paired tests of accuracy, sensitivity and specificity, by name; none where the arms were
            scored out of folds, by several models each.
        rates_p_holm: Holm's of each rate, over all pairs that are tested.
        noninferior: whether a is shown not to be worse than b by the margin or more: the lower limit
            of the difference is above −margin. None without a margin, or where nothing is tested.
        chosen: whether these patients chose the epoch of a or b: then nothing is tested.
    """

    a: str
    b: str
    auc_difference: float
    auc_difference_ci: tuple[float, float]
    covariance: float
    z: float
    p: float
    p_holm: float
    notes: tuple[str, ...]
    freedom: float | None
    power: float
    effect: float
    rates: Mapping[str, RateDifference]
    rates_p_holm: Mapping[str, float]
    noninferior: bool | None = None
    chosen: bool = False

    def as_json(self) -> dict[str, object]:
        """An entry of `tests`: the contract's keys and the other attributes; None where not tested."""
        rates = {
            name: {
                "difference": finite(test.difference),
                "p": finite(test.p),
                "p_holm": finite(self.rates_p_holm[name]),
                "patients_better": test.better,
                "patients_worse": test.worse,
            }
            for name, test in self.rates.items()
        }
        entry: dict[str, object] = {
            "a": self.a,
            "b": self.b,
            "auc_difference": self.auc_difference,
            "auc_difference_ci": None if self.chosen else list(self.auc_difference_ci),
            "covariance": finite(self.covariance),
            "z": finite(self.z),
            "p": finite(self.p),
            "p_holm": finite(self.p_holm),
            "power": {"auc_difference": self.effect, "power": finite(self.power)},
            "rates": rates,
            "noninferior": self.noninferior,
            "notes": list(self.notes),
        }
        if self.freedom is not None:
            entry["freedom"] = self.freedom
        return entry


@dataclass(frozen=True)
class ArmComparison:
    """K arms on the same images.

    Attributes:
        arms: (K,), in the order of the scores.
        tests: of each pair of them, or of those that were planned.
        level: what the numbers are over.
        method: of the AUCs' variance.
        confidence: coverage of all intervals.
        intervals: of the AUCs: `small-sample`, or pROC's `plain`.
        margin: of non-inferiority, where it was asked for.
        planned: whether the pairs that are tested were laid down beforehand.
    """

    arms: tuple[ArmResult, ...]
    tests: tuple[PairResult, ...]
    level: Level
    method: Method
    confidence: float
    intervals: IntervalRule = "small-sample"
    margin: float | None = None
    planned: bool = False

    def as_json(self) -> dict[str, object]:
        """`arms`, `tests` and the settings; what is undefined or infinite is None."""
        return {
            "arms": [arm.as_json() for arm in self.arms],
            "tests": [test.as_json() for test in self.tests],
            "level": self.level,
            "method": self.method,
            "confidence": self.confidence,
            "intervals": self.intervals,
            **({} if self.margin is None else {"margin": self.margin}),
            **({"planned": True} if self.planned else {}),
        }
