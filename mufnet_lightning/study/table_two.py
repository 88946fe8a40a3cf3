"""A comparison of arms as people read it: tables, caption, notes, LaTeX, Markdown, files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mufnet_lightning.evaluation.comparison import CHOSEN_NOTE
from mufnet_lightning.evaluation.figures import figure_files
from mufnet_lightning.evaluation.predictions import MatchedScores
from mufnet_lightning.evaluation.results import ArmComparison, PairResult
from mufnet_lightning.evaluation.statistics.auc_intervals import OUT_OF_FOLD
from mufnet_lightning.evaluation.subgroups import Subgroups, subgroups_table
from mufnet_lightning.evaluation.text import (
    interval_text,
    json_text,
    limits_text,
    names_text,
    number_text,
    p_text,
)
from mufnet_lightning.study.selection import SelectionOptimism
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.tracking.arms import ScoredArm

OPTIMISM = "Optimism of selecting the epoch on the test set:"
RATE_TESTS = "Paired tests of the rates, with the patient as the unit:"
METHOD_NAMES = {"delong": "DeLong", "obuchowski": "Obuchowski, clustered by patient"}
AUC_INTERVALS = {
    "independent": "logit scale, drawn towards Newcombe's limits",
    "patients": "intervals: jackknife over patients, logit scale",
    "plain": "pROC's plain interval",
}
OUT_OF_FOLDS = {
    "small-sample": f"pooled out of folds, with {OUT_OF_FOLD:g} times the variance",
    "plain": "pooled out of folds, which this interval does not allow for",
}
FOLDS_TEST = "Nadeau and Bengio's corrected t over the folds"
PATIENTS_TEST = "t of a jackknife over patients"


@dataclass(frozen=True)
class Comparison:
    """What was compared and what came of it.

    Attributes:
        arms: in the order of the result.
        matched: their scores, image by image.
        result: of `compare_arms`; its arms have their spread over folds where there are any.
        threshold: `0.5` or `youden`, as it was asked for.
        optimism: of selecting on the test set, for each arm, where it was asked for.
        figures: roc and confusion.
        subgroups: of the patients, where they were asked for.
    """

    arms: Sequence[ScoredArm]
    matched: MatchedScores
    result: ArmComparison
    threshold: str
    optimism: Sequence[SelectionOptimism] | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    subgroups: Sequence[Subgroups] = ()

    def as_json(self) -> dict[str, object]:
        """As `--format json` prints it: of `result`, `threshold`, and `selection` where asked for."""
        result = {**self.result.as_json(), "threshold": self.threshold}
        if self.optimism is not None:
            result["selection"] = [arm.as_json() for arm in self.optimism]
        if self.subgroups:
            result["subgroups"] = [one.as_json() for one in self.subgroups]
        return result

    def json(self) -> str:
        """The same as text."""
        return json_text(self.as_json())

    def table(self) -> pd.DataFrame:
        """Table 2: a row an arm; each number with its interval."""
        rows = []
        for arm in self.result.arms:
            row = {"arm": arm.name, "AUC": interval_text(arm.auc, arm.auc_ci, chosen=arm.chosen)}
            for name, rate in arm.rates.items():
                title = name.upper() if name in ("ppv", "npv") else name.capitalize()
                row[title] = interval_text(rate.value, rate.limits, undefined="n/a", chosen=arm.chosen)
            over = (arm.over_folds or {}).get(self._fold_metric())
            if over:
                spread = f"{number_text(over.mean)} ± {number_text(over.sd, 'n/a')}"
                row["AUC of the folds, mean ± SD (range)"] = (
                    f"{spread} ({limits_text((over.low, over.high), ' to ')})"
                )
            rows.append(row)
        return pd.DataFrame(rows).fillna("")

    def tests(self) -> pd.DataFrame:
        """The paired tests of the AUCs: a row a pair; Holm's p where there are several.

        The statistic is `t` where it has degrees of freedom, else `z`.
        """
        rows = []
        statistic = self._statistic()
        for test in self.result.tests:
            tested = np.isfinite(test.p)
            known = not test.chosen and (tested or test.auc_difference_ci != (-1, 1))
            limits = test.auc_difference_ci if known else None
            row = {
                "a": test.a,
                "b": test.b,
                "AUC difference": interval_text(test.auc_difference, limits, chosen=test.chosen),
            }
            row[statistic] = number_text(test.z, "n/a")
            if test.freedom is not None:
                row["df"] = f"{test.freedom:.1f}"
            row["p"] = p_text(test.p) if tested else "n/a"
            if len(self.result.tests) > 1:
                row["p (Holm)"] = p_text(test.p_holm) if tested else "n/a"
            if self._tell_power():
                row[f"power for {test.effect:g}"] = _share_text(test.power)
            if self.result.margin is not None:
                shown = "shown" if test.noninferior else "not shown"
                row[f"a not worse by {self.result.margin:g}"] = shown if known else "n/a"
            rows.append(row)
        return pd.DataFrame(rows).fillna("")

    def rate_tests(self) -> pd.DataFrame:
        """The paired tests of the rates: a row a pair and rate; empty where none was made."""
        rows = []
        for test in self.result.tests:
            for name, rate in test.rates.items():
                row = {
                    "a": test.a,
                    "b": test.b,
                    "rate": name,
                    "difference": number_text(rate.difference, "n/a"),
                    "patients better / worse": f"{rate.better} / {rate.worse}",
                    "p": "n/a" if test.chosen else p_text(rate.p),
                }
                if len(self.result.tests) > 1:
                    row["p (Holm)"] = "n/a" if test.chosen else p_text(test.rates_p_holm[name])
                rows.append(row)
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """What the numbers are, in one sentence."""
        result = self.result
        first = result.arms[0]
        threshold = "0.5" if self.threshold == "0.5" else "Youden's on validation scores"
        plain = result.intervals == "plain"
        several = result.level == "image" and first.patients < first.images
        clustered = several and result.method == "obuchowski"
        auc = AUC_INTERVALS["plain" if plain else "patients" if clustered else "independent"]
        held = [arm.name for arm in result.arms if not arm.chosen]
        pooled = [name for name in held if self._is_out_of_fold(name)]
        if pooled:
            which = "" if pooled == held else f"{names_text(pooled)}: "
            auc += f" ({which}{OUT_OF_FOLDS[result.intervals]})"
        test = self._test_name()
        auc += f"; paired test: {test}" if test else ""
        rates = "jackknife over patients" if result.level == "image" else "Wilson"
        return (
            f"{first.patients} patients, {first.images} images; numbers over "
            f"{result.level}s; AUC: {METHOD_NAMES[result.method]}, {auc}; rates: {rates}; "
            f"{result.confidence:.0%} intervals; threshold: {threshold}."
        )

    def tests_caption(self) -> str:
        """What the paired tests of the AUCs are, in one sentence."""
        test = self._test_name()
        if not test:
            return "Paired differences of AUC; none is tested."
        wider = (
            ""
            if self.result.intervals == "plain"
            else ", widened to MOVER's limits where those are wider: it holds 0 where p is not below "
            f"{1 - self.result.confidence:.2g}, and covers more than {self.result.confidence:.0%} near "
            "an AUC of 1"
        )
        power = (
            " Power: how often such a test, two-sided at 5% and uncorrected, finds a true difference "
            f"of {self.result.tests[0].effect:g}."
            if self._tell_power()
            else " Its power is told over patients alone, of one test cohort."
        )
        which = "Planned paired differences" if self.result.planned else "Paired differences"
        return f"{which} of AUC: {test}; interval of the difference: the test's own{wider}.{power}"

    def notes(self) -> list[str]:
        """What is degenerate, undefined or not tested, and why."""
        of_arms = [f"{arm.name}: {note}" for arm in self.result.arms for note in arm.notes]
        return of_arms + [
            f"{test.a} and {test.b}: {note}" for test in self.result.tests for note in test.notes
        ]

    def selection(self) -> pd.DataFrame | None:
        """What selecting on the test set would have gained, if it was asked for."""
        if self.optimism is None:
            return None
        rows = [
            {
                "arm": arm.name,
                "metric": metric,
                "runs": arm.runs,
                "selected on validation": number_text(gain.validation),
                "selected on test": number_text(gain.test),
                "optimism, mean ± SD": f"{gain.optimism:.3f} ± {number_text(gain.sd, 'n/a')}",
            }
            for arm in self.optimism
            for metric, gain in arm.metrics.items()
        ]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """Everything as `--format table` prints it."""
        blocks = [self.caption(), self.table().to_string(index=False)]
        if self.result.tests:
            blocks += [self.tests_caption(), self.tests().to_string(index=False)]
        rate_tests = self.rate_tests()
        if not rate_tests.empty:
            blocks += [RATE_TESTS, rate_tests.to_string(index=False)]
        selection = self.selection()
        if selection is not None:
            blocks += [OPTIMISM, selection.to_string(index=False)]
        for one in self.subgroups:
            blocks += [one.caption(), one.frame().to_string(index=False)]
        blocks += [f"Note: {note}" for note in self.notes()]
        return "\n\n".join(blocks)

    def tables(self) -> dict[str, str]:
        """`compare.csv`, `table2.tex`, and `tests.csv` and `selection.csv` where there are any."""
        tables = {"compare.csv": csv_text(self.table()), "table2.tex": self._latex()}
        if self.result.tests:
            tables["tests.csv"] = csv_text(self.tests())
        rate_tests = self.rate_tests()
        if not rate_tests.empty:
            tables["rate_tests.csv"] = csv_text(rate_tests)
        selection = self.selection()
        if selection is not None:
            tables["selection.csv"] = csv_text(selection)
        if self.subgroups:
            tables["subgroups.csv"] = csv_text(subgroups_table(self.subgroups))
        return tables

    def files(self) -> dict[str, bytes]:
        """The tables, `compare.json`, and each figure as PNG and PDF."""
        texts = {**self.tables(), "compare.json": self.json()}
        files = {name: text.encode() for name, text in texts.items()}
        for name, figure in self.figures.items():
            files |= figure_files(figure, name)
        return files

    def _latex(self) -> str:
        level = self.result.level
        caption = " ".join([self.caption(), *self._chosen_notes()])
        tables = [(self.table(), caption, f"tab:arms-{level}")]
        if self.result.tests:
            tables.append((self.tests(), self.tests_caption(), f"tab:tests-{level}"))
        if not self.rate_tests().empty:
            tables.append((self.rate_tests(), "Paired differences of the rates.", f"tab:rates-{level}"))
        texts = [
            table.to_latex(index=False, escape=True, caption=caption.replace("%", "\\%"), label=label)
            for table, caption, label in tables
        ]
        text = "% needs \\usepackage{booktabs}\n" + "\n".join(texts)
        text = text.replace("<", "$<$").replace("±", "$\\pm$")
        return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text)

    def _chosen_notes(self) -> list[str]:
        """What stands below Table 2 in a paper: why some arms have no interval."""
        names = ", ".join(arm.name for arm in self.result.arms if arm.chosen)
        return [f"{names}: {CHOSEN_NOTE}, and are not tested."] if names else []

    def _is_out_of_fold(self, arm: str) -> bool:
        return self.matched.is_out_of_fold(self.matched.names.index(arm))

    def _tell_power(self) -> bool:
        """Whether the power of any test can be told."""
        return any(np.isfinite(test.power) for test in self.result.tests)

    def _made(self) -> list[PairResult]:
        """The paired tests of AUCs that could be made."""
        return [test for test in self.result.tests if np.isfinite(test.p)]

    def _statistic(self) -> str:
        kinds = {"z" if test.freedom is None else "t" for test in self._made()}
        return "z or t" if len(kinds) > 1 else next(iter(kinds), "z")

    def _test_name(self) -> str:
        """Of the paired tests of AUCs; empty where none was made."""
        names = []
        for test in self._made():
            if self._is_out_of_fold(test.a):
                names.append(FOLDS_TEST)
            elif test.freedom is not None:
                names.append(PATIENTS_TEST)
            else:
                names.append(f"{METHOD_NAMES[self.result.method].split(',')[0]}'s z")
        return " or ".join(dict.fromkeys(names))

    def _fold_metric(self) -> str:
        return "test/patient_auc" if self.result.level == "patient" else "test/auc"


def _share_text(share: float) -> str:
    return "n/a" if np.isnan(share) else f"{share:.0%}"
