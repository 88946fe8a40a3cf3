"""The words that all rooms share: modalities, classes, parts, arms, thresholds, metric names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Modality = Literal["bmode", "ceus"]
MODALITIES: tuple[Modality, ...] = ("bmode", "ceus")
PANES = tuple(f"{name}_pane" for name in MODALITIES)
PATHS = tuple(f"{name}_path" for name in MODALITIES)
"""Columns of the tables of a cohort and a store, one for each modality."""
Contrast = Literal["tint", "left", "right", "top", "bottom"]
"""Where the contrast pane stands of two that a clip's header names; `tint`: it is the coloured one."""
MODALITY_NAMES = {"bmode": "B-mode", "ceus": "CEUS"}
WEIGHT_NAMES = {"weight_bmode": "α (B-mode)", "weight_ceus": "β (CEUS)"}

ARMS = ("bmode", "ceus", "fused")
ARM_NAMES = {**MODALITY_NAMES, "fused": "fused (MUF-Net)"}

CLASS_NAMES = ("low", "high")
"""WHO/ISUP grades 1 and 2, and 3 and 4; the last one is the positive class."""

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Protocol = Literal["paper", "nested", "center", "kfold"]
Keep = Literal["best", "last", "average"]
"""Which weights a training keeps."""
Selection = Literal["validation", "last", "average", "optimistic"]
"""What chose them: validation patients, nobody (`last`, `average`), or the test patients themselves."""
CHOSEN_ON: Mapping[str, Part] = {"validation": "val", "optimistic": "test"}
"""The part that chose the epoch, by selection; its numbers flatter, so that they carry no interval."""
CHOSEN_HERE = "chosen here"
"""What stands where such a number would have its interval."""

THRESHOLD = 0.5
"""Above it a score is called high, unless another threshold is chosen."""

Level = Literal["image", "patient"]
PREFIXES: dict[Level, str] = {"image": "", "patient": "patient_"}
"""What the names of a part's numbers begin with, by what they are over."""
Method = Literal["delong", "obuchowski"]
EFFECT = 0.07
"""The difference of AUCs that a test's power is given for: the paper's fused less its B-mode arm."""
IntervalRule = Literal["small-sample", "plain"]
ThresholdRule = Literal["0.5", "youden"]
Kind = Literal["number", "category"]

RATES = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
PAIRED_RATES = ("accuracy", "sensitivity", "specificity")
"""Whose differences between arms are tested."""
CURVE_METRICS = ("auc", "accuracy", "sensitivity", "specificity")
METRIC_NAMES = ("loss", *CURVE_METRICS, *(f"patient_{name}" for name in CURVE_METRICS))
"""What every epoch tells of a part; `patient_...` is over patients, the others over images."""
SELECTED = "val_selected"
"""What the names of the selected epoch's validation numbers begin with; `val/...` are the curves."""
FOLD_METRICS = tuple(f"test/{prefix}{name}" for prefix in PREFIXES.values() for name in ("auc", *RATES))
"""What the folds of a cross-validation are summarised by."""

CLASS_BALANCED_FOCAL = "class_balanced_focal"
"""Name of the paper's loss."""

EXTERNAL = "external"
"""What an external validation is tagged by, and its numbers and figures are called."""
START = "start"
"""Tag of a run that began with weights of an earlier one: what must be known of them."""
PREDICTIONS = "predictions.csv"
STAGES = ("head", "head and last third", "head and last two thirds", "all weights")
"""Of the sanity check of maps, in the order in which weights are drawn anew."""


def arm_name(modalities: Sequence[str]) -> str:
    """`bmode`, `ceus`, or `fused` for both."""
    return modalities[0] if len(modalities) == 1 else "fused"


ARM_SIGNS = r"[^\W_][\w .+-]{0,79}"
"""The form of an arm's own name, a regular expression: it is a column, a run's name, a label."""


LARGEST_MARGIN = 100.0
"""Of the context around a box, as a share of its side: no frame is that much larger than a tumour."""
