"""The class-balanced focal loss against Cui's formula, written out sample by sample."""

import math
from typing import Any, Literal

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from mufnet_lightning.models.losses import ClassBalancedFocalLoss

Activation = Literal["sigmoid", "softmax"]


def formula(
    logits: torch.Tensor,
    labels: torch.Tensor,
    counts: list[int],
    beta: float,
    gamma: float,
    activation: Activation,
    normalize: bool,
) -> float:
    """Cui et al. 2019, eqs. 9 to 13, in plain Python floats."""
    weights = [(1 - beta) / (1 - beta**n) for n in counts]
    if normalize:
        weights = [w * len(counts) / sum(weights) for w in weights]
    total = 0.0
    for z, c in zip(logits.tolist(), labels.tolist(), strict=True):
        loss = 0.0
        if activation == "sigmoid":
            for i, value in enumerate(z):
                p = 1 / (1 + math.exp(-value if i == c else value))
                loss -= (1 - p) ** gamma * math.log(p)
        else:
            p = math.exp(z[c]) / sum(math.exp(value) for value in z)
            loss -= (1 - p) ** gamma * math.log(p)
        total += weights[c] * loss
    return total / len(labels)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("beta", "gamma"), [(0.9999, 2.0), (0.9, 0.5), (0.0, 0.0), (0.999, 1.0)])
@pytest.mark.parametrize("counts", [[3573, 2720], [10, 1000, 1]])
def test_it_is_cuis_formula(
    activation: Activation, normalize: bool, beta: float, gamma: float, counts: list[int]
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(17, len(counts), generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(len(counts), (17,), generator=generator)
    loss = ClassBalancedFocalLoss(counts, beta, gamma, activation, normalize)(logits, labels)
    expected = formula(logits, labels, counts, beta, gamma, activation, normalize)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_its_gradient_is_right(activation: Activation, gamma: float) -> None:
    logits = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    loss = ClassBalancedFocalLoss([30, 7], gamma=gamma, activation=activation)
    assert gradcheck(lambda z: loss(z, labels), logits)


def test_without_focus_or_balance_it_is_cross_entropy() -> None:
    logits, labels = torch.randn(9, 2, dtype=torch.float64), torch.randint(2, (9,))
    softmax = ClassBalancedFocalLoss([5, 5], beta=0, gamma=0, activation="softmax")
    torch.testing.assert_close(softmax(logits, labels), F.cross_entropy(logits, labels))
    sigmoid = ClassBalancedFocalLoss([5, 5], beta=0, gamma=0, activation="sigmoid")
    expected = F.binary_cross_entropy_with_logits(
        logits, F.one_hot(labels, 2).double(), reduction="none"
    ).sum(1)
    torch.testing.assert_close(sigmoid(logits, labels), expected.mean())
    torch.testing.assert_close(sigmoid(logits, labels, reduction="none"), expected)


def test_normalised_weights_sum_to_the_number_of_classes_and_favour_the_rare() -> None:
    weights = ClassBalancedFocalLoss([3573, 2720]).get_buffer("class_weights")
    assert weights.sum().item() == pytest.approx(2)
    assert weights[1] > weights[0]
    as_printed = ClassBalancedFocalLoss([3573, 2720], normalize=False).get_buffer("class_weights")
    assert as_printed.max() < 5e-4  # the trap: at this scale the network would not move


def test_extreme_logits_stay_finite_and_have_a_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    for activation in ("sigmoid", "softmax"):
        loss = ClassBalancedFocalLoss([5, 5], activation=activation)(logits, torch.tensor([0, 0]))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"class_counts": [0, 5]},
        {"class_counts": [5]},
        {"class_counts": [5, 5], "beta": 1.0},
        {"class_counts": [5, 5], "gamma": -1.0},
        {"class_counts": [5, 5], "activation": "relu"},
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        ClassBalancedFocalLoss(**arguments)


def test_logits_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="logits must be"):
        ClassBalancedFocalLoss([5, 5])(torch.zeros(3, 4), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_certain_answer_has_a_finite_gradient(activation: Activation, gamma: float) -> None:
    logits = torch.tensor([[-40.0, 40.0], [90.0, -90.0]], requires_grad=True)
    loss = ClassBalancedFocalLoss([30, 7], gamma=gamma, activation=activation)
    loss(logits, torch.tensor([1, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_its_weights_fit_a_device_without_double_precision() -> None:
    loss = ClassBalancedFocalLoss([30, 7])
    assert {buffer.dtype for buffer in loss.buffers()} == {torch.float32}
    assert loss(torch.randn(4, 2), torch.tensor([0, 1, 1, 0])).dtype == torch.float32
