"""The page itself: facts become tables and pictures in one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.figures import figure_files
from mufnet_lightning.evaluation.statistics.attention import by_grade, over_patients
from mufnet_lightning.evaluation.statistics.characteristics import characteristics_frame
from mufnet_lightning.evaluation.text import interval_text, limits_text, p_text
from mufnet_lightning.explain.tables import (
    by_grade_frame,
    faithfulness_frame,
    pointing_frame,
    sanity_frame,
)
from mufnet_lightning.report.cautions import read_with_care
from mufnet_lightning.report.gather import ArmFacts, StudyFacts, study_facts
from mufnet_lightning.report.tripod import checklist
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.study.ceilings import truth_table
from mufnet_lightning.study.compare import compare
from mufnet_lightning.study.table_one import table_one
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.tracking.provenance import commit_tags
from mufnet_lightning.tracking.runs import find_runs, mlflow_client, new_run
from mufnet_lightning.vocabulary import MODALITY_NAMES, PARTS, WEIGHT_NAMES

if TYPE_CHECKING:
    from mufnet_lightning.tracking.runs import TrackedRun

MOST_LEVELS = 12  # of a category in Table 1
WIDTH = 1400  # pixels, of the widest picture
JPEG_QUALITY = 85
ARM_NAMES = {**MODALITY_NAMES, "fused": "fused (MUF-Net)"}
FOLD_WORDS = {"train": "training", "val": "validation", "test": "test"}
SETTINGS = {  # what of the configuration is told, and how
    "model.encoder": "encoder (timm)",
    "model.pretrained": "published weights to start from",
    "model.init_from": "weights of an earlier run to start from",
    "model.share_encoder": "one encoder for both modalities",
    "model.fusion": "fusion weights",
    "model.dropout": "dropout",
    "data.image_size": "input, pixels a side",
    "data.batch_size": "batch size",
    "data.sampler": "sampler",
    "data.augmentation": "augmentation",
    "model.activation": "focal loss on",
    "model.beta": "class balance β",
    "model.gamma": "focal γ",
    "model.normalize": "class weights normalised",
    "model.lr": "SGD learning rate",
    "model.momentum": "momentum",
    "model.weight_decay": "weight decay",
    "model.lr_step": "epochs to a step of the rate",
    "model.lr_factor": "factor of a step",
    "trainer.max_epochs": "epochs",
    "checkpoint.monitor": "epoch selected by",
    "data.protocol": "protocol",
    "data.n_folds": "folds",
    "data.split_seed": "seed of the split",
    "seed_everything": "seed of training",
}


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
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(html, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputFault(f"--out {file} cannot be written: {error.strerror}") from None
    return file, _record(facts, html) if record else None


def render(facts: StudyFacts) -> str:
    """The page as HTML; everything that it shows is in it."""
    environment = Environment(
        loader=PackageLoader("mufnet_lightning.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(_context(facts))


def _context(facts: StudyFacts) -> dict[str, Any]:
    comparisons, refused = _comparisons(facts)
    patients = comparisons.get("patient")
    table1, table1_note = _table_one(facts)
    centres = _by_centre(facts, patients)
    known = {
        "table1": table1 is not None,
        "centres": centres is not None,
        "participants": facts.store is not None,
        "performance": bool(comparisons),
    }
    return {
        "facts": facts,
        "version": __version__,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "names": ARM_NAMES,
        "phantom": facts.cohort is not None and facts.cohort.truth is not None,
        "optimistic": [
            ARM_NAMES.get(a.name, a.name)
            for a in facts.arms
            if a.run.tags.get("selection") == "optimistic"
        ],
        "protocols": _protocols(facts.arms),
        "boxes": facts.store is None or bool(facts.store.manifest["box_width"].notna().any()),
        "margin": facts.store.info["margin"] if facts.store else 0.0,
        "centre_counts": _centres(facts),
        "scanners": _counted(facts.cohort.scanners if facts.cohort else {}, "scanner", "clips"),
        "flow": _flow(facts),
        "parts": _parts(facts),
        "settings": _settings(facts.arms),
        "environments": _environments(facts.arms),
        "runs": _runs(facts.arms),
        "table1": table1,
        "table1_note": table1_note,
        "comparisons": comparisons,
        "refused": refused,
        "pictures": {level: _comparison_pictures(c) for level, c in comparisons.items()},
        "headline": _headline(patients),
        "ceilings": _ceilings(facts),
        "centres": centres,
        "folds": {arm.name: _folds(arm) for arm in facts.arms if arm.is_cv},
        "calibration": _calibration(facts.arms),
        "arm_pictures": {arm.name: _arm_pictures(arm) for arm in facts.arms},
        "weights": _weights(facts.arms),
        "explained": [part for arm in facts.arms for part in _explained(arm)],
        "broken": pd.DataFrame(facts.broken),
        "care": read_with_care(facts, patients.result if patients else None),
        "checklist": checklist(known),
    }


def _comparisons(facts: StudyFacts) -> tuple[dict[str, Comparison], str]:
    """Table 2 over patients and over images; or why the arms cannot be compared."""
    references = [f"{arm.name}={arm.run.id}" for arm in facts.arms]
    try:
        return {level: compare(references, level=level) for level in ("patient", "image")}, ""
    except InputFault as fault:
        return {}, str(fault)


def _headline(patients: Comparison | None) -> list[str]:
    if patients is None:
        return []
    told = []
    for arm in patients.result.arms:
        told.append(
            f"{ARM_NAMES.get(arm.name, arm.name)}: AUC over patients {arm.auc:.3f} "
            f"(95% interval {limits_text(arm.auc_ci, ' to ')})"
        )
    return told


def _comparison_pictures(comparison: Comparison) -> dict[str, str]:
    return {
        name: _embedded(figure_files(figure, name)[f"{name}.png"])
        for name, figure in comparison.figures.items()
    }


def _arm_pictures(arm: ArmFacts) -> dict[str, str]:
    wanted = {
        "test_roc_folds": "ROC curve of each fold on its test part",
        "test_reliability": "Calibration over images",
        "test_scores": "Scores by class",
        "test_weights": "Weight of each modality by class: α (B-mode), β (CEUS)",
    }
    return {told: _embedded(arm.figures[name]) for name, told in wanted.items() if name in arm.figures}


def _explained(arm: ArmFacts) -> list[dict[str, Any]]:
    found = []
    for label, tables in arm.explained.items():
        summary = tables.summary
        picture = arm.panels.get(label)
        frames = {
            f"By grade ({summary.patients} patients, {summary.images} images)": by_grade_frame(
                summary
            ),
            "Pointing at the phantom's signal": pointing_frame(summary),
            "Sanity check: rank correlation with the maps of randomised weights": sanity_frame(summary),
            "Deletion and insertion, beside maps that mean nothing": faithfulness_frame(summary),
        }
        found.append(
            {
                "arm": arm.name,
                "label": label,
                "summary": summary,
                "picture": _embedded(picture, photograph=True) if picture else None,
                "wide": len(summary.origin.modalities) > 1,
                "fold": next(iter(arm.folds)),
                "frames": {title: frame for title, frame in frames.items() if not frame.empty},
            }
        )
    return found


def _embedded(png: bytes, photograph: bool = False) -> str:
    """A picture as a data address, no wider than needed."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    width = WIDTH if photograph else WIDTH // 2
    if pixels.shape[1] > width:
        height = round(pixels.shape[0] * width / pixels.shape[1])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    kind, options = (
        (".jpg", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if photograph
        else (".png", [cv2.IMWRITE_PNG_COMPRESSION, 9])
    )
    content = cv2.imencode(kind, pixels, options)[1].tobytes()
    name = "jpeg" if photograph else "png"
    return f"data:image/{name};base64,{base64.b64encode(content).decode()}"


def _table_one(facts: StudyFacts) -> tuple[pd.DataFrame | None, str]:
    """Table 1, and what is to be said of it."""
    if facts.cohort is None:
        if facts.table_one is None:
            return None, "Not recorded: give the cohort's folder with --cohort."
        return facts.table_one, "As the latest comparison of this study recorded it."
    patients = facts.cohort.patients.drop(columns=["patient_id", "grade", "label"], errors="ignore")
    # names, dates and record numbers are nobody's business
    telling = [
        name
        for name, column in patients.items()
        if pd.to_numeric(column, errors="coerce").notna().mean() < 0.5
        and column.nunique() > MOST_LEVELS
    ]
    shown = [str(name) for name in patients if name not in telling]
    note = f"Left out, since they have more than {MOST_LEVELS} values: {', '.join(map(str, telling))}."
    try:
        rows = table_one(facts.cohort.folder / "patients.csv", "grade", shown)
    except InputFault as fault:
        return None, f"It could not be made: {fault}"
    return characteristics_frame(rows), note if telling else ""


def _centres(facts: StudyFacts) -> pd.DataFrame:
    """Patients and images of each centre and class."""
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


def _counted(counts: Mapping[str, int], name: str, what: str) -> pd.DataFrame:
    return pd.DataFrame([{name: key, what: value} for key, value in counts.items()])


def _flow(facts: StudyFacts) -> list[dict[str, str]]:
    """The boxes of the flow diagram, from the cohort to the arms."""
    boxes = []
    if facts.cohort is not None:
        boxes.append(
            {
                "title": "Cohort",
                "text": f"{len(facts.cohort.patients)} patients, "
                f"{facts.cohort.frames:,} annotated images",
            }
        )
    if facts.store is None:
        recorded = facts.recorded
        counts = f"{recorded.get('patients', '?')} patients, {recorded.get('pairs', '?')} pairs"
        return [*boxes, {"title": "Crop store, as recorded by the runs", "text": counts}]
    manifest = facts.store.manifest
    text = f"{manifest['patient_id'].nunique()} patients, {len(manifest):,} pairs of crops"
    boxes.append({"title": "Crop store", "text": text, "out": _excluded_patients(facts)})
    for arm in facts.arms:
        usable = manifest[_has(facts.store, arm)]
        scored = arm.scored.part("test")
        lacking = len(manifest) - len(usable)
        here = int(usable["patient_id"].isin(arm.split["patient_id"]).sum())
        out = [f"{lacking:,} pairs lack a modality"] if lacking else []
        boxes.append(
            {
                "arm": "yes",
                "title": f"Arm {ARM_NAMES.get(arm.name, arm.name)}",
                "text": f"{here:,} pairs in {len(arm.folds)} "
                f"fold{'s' if len(arm.folds) > 1 else ''}; test scores of "
                f"{scored['patient_id'].nunique()} patients, {scored['pair_id'].nunique():,} images",
                "out": "; ".join(out),
            }
        )
    return boxes


def _excluded_patients(facts: StudyFacts) -> str:
    assert facts.store is not None
    if facts.cohort is None:
        return ""
    without = set(facts.cohort.patients["patient_id"]) - set(facts.store.manifest["patient_id"])
    return f"{len(without)} patients have no annotated image" if without else "nobody"


def _has(store: CropStore, arm: ArmFacts) -> pd.Series:
    """Which pairs of a store an arm can use."""
    manifest, data = store.manifest, arm.config["data"]
    modalities = store.modalities if data.get("complete_pairs") else data["modalities"]
    paths = manifest[[f"{modality}_path" for modality in modalities]]
    return (paths.notna() & (paths != "")).all(axis=1)


def _parts(facts: StudyFacts) -> dict[str, pd.DataFrame]:
    """A table for the arms that share their patients and images, by the arms' names."""
    alike: dict[str, tuple[list[str], pd.DataFrame]] = {}
    for arm in facts.arms:
        table = _parts_of(facts, arm)
        names, _ = alike.setdefault(table.to_csv(), ([], table))
        names.append(ARM_NAMES.get(arm.name, arm.name))
    return {", ".join(names): table for names, table in alike.values()}


def _parts_of(facts: StudyFacts, arm: ArmFacts) -> pd.DataFrame:
    """A row a fold and part: patients and images of each class."""
    images = None
    if facts.store:
        images = facts.store.manifest[_has(facts.store, arm)].groupby("patient_id").size()
    rows = []
    for fold, table in arm.split.groupby("fold"):
        if int(str(fold)) not in arm.folds:
            continue
        for part in PARTS:
            here = table[table["part"] == part]
            row: dict[str, Any] = {"fold": fold, "part": FOLD_WORDS[part]}
            for label, name in ((0, "low grade"), (1, "high grade")):
                of_class = here.loc[here["label"] == label, "patient_id"]
                row[name] = f"{len(of_class)} patients"
                if images is not None:
                    count = int(images.reindex(of_class).fillna(0).sum())
                    row[name] += f", {count:,} images"
            rows.append(row)
    return pd.DataFrame(rows)


def _setting(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for word in key.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {share:g}" for name, share in value.items())
    if value is None:
        return "none"
    if key == "model.init_from":  # a path may tell of people and machines
        return Path(str(value)).name
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def _protocols(arms: Sequence[ArmFacts]) -> list[str]:
    """How the patients were split, a sentence for each way."""
    told: dict[str, list[str]] = {}
    for arm in arms:
        told.setdefault(_protocol(arm), []).append(ARM_NAMES.get(arm.name, arm.name))
    if len(told) == 1:
        return list(told)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in told.items()]


def _protocol(arm: ArmFacts) -> str:
    protocol = arm.run.tags.get("protocol", "not recorded")
    count = arm.split["fold"].nunique()
    how = {
        "paper": "80% of the patients to train and validate, 20% to test, stratified by grade; "
        f"{count} folds, whose validation parts take turns in the 80%",
        "nested": f"{count} folds, stratified by grade, whose test parts take turns in all patients; "
        "validation patients are taken out of each training part",
        "center": "each fold tests one centre; validation patients are taken out of the others",
    }.get(protocol, f"a table of {count} fold{'s' if count > 1 else ''} that was given ({protocol})")
    if arm.is_cv:
        return f"Protocol {protocol}: {how}. All folds were trained and tested."
    fold = next(iter(arm.folds))
    return f"Protocol {protocol}: {how}. Fold {fold} alone was trained and tested."


def _settings(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row a setting, a column an arm; one column where all agree."""
    rows = []
    for key, told in SETTINGS.items():
        values = {ARM_NAMES.get(arm.name, arm.name): _setting(arm.config, key) for arm in arms}
        rows.append({"setting": told, **values})
    table = pd.DataFrame(rows)
    same = (table.iloc[:, 1:].nunique(axis=1) == 1).all()
    return table.iloc[:, :2].set_axis(["setting", "all arms"], axis=1) if same else table


def _environments(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    if not any(arm.environment for arm in arms):
        return pd.DataFrame()
    names = list(dict.fromkeys(name for arm in arms for name in arm.environment))
    rows = []
    for name in names:
        found = list(dict.fromkeys(arm.environment.get(name, "not recorded") for arm in arms))
        rows.append({"what": name, "version": ", ".join(found)})
    return pd.DataFrame(rows)


def _runs(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": ARM_NAMES.get(arm.name, arm.name),
            "run": f"{arm.run.name} {arm.run.id}",
            "folds": len(arm.folds),
            "protocol": arm.run.tags.get("protocol", ""),
            "selected on": arm.run.tags.get("selection", ""),
            "commit": arm.commit[:12] + ("-dirty" if arm.commit.endswith("-dirty") else ""),
            "finished": datetime.fromtimestamp((arm.run.end or 0) / 1000, UTC).strftime(
                "%Y-%m-%d %H:%M UTC"
            ),
        }
        for arm in arms
    )


def _ceilings(facts: StudyFacts) -> pd.DataFrame:
    if facts.cohort is None or facts.cohort.truth is None:
        return pd.DataFrame()
    tables = {arm.name: arm.scored.part("test") for arm in facts.arms}
    try:
        table = truth_table(facts.cohort.truth, tables, str(facts.cohort.folder))
    except InputFault:
        return pd.DataFrame()
    shown = table[["patients", "auc", "ci_low", "ci_high", "truth", "ceiling"]].reset_index()
    shown["arm"] = shown["arm"].map(ARM_NAMES)
    interval = [
        f"{auc:.3f} ({low:.3f}, {high:.3f})"
        for auc, low, high in shown[["auc", "ci_low", "ci_high"]].to_numpy()
    ]
    return pd.DataFrame(
        {
            "arm": shown["arm"],
            "patients": shown["patients"],
            "AUC over patients (bootstrap)": interval,
            "best reader of these patients": shown["truth"].map("{:.3f}".format),
            "ceiling": shown["ceiling"].map("{:.3f}".format),
        }
    )


def _by_centre(facts: StudyFacts, comparison: Comparison | None) -> pd.DataFrame | None:
    """AUC over patients in each centre; None where there is one centre, or it is not known."""
    if facts.store is None or comparison is None:
        return None
    named = facts.store.manifest.drop_duplicates("patient_id").set_index("patient_id")["center"]
    matched = comparison.matched
    centres = named.reindex(matched.patients).fillna("").to_numpy()
    if len(set(centres) - {""}) < 2:
        return None
    rows = []
    for centre in sorted(set(centres)):
        here = matched.subset(centres == centre)
        high = int(here.patient_labels.sum())
        low = len(here.patient_labels) - high
        row: dict[str, Any] = {
            "centre": centre or "not named",
            "low grade": low,
            "high grade": high,
        }
        row |= {ARM_NAMES.get(name, name): "n/a" for name in matched.names}
        if min(low, high) > 1:
            for arm in compare_arms(here, "patient").arms:
                row[ARM_NAMES.get(arm.name, arm.name)] = interval_text(arm.auc, arm.auc_ci)
        rows.append(row)
    return pd.DataFrame(rows)


def _folds(arm: ArmFacts) -> pd.DataFrame:
    shown = {
        "AUC, patients": "test/patient_auc",
        "AUC, images": "test/auc",
        "accuracy, images": "test/accuracy",
        "sensitivity, images": "test/sensitivity",
        "specificity, images": "test/specificity",
    }
    rows = [{"fold": str(fold), **_metrics(run, shown)} for fold, run in arm.folds.items()]
    return pd.DataFrame(rows)


def _calibration(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    shown = {
        "Brier score, patients": "test/patient_brier",
        "expected calibration error, patients": "test/patient_calibration_error",
        "Brier score, images": "test/brier",
        "expected calibration error, images": "test/calibration_error",
    }
    rows = [{"arm": ARM_NAMES.get(a.name, a.name), **_metrics(a.run, shown)} for a in arms]
    return pd.DataFrame(rows)


def _metrics(run: TrackedRun, shown: Mapping[str, str]) -> dict[str, str]:
    found = run.metrics
    return {told: f"{found[key]:.3f}" if key in found else "n/a" for told, key in shown.items()}


def _weights(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """Mean weights of the modalities by class, of arms with both; over patients."""
    rows = []
    for arm in arms:
        table = arm.scored.part("test")
        columns = {told: column for column, told in WEIGHT_NAMES.items()}
        if not set(columns.values()) <= set(table) or table[list(columns.values())].isna().any(
            axis=None
        ):
            continue
        for told, column in columns.items():
            found = by_grade(table[column], table["label"].to_numpy(int), table["patient_id"])
            overall = over_patients(table[column], table["patient_id"])
            rows.append(
                {
                    "arm": ARM_NAMES.get(arm.name, arm.name),
                    "weight": told,
                    "all": f"{overall.value:.3f}",
                    "low grade": f"{found.means[0]:.3f}",
                    "high grade": f"{found.means[1]:.3f}",
                    "p (Welch, over patients)": p_text(found.p),
                }
            )
    return pd.DataFrame(rows)


def _record(facts: StudyFacts, html: str) -> str:
    """A report on the same runs takes the place of the earlier one."""
    client = mlflow_client()
    reported = ",".join(arm.run.id for arm in facts.arms)
    for run in find_runs(facts.experiment_id, finished=True, most=1, reports=reported):
        client.log_text(run.id, html, "report.html")
        return run.id
    tags = {
        "verb": "report",
        "study": facts.name,
        "reports": reported,
        **commit_tags(),
        "mlflow.note.content": "The study's report: artifact `report.html`.",
    }
    with new_run(facts.experiment_id, "report", tags) as run_id:
        client.log_text(run_id, html, "report.html")
    return run_id
