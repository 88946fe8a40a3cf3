"""What is written into a run, and read from it; needs no torch: comparing arms does not wait for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.figures import DPI, figure_files
from mufnet_lightning.evaluation.part import arm_numbers, arm_report, paired_numbers
from mufnet_lightning.evaluation.part_figures import arm_figures
from mufnet_lightning.evaluation.predictions import MatchedScores, match_predictions
from mufnet_lightning.evaluation.risks import RecordedRecalibration, RiskTable, risk_report
from mufnet_lightning.evaluation.statistics.checks import require_both_classes
from mufnet_lightning.evaluation.text import json_text
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact
from mufnet_lightning.vocabulary import THRESHOLD, WEIGHT_NAMES, Part

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

RECALIBRATION = "evaluation/recalibration.json"
RISK_NOTES = "risk_notes"
"""Tag of a run: what must be known of how its risks were made."""
log = logging.getLogger(__name__)


def beside_baseline(
    name: str, table: pd.DataFrame, baseline: ScoredArm | None, part: Part, fold: int | None = None
) -> MatchedScores:
    """An arm's scores of a part, and behind them those of the baseline, where it has that part.

    Raises:
        EvaluationError: they were not scored on the same images, or one class only is there.
    """
    tables, chosen = {name: table}, ""
    if baseline and baseline.has(part):
        other = baseline.name if baseline.name != name else f"{name} (baseline)"
        tables[other] = baseline.part(part, fold)
        chosen = other if baseline.chosen_by(part) else ""
    arms = match_predictions(tables)
    require_both_classes(arms.labels)
    return replace(arms, chosen_baseline=chosen)


def record_part(
    client: MlflowClient,
    run_id: str,
    part: str,
    arms: MatchedScores,
    table: pd.DataFrame,
    *,
    chosen: bool = False,
    threshold: float = THRESHOLD,
    draw: bool = True,
    doubt: str = "",
) -> dict[str, float]:
    """Write the report and figures of a part into a run; returns its numbers, to be logged.

    Args:
        client: of the store.
        run_id: the run.
        part: `val`, `test` or `external`; names begin with it.
        arms: the run's arm first, then a baseline if there is one.
        table: the predictions of the run's arm, for the weights of its modalities and the risks.
        chosen: whether this part chose the epoch of the run's arm: its numbers flatter, and have no
            interval and no test.
        threshold: above it a score is called high.
        draw: the figures too.
        doubt: why slope and test of the risks are not given, see `RiskTable.doubt`.
    """
    by_these = {arms.chosen_baseline, arms.names[0] if chosen else ""}
    report = arm_report(arms, threshold, chosen=by_these)
    numbers = arm_numbers(arms, report)
    if len(arms.names) > 1:
        numbers |= paired_numbers(report)
    weights = {
        column: table[column].to_numpy()[arms.rows[0]]
        for column in WEIGHT_NAMES
        if column in table and table[list(WEIGHT_NAMES)].notna().all(axis=None)
    }
    content = report.as_json()
    # on the patients that they were fitted on risks are right by construction
    risks = risk_report(table, doubt) if part != "val" and not chosen else None
    if risks is not None:
        numbers |= risks.numbers()
        content["risk"] = risks.calibration.as_json()
    log_json(client, run_id, content, f"evaluation/{part}.json")
    if draw:
        figures = arm_figures(arms, report, weights, risks)
        log_figures(client, run_id, {f"{part}_{name}": figure for name, figure in figures.items()})
    return numbers


def record_risks(client: MlflowClient, run_id: str, risks: RiskTable) -> None:
    """Write into a run how its risks were made; tags say why there are none, and what to know."""
    log_json(client, run_id, risks.as_json(), RECALIBRATION)
    if risks.reason:
        client.set_tag(run_id, "not_recalibrated", f"no risk: {risks.reason}"[:5000])
        log.warning("no risk beside the score: %s", risks.reason)
    if risks.notes:
        client.set_tag(run_id, RISK_NOTES, " ".join(risks.notes)[:5000])
    for note in risks.notes:
        log.warning("risks: %s", note)


def recorded_recalibration(reference: str) -> RecordedRecalibration:
    """How the run that `reference` names made its risks; of a checkpoint file nobody can tell."""
    if Path(reference).is_file():
        return RecordedRecalibration(None, "a checkpoint file has no recalibration: name its run.")
    try:
        return RecordedRecalibration.from_json(json.loads(artifact_text(reference, RECALIBRATION)))
    except (InputFault, OSError, ValueError):
        return RecordedRecalibration(None, f"the run {reference} recorded no recalibration.")


def log_json(client: MlflowClient, run_id: str, content: object, name: str) -> None:
    """Write an artifact of strict JSON."""
    client.log_text(run_id, json_text(content), name)


def log_figures(
    client: MlflowClient,
    run_id: str,
    figures: Mapping[str, Figure],
    folder: str = "figures",
    dpi: int = DPI,
) -> None:
    """Write each figure as PNG and as PDF into a folder of a run's artifacts (see `figure_files`)."""
    with TemporaryDirectory() as scratch:
        for name, figure in figures.items():
            for file, content in figure_files(figure, name, dpi).items():
                (Path(scratch) / file).write_bytes(content)
        client.log_artifacts(run_id, scratch, folder)


def artifact_files(run_id: str, folder: str = "") -> list[str]:
    """Paths of a run's artifacts in a folder; none where it is not there."""
    return [entry.path for entry in mlflow_client().list_artifacts(run_id, folder) if not entry.is_dir]


def artifact_folders(run_id: str, folder: str = "") -> list[str]:
    """Paths of the folders of a run's artifacts in a folder."""
    return [entry.path for entry in mlflow_client().list_artifacts(run_id, folder) if entry.is_dir]


def artifact_text(run_id: str, name: str) -> str:
    """An artifact of text.

    Raises:
        InputFault: there is no such run, or it has no such artifact.
    """
    return resolve_artifact(run_id, name).read_text(encoding="utf-8")
