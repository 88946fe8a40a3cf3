"""What a checkpoint says beside its weights, written and read in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.checkpoints import (
    Checkpoint,
    checkpoint_record,
    read_checkpoint,
    trained_cohorts,
)

DATA = {"store": "s", "image_size": 64, "num_workers": 0, "augmentation": {}, "modalities": ["bmode"]}
CONFIG = {"data": DATA, "model": {"encoder": "b3"}}
COHORT = {"digest": "d1", "cohort": "c1", "patients": {"P1": 0}, "train": ["P1"]}


def record(**changes: Any) -> dict[str, Any]:
    given = {"config": yaml.safe_dump(CONFIG), "folds": "fold\n", "cohort": COHORT, "before": []}
    more = {"run_id": "r1", "margin": 0.5, "centers": ["A", "B"], "drawn": ["P1"]}
    return checkpoint_record(**{**given, **more, **changes})


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    content = {"state_dict": {"w": torch.ones(1)}, "hyper_parameters": {"encoder": "b3"}, **record()}
    torch.save(content, tmp_path / "a.ckpt")
    checkpoint = read_checkpoint(str(tmp_path / "a.ckpt"))
    assert checkpoint.config == CONFIG
    assert (checkpoint.folds, checkpoint.digest, checkpoint.cohort) == ("fold\n", "d1", "c1")
    assert checkpoint.trained == [COHORT]
    assert (checkpoint.run_id, checkpoint.margin, checkpoint.centers) == ("r1", 0.5, ("A", "B"))
    assert checkpoint.drawn == ("P1",)
    assert checkpoint.hyper_parameters == {"encoder": "b3"}


def test_cohorts_of_the_initial_weights_are_kept_once_and_before_ones_own() -> None:
    other = {"digest": "d0", "patients": {"Q": 1}, "train": ["Q"]}
    assert trained_cohorts(record(before=[other])) == [other, COHORT]
    assert trained_cohorts(record(before=[COHORT, other])) == [other, COHORT]
    assert "mufnet_run" not in record(run_id=None)


def test_what_version_01_had_in_its_module_is_no_argument_now() -> None:
    earlier = {"lr": 0.1, "momentum": 0.9, "encoder": "b3", "_class_path": "x", "lr_step": 4}
    config = yaml.safe_dump({"data": {}, "model": {"encoder": "b3", "lr": 0.1}})
    content = {"state_dict": {}, "hyper_parameters": earlier, **record(config=config)}
    assert Checkpoint.of(content).hyper_parameters == {"encoder": "b3"}
    # an own module's are its own
    own = yaml.safe_dump({"model": {"class_path": "my.Module", "init_args": {"lr": 0.1}}, "data": {}})
    content = {"state_dict": {}, "hyper_parameters": {"lr": 0.1}, **record(config=own)}
    checkpoint = Checkpoint.of(content)
    assert checkpoint.hyper_parameters == {"lr": 0.1}
    assert "optimizer" not in checkpoint.config


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1], {"mufnet_config": ""}])
def test_another_file_is_no_checkpoint_of_ours(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "b.ckpt")
    with pytest.raises(InputFault, match="no weights and configuration"):
        read_checkpoint(str(tmp_path / "b.ckpt"))
    (tmp_path / "c.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputFault, match="it cannot be read"):
        read_checkpoint(str(tmp_path / "c.ckpt"))
