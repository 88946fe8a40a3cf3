"""How the arms were trained, in words: their configuration, the split, versions, runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mufnet_lightning.report.gather import ArmFacts, time_text
from mufnet_lightning.vocabulary import CLASS_BALANCED_FOCAL

NETWORK = {  # what of the configuration is shown, and how it is called
    "model.encoder": "encoder (timm)",
    "model.pretrained": "published weights to start from",
    "model.init_from": "weights of an earlier run to start from",
    "model.share_encoder": "one encoder for both modalities",
    "model.fusion": "fusion weights",
    "model.dropout": "dropout",
    "data.image_size": "input, pixels a side",
    "data.batch_size": "batch size",
    "data.sampler": "sampler",
    "data.augmentation": "augmentation",
}
FOCAL = {
    "model.activation": "focal loss on",
    "model.beta": "class balance β",
    "model.gamma": "focal γ",
    "model.normalize": "class weights normalised",
}
SGD = {
    "optimizer.init_args.lr": "SGD learning rate",
    "optimizer.init_args.momentum": "momentum",
    "optimizer.init_args.weight_decay": "weight decay",
}
STEPS = {
    "lr_scheduler.init_args.step_size": "epochs to a step of the rate",
    "lr_scheduler.init_args.gamma": "factor of a step",
}
TRAINING = {
    "trainer.max_epochs": "epochs",
    "checkpoint.keep": "weights that were kept",
    "checkpoint.monitor": "best epoch by",
    "data.protocol": "protocol",
    "data.n_folds": "folds",
    "data.split_seed": "seed of the split",
    "seed_everything": "seed of training",
}


def settings_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row a setting, a column an arm; one column where all agree."""
    rows = [
        {"setting": words, **{arm.title: _text(arm, key) for arm in arms}}
        for key, words in _asked(arms).items()
    ]
    table = pd.DataFrame(rows)
    same = (table.iloc[:, 1:].nunique(axis=1) == 1).all()
    return table.iloc[:, :2].set_axis(["setting", "all arms"], axis=1) if same else table


def setting(arm: ArmFacts, key: str) -> Any:
    """A setting by its dotted name; None where the configuration has none."""
    value: Any = arm.settings
    for word in key.split("."):
        value = value.get(word) if isinstance(value, Mapping) else None
    return value


def is_own(value: Any) -> bool:
    """Whether a setting names a class of the authors' own.

    >>> is_own("my_encoders.Swin"), is_own("efficientnet_b3.ra2_in1k"), is_own("softmax")
    (True, False, False)
    """
    name = value.get("class_path") if isinstance(value, Mapping) else value
    if not isinstance(name, str) or "." not in name:
        return False
    return name.rpartition(".")[2] != name.rpartition(".")[2].lower()


def has_focal_loss(arm: ArmFacts) -> bool:
    """Whether it was trained with the class-balanced focal loss, as all of version 0.1 were."""
    return setting(arm, "model.loss") in (None, CLASS_BALANCED_FOCAL)


def has_usual_balance(arm: ArmFacts) -> bool:
    """Whether both its sampler and its loss are known to be ours, which even out the classes."""
    sampler = setting(arm, "data.sampler")
    return has_focal_loss(arm) and sampler is not None and not is_own(sampler)


def protocol_sentences(arms: Sequence[ArmFacts]) -> list[str]:
    """How the patients were split, a sentence for each way."""
    titles: dict[str, list[str]] = {}
    for arm in arms:
        titles.setdefault(_protocol(arm), []).append(arm.title)
    if len(titles) == 1:
        return list(titles)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in titles.items()]


def environments_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row a library: the versions that the arms were trained with; empty where no run says."""
    if not any(arm.environment for arm in arms):
        return pd.DataFrame()
    rows = []
    for name in dict.fromkeys(name for arm in arms for name in arm.environment):
        versions = dict.fromkeys(arm.environment.get(name, "not recorded") for arm in arms)
        rows.append({"what": name, "version": ", ".join(versions)})
    return pd.DataFrame(rows)


def runs_frame(arms: Sequence[ArmFacts]) -> pd.DataFrame:
    """A row an arm: the run behind it."""
    return pd.DataFrame(
        {
            "arm": arm.title,
            "run": f"{arm.run.name} {arm.run.id}",
            "folds": len(arm.folds),
            "protocol": arm.run.protocol,
            "selected on": arm.run.tags.get("selection", ""),
            "commit": arm.commit[:12] + ("-dirty" if arm.commit.endswith("-dirty") else ""),
            "finished": time_text(arm.run.end),
            "finished fits of this arm in the study": arm.fits,
        }
        for arm in arms
    )


def _asked(arms: Sequence[ArmFacts]) -> dict[str, str]:
    """The settings that these arms have, and what they are called."""

    def all_have(key: str, name: str) -> bool:
        return all(str(setting(arm, key)).rpartition(".")[2] == name for arm in arms)

    asked = dict(NETWORK)
    if any(is_own(setting(arm, "model.encoder")) for arm in arms):
        asked["model.encoder"] = "encoder"
    if any(setting(arm, "data.transform") for arm in arms):
        asked["data.transform"] = "transform in place of the augmentation"
    if not all(map(has_focal_loss, arms)):
        asked["model.loss"] = "loss"
    if any(map(has_focal_loss, arms)):
        asked |= FOCAL
    asked |= SGD if all_have("optimizer.class_path", "SGD") else {"optimizer": "optimiser"}
    by_steps = all_have("lr_scheduler.class_path", "StepLR")
    asked |= STEPS if by_steps else {"lr_scheduler": "schedule of the learning rate"}
    return asked | TRAINING


def _text(arm: ArmFacts, key: str) -> str:
    value = setting(arm, key)
    if isinstance(value, Mapping) and "class_path" in value:
        words = ", ".join(
            f"{name} {argument}"
            for name, argument in (value.get("init_args") or {}).items()
            if argument is not None and argument is not False
        )
        return f"{value['class_path']} ({words})" if words else str(value["class_path"])
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {share:g}" for name, share in value.items())
    if key == "checkpoint.monitor":  # each version's own default
        best = setting(arm, "checkpoint.keep") in (None, "best")
        return str(value or "val/auc") if best else "no epoch is chosen"
    if value is None:
        return "best" if key == "checkpoint.keep" else "none"
    if key == "model.init_from":  # a path may tell of people and machines
        return Path(str(value)).name
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def _protocol(arm: ArmFacts) -> str:
    protocol = arm.run.protocol or "not recorded"
    count = arm.split["fold"].nunique()
    how = {
        "paper": "80% of the patients to train and validate, 20% to test, stratified by grade; "
        f"{count} folds, whose validation parts take turns in the 80%",
        "nested": f"{count} folds, stratified by grade, whose test parts take turns in all patients; "
        "validation patients are taken out of each training part",
        "kfold": f"{count} folds, stratified by grade, whose test parts take turns in all patients; "
        "all others train, and nobody validates",
        "center": "each fold tests one centre; validation patients are taken out of the others",
    }.get(protocol, f"a table of {count} fold{'s' if count > 1 else ''} that was given ({protocol})")
    if arm.is_cv:
        return f"Protocol {protocol}: {how}. All folds were trained and tested."
    return f"Protocol {protocol}: {how}. Fold {arm.first_fold} alone was trained and tested."
