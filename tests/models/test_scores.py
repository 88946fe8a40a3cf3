"""Numbers of a part against scikit-learn; every image once."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from mufnet_lightning.models.scores import PartScores, part_metrics


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


def test_numbers_agree_with_scikit_learn_at_both_levels():
    table, patient = scores()
    numbers = part_metrics(table, patient, ["bmode", "ceus"])
    frame = pd.DataFrame({"y": table["label"], "s": table["score"], "p": patient})
    by_patient = frame.groupby("p").mean()
    for prefix, rows in (("", frame), ("patient_", by_patient)):
        called = rows["s"] > 0.5
        assert numbers[f"{prefix}auc"] == pytest.approx(roc_auc_score(rows["y"], rows["s"]), abs=1e-6)
        assert numbers[f"{prefix}accuracy"] == pytest.approx(accuracy_score(rows["y"], called))
        assert numbers[f"{prefix}sensitivity"] == pytest.approx(recall_score(rows["y"], called))
        specificity = recall_score(rows["y"], called, pos_label=0)
        assert numbers[f"{prefix}specificity"] == pytest.approx(specificity)
    high = table["weights"][table["label"] == 1]
    assert numbers["alpha_high"] == pytest.approx(high[:, 0].mean().item())
    assert numbers["beta_high"] == pytest.approx(high[:, 1].mean().item())


def test_a_single_arm_has_no_weights_and_one_class_has_no_auc():
    table, patient = scores()
    assert not {"alpha_low", "beta_low"} & set(part_metrics(table, patient, ["bmode"]))
    table["label"] = torch.zeros_like(table["label"])
    numbers = part_metrics(table, patient, ["bmode", "ceus"])
    assert not {"auc", "patient_auc", "sensitivity", "alpha_high"} & set(numbers)
    assert "specificity" in numbers


def test_an_image_that_comes_twice_counts_once_in_the_order_of_the_manifest():
    table, _ = scores(50)
    gathered = PartScores()
    for batch in torch.randperm(50).split(16):
        gathered.update(**{name: values[batch] for name, values in table.items()})
    gathered.update(**{name: values[:7] for name, values in table.items()})  # a sampler's padding
    result = gathered.compute()
    for name, values in table.items():
        torch.testing.assert_close(result[name], values)
