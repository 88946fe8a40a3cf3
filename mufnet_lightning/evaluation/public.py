"""The names that `mufnet_lightning.evaluation` gives to a notebook."""

from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.figures import (
    confusion_figure,
    decision_figure,
    figure_files,
    reliability_figure,
    score_figure,
    weight_figure,
)
from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.evaluation.pooling import pool_predictions
from mufnet_lightning.evaluation.predictions import match_predictions, read_predictions
from mufnet_lightning.evaluation.results import ArmComparison, ArmResult, PairResult
from mufnet_lightning.evaluation.roc_figures import roc_figure, roc_folds_figure
from mufnet_lightning.evaluation.statistics.auc import compare_aucs, delong, obuchowski
from mufnet_lightning.evaluation.statistics.auc_intervals import auc_interval
from mufnet_lightning.evaluation.statistics.bootstrap import bootstrap_aucs, bootstrap_rates
from mufnet_lightning.evaluation.statistics.calibration import (
    brier_score,
    calibration_curve,
    calibration_error,
)
from mufnet_lightning.evaluation.statistics.characteristics import (
    characteristics,
    characteristics_frame,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.decision_curve import decision_curve
from mufnet_lightning.evaluation.statistics.intervals import (
    Estimate,
    FoldSpread,
    fold_spread,
    wilson,
)
from mufnet_lightning.evaluation.statistics.multiplicity import holm
from mufnet_lightning.evaluation.statistics.rates import (
    confusion,
    patient_scores,
    rate_intervals,
    roc_curve,
    youden_threshold,
)
from mufnet_lightning.evaluation.statistics.recalibration import Recalibration, recalibrate
from mufnet_lightning.evaluation.statistics.risk_calibration import (
    calibration_test,
    risk_calibration,
    risk_curve,
)
from mufnet_lightning.evaluation.statistics.scores import Scores

__all__ = [
    "ArmComparison",
    "ArmResult",
    "Estimate",
    "EvaluationError",
    "FoldSpread",
    "PairResult",
    "Recalibration",
    "Scores",
    "auc_interval",
    "bootstrap_aucs",
    "bootstrap_rates",
    "brier_score",
    "calibration_curve",
    "calibration_error",
    "calibration_test",
    "characteristics",
    "characteristics_frame",
    "compare_arms",
    "compare_aucs",
    "confusion",
    "confusion_figure",
    "decision_curve",
    "decision_figure",
    "delong",
    "figure_files",
    "fold_spread",
    "holm",
    "match_predictions",
    "obuchowski",
    "part_numbers",
    "patient_scores",
    "pool_predictions",
    "rate_intervals",
    "read_predictions",
    "recalibrate",
    "reliability_figure",
    "risk_calibration",
    "risk_curve",
    "roc_curve",
    "roc_figure",
    "roc_folds_figure",
    "score_figure",
    "weight_figure",
    "wilson",
    "youden_threshold",
]
