"""A composed configuration is read whichever version wrote it, and given back as it is parsed."""

from __future__ import annotations

import yaml

from mufnet_lightning.tracking.configuration import DATA_CLASS, MODEL_CLASS, Configuration

EARLIER = """
seed_everything: 0
data: {store: s, modalities: [ceus]}
model: {encoder: b3, lr: 0.1, momentum: 0.8, weight_decay: 0.0, lr_step: 4, lr_factor: 0.5}
output: predictions.csv
"""


def test_the_optimiser_of_version_01_gets_its_class() -> None:
    configuration = Configuration.parse(EARLIER)
    assert configuration.settings["model"] == {"encoder": "b3"}
    assert configuration.settings["optimizer"] == {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.0},
    }
    assert configuration.settings["lr_scheduler"]["init_args"] == {"step_size": 4, "gamma": 0.5}
    assert "output" not in configuration.settings
    assert (configuration.model_class, configuration.data_class) == (MODEL_CLASS, DATA_CLASS)


def test_classes_are_kept_apart_from_settings_and_put_back() -> None:
    config = {
        "data": {"class_path": "my.Data", "init_args": {"store": "s", "extra": 1}},
        "model": {"class_path": "my.Model", "init_args": {"encoder": "b0"}},
        "trainer": {"max_epochs": 3},
    }
    configuration = Configuration.of(config)
    assert configuration.settings["data"] == {"store": "s", "extra": 1}
    assert configuration.model_class == "my.Model"
    assert configuration.composed() == config
    assert Configuration.parse(yaml.safe_dump(configuration.composed())) == configuration


def test_reading_changes_nothing_that_was_given() -> None:
    config = yaml.safe_load(EARLIER)
    Configuration.of(config).composed()["data"]["init_args"].clear()
    assert config == yaml.safe_load(EARLIER)


def test_a_class_is_the_same_by_its_short_name() -> None:
    short = {"class_path": "mufnet_lightning.MufNetModule", "init_args": {"encoder": "b3"}}
    assert Configuration.of({"model": short}).model_class == MODEL_CLASS
