"""Scores of a part, gathered over batches and processes, and the numbers they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_recall,
    binary_specificity,
)

from mufnet_lightning.errors import InputFault
from mufnet_lightning.vocabulary import CLASS_NAMES, THRESHOLD


class PartScores(Metric):
    """Gathers one part's scores; each manifest row counts once, whatever the world size.

    A distributed sampler repeats images to give each process as many; the repeats are dropped here.
    """

    full_state_update = False

    row: list[Tensor]
    label: list[Tensor]
    score: list[Tensor]
    loss: list[Tensor]
    weights: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("row", "label", "score", "loss", "weights"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, row: Tensor, label: Tensor, score: Tensor, loss: Tensor, weights: Tensor) -> None:
        """Add a batch: `row`, `label`, `score`, `loss` are (N,), `weights` is (N, M)."""
        for name, values in (
            ("row", row),
            ("label", label),
            ("score", score),
            ("loss", loss),
            ("weights", weights),
        ):
            getattr(self, name).append(values.detach())

    def compute(self) -> dict[str, Tensor]:
        """Everything gathered, in the order of the manifest, on the CPU."""
        table = {
            name: torch.cat(list(states)) if isinstance(states, list) else states
            for name in ("row", "label", "score", "loss", "weights")
            for states in [getattr(self, name)]
        }
        order = table["row"].argsort(stable=True)
        rows = table["row"][order]
        first = torch.ones_like(rows, dtype=torch.bool)
        first[1:] = rows[1:] != rows[:-1]
        return {name: values[order][first].cpu() for name, values in table.items()}


def curve_numbers(scores: dict[str, Tensor], patients: Tensor) -> dict[str, float]:
    """Numbers of a part after an epoch, by TorchMetrics in single precision: the curves of training.

    What a run says at its end comes from `evaluation.part.part_numbers`.

    Args:
        scores: what `PartScores.compute` returns; `row` has N entries.
        patients: a whole number for the patient of each of them, (N,).

    Returns:
        auc, accuracy, sensitivity, specificity at threshold 0.5, over images and over patients
        (`patient_...`: mean score of the images). What needs a class that is not there is left out.
    """
    label, score = scores["label"], scores["score"]
    numbers = _binary_metrics(score, label)
    _, patient = torch.unique(patients, return_inverse=True)
    count = torch.bincount(patient).to(score.dtype)
    by_patient = torch.zeros_like(count).index_add_(0, patient, score) / count
    patient_label = torch.zeros_like(count, dtype=label.dtype).scatter_(0, patient, label)
    for name, value in _binary_metrics(by_patient, patient_label).items():
        numbers[f"patient_{name}"] = value
    return numbers


def part_means(scores: dict[str, Tensor], modalities: Sequence[str]) -> dict[str, float]:
    """The mean loss of a part, and with two modalities the mean weight of each by class.

    Args:
        scores: what `PartScores.compute` returns.
        modalities: names of the columns of `weights`.

    Returns:
        `loss`, and `alpha_low` (of the first modality), `alpha_high`, `beta_low`, `beta_high` for the
        classes that are there.
    """
    means = {"loss": float(scores["loss"].double().mean())}
    if len(modalities) > 1:
        for column, symbol in enumerate(("alpha", "beta")[: len(modalities)]):
            for value, name in enumerate(CLASS_NAMES):
                of_class = scores["label"] == value
                if bool(of_class.any()):
                    weight = scores["weights"][of_class, column].double().mean()
                    means[f"{symbol}_{name}"] = float(weight)
    return means


def _binary_metrics(score: Tensor, label: Tensor) -> dict[str, float]:
    numbers = {"accuracy": float(binary_accuracy(score, label, threshold=THRESHOLD))}
    has_high, has_low = bool((label == 1).any()), bool((label == 0).any())
    if has_high:
        numbers["sensitivity"] = float(binary_recall(score, label, threshold=THRESHOLD))
    if has_low:
        numbers["specificity"] = float(binary_specificity(score, label, threshold=THRESHOLD))
    if has_high and has_low:
        numbers["auc"] = float(binary_auroc(score, label))
    return numbers


def refuse_no_numbers(scores: Tensor, part: str) -> None:
    """Refuse scores (N,) of a part that are no numbers.

    Raises:
        InputFault: some are.
    """
    strange = int((~scores.isfinite()).sum())
    if strange:
        raise InputFault(
            f"the network gives no number (NaN) for {strange} of {len(scores)} images ({part} part): "
            "the training diverged, so nothing is scored with it; a smaller learning rate may help"
        )
