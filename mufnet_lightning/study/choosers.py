"""Who of a store's patients had a part in what was chosen of a model: epoch, threshold, risks."""

from __future__ import annotations

from dataclasses import dataclass

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.leakage import StoreCohort, cohort_patients
from mufnet_lightning.inference.grader import Grader
from mufnet_lightning.tracking.checkpoints import Checkpoint
from mufnet_lightning.training.callbacks.selection import choosers_of, selection_of
from mufnet_lightning.vocabulary import CHOSEN_ON


@dataclass(frozen=True)
class ModelChoosers:
    """Patients of a store on whom something of a model was chosen.

    Attributes:
        epoch: those of the part that chose the epoch of any of its networks (`CHOSEN_ON`).
        threshold: validation patients, where the threshold is theirs.
        risks: validation patients, where the recalibration was fitted on them.
        note: what nobody can tell, a sentence; empty where all is known.
    """

    epoch: frozenset[str] = frozenset()
    threshold: frozenset[str] = frozenset()
    risks: frozenset[str] = frozenset()
    note: str = ""

    @classmethod
    def of(cls, grader: Grader, data: RoiPairDataModule) -> ModelChoosers:
        """As the model's own checkpoints have it, wherever the run is.

        Args:
            grader: the model.
            data: of the store, see `Grader.open_store`.
        """
        card = grader.card
        if grader.checkpoints is None:
            return cls(
                note=f"nobody can tell either whether they chose {card.name}'s epoch or threshold"
            )
        epoch, validated = frozenset[str](), frozenset[str]()
        for one in grader.checkpoints:
            epoch |= choosers_of(one, selection_of(one), data)
            validated |= choosers_of(one, "validation", data)
        by_youden, by_fit = card.threshold_rule == "youden", card.recalibration is not None
        cohort = StoreCohort.of(data.store)
        unknown = [
            one
            for one in grader.checkpoints
            if (by_youden or by_fit or selection_of(one) in CHOSEN_ON) and _is_unsaid(one, cohort)
        ]
        note = ""
        if unknown:
            note = (
                f"{card.name} does not say which patients validated or tested its training: nobody can "
                "tell whether some of these chose its epoch or threshold"
            )
        nobody = frozenset[str]()
        return cls(epoch, validated if by_youden else nobody, validated if by_fit else nobody, note)

    @property
    def everybody(self) -> frozenset[str]:
        """Who had any part in it."""
        return self.epoch | self.threshold | self.risks

    def by_reason(self) -> dict[str, frozenset[str]]:
        """Each of them once, by what they did, as a sentence."""
        both = self.epoch & self.threshold
        return {
            "they chose the model's epoch and threshold": both,
            "they chose the model's epoch": self.epoch - both,
            "they chose the model's threshold": self.threshold - both,
            "the model's risks were fitted on them": self.risks - self.epoch - self.threshold,
        }


def _is_unsaid(checkpoint: Checkpoint, cohort: StoreCohort) -> bool:
    """Whether a store may hold patients of a checkpoint's own training whose part is not known."""
    if not checkpoint.trained:
        return True
    return checkpoint.folds is None and bool(cohort_patients(checkpoint.trained, cohort))
