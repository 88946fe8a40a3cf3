"""A checkpoint comes back as the network and the data of its training."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from edited_stores import seal
from lightning.pytorch import Trainer

from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.prediction_table import gather_predictions, prediction_table
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.trained import Trained, load_trained
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.training.callbacks.checkpoint import SelectedCheckpoint
from mufnet_lightning.training.callbacks.record import RunRecord


def scored(trained: Trained, part: str) -> pd.DataFrame:
    """The predictions of a part, by the network alone."""
    batches = []
    with torch.inference_mode():
        for batch in trained.data.rows_dataloader(trained.data.part_rows(part)):
            output = trained.net(batch)
            score = output.logits.float().softmax(dim=1)[:, -1]
            batches.append({"row": batch["row"], "score": score, "weights": output.weights.float()})
    return prediction_table(trained.data, gather_predictions(batches), part)


def train(
    store: Path, folder: Path, model: Mapping[str, Any], data: Mapping[str, Any]
) -> tuple[Path, pd.DataFrame]:
    """A checkpoint of one epoch, and the test scores of the training that wrote it."""
    torch.manual_seed(0)
    module = MufNetModule(pretrained=False, **model)
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 16, "num_workers": 0, **data}
    selection = SelectedCheckpoint()
    selection.dirpath = str(folder)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[RunRecord(), selection],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = RoiPairDataModule(str(store), **settings)
    trainer.fit(module, datamodule=batches)
    trainer.test(module, datamodule=batches, ckpt_path="best", weights_only=True, verbose=False)
    return folder / "selected.ckpt", prediction_table(batches, module.latest["test"], "test")


@pytest.mark.slow
@pytest.mark.parametrize("modalities", [["bmode", "ceus"], ["ceus"]])
def test_scores_are_those_of_its_training_to_the_bit(
    phantom_store: Path, tmp_path: Path, modalities: list[str]
) -> None:
    model = {"encoder": "test_efficientnet", "modalities": modalities}
    data = {"fold": 2, "split_seed": 5, "modalities": modalities}
    checkpoint, before = train(phantom_store, tmp_path, model, data)
    trained = load_trained(str(checkpoint), device="cpu")
    assert not trained.net.training
    assert trained.config["data"]["split_seed"] == 5
    pd.testing.assert_frame_equal(scored(trained, "test"), before, check_exact=True)


@pytest.mark.slow
def test_own_blocks_come_back_by_their_class_paths(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType
) -> None:
    checkpoint, before = train(
        phantom_store,
        tmp_path,
        {
            "encoder": {"class_path": "own_blocks.Encoder", "init_args": {"width": 6}},
            "fusion": "own_blocks.Fusion",
            "loss": {"class_path": "own_blocks.Loss", "init_args": {"smoothing": 0.1}},
        },
        {
            "sampler": {"class_path": "own_blocks.EveryImage", "init_args": {"limit": 32}},
            "transform": "own_blocks.Shift",
        },
    )
    trained = load_trained(str(checkpoint), device="cpu")
    assert type(trained.net.encoders[0]) is own_blocks.Encoder
    assert type(trained.net.fusion) is own_blocks.Fusion
    pd.testing.assert_frame_equal(scored(trained, "test"), before, check_exact=True)

    # a checkpoint that names something that is no network's part is refused, and nothing is called
    content = torch.load(checkpoint, weights_only=True)
    for path in ("os.system", "subprocess.Popen", "own_blocks.function"):
        content["hyper_parameters"]["encoder"] = {"class_path": path, "init_args": {"width": 6}}
        torch.save(content, tmp_path / "other.ckpt")
        own_blocks.MADE.clear()
        with pytest.raises(InputFault, match=f"model.encoder is {path}, expected the class path"):
            load_trained(str(tmp_path / "other.ckpt"), device="cpu")
        assert own_blocks.MADE == []


@pytest.mark.slow
def test_it_keeps_its_folds_in_a_store_that_has_grown(
    phantom_store: Path, tmp_path: Path, own_blocks: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, before = train(
        phantom_store, tmp_path, {"encoder": "own_blocks.Encoder"}, {"n_folds": 4}
    )
    shutil.copytree(phantom_store, tmp_path / "grown", ignore=shutil.ignore_patterns("cache*"))
    manifest = pd.read_csv(tmp_path / "grown" / "manifest.csv", dtype=str, keep_default_na=False)
    more = manifest.assign(
        patient_id="new" + manifest["patient_id"], pair_id="new" + manifest["pair_id"]
    )
    pd.concat([more, manifest]).to_csv(tmp_path / "grown" / "manifest.csv", index=False)
    info = tmp_path / "grown" / "store.json"
    digest = torch.load(checkpoint, weights_only=True)["mufnet_digest"]
    info.write_text(info.read_text().replace(digest, "0" * 64))
    seal(tmp_path / "grown")

    with caplog.at_level(logging.WARNING):
        trained = load_trained(str(checkpoint), store=str(tmp_path / "grown"), device="cpu")
    assert "is not the store that this was trained on" in caplog.text
    after = scored(trained, "test")
    np.testing.assert_array_equal(after["pair_id"], before["pair_id"])
    np.testing.assert_array_equal(after["score"], before["score"])


def test_what_is_not_there_is_told(phantom_store: Path, tmp_path: Path, own_blocks: ModuleType) -> None:
    checkpoint, _ = train(phantom_store, tmp_path, {"encoder": "own_blocks.Encoder"}, {})
    with pytest.raises(InputFault, match="no crop store at nowhere"):
        load_trained(str(checkpoint), store="nowhere", device="cpu")
    with pytest.raises(InputFault, match="--device gpu7: there is no such device"):
        load_trained(str(checkpoint), device="gpu7")
    with pytest.raises(InputFault, match=r"missing\.ckpt"):
        load_trained(str(tmp_path / "missing.ckpt"))
