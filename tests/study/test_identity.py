"""A cross-validation is the same as long as what trains is the same."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

from mufnet_lightning.study import trained_code
from mufnet_lightning.study.identity import identity, trains_the_same

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "data": {
        "class_path": "mufnet_lightning.data.datamodule.RoiPairDataModule",
        "init_args": {"store": "s", "fold": 0, "num_workers": 4, "image_size": 96, "folds_from": None},
    },
    "model": {
        "class_path": "mufnet_lightning.models.module.MufNetModule",
        "init_args": {"encoder": "b3", "dropout": 0.3},
    },
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}},
    "trainer": {"max_epochs": 3, "enable_progress_bar": None, "logger": None},
    "explain": {"draws": 3},
    "tracking": {"study": "a", "run_name": None, "parent_run": None, "baseline": None},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *sections, name = path.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[name] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.init_args.fold", 3),
        ("data.init_args.folds_from", "folds.csv"),
        ("data.init_args.store", "elsewhere"),
        ("data.init_args.num_workers", 0),
        ("trainer.enable_progress_bar", False),
        ("explain.draws", 0),
        ("tracking.study", "b"),
        ("tracking.parent_run", "r1"),
    ],
)
def test_what_changes_no_weight_changes_no_identity(path: str, value: object) -> None:
    assert identity(changed(path, value), "d", "folds") == identity(CONFIG, "d", "folds")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.init_args.image_size", 300),
        ("model.init_args.dropout", 0.0),
        ("optimizer.init_args.lr", 0.1),
        ("trainer.max_epochs", 4),
        ("seed_everything", 1),
        ("tracking.baseline", "coin.csv"),
        ("model.class_path", "my.Model"),
    ],
)
def test_what_changes_a_result_changes_the_identity(path: str, value: object) -> None:
    assert identity(changed(path, value), "d", "folds") != identity(CONFIG, "d", "folds")


def test_data_and_folds_count() -> None:
    names = {identity(CONFIG, digest, folds) for digest in "ab" for folds in ("x", "y")}
    assert len(names) == 4


def test_code_counts_and_words_in_it_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own_block.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    config = changed("model.init_args.encoder", "own_block.Own")
    names = []
    for text in (
        'class Own:\n    """One word."""\n    size = 3\n',
        'class Own:\n    """Another."""\n    size = 3  # a remark\n',
        "class Own:\n    size = 4\n",
    ):
        file.write_text(text)
        sys.modules.pop("own_block", None)
        names.append(identity(config, "d", "folds"))
    assert names[0] == names[1] != names[2]


def test_every_file_that_is_said_to_train_is_there() -> None:
    files = list(trained_code._own_files())
    assert len(files) > 5
    assert all(file.is_file() for file in files)
    assert not any("report" in file.parts for file in files)


def test_what_brings_trained_networks_together_trains_nothing() -> None:
    package = Path(trained_code.__file__).parents[1]
    together = [package / name for name in trained_code.TRAINS_NOT]
    assert package / "models" / "ensemble.py" in together
    assert all(file.is_file() for file in together)
    files = set(trained_code._own_files())
    assert package / "models" / "mufnet.py" in files
    assert not files & set(together)


def test_a_configuration_of_version_01_is_compared_with_the_defaults_of_what_is_new() -> None:
    earlier = {
        "seed_everything": 0,
        "data": {"store": "s", "fold": 0, "num_workers": 4, "image_size": 96, "folds_from": None},
        "model": {"encoder": "b3", "dropout": 0.3, "lr": 0.05},
        "trainer": {"max_epochs": 3, "enable_progress_bar": None, "logger": None},
        "tracking": {"study": "a", "baseline": None},
        "output": "predictions.csv",
    }
    now = copy.deepcopy(CONFIG)
    now["lr_scheduler"] = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {}}
    assert trains_the_same(earlier, now)
    now["model"]["init_args"]["loss"] = "class_balanced_focal"
    assert trains_the_same(earlier, now)
    now["model"]["init_args"]["loss"] = "my.Loss"
    assert not trains_the_same(earlier, now)
    assert not trains_the_same(earlier, changed("model.init_args.dropout", 0.5))


def test_identity_keeps_the_given_configuration_as_it_was() -> None:
    before = copy.deepcopy(CONFIG)
    identity(CONFIG, "digest", "folds")
    assert before == CONFIG
