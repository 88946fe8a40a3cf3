"""Numbers of a part against scikit-learn; every image once."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.models.scores import PartScores, curve_numbers, part_means


def scores(n: int = 200, seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, 30, n)
    label = (patient % 3 == 0).astype(int)
    score = np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(2)
    weights = rng.random((n, 2))
    table = {
        "row": torch.arange(n),
        "label": torch.from_numpy(label),
        "score": torch.from_numpy(score),
        "loss": torch.from_numpy(rng.random(n)),
        "weights": torch.from_numpy(weights),
    }
    return table, torch.from_numpy(patient)


def test_curves_agree_with_scikit_learn_at_both_levels() -> None:
    table, patient = scores()
    numbers = curve_numbers(table, patient)
    frame = pd.DataFrame({"y": table["label"], "s": table["score"], "p": patient})
    by_patient = frame.groupby("p").mean()
    for prefix, rows in (("", frame), ("patient_", by_patient)):
        called = rows["s"] > 0.5
        assert numbers[f"{prefix}auc"] == pytest.approx(roc_auc_score(rows["y"], rows["s"]), abs=1e-6)
        assert numbers[f"{prefix}accuracy"] == pytest.approx(accuracy_score(rows["y"], called))
        assert numbers[f"{prefix}sensitivity"] == pytest.approx(recall_score(rows["y"], called))
        specificity = recall_score(rows["y"], called, pos_label=0)
        assert numbers[f"{prefix}specificity"] == pytest.approx(specificity)


def test_curves_and_final_numbers_are_the_same_numbers() -> None:
    table, patient = scores(seed=1)
    final = part_numbers(table["label"].numpy(), table["score"].numpy(), patient.numpy())
    assert curve_numbers(table, patient) == pytest.approx(final, abs=1e-6)


def test_means_are_of_the_loss_and_of_each_classes_weights() -> None:
    table, _ = scores()
    means = part_means(table, ["bmode", "ceus"])
    assert means["loss"] == pytest.approx(table["loss"].mean().item())
    high = table["weights"][table["label"] == 1]
    assert means["alpha_high"] == pytest.approx(high[:, 0].mean().item())
    assert means["beta_high"] == pytest.approx(high[:, 1].mean().item())
    assert set(part_means(table, ["bmode"])) == {"loss"}


def test_one_class_has_no_auc_and_no_weights_of_the_other() -> None:
    table, patient = scores()
    table["label"] = torch.zeros_like(table["label"])
    numbers = curve_numbers(table, patient)
    assert set(numbers) == {"accuracy", "specificity", "patient_accuracy", "patient_specificity"}
    assert set(part_means(table, ["bmode", "ceus"])) == {"loss", "alpha_low", "beta_low"}


def test_an_image_that_comes_twice_counts_once_in_the_order_of_the_manifest() -> None:
    table, _ = scores(50)
    gathered = PartScores()
    for batch in torch.split(torch.randperm(50), 16):
        gathered.update(**{name: values[batch] for name, values in table.items()})
    gathered.update(**{name: values[:7] for name, values in table.items()})  # a sampler's padding
    result = gathered.compute()
    for name, values in table.items():
        torch.testing.assert_close(result[name], values)
