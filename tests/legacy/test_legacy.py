"""What the code before the rooms made still loads, goes on, and is compared, explained and reported."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.checkpoints import read_checkpoint
from mufnet_lightning.tracking.runs import TrackedRun, children_of, find_run, find_runs, find_study

FIT = "e8fec531577d459e8f76dbd428a27789"
BROKEN = "f129a56eae554c45b4db6cf05060e53a"
CV, CV_FOLDS = "bf001d316c214db9910c78b1b15697d4", ("5467c47b", "59f731c0")
UNFINISHED, ITS_FOLD = "a4da7d3a025f4e9a8ef81cbfdc9cbf21", "fa68d93c8e9841ad975b3ac56e62a803"
SETTINGS = (  # of every one of them, in today's words
    "--config=configs/demo.yaml",
    "--data.store=store",
    "--data.image_size=32",
    "--data.batch_size=8",
    "--data.n_folds=2",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=2",
    "--optimizer.init_args.lr=0.05",
    "--lr_scheduler.step_size=1",
    "--tracking.study=legacy",
    "--explain.enabled=false",
)
SAME = 1e-6  # of scores, on whatever processor
RETRAINED = 1e-3  # of scores of weights that were trained on another processor
EARLIER = "--data.transform=earlier_augmentation.EarlierAugmentation"  # the draws of then


def predictions(run_id: str) -> pd.DataFrame:
    """Of a run, from its artifacts, by pair."""
    path = Path("mlruns") / "artifacts" / run_id / "artifacts" / "predictions.csv"
    return pd.read_csv(path).set_index("pair_id")


def latest(verb: str) -> TrackedRun:
    """The run that a verb made last."""
    return find_runs(find_study("legacy"), most=1, verb=verb)[0]


def all_runs() -> set[str]:
    """Ids of all runs."""
    return {run.id for run in find_runs(find_study("legacy"))}


def assert_same_scores(table: pd.DataFrame, before: pd.DataFrame, tolerance: float = SAME) -> None:
    """Of the pairs of `table`, which are among those of `before`."""
    before = before.loc[table.index]
    for column in ["score", *before.filter(like="weight_")]:
        np.testing.assert_allclose(table[column], before[column], rtol=0, atol=tolerance)
    assert table["patient_id"].equals(before["patient_id"])
    assert table["label"].equals(before["label"])


def test_the_store_opens(legacy: Path) -> None:
    store = CropStore.open(legacy / "store")
    assert store.digest == "159bf9414edd8daeea03bcbb023052cb6eb4ee6c2399bd79b0ff94d00d0b522d"
    assert store.cohort is None  # nobody gave cohorts an id then
    assert len(store.manifest) == 32


@pytest.mark.slow
def test_the_store_is_trained_on_with_the_numbers_of_then(
    legacy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert main(["fit", "--config=configs/fused.yaml", *SETTINGS, EARLIER]) == 0
    assert_same_scores(predictions(latest("fit").id), predictions(FIT), RETRAINED)


@pytest.mark.parametrize("run_id", [FIT, ITS_FOLD])
def test_the_checkpoint_tells_what_it_told(legacy: Path, run_id: str) -> None:
    checkpoint = read_checkpoint(run_id)
    assert checkpoint.run_id == run_id
    assert checkpoint.digest == CropStore.open(legacy / "store").digest
    assert checkpoint.cohort is None
    assert checkpoint.folds is not None
    folds = pd.read_csv(StringIO(checkpoint.folds))
    (trained,) = checkpoint.trained
    train = folds.loc[(folds["part"] == "train") & (folds["fold"] == 0), "patient_id"]
    assert set(trained["train"]) == set(train)
    assert checkpoint.config["optimizer"]["init_args"]["lr"] == 0.05
    assert checkpoint.config["lr_scheduler"]["init_args"]["step_size"] == 1
    moved = {"lr", "momentum", "weight_decay", "lr_step", "lr_factor"}
    assert not moved & {*checkpoint.config["model"], *checkpoint.hyper_parameters}


@pytest.mark.slow
def test_the_checkpoint_gives_its_scores_again(legacy: Path) -> None:
    before = predictions(FIT)
    assert main(["test", f"--ckpt_path=runs:/{FIT}"]) == 0
    again = predictions(latest("test").id)
    assert len(again) == (before["split"] == "test").sum()
    assert_same_scores(again, before)
    metrics = find_run(FIT).metrics
    for name, value in latest("test").metrics.items():
        if name.startswith("test/"):
            # in single precision then, as Lightning logs
            assert value == pytest.approx(metrics[name], abs=1e-7), name

    assert main(["predict", f"--ckpt_path=runs:/{FIT}", "--output=scores.csv"]) == 0
    scores = pd.read_csv("scores.csv").set_index("pair_id")
    assert len(scores) == 32
    assert_same_scores(scores.loc[before.index], before)
    unseen = scores["patient_id"].isin(before["patient_id"])
    assert set(scores.loc[~unseen, "split"]) == {"train"}
    assert set(scores.loc[unseen, "split"]) == {"predict"}


@pytest.mark.slow
def test_runs_are_compared_explained_and_reported(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"bmode=runs:/{CV}", f"fused=runs:/{FIT}", "--level=patient", "--format=json"]
    assert main(["compare", *words]) == 0
    compared = json.loads(capsys.readouterr().out)
    for arm, run_id in zip(compared["arms"], (CV, FIT), strict=True):
        run = find_run(run_id)
        assert arm["auc"] == pytest.approx(run.metrics["test/patient_auc"], abs=1e-12)
        assert arm["patients"] == 3

    # by the measures that its own run has, which the same images give again
    assert main(["explain", "--run", FIT, "--out", "maps", "--draws", "2", "--steps", "3"]) == 0
    (table,) = Path("maps").rglob("images.csv")
    folder = legacy / "mlruns" / "artifacts" / FIT / "artifacts" / "explain" / "gradcam"
    before = pd.read_csv(folder / "images.csv")
    pd.testing.assert_frame_equal(pd.read_csv(table)[list(before)], before, rtol=1e-3, atol=1e-4)

    assert main(["report", "legacy", "--cohort", "cohort", "--out", "report.html"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "Simulated patients" in page
    assert str(legacy) not in page


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on_in_its_own_run(
    legacy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert find_run(BROKEN).status == "RUNNING"
    words = ["--config=configs/fused.yaml", *SETTINGS, EARLIER]
    before = all_runs()
    assert main(["fit", *words, f"--ckpt_path=runs:/{BROKEN}"]) == 0
    assert find_run(BROKEN).is_finished
    assert all_runs() == before
    # FIT is the same training, not stopped in between
    assert_same_scores(predictions(BROKEN), predictions(FIT), RETRAINED)


@pytest.mark.slow
def test_an_unfinished_cross_validation_goes_on(legacy: Path) -> None:
    words = ["--config=configs/ceus.yaml", *SETTINGS, "--optimizer.momentum=0"]
    assert main(["cv", *words]) == 0
    parent = find_run(UNFINISHED)
    assert parent.is_finished
    folds = sorted(children_of(parent), key=lambda run: run.fold)
    assert [run.fold for run in folds] == [0, 1]
    assert folds[0].id == ITS_FOLD  # not trained again
    pooled, fold_scores = predictions(UNFINISHED), [predictions(run.id)["score"] for run in folds]
    test = pooled[pooled["split"] == "test"]
    ensemble = sum(scores.loc[test.index] for scores in fold_scores) / 2
    np.testing.assert_allclose(test["score"], ensemble, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_finished_cross_validation_is_not_run_again(
    legacy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config=configs/bmode.yaml", *SETTINGS, "--optimizer.momentum=0"]
    before = all_runs()
    assert main(["cv", *words]) == 0
    assert all_runs() == before
    assert CV in capsys.readouterr().out
