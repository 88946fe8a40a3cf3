"""How the arms were trained, from configurations of this version and of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mufnet_lightning.evaluation.risks import RecordedRecalibration
from mufnet_lightning.report.gather import ArmFacts
from mufnet_lightning.report.settings import (
    has_usual_balance,
    is_own,
    protocol_sentences,
    setting,
    settings_frame,
)
from mufnet_lightning.tracking.arms import ScoredArm
from mufnet_lightning.tracking.configuration import Configuration
from mufnet_lightning.tracking.runs import TrackedRun

MODEL = {"encoder": "efficientnet_b3", "pretrained": True, "share_encoder": True, "dropout": 0.3}
FOCAL = {"beta": 0.9999, "gamma": 2.0, "activation": "sigmoid", "normalize": True}
DATA = {"modalities": ["bmode"], "sampler": "class_balanced", "augmentation": {"flip": 0.5}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}}
STEPS = {
    "class_path": "torch.optim.lr_scheduler.StepLR",
    "init_args": {"step_size": 10, "gamma": 0.5},
}
NOW = {
    "model": {**MODEL, **FOCAL, "loss": "class_balanced_focal"},
    "data": DATA,
    "optimizer": SGD,
    "lr_scheduler": STEPS,
}
BEFORE = {
    "model": {**MODEL, **FOCAL, "lr": 0.05, "momentum": 0.9, "lr_step": 10, "lr_factor": 0.5},
    "data": DATA,
}


def arm(config: Mapping[str, Any], name: str = "bmode", **tags: str) -> ArmFacts:
    run = TrackedRun(
        *("1", name, "0", "FINISHED", 0, 1, ""), {"arm": name, "verb": "fit", **tags}, {}, {}
    )
    split = pd.DataFrame({"fold": [0, 0, 1, 1]})
    settings = Configuration.of(config).settings
    scored, none = ScoredArm("", name, split), RecordedRecalibration(None)
    return ArmFacts(name, run, {0: run}, scored, settings, {}, split, {}, {}, {}, none, 1)


def rows(*arms: ArmFacts) -> dict[str, list[str]]:
    frame = settings_frame(arms)
    return {str(row[0]): [str(cell) for cell in row[1:]] for row in frame.to_numpy()}


def test_a_configuration_of_the_version_before_says_the_same() -> None:
    assert rows(arm(BEFORE)) == rows(arm(NOW))
    assert rows(arm(NOW))["SGD learning rate"] == ["0.05"]
    assert rows(arm(NOW))["factor of a step"] == ["0.5"]
    assert rows(arm(NOW))["augmentation"] == ["flip 0.5"]
    assert list(settings_frame([arm(NOW), arm(BEFORE, "ceus")])) == ["setting", "all arms"]


def test_another_optimiser_and_schedule_are_named_with_their_arguments() -> None:
    other = {
        **NOW,
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": 0.001, "weight_decay": 0.0, "amsgrad": False, "foreach": None},
        },
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "init_args": {"T_max": 20},
        },
    }
    shown = rows(arm(other), arm(NOW, "ceus"))
    assert shown["optimiser"] == [
        "torch.optim.AdamW (lr 0.001, weight_decay 0.0)",
        "torch.optim.SGD (lr 0.05, momentum 0.9)",
    ]
    assert shown["schedule of the learning rate"][0].endswith("CosineAnnealingLR (T_max 20)")
    assert "SGD learning rate" not in shown
    assert "factor of a step" not in shown


def test_classes_of_the_authors_own_are_named_and_nothing_is_claimed_of_them() -> None:
    own = {
        **NOW,
        "model": {
            **MODEL,
            "encoder": {"class_path": "blocks.Encoder", "init_args": {"depth": 4}},
            "loss": "blocks.Loss",
        },
        "data": {**DATA, "transform": "blocks.Shift"},
    }
    shown = rows(arm(own))
    assert shown["encoder"] == ["blocks.Encoder (depth 4)"]
    assert "encoder (timm)" not in shown
    assert shown["loss"] == ["blocks.Loss"]
    assert "focal γ" not in shown
    assert shown["transform in place of the augmentation"] == ["blocks.Shift"]
    assert not has_usual_balance(arm(own))
    assert has_usual_balance(arm(NOW))
    assert has_usual_balance(arm(BEFORE))
    own_sampler = {**NOW, "data": {**DATA, "sampler": "blocks.EveryImage"}}
    assert not has_usual_balance(arm(own_sampler))


@pytest.mark.parametrize(
    ("value", "own"),
    [
        ("efficientnet_b3", False),
        ("efficientnet_b3.ra2_in1k", False),
        (None, False),
        ("blocks.Encoder", True),
        ({"class_path": "blocks.Encoder"}, True),
    ],
)
def test_a_class_is_told_from_a_name_of_timm(value: object, own: bool) -> None:
    assert is_own(value) == own


def test_no_path_is_shown() -> None:
    config = {**NOW, "model": {**MODEL, "init_from": "/home/anna/runs/best.ckpt"}}
    shown = rows(arm(config))
    assert shown["weights of an earlier run to start from"] == ["best.ckpt"]
    assert "anna" not in str(shown)
    assert setting(arm(config), "model.init_from") == str(Path("/home/anna/runs/best.ckpt"))


def test_arms_of_one_protocol_share_a_sentence() -> None:
    (shared,) = protocol_sentences([arm(NOW, protocol="nested"), arm(NOW, "ceus", protocol="nested")])
    assert shared.startswith("Protocol nested: 2 folds, stratified by grade")
    assert shared.endswith("Fold 0 alone was trained and tested.")
    apart = protocol_sentences([arm(NOW, protocol="center"), arm(NOW, "ceus")])
    assert apart[0].startswith("B-mode: Protocol center: each fold tests one centre")
    assert apart[1].startswith("CEUS: Protocol not recorded: a table of 2 folds that was given")
