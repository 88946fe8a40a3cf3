"""The page itself: facts become tables and pictures in one HTML file that asks for nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.results import PairResult
from mufnet_lightning.evaluation.statistics.power import SIGNIFICANT
from mufnet_lightning.evaluation.text import limits_text, names_text, number_text, p_text
from mufnet_lightning.explain.embedding import embedded, embedded_figure
from mufnet_lightning.explain.summarise import SEEN_TO_CHANGE
from mufnet_lightning.report.cautions import read_with_care
from mufnet_lightning.report.flow import participants_flow, parts_frames
from mufnet_lightning.report.gather import ArmFacts, StudyFacts, study_facts
from mufnet_lightning.report.pictures import arm_pictures
from mufnet_lightning.report.sections import (
    ArmSection,
    ComparedLevel,
    ExplainedPart,
    Methods,
    Page,
    Participants,
    Performance,
)
from mufnet_lightning.report.settings import (
    environments_frame,
    has_usual_balance,
    is_own,
    protocol_sentences,
    runs_frame,
    setting,
    settings_frame,
)
from mufnet_lightning.report.tables import (
    by_centre_frame,
    calibration_frame,
    ceilings_frame,
    centres_frame,
    external_frame,
    folds_frame,
    maps_frames,
    parts_table,
    patients_table,
    recalibration_frame,
    scanners_frame,
    weights_frame,
)
from mufnet_lightning.report.tripod import checklist
from mufnet_lightning.study.compare import compare
from mufnet_lightning.study.pooling import CHOSEN_FROM
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.tracking.runs import find_runs, mlflow_client
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.written_directly import new_run
from mufnet_lightning.vocabulary import ARM_NAMES, CHOSEN_HERE, Level

PAGE = "report.html"
LEVELS: tuple[Level, ...] = ("patient", "image")


def write_report(
    study: str, cohort: Path | None = None, out: Path | None = None, record: bool = True
) -> tuple[Path, str | None]:
    """Write the report of a study as one file and, unless told not to, into an MLflow run of its own.

    Args:
        study: name of the MLflow experiment.
        cohort: the folder that its store was made from: adds Table 1, scanners and, of a phantom, the
            ceilings.
        out: the file; `report-STUDY.html` in the working folder unless told.
        record: also as the artifact report.html of a run `report`; one that reports on the same runs
            takes the new page.

    Returns:
        The file, and the run's id.

    Raises:
        InputFault: there is no such study, nothing in it has come to its end, or the cohort or the
            file's folder cannot be used.
    """
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in study)
    file = out or Path(f"report-{safe}.html")
    if file.is_dir():
        raise InputFault(f"--out {file} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise InputFault(f"--out {file}: there is no folder {file.parent}")
    facts = study_facts(study, cohort)
    html = render(facts)
    try:
        write_atomic(file, html)
    except OSError as error:
        raise InputFault(f"--out {file} cannot be written: {error.strerror}") from None
    return file, _record(facts, html) if record else None


def render(facts: StudyFacts) -> str:
    """The page as HTML; everything that it shows is in it."""
    environment = Environment(
        loader=PackageLoader("mufnet_lightning.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(
        page=report_page(facts), seen_to_change=SEEN_TO_CHANGE
    )


def report_page(facts: StudyFacts) -> Page:
    """What the page shows of a study."""
    performance = _performance(facts)
    participants = Participants(
        centres_frame(facts),
        scanners_frame(facts),
        participants_flow(facts),
        parts_frames(facts),
        patients_table(facts),
        parts_table(facts),
    )
    known = {
        "table1": participants.table_one.frame is not None,
        "centres": performance.centres is not None,
        "participants": facts.store is not None,
        "performance": bool(performance.levels),
        "calibration": not performance.recalibration.empty,
    }
    comparison = performance.levels[0].comparison if performance.levels else None
    over_patients, matched = (comparison.result, comparison.matched) if comparison else (None, None)
    return Page(
        facts,
        __version__,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        _methods(facts, any(map(matched.is_out_of_fold, range(len(matched.names))) if matched else ())),
        participants,
        performance,
        [_arm_section(arm) for arm in facts.arms],
        [part for arm in facts.arms for part in _explained(arm)],
        pd.DataFrame(facts.broken),
        read_with_care(facts, over_patients),
        checklist(known),
    )


def _methods(facts: StudyFacts, pooled: bool) -> Methods:
    return Methods(
        facts.store is None or bool(facts.store.manifest["box_width"].notna().any()),
        facts.store.info.margin if facts.store else 0.0,
        protocol_sentences(facts.arms),
        not any(is_own(setting(arm, "model.encoder")) for arm in facts.arms),
        all(map(has_usual_balance, facts.arms)),
        [arm.title for arm in facts.arms if arm.chosen],
        [arm.title for arm in facts.arms if CHOSEN_FROM in arm.run.tags],
        [arm.title for arm in facts.arms if arm.run.tags.get("selection") in ("last", "average")],
        pooled,
        settings_frame(facts.arms),
        runs_frame(facts.arms),
        environments_frame(facts.arms),
    )


def _performance(facts: StudyFacts) -> Performance:
    comparisons, refused = _comparisons(facts)
    patients = next(iter(comparisons), None)
    levels = [
        ComparedLevel(
            level,
            comparison,
            embedded_figure(comparison.figures["roc"]),
            embedded_figure(comparison.figures["confusion"]),
        )
        for level, comparison in zip(LEVELS, comparisons, strict=False)
    ]
    return Performance(
        levels,
        refused,
        _headline(patients),
        ceilings_frame(facts),
        by_centre_frame(facts, patients),
        calibration_frame(facts.arms),
        recalibration_frame(facts.arms),
        weights_frame(facts.arms),
        external_frame(facts),
    )


def _comparisons(facts: StudyFacts) -> tuple[list[Comparison], str]:
    """Table 2 over patients and over images; or why the arms cannot be compared."""
    references = [f"{arm.name}={arm.run.id}" for arm in facts.arms]
    try:
        return [
            compare(references, level=level, planned=facts.planned, waiting=facts.waiting)
            for level in LEVELS
        ], ""
    except InputFault as fault:
        return [], str(fault)


def _headline(patients: Comparison | None) -> list[str]:
    arms = [
        f"{ARM_NAMES.get(arm.name, arm.name)}: AUC over patients {number_text(arm.auc)} "
        + (f"({CHOSEN_HERE})" if arm.chosen else f"(95% interval {limits_text(arm.auc_ci, ' to ')})")
        for arm in (patients.result.arms if patients else ())
    ]
    tests = [test for test in (patients.result.tests if patients else ()) if not test.chosen]
    return arms + [_difference(test, len(tests) > 1) for test in tests]


def _difference(test: PairResult, several: bool) -> str:
    """Two arms' difference, in a sentence."""
    names = f"{ARM_NAMES.get(test.a, test.a)} minus {ARM_NAMES.get(test.b, test.b)}"
    if not np.isfinite(test.p):
        return f"{names}: {number_text(test.auc_difference)}, not tested"
    limits = limits_text(test.auc_difference_ci, " to ")
    p = f"p {p_text(test.p_holm)}" + (" (Holm)" if several else "")
    shown = "" if test.p_holm < SIGNIFICANT else ": a difference is not shown"
    alone = ", uncorrected" if several else ""
    return f"{names}: {number_text(test.auc_difference)} (95% interval {limits}{alone}), {p}{shown}"


