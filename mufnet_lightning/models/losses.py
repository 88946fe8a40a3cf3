"""Class-balanced focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mufnet_lightning.models.components import component
from mufnet_lightning.vocabulary import CLASS_BALANCED_FOCAL


def make_loss(
    spec: str | dict[str, Any],
    class_counts: Sequence[int],
    beta: float = 0.9999,
    gamma: float = 2.0,
    activation: Literal["sigmoid", "softmax"] = "sigmoid",
    normalize: bool = True,
) -> nn.Module:
    """The loss that `model.loss` names.

    Args:
        spec: `class_balanced_focal`, or the class path of an own `nn.Module` (see `components`): it
            is made with `class_counts`, and `forward(logits, labels, reduction)` gives the mean over
            the batch, or for reduction `none` one value a sample, (N,).
        class_counts: training images of each class.
        beta, gamma, activation, normalize: of `ClassBalancedFocalLoss`; an own loss has its
            `init_args`.

    Raises:
        InputFault: there is no such loss.
    """
    if spec == CLASS_BALANCED_FOCAL:
        return ClassBalancedFocalLoss(class_counts, beta, gamma, activation, normalize)
    names = (CLASS_BALANCED_FOCAL,)
    return component(spec, nn.Module, class_counts, setting="model.loss", names=names)


class ClassBalancedFocalLoss(nn.Module):
    """Focal loss weighed by the effective number of each class's images (Cui et al. 2019).

    >>> loss = ClassBalancedFocalLoss([3573, 2720])
    >>> [round(weight, 3) for weight in loss.class_weights.tolist()]
    [0.884, 1.116]
    >>> round(float(loss(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))), 5)
    0.00319

    L = w_c · Σ_i (1 − p_i)^γ · (−log p_i), with w_c = (1 − β) / (1 − β^n_c) and n_c the training
    images of the sample's class c.

    `sigmoid` (the paper's): the sum runs over all classes, p_i = sigmoid(z_i) for the sample's class
    and sigmoid(−z_i) for the others. `softmax`: one term, p = softmax(z)_c.

    Args:
        class_counts: n_c for each class, at least 1.
        beta: 0 (all classes alike) up to, but not, 1 (inverse frequency in the limit).
        gamma: 0 (cross entropy) or more.
        activation: how logits become probabilities.
        normalize: scale the weights to sum to the number of classes, as Cui's own code does. Without
            it the weights are of the order of 1/n_c, and so is the gradient.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        class_counts: Sequence[int] | Tensor,
        beta: float = 0.9999,
        gamma: float = 2.0,
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        if counts.ndim != 1 or len(counts) < 2 or bool((counts < 1).any()):
            raise ValueError(f"class_counts must be 1 or more for each class, got {class_counts}")
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be within 0 (included) and 1 (excluded), got {beta}")
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        if activation not in ("sigmoid", "softmax"):
            raise ValueError(f"activation must be sigmoid or softmax, got {activation!r}")
        weights = (1 - beta) / (1 - beta**counts)
        if normalize:
            weights = weights * len(weights) / weights.sum()
        self._exact_weights = weights
        # what moves to the device: not every device has double precision
        self.register_buffer("class_weights", weights.float())
        self.gamma = gamma
        self.activation = activation

    def forward(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """The loss of a batch.

        Args:
            logits: (N, C), one class more than `class_counts` has is an error.
            labels: (N,), integers from 0 to C − 1.
            reduction: `mean` over the batch, or `none` for one value a sample.

        Returns:
            A scalar, or (N,).
        """
        if logits.ndim != 2 or logits.shape[1] != len(self.get_buffer("class_weights")):
            raise ValueError(
                f"logits must be (N, {len(self.get_buffer('class_weights'))}), got {logits.shape}"
            )
        if self.activation == "sigmoid":
            # not F.one_hot: it waits for the device, to look at the labels
            classes = torch.arange(logits.shape[1], device=logits.device)
            signs = (labels[:, None] == classes).to(logits.dtype) * 2 - 1
            log_p = F.logsigmoid(signs * logits)
        else:
            log_p = logits.log_softmax(dim=1).gather(1, labels[:, None])
        # 1 − p, without rounding to 0, where a power below 1 has no gradient
        rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        terms = -(rest**self.gamma) * log_p
        double = logits.dtype == torch.float64
        weights = (self._exact_weights if double else self.get_buffer("class_weights")).to(logits)
        losses = weights[labels] * terms.sum(dim=1)
        return losses.mean() if reduction == "mean" else losses
