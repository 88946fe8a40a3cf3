"""The tables of the page: who the patients are, and what came of the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mufnet_lightning.cohort.personal import MISSING_WORDS
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.attention import by_grade, over_patients
from mufnet_lightning.evaluation.subgroups import subgroups
from mufnet_lightning.evaluation.text import interval_text, number_text, p_text
from mufnet_lightning.explain.summary import Summary
from mufnet_lightning.explain.tables import (
    by_grade_frame,
    faithfulness_frame,
    pointing_frame,
    sanity_frame,
)
from mufnet_lightning.report.gather import ArmFacts, StudyFacts
from mufnet_lightning.study.ceilings import truth_table
from mufnet_lightning.study.external import is_of_others
from mufnet_lightning.study.table_one import OUTCOMES, table_one
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.tracking.runs import TrackedRun
from mufnet_lightning.vocabulary import ARM_NAMES, THRESHOLD, WEIGHT_NAMES, Kind, arm_name

FOLD_COLUMNS = {
    "AUC, patients": "test/patient_auc",
    "AUC, images": "test/auc",
    "accuracy, images": "test/accuracy",
    "sensitivity, images": "test/sensitivity",
    "specificity, images": "test/specificity",
}
TESTS_OF_TABLE_ONE = (
    "The test stands beside each p (Fisher's exact one where an expected count is below 5); the p's "
    "are not corrected for their number."
)
CALIBRATION = "test/patient_risk_"
"""What the names of the numbers of the risks begin with."""


@dataclass(frozen=True)
class TableOne:
    """Table 1.

    Attributes:
        frame: None where there is none.
        note: what is to be said of it; why there is none.
    """

    frame: pd.DataFrame | None
    note: str = ""


def patients_table(facts: StudyFacts) -> TableOne:
    """Table 1 of the cohort's folder, by the rules of `mufnet characteristics`; else as recorded."""
    if facts.cohort is None:
        if facts.table_one is None:
            return TableOne(None, "Not recorded: give the cohort's folder with --cohort.")
        return TableOne(facts.table_one, "As the latest comparison of this study recorded it.")
    try:
        table = table_one(facts.cohort.folder / "patients.csv", "grade")
    except InputFault as fault:
        return TableOne(None, f"It could not be made: {fault}")
    described = {row.variable for row in table.rows}
    columns = facts.cohort.patients[[n for n in facts.cohort.patients if n in described]].items()
    blank = any(cells.str.lower().isin(MISSING_WORDS).any() for _, cells in columns)
    missing = "" if blank else "No value of these variables is missing."
    return TableOne(table.frame(), " ".join(filter(None, [TESTS_OF_TABLE_ONE, missing, table.note()])))


def parts_table(facts: StudyFacts) -> pd.DataFrame:
    """Patients who are tested beside those who train and validate; empty where they take turns over the
    folds that were run, or where the arms have different splits.
    """
    splits = [arm.split[arm.split["fold"].isin(list(arm.folds))] for arm in facts.arms]
    parts = [
        one[["patient_id", "part"]].replace({"part": {"val": "train"}}).drop_duplicates()
        for one in splits
    ]
    if any(set(map(tuple, one.to_numpy())) != set(map(tuple, parts[0].to_numpy())) for one in parts):
        return pd.DataFrame()  # arms that share no split
    split = parts[0]
    tested = split.assign(test=split["part"] == "test").groupby("patient_id")["test"]
    if facts.cohort is None or tested.nunique().max() > 1:
        return pd.DataFrame()
    names = {True: "tested", False: "training and validation"}
    groups = {str(patient): names[bool(test)] for patient, test in tested.first().items()}
    path = facts.cohort.folder / "patients.csv"
    kinds: dict[str, Kind] = {name: "category" for name in OUTCOMES if name in facts.cohort.patients}
    try:
        return table_one(path, "part", kinds=kinds, groups=groups).frame()
    except InputFault:
        return pd.DataFrame()


def centres_frame(facts: StudyFacts) -> pd.DataFrame:
    """Patients and images of each centre and class; empty without the store."""
    if facts.store is None:
        return pd.DataFrame()
    manifest = facts.store.manifest
    named = manifest.assign(center=manifest["center"].replace("", "not named"))
    rows = []
    for center, group in named.groupby("center"):
        patients = group.drop_duplicates("patient_id")
        high = int((patients["label"] == 1).sum())
        rows.append(
            {
                "centre": center,
                "patients": len(patients),
                "low grade": len(patients) - high,
                "high grade": high,
                "images": len(group),
            }
        )
    return pd.DataFrame(rows)


def scanners_frame(facts: StudyFacts) -> pd.DataFrame:
    """Clips of each scanner, by centre and grade; empty where scanners are not known."""
    return facts.cohort.scanners if facts.cohort else pd.DataFrame()


def ceilings_frame(facts: StudyFacts) -> pd.DataFrame:
    """A phantom's arms beside the truth behind it; empty where it is none."""
    if facts.cohort is None or facts.cohort.truth is None:
        return pd.DataFrame()
    tables = {arm.name: arm.scored.part("test") for arm in facts.arms}
    chosen = {arm.name for arm in facts.arms if arm.chosen}
    try:
        kinds = {arm.name: arm_name(arm.modalities) for arm in facts.arms}
        table = truth_table(facts.cohort.truth, tables, str(facts.cohort.folder), chosen, kinds)
    except InputFault:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "arm": ARM_NAMES.get(str(arm), str(arm)),
            "patients": int(row["patients"]),
            "AUC over patients (95%)": interval_text(
                row["auc"], (row["ci_low"], row["ci_high"]), chosen=arm in chosen
            ),
            "best reader of these patients": number_text(row["truth"]),
            "ceiling": number_text(row["ceiling"]),
        }
        for arm, row in table.iterrows()
    )


