"""A comparison of arms as people read it: tables, caption, notes, LaTeX, Markdown, files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mufnet_lightning.evaluation.figures import figure_files
from mufnet_lightning.evaluation.predictions import MatchedScores
from mufnet_lightning.evaluation.text import p_text
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.vocabulary import RATES

METHOD_NAMES = {"delong": "DeLong", "obuchowski": "Obuchowski, clustered by patient"}


@dataclass(frozen=True)
class Comparison:
    """What was compared and what came of it.

    Attributes:
        arms: in the order of the result.
        matched: their scores, image by image.
        result: as `--format json` prints it, see `compare_arms`; also `threshold` and, where it was
            asked for, `selection`. An arm that is a cross-validation has `over_folds`.
        figures: roc and confusion.
    """

    arms: Sequence[ScoredArm]
    matched: MatchedScores
    result: dict[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Table 2: a row an arm; each number with its interval."""
        rows = []
        for arm in self.result["arms"]:
            row = {"arm": arm["name"], "AUC": _with_interval(arm["auc"], arm["auc_ci"])}
            for rate in RATES:
                title = rate.upper() if rate in ("ppv", "npv") else rate.capitalize()
                known = arm[rate]["value"] is not None
                row[title] = _with_interval(arm[rate]["value"], arm[rate]["ci"]) if known else "n/a"
            if "auc_bootstrap_ci" in arm:
                row["AUC, bootstrap"] = _with_interval(None, arm["auc_bootstrap_ci"])
            over = arm.get("over_folds", {}).get(self._fold_metric())
            if over:
                row["AUC, mean ± t over folds"] = _with_interval(over["value"], over["ci"])
            rows.append(row)
        return pd.DataFrame(rows).fillna("")

    def tests(self) -> pd.DataFrame:
        """The paired tests: a row a pair; Holm's p where there are several."""
        rows = []
        for test in self.result["tests"]:
            row = {
                "a": test["a"],
                "b": test["b"],
                "AUC difference": _with_interval(test["auc_difference"], test["auc_difference_ci"]),
                "z": "" if test["z"] is None else f"{test['z']:.3f}",
                "p": p_text(test["p"]),
            }
            if len(self.result["tests"]) > 1:
                row["p (Holm)"] = p_text(test["p_holm"])
            rows.append(row)
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """What the numbers are, in one sentence."""
        result = self.result
        first = result["arms"][0]
        threshold = "0.5" if result["threshold"] == "0.5" else "Youden's on validation scores"
        clustered = ", with the patients' design effect" if result["level"] == "image" else ""
        return (
            f"{first['patients']} patients, {first['images']} images; numbers over "
            f"{result['level']}s; AUC: {METHOD_NAMES[result['method']]}; rates: Wilson{clustered}; "
            f"{result['confidence']:.0%} intervals; threshold: {threshold}."
        )

    def notes(self) -> list[str]:
        """What is degenerate or undefined, and why."""
        told = [f"{arm['name']}: {note}" for arm in self.result["arms"] for note in arm["notes"]]
        return told + [
            f"{test['a']} and {test['b']}: {note}"
            for test in self.result["tests"]
            for note in test["notes"]
        ]

    def selection(self) -> pd.DataFrame | None:
        """What selecting on the test set would have gained, if it was asked for."""
        if "selection" not in self.result:
            return None
        rows = [
            {
                "arm": arm["name"],
                "metric": metric,
                "runs": arm["runs"],
                "selected on validation": f"{found['validation']:.3f}",
                "selected on test": f"{found['test']:.3f}",
                "optimism": _with_interval(found["optimism"], found["ci"]),
            }
            for arm in self.result["selection"]
            for metric, found in arm["metrics"].items()
        ]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """Everything as `--format table` prints it."""
        blocks = [self.caption(), self.table().to_string(index=False)]
        if self.result["tests"]:
            blocks.append(self.tests().to_string(index=False))
        selection = self.selection()
        if selection is not None:
            blocks.append("Optimism of selecting the epoch on the test set:")
            blocks.append(selection.to_string(index=False))
        blocks += [f"Note: {note}" for note in self.notes()]
        return "\n\n".join(blocks)

    def files(self) -> dict[str, bytes]:
        """`compare.csv`, `tests.csv`, `compare.json`, `table2.tex`, and each figure as PNG and PDF."""
        files = {
            "compare.csv": self.table().to_csv(index=False),
            "compare.json": json.dumps(self.result, indent=2, allow_nan=False, ensure_ascii=False),
            "table2.tex": self._latex(),
        }
        if self.result["tests"]:
            files["tests.csv"] = self.tests().to_csv(index=False)
        selection = self.selection()
        if selection is not None:
            files["selection.csv"] = selection.to_csv(index=False)
        told = {name: text.encode() for name, text in files.items()}
        for name, figure in self.figures.items():
            told |= figure_files(figure, name)
        return told

    def _latex(self) -> str:
        level = self.result["level"]
        tables = [(self.table(), self.caption(), f"tab:arms-{level}")]
        if self.result["tests"]:
            tables.append((self.tests(), "Paired differences of AUC.", f"tab:tests-{level}"))
        texts = [
            table.to_latex(index=False, escape=True, caption=caption.replace("%", "\\%"), label=label)
            for table, caption, label in tables
        ]
        text = "% needs \\usepackage{booktabs}\n" + "\n".join(texts)
        text = text.replace("<", "$<$").replace("±", "$\\pm$")
        return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text)

    def _fold_metric(self) -> str:
        return "test/patient_auc" if self.result["level"] == "patient" else "test/auc"

    def note(self) -> str:
        """As the MLflow UI shows it: Markdown, with links to the runs that are compared."""
        lines = [self.caption(), "", _markdown(self.table())]
        if self.result["tests"]:
            lines += ["", _markdown(self.tests())]
        selection = self.selection()
        if selection is not None:
            lines += ["", "Optimism of selecting the epoch on the test set:", "", _markdown(selection)]
        lines += ["", *(f"- {note}" for note in self.notes())]
        for arm in self.arms:
            where = arm.reference
            if arm.run:
                link = f"#/experiments/{arm.run.experiment_id}/runs/{arm.run.id}"
                where = f"[{arm.run.name}]({link})"
            lines.append(f"- {arm.name}: {where}")
        return "\n".join(lines)


def _markdown(table: pd.DataFrame) -> str:
    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in table.to_numpy()])


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    text = "" if value is None else f"{value:.3f} "
    return text.strip() if interval is None else f"{text}({interval[0]:.3f}, {interval[1]:.3f})"
