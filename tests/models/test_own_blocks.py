"""Own blocks through the command: a line in a configuration, a run, a checkpoint that scores again."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
import yaml

from mufnet_lightning.cli import main
from mufnet_lightning.tracking.checkpoints import resolve_checkpoint
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

OWN = """\
model:
  encoder: {class_path: own_blocks.Encoder, init_args: {width: 6}}
  fusion: own_blocks.Fusion
  loss: {class_path: own_blocks.Loss, init_args: {smoothing: 0.1}}
data:
  sampler: {class_path: own_blocks.EveryImage, init_args: {limit: 32}}
  transform: own_blocks.Shift
"""


def run_ids() -> list[str]:
    client = mlflow_client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(experiments)]


@pytest.mark.slow
def test_a_configuration_of_own_blocks_trains_and_its_checkpoint_scores_the_same(
    work: Path, tiny: list[str], own_blocks: ModuleType
) -> None:
    Path("own.yaml").write_text(OWN)
    assert main(["fit", *tiny, "--config=own.yaml"]) == 0
    (first,) = run_ids()
    config = yaml.safe_load(resolve_artifact(first, "config.yaml").read_text())
    assert config["model"]["init_args"]["encoder"] == {
        "class_path": "own_blocks.Encoder",
        "init_args": {"width": 6},
    }
    content = torch.load(resolve_checkpoint(first), weights_only=True)
    assert content["state_dict"]["net.encoders.0.convolution.weight"].shape[0] == 6
    assert main(["test", f"--ckpt_path=runs:/{first}"]) == 0
    (second,) = set(run_ids()) - {first}
    before, after = (pd.read_csv(resolve_artifact(run, "predictions.csv")) for run in (first, second))
    before = before[before["split"] == "test"].reset_index(drop=True)
    risks = ["risk"]  # a test alone has no validation scores to fit them on
    pd.testing.assert_frame_equal(
        after.drop(columns=risks), before.drop(columns=risks), check_exact=True
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.encoder=os.system", "model.encoder is os.system, expected the class path of a torch"),
        ("--model.fusion=hardmax", "model.fusion is 'hardmax', expected softmax, sigmoid or the class"),
        ("--model.loss=nowhere.Loss", "model.loss is nowhere.Loss, which cannot be imported"),
        ("--data.sampler=balanced", "data.sampler is 'balanced', expected class_balanced,"),
    ],
)
def test_a_block_that_is_none_is_one_sentence(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    assert main(["fit", *tiny, option]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert "Traceback" not in printed
    assert run_ids() == []