def _arm_section(arm: ArmFacts) -> ArmSection:
    return ArmSection(arm.title, folds_frame(arm) if arm.is_cv else None, arm_pictures(arm))


def _explained(arm: ArmFacts) -> list[ExplainedPart]:
    return [
        ExplainedPart(
            arm.title,
            label,
            tables.summary.origin,
            tables.summary.verdicts,
            maps_frames(tables.summary),
            arm.first_fold,
            embedded(arm.panels[label], photograph=True) if label in arm.panels else None,
        )
        for label, tables in arm.explained.items()
    ]


def _record(facts: StudyFacts, html: str) -> str:
    """A report on the same runs takes the place of the earlier one."""
    client = mlflow_client()
    reported = ",".join(arm.run.id for arm in facts.arms)
    for run in find_runs(facts.experiment_id, finished=True, most=1, reports=reported):
        client.log_text(run.id, html, PAGE)
        return run.id
    arms = names_text([f"**{arm.name}**" for arm in facts.arms])
    note = (
        f"The report of study **{facts.name}** on its arms {arms}, one page to be read without MLflow: "
        f"artifact `{PAGE}`. It holds the tables, figures and what must be read with care; a later "
        "report on the same runs takes its place."
    )
    tags = run_tags("report", facts.name, reports=reported, note=note)
    with new_run(facts.experiment_id, "report", tags) as run_id:
        client.log_text(run_id, html, PAGE)
    return run_id