def by_centre_frame(facts: StudyFacts, comparison: Comparison | None) -> pd.DataFrame | None:
    """AUC over patients in each centre (see `subgroups`); None where they are not known, or one."""
    if facts.store is None or comparison is None:
        return None
    named = facts.store.manifest.drop_duplicates("patient_id").set_index("patient_id")["center"]
    matched = comparison.matched
    centres = named.reindex(matched.patients).fillna("").to_numpy()
    if len(set(centres) - {""}) < 2:
        return None
    values = {str(patient): center for patient, center in named.items()}
    chosen = [arm.name for arm in comparison.result.arms if arm.chosen]
    return subgroups(matched, "centre", values, chosen=chosen, named=True).frame(ARM_NAMES)


def external_frame(facts: StudyFacts) -> pd.DataFrame:
    """A row an external validation, over patients; empty where the study holds none."""
    rows = []
    for run_id, said in facts.external.items():
        model, arm = said["model"], said["patient"]["arms"][0]
        row = {
            "model": model["name"],
            "cohort": said["store"]["name"],
            "patients": arm["patients"],
            "AUC": interval_text(arm["auc"], arm["auc_ci"]),
        }
        for rate in ("sensitivity", "specificity"):
            row[rate] = interval_text(arm[rate]["value"], arm[rate]["ci"], undefined="n/a")
        row["threshold"] = f"{said['threshold']['value']:.3f}"
        left_out = [f"{len(one['patients'])} left out: {one['reason']}" for one in said["left_out"]]
        own = [] if is_of_others(said) else ["held-out patients of the model's own cohort"]
        row["to know"] = "; ".join([*own, *left_out, *said["notes"]])
        rows.append(row | {"run": run_id[:8]})
    return pd.DataFrame(rows)


def folds_frame(arm: ArmFacts) -> pd.DataFrame:
    """A row a fold of a cross-validation."""
    rows = [{"fold": str(fold), **_metrics(run, FOLD_COLUMNS)} for fold, run in arm.folds.items()]
    return pd.DataFrame(rows)


def calibration_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row an arm: what came of the risks of the test patients."""
    rows = []
    for arm in arms:
        numbers = {
            name.removeprefix(CALIBRATION): value
            for name, value in arm.run.metrics.items()
            if name.startswith(CALIBRATION)
        }
        cells = {
            word: interval_text(numbers.get(name), _limits(numbers, name), " to ", "n/a")
            for word, name in (("intercept", "calibration_intercept"), ("slope", "calibration_slope"))
        }
        without = "not given" if numbers else "no risk"  # where it would mislead, cautions say why
        if not numbers and arm.chosen and arm.recalibration.recalibration:
            without = "chosen here"
        rows.append(
            {
                "arm": arm.title,
                "calibration intercept (right: 0)": cells["intercept"],
                "calibration slope (right: 1)": cells["slope"],
                "p of both being right": p_text(numbers.get("calibration_p")) or without,
                "Brier score": number_text(numbers.get("brier"), "n/a"),
                "Brier skill": number_text(numbers.get("brier_skill"), "n/a"),
            }
        )
    return pd.DataFrame(rows)


def recalibration_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row an arm: how a score becomes a risk (see `Recalibration`), and the threshold's risk."""
    rows = []
    for arm in arms:
        fit = arm.recalibration.recalibration
        if fit is not None:
            low, high = fit.score_limits
            rows.append(
                {
                    "arm": arm.title,
                    "intercept": f"{fit.intercept:.4g}",
                    "slope": f"{fit.slope:.4g}",
                    "followed for scores of": f"{low:.4g} to {high:.4g}",
                    "validation patients (high grade)": f"{fit.high + fit.low} ({fit.high})",
                    "risk at a score of 0.5": number_text(float(fit.apply([THRESHOLD])[0])),
                }
            )
    return pd.DataFrame(rows)


def _limits(numbers: Mapping[str, float], name: str) -> tuple[float, float] | None:
    limits = numbers.get(f"{name}_ci_low"), numbers.get(f"{name}_ci_high")
    return None if limits[0] is None or limits[1] is None else (limits[0], limits[1])


def weights_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """Mean weights of the modalities by class, of arms with both; over patients."""
    rows = []
    for arm in arms:
        table = arm.scored.part("test")
        columns = list(WEIGHT_NAMES)
        if not set(columns) <= set(table) or table[columns].isna().any(axis=None):
            continue
        for column, name in WEIGHT_NAMES.items():
            grades = by_grade(table[column], table["label"].to_numpy(int), table["patient_id"])
            overall = over_patients(table[column], table["patient_id"])
            rows.append(
                {
                    "arm": arm.title,
                    "weight": name,
                    "all": number_text(overall.value),
                    "low grade": number_text(grades.means[0]),
                    "high grade": number_text(grades.means[1]),
                    "p (Welch, over patients)": p_text(grades.p),
                }
            )
    return pd.DataFrame(rows)


def maps_frames(summary: Summary) -> dict[str, pd.DataFrame]:
    """What is said of the maps, by the tables' captions; those that have rows."""
    frames = {
        f"By grade ({summary.patients} patients, {summary.images} images)": by_grade_frame(summary),
        "Pointing at the phantom's signal": pointing_frame(summary),
        "Sanity check: rank correlation with the maps of randomised weights": sanity_frame(summary),
        "Deletion and insertion, beside maps that mean nothing": faithfulness_frame(summary),
    }
    return {caption: frame for caption, frame in frames.items() if not frame.empty}


def _metrics(run: TrackedRun, columns: Mapping[str, str]) -> dict[str, str]:
    return {title: number_text(run.metrics.get(key), "n/a") for title, key in columns.items()}
