"""The figures of an arm that the page shows."""

from __future__ import annotations

from mufnet_lightning.explain.embedding import embedded
from mufnet_lightning.report.gather import ArmFacts

CAPTIONS = {  # of the figures that an arm's run has
    "test_roc_folds": "ROC curve of each fold on its test part",
    "test_reliability": "Calibration over patients, in bins of as many patients each",
    "test_decision_curve": "Decision curve over patients; no interval, and of few patients it wavers: "
    "what it is below treating all or none by may be chance",
    "test_scores": "Scores of images by class (a score is no probability)",
    "test_weights": "Weight of each modality by class, over images: α (B-mode), β (CEUS)",
}


def arm_pictures(arm: ArmFacts) -> dict[str, str]:
    """The figures of an arm, by what stands below them."""
    return {
        caption: embedded(arm.figures[name])
        for name, caption in CAPTIONS.items()
        if name in arm.figures
    }
