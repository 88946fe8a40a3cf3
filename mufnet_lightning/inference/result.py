"""What a model found of new patients: tables, JSON, and one page to print."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.figures import figure_png
from mufnet_lightning.explain.embedding import embedded
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.files import PAGE, PATIENTS, RESULT
from mufnet_lightning.inference.frames import FRAMES, patient_figures, telling_images
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.inference.predict import StorePredictions
from mufnet_lightning.system.pages import page_templates
from mufnet_lightning.system.processes import progress_bar
from mufnet_lightning.system.sheets import csv_text
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES, PREDICTIONS

MOST_PICTURED = 50
"""Patients with pictures on a page; the others stand in its table."""
DPI = 150
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatientFinding:
    """A patient on the page.

    Attributes:
        patient: id.
        sentence: what was found.
        cautions: what must be read with care about it.
        pictures: data addresses of the images that count most, with their maps; and of how many
            modalities each is.
        note: why there are no maps; empty where there are.
    """

    patient: str
    sentence: str
    cautions: Sequence[str]
    pictures: Sequence[tuple[str, int]] = ()
    note: str = ""


def disclaimer(card: ModelCard) -> str:
    """What the result is not."""
    return (
        "This is the output of a research model and not of a medical device: it has not been validated "
        "for clinical use and must not guide any decision about a patient. The model is "
        f"{card.sentence()}; nothing is known of how it does on patients of other centres or scanners."
    )


def threshold_sentence(card: ModelCard) -> str:
    """Where the threshold is from."""
    rule = f"A patient whose score is above {card.threshold:.3f} is called {card.classes[1]}"
    if card.threshold_rule == "youden":
        whom = "the validation patients of the training"
        if card.members == 1:
            return f"{rule}: Youden's threshold, chosen on {whom}."
        return (
            f"{rule}: Youden's threshold, chosen on {whom}, each scored by single networks that did "
            "not train on them; a mean of networks varies less."
        )
    return f"{rule}; no threshold was chosen on validation patients."


def patient_sentence(card: ModelCard, row: Mapping[Any, Any]) -> str:
    """What was found of a patient, a row of `StorePredictions.patients`, in one sentence."""
    images = f"{row['images']} image{'s' * (row['images'] != 1)}"
    spread = ""
    if not pd.isna(row["spread"]):
        spread = f" (spread of the {card.members} networks {row['spread']:.3f})"
    side = "above" if row["score"] > card.threshold else "not above"
    text = (
        f"Over {images} the mean score for {card.classes[1]} is {row['score']:.3f}{spread}, which is "
        f"{side} the threshold of {card.threshold:.3f}: called {row['class']}"
    )
    shares = {name: row[f"weight_{name}"] for name in MODALITIES if not pd.isna(row[f"weight_{name}"])}
    if not pd.isna(row["risk"]):
        text += f"; risk {row['risk']:.3f}"
    if len(shares) > 1:
        some = " over the images that have it" if row["missing"] else ""
        said = " and ".join(f"{MODALITY_NAMES[name]} {share:.2f}" for name, share in shares.items())
        text += f"; weights {said}{some}"
    return f"{text}."


def cautions(card: ModelCard, row: Mapping[Any, Any]) -> list[str]:
    """What must be read with care about one patient, a row of `StorePredictions.patients`."""
    said = []
    if row["missing"]:
        named = str(row["missing"])
        for name, title in MODALITY_NAMES.items():
            named = named.replace(name, title)
        said.append(f"Missing: {named}. The score rests on what is there.")
        if card.recalibration is not None:
            said[-1] += " The risk was fitted on patients as the validation part had them."
    if row["trained"] == "yes":
        said.append(
            "A patient with this id trained the model, and nothing says that this is another person: "
            "the score flatters."
        )
    if row["trained"] == "perhaps":
        said.append(
            "A patient of another cohort with this id and grade trained the model: if it is the same "
            "person, the score flatters."
        )
    if row["looks_like"]:
        said.append(
            "The pictures look like those of a patient who trained the model (patients.csv says of "
            "whom): if it is the same person, the score flatters."
        )
    return said


def result_files(
    grader: Grader,
    data: RoiPairDataModule,
    predictions: StorePredictions,
    source: str,
) -> dict[str, str]:
    """The files of a result, by their names: predictions.csv (a row an image), patients.csv,
    result.json and page.html.

    Args:
        grader: the model.
        data: of the store that was graded.
        predictions: of it.
        source: what was graded, for the page.
    """
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    findings = _findings(grader, data, predictions)
    return {
        PREDICTIONS: csv_text(predictions.table),
        PATIENTS: csv_text(predictions.patients),
        RESULT: _json(grader.card, predictions, made),
        PAGE: _page(grader.card, predictions, findings, source, made),
    }


def _findings(
    grader: Grader, data: RoiPairDataModule, predictions: StorePredictions
) -> list[PatientFinding]:
    findings = []
    groups = dict(list(predictions.table.groupby("patient_id", sort=False)))
    with progress_bar("pictures", min(len(predictions.patients), MOST_PICTURED)) as advance:
        for number, row in enumerate(predictions.patients.to_dict("records")):
            if number >= MOST_PICTURED:
                break
            images = telling_images(grader.card, groups[row["patient_id"]])
            images = images.assign(**{"class": row["class"]})
            pictures, note = [], ""
            try:
                for figure, modalities in patient_figures(grader, data, images):
                    png = figure_png(figure, DPI)
                    pictures.append((embedded(png, photograph=True), len(modalities)))
            except InputFault as fault:  # an own encoder without feature maps
                note = f"There are no maps: {fault}"
            findings.append(
                PatientFinding(
                    str(row["patient_id"]),
                    patient_sentence(grader.card, row),
                    cautions(grader.card, row),
                    pictures,
                    note,
                )
            )
            advance()
    return findings


def _json(card: ModelCard, predictions: StorePredictions, made: str) -> str:
    model = {name: value for name, value in card.as_json().items() if name != "data"}
    patients = json.loads(predictions.patients.to_json(orient="records", double_precision=15))
    for row in patients:
        row["sentence"] = patient_sentence(card, row)
    content = {
        "created": made,
        "note": disclaimer(card),
        "cautions": list(predictions.notes),
        "model": model,
        "patients": patients,
        "not_graded": [
            {"patient_id": one.patient, "images": one.pairs, "reason": one.reason}
            for one in predictions.ungraded
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _page(
    card: ModelCard,
    predictions: StorePredictions,
    findings: Sequence[PatientFinding],
    source: str,
    made: str,
) -> str:
    fused = len(card.modalities) > 1
    environment = page_templates("mufnet_lightning.inference")
    return environment.get_template("page.html.jinja").render(
        card=card,
        made=made,
        source=source,
        disclaimer=disclaimer(card),
        threshold=threshold_sentence(card),
        risk=card.risk_sentence(),
        notes=predictions.notes,
        rows=predictions.patients.to_dict("records"),
        modalities=[(name, MODALITY_NAMES[name]) for name in card.modalities] if fused else [],
        findings=findings,
        ungraded=predictions.ungraded,
        most=FRAMES,
        missing=pd.isna,
    )
