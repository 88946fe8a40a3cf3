"""What a trained model says of itself to whoever uses it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.recalibration import Recalibration
from mufnet_lightning.vocabulary import MODALITY_NAMES, THRESHOLD, ThresholdRule, arm_name


@dataclass(frozen=True)
class ModelCard:
    """A trained model, or the ensemble of a cross-validation's folds.

    Attributes:
        name: of the run.
        modalities: that it looks at, in the order of its weights.
        classes: names of the two classes, the positive one last.
        image_size: side in pixels that pictures are resized to.
        members: networks whose scores are averaged, K.
        patients: who trained it, of any fold; None where the checkpoint does not say.
        centers: of theirs, where they are known.
        earlier_patients: who trained the weights that its training began with.
        margin: context around the boxes of the crops that trained it, as a share of their sides; None
            where nobody noted it.
        threshold: above it a patient's score, the mean of the images', is called by the positive class.
        threshold_rule: `youden`, on validation patients, or `0.5`, where there are none that tell.
        takes_missing: whether it was trained to grade who lacks a modality.
        recalibration: from the mean score of a patient's images to a risk, fitted on validation
            patients; None where there were none of both classes, or an earlier version saved the card.
        run_id, study: in MLflow; None where it is of no run.
        data: settings of the datamodule in training (`class_path`, `init_args`).
        version: of this package.
    """

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, str]
    image_size: int
    members: int
    patients: int | None = None
    centers: tuple[str, ...] = ()
    earlier_patients: int = 0
    margin: float | None = None
    threshold: float = THRESHOLD
    threshold_rule: ThresholdRule = "0.5"
    takes_missing: bool = False
    recalibration: Recalibration | None = None
    run_id: str | None = None
    study: str | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    version: str = __version__

    @property
    def arm(self) -> str:
        """`bmode`, `ceus` or `fused`."""
        return arm_name(self.modalities)

    def sentence(self) -> str:
        """Which model it is, and on whom it was trained; for a page or a description.

        >>> card = ModelCard("fused-cv", ("bmode", "ceus"), ("low grade", "high grade"), 300, 5, 80)
        >>> card.sentence()
        'fused-cv, an ensemble of 5 networks that look at B-mode and CEUS, trained on 80 patients'
        """
        several = f"an ensemble of {self.members} networks that look at"
        networks = several if self.members > 1 else "a network that looks at"
        seen = " and ".join(MODALITY_NAMES.get(name, name) for name in self.modalities)
        whom = "patients whose number is not known" if self.patients is None else "1 patient"
        if self.patients is not None and self.patients != 1:
            whom = f"{self.patients} patients"
        where = f" of {', '.join(self.centers)}" if self.centers else ""
        before = self.earlier_patients
        began = f", beginning with weights that {before} others had trained" if before else ""
        return f"{self.name}, {networks} {seen}, trained on {whom}{where}{began}"

    def called(self, score: float) -> str:
        """The class that a score means."""
        return self.classes[int(score > self.threshold)]

    def risk_sentence(self) -> str:
        """What a risk is, or that there is none."""
        fit = self.recalibration
        if fit is None:
            return (
                "There is no risk beside the score: this model knows no validation patients of both "
                "classes (or an earlier version saved it). A score of 0.8 is not a probability of 80%."
            )
        share = fit.high / (fit.high + fit.low)
        note = f" {fit.note}" if fit.note else ""
        return (
            f"The risk is the score recalibrated on {fit.high + fit.low} validation patients, "
            f"{share:.0%} of them of {self.classes[1]}: it holds where patients are like them, and "
            f"about as many of them are of {self.classes[1]}. The class is called from the score.{note}"
        )

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ModelCard:
        """Of plain data; what a later version added is left out.

        Raises:
            InputFault: something that is needed is not there.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        for name in ("modalities", "classes", "centers"):
            if name in values:
                values[name] = tuple(values[name])
        try:
            if values.get("recalibration") is not None:
                values["recalibration"] = Recalibration.from_json(values["recalibration"])
            return cls(**values)
        except (TypeError, EvaluationError) as error:
            raise InputFault(f"not a model card of mufnet: {error}") from None
