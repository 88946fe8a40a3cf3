"""Real runs through the command: what they leave in MLflow, what they refuse, how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from apart import Apart
from edited_stores import seal
from mlflow import MlflowClient
from mlflow.entities import Run

from mufnet_lightning.cli import main
from mufnet_lightning.evaluation.comparison import compare_arms
from mufnet_lightning.evaluation.statistics.scores import Scores
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.checkpoints import read_checkpoint, resolve_checkpoint
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact
from mufnet_lightning.training.cli import MufnetCLI

TRAINING_ONLY = "--trainer.enable_checkpointing=false"  # nothing is selected, scored and drawn after it
COLUMNS = "pair_id,patient_id,clip_id,frame,label,score,risk,weight_bmode,weight_ceus,fold,split"


def all_runs() -> list[Run]:
    store: MlflowClient = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return list(store.search_runs(ids))


def only_run() -> Run:
    (run,) = all_runs()
    return run


def predictions(run: Run) -> pd.DataFrame:
    return pd.read_csv(resolve_artifact(run.info.run_id, "predictions.csv"))


def files(run: Run, folder: str | None = None) -> set[str]:
    return {entry.path for entry in mlflow_client().list_artifacts(run.info.run_id, folder)}


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["fused", "bmode", "ceus"])
def test_fit_leaves_a_run_that_explains_itself(
    work: Path, tiny: list[str], phantom_store: Path, arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny[0] = f"--config=configs/{arm}.yaml"
    words = ["--data.fold=2", "--trainer.max_epochs=2", "--tracking.figures=true"]
    assert main(["fit", *tiny, *words]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("mufnet ui demo   opens http://127.0.0.1:5000/#/")
    run = only_run()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"{arm}-fold2"
    assert (
        run.info.artifact_uri
        == f"{(work / 'mlruns' / 'artifacts').as_uri()}/{run.info.run_id}/artifacts"
    )
    expected = {
        "arm": arm,
        "fold": "2",
        "protocol": "paper",
        "study": "demo",
        "selection": "validation",
    }
    assert expected.items() <= run.data.tags.items()
    assert {"config.yaml", "folds.csv", "predictions.csv", "figures", "checkpoints"} <= files(run)
    drawn = {"roc", "roc_patients", "confusion", "reliability", "scores"}
    drawn |= {"weights"} if arm == "fused" else set()
    assert files(run, "figures") == {"figures/train_batch.png"} | {
        f"figures/{part}_{name}.{form}"
        for part in ("val", "test")
        for name in drawn
        for form in ("png", "pdf")
    } | {"figures/test_decision_curve.png", "figures/test_decision_curve.pdf"}
    parts = ("val", "test", "recalibration")
    assert files(run, "evaluation") == {f"evaluation/{part}.json" for part in parts}
    assert files(run, "checkpoints") == {"checkpoints/selected.ckpt"}

    # parameters, data and the metrics' curves
    assert run.data.params["model.encoder"] == "test_efficientnet"
    assert run.data.params["patients_test"] == "6"
    assert run.inputs is not None
    (dataset,) = run.inputs.dataset_inputs
    assert CropStore.open(phantom_store).digest.startswith(dataset.dataset.digest)
    curve = mlflow_client().get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in curve] == [0, 1]
    names = {
        f"{part}/{name}"
        for part in ("val", "val_selected", "test")
        for name in ("auc", "patient_auc", "loss")
    }
    assert names <= set(run.data.metrics)
    assert ("test/alpha_high" in run.data.metrics) == (arm == "fused")

    # the configuration in the run is the composed one, and the table printed is the run's numbers
    config = yaml.safe_load(resolve_artifact(run.info.run_id, "config.yaml").read_text())
    assert config["data"]["init_args"]["fold"] == 2
    assert config["optimizer"]["init_args"]["lr"] == 0.05
    assert f"{run.data.metrics['test/auc']:.3f}" in printed.out
    assert run.info.run_id in printed.out
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_predictions_are_the_contract_and_cover_validation_and_test(fitted: str) -> None:
    table = predictions(only_run())
    assert ",".join(table.columns) == COLUMNS
    folds = pd.read_csv(resolve_artifact(only_run().info.run_id, "folds.csv"))
    here = folds[(folds["fold"] == 0) & (folds["part"] != "train")].set_index("patient_id")
    assert set(table["patient_id"]) == set(here.index)
    assert (table["split"] == table["patient_id"].map(here["part"])).all()
    assert (table["label"] == table["patient_id"].map(here["label"])).all()
    assert table["pair_id"].is_unique
    assert len(table) == 3 * len(here)
    torch.testing.assert_close(
        torch.tensor((table["weight_bmode"] + table["weight_ceus"]).to_numpy()),
        torch.ones(len(table), dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )
    # the numbers in the run are those of the file
    test = table[table["split"] == "test"]
    from sklearn.metrics import roc_auc_score

    metrics = only_run().data.metrics
    assert metrics["test/auc"] == pytest.approx(roc_auc_score(test["label"], test["score"]), abs=1e-6)
    patients = test.groupby("patient_id")[["label", "score"]].mean()
    expected = roc_auc_score(patients["label"], patients["score"])
    assert metrics["test/patient_auc"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_each_part_has_its_clustered_interval_and_its_report(fitted: str) -> None:
    run = only_run()
    report = json.loads(resolve_artifact(run.info.run_id, "evaluation/test.json").read_text())
    rows = predictions(run).query("split == 'test'")
    scores = Scores.of(rows["label"], rows["score"], rows["patient_id"], ["fused"])
    assert report["image"] == json.loads(json.dumps(compare_arms(scores).as_json()))
    assert files(run, "figures") == {"figures/train_batch.png"}  # tracking.figures is false
    metrics = run.data.metrics
    assert [metrics["test/auc_ci_low"], metrics["test/auc_ci_high"]] == report["image"]["arms"][0][
        "auc_ci"
    ]
    patient = report["patient"]["arms"][0]
    assert metrics["test/patient_auc"] == pytest.approx(patient["auc"], abs=1e-6)
    assert metrics["test/patient_auc_ci_low"] == patient["auc_ci"][0]
    assert metrics["test/brier"] == pytest.approx(np.mean((rows["score"] - rows["label"]) ** 2))


@pytest.mark.slow
def test_a_named_baseline_is_tested_against_and_must_have_scored_the_same(
    fitted: str, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = only_run()
    bmode = ["--config=configs/bmode.yaml", *tiny[1:]]
    assert main(["fit", *bmode, f"--tracking.baseline=runs:/{fitted}"]) == 0
    (run,) = [run for run in all_runs() if run.data.tags["arm"] == "bmode"]
    report = json.loads(resolve_artifact(run.info.run_id, "evaluation/test.json").read_text())
    (test,) = report["patient"]["tests"]
    assert (test["a"], test["b"]) == ("bmode", "fused")
    metrics = run.data.metrics
    assert metrics["test/patient_auc_difference_p"] == test["p"]
    difference = metrics["test/auc"] - baseline.data.metrics["test/auc"]
    assert metrics["test/auc_difference"] == pytest.approx(difference, abs=1e-6)
    assert run.data.tags["baseline"] == f"runs:/{fitted}"
    count = len(all_runs())
    capsys.readouterr()
    words = [f"--tracking.baseline={fitted}", "--data.split_seed=9"]
    assert main(["fit", *tiny, *words]) == 2
    assert "were scored on different patients" in capsys.readouterr().err
    assert main(["fit", *tiny, "--tracking.baseline=nowhere.csv"]) == 2
    assert len(all_runs()) == count


@pytest.mark.slow
def test_a_repeated_run_gives_the_same_bits_whatever_the_workers(work: Path, tiny: list[str]) -> None:
    for workers in (0, 2, 2):
        words = [*tiny, "--trainer.max_epochs=2", f"--data.num_workers={workers}"]
        assert main(["fit", *words]) == 0
    first, *others = all_runs()

    def told(run: Run) -> dict[str, float]:
        return {k: v for k, v in run.data.metrics.items() if not k.startswith("system/")}

    for other in others:
        assert told(other) == told(first)
        pd.testing.assert_frame_equal(predictions(other), predictions(first), check_exact=True)


@pytest.mark.slow
def test_another_seed_gives_another_network_on_the_same_patients(fitted: str, tiny: list[str]) -> None:
    assert main(["fit", *tiny, "--seed_everything=5"]) == 0
    a, b = (predictions(run) for run in all_runs())
    assert (a["pair_id"] == b["pair_id"]).all()
    assert (a["score"] != b["score"]).any()


@pytest.mark.slow
def test_the_checkpoint_scores_the_same_later_and_needs_no_configuration(
    fitted: str,
) -> None:
    trained = only_run()
    before = predictions(trained)
    assert main(["test", f"--ckpt_path=runs:/{trained.info.run_id}"]) == 0
    tested = next(run for run in all_runs() if run.info.run_id != trained.info.run_id)
    assert tested.info.run_name == "fused-fold0-test"
    assert tested.data.metrics["test/auc"] == trained.data.metrics["test/auc"]
    after = predictions(tested)
    # by the recalibration that the run recorded
    assert after["risk"].notna().all()
    assert "not_recalibrated" not in tested.data.tags
    for name, value in tested.data.metrics.items():
        assert "risk" not in name or value == trained.data.metrics[name]
    assert "test/patient_risk_brier" in tested.data.metrics
    expected = before[before["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(after, expected, check_exact=True)
    # of a file nobody can tell it, and that is said
    shutil.copy(resolve_artifact(trained.info.run_id, "checkpoints/selected.ckpt"), "kept.ckpt")
    assert main(["test", "--ckpt_path=kept.ckpt"]) == 0
    (of_file,) = [run for run in all_runs() if "not_recalibrated" in run.data.tags]
    assert predictions(of_file)["risk"].isna().all()
    assert "name its run" in of_file.data.tags["not_recalibrated"]
    assert main(["predict", f"--ckpt_path={trained.info.run_id}", "--output=next.csv"]) == 0
    table = pd.read_csv("next.csv").set_index("pair_id")
    assert ",".join(["pair_id", *table.columns]) == f"{COLUMNS},spread,missing"
    assert len(table) == 90
    known = before.set_index("pair_id")["score"]
    torch.testing.assert_close(
        torch.tensor(table.loc[known.index, "score"].to_numpy()),
        torch.tensor(known.to_numpy()),
        atol=1e-6,
        rtol=1e-5,
    )
    assert len(all_runs()) == 3  # a prediction is no experiment


@pytest.mark.slow
def test_the_next_patient_needs_no_grade(
    fitted: str, tiny: list[str], tmp_path: Path, phantom_store: Path
) -> None:
    cohort = tmp_path / "new"
    cohort.symlink_to(phantom_store.parent / "cohort")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("clips.csv", "boxes.csv"):
        (bare / name).write_bytes((cohort / name).read_bytes())
    shutil.copytree(cohort / "clips", bare / "clips")
    patients = pd.read_csv(cohort / "patients.csv", dtype=str)
    patients.drop(columns="grade").to_csv(bare / "patients.csv", index=False)
    assert main(["prepare", "bare", "ungraded", "--without-grades"]) == 0
    assert main(["predict", f"--ckpt_path={fitted}", "--data.store=ungraded"]) == 0
    table = pd.read_csv("predictions.csv")
    assert table["label"].isna().all()
    folds = pd.read_csv(resolve_artifact(fitted, "folds.csv"), dtype={"patient_id": str})
    own = set(folds.query("fold == 0 and part == 'train'")["patient_id"])
    assert set(table.loc[table["split"] == "train", "patient_id"]) == own  # known again, ungraded too
    assert table["score"].between(0, 1).all()
    assert main(["fit", *tiny, "--data.store=ungraded"]) == 2


def grown(phantom_store: Path, name: str) -> None:
    """A store of the phantom's patients and of as many new ones, in the working folder."""
    source = CropStore.open(phantom_store)
    shutil.copytree(phantom_store, name, ignore=shutil.ignore_patterns("cache*"))
    first = source.manifest.astype(object).where(source.manifest.notna(), "")
    second = first.assign(
        patient_id="new" + first["patient_id"].astype(str), pair_id="new" + first["pair_id"].astype(str)
    )
    pd.concat([first, second]).to_csv(Path(name) / "manifest.csv", index=False)
    about = json.loads((Path(name) / "store.json").read_text())
    for key, value in about.items():
        if value == source.digest:
            about[key] = "0" * len(value)
    (Path(name) / "store.json").write_text(json.dumps(about))
    seal(name)
    store = CropStore.open(Path(name))
    assert store.digest != source.digest
    assert store.manifest["patient_id"].nunique() == 60


@pytest.mark.slow
def test_a_checkpoint_is_never_scored_on_patients_that_trained_it(
    fitted: str, tiny: list[str], phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = only_run()
    before = predictions(trained)
    shutil.copy(resolve_checkpoint(trained.info.run_id), "kept.ckpt")
    grown(phantom_store, "grown")

    # the store has grown since: a new split would put patients of the training into the test
    for reference in (f"runs:/{trained.info.run_id}", "kept.ckpt"):
        known = {run.info.run_id for run in all_runs()}
        assert main(["test", f"--ckpt_path={reference}", "--data.store=grown"]) == 0
        (tested,) = [run for run in all_runs() if run.info.run_id not in known]
        assert set(predictions(tested)["pair_id"]) == set(
            before.loc[before["split"] == "test", "pair_id"]
        )
        assert tested.data.tags["protocol"] == "paper"

    # another fold's validation patients trained this one; so did those of a hand-made table
    capsys.readouterr()
    folds = pd.read_csv(resolve_artifact(trained.info.run_id, "folds.csv"))
    swapped = folds.assign(part=folds["part"].replace({"train": "test", "test": "train"}))
    swapped.to_csv("swapped.csv", index=False)
    for words in (
        ["validate", "--ckpt_path=kept.ckpt", "--data.fold=1"],
        ["test", "--ckpt_path=kept.ckpt", "--data.folds_from=swapped.csv"],
        ["fit", *tiny, "--ckpt_path=kept.ckpt", "--data.fold=1"],
        ["fit", *tiny, "--model.init_from=kept.ckpt", "--data.folds_from=swapped.csv"],
        ["fit", *tiny, "--model.init_from=kept.ckpt", "--data.store=grown"],
    ):
        count = len(all_runs())
        assert main(words) == 2
        assert "trained this checkpoint" in capsys.readouterr().err
        assert len(all_runs()) == count

    # a label that was mended since does not make it another cohort; an id of its own does
    manifest = pd.read_csv("grown/manifest.csv", dtype=str, keep_default_na=False)
    for name, share in (("mended", 1), ("foreign", 30)):
        shutil.copytree("grown", name, ignore=shutil.ignore_patterns("cache*"))
        ids = manifest["patient_id"].unique()[:share]
        turned = manifest["label"].replace({"0": "1", "1": "0"})
        manifest.assign(label=manifest["label"].mask(manifest["patient_id"].isin(ids), turned)).to_csv(
            f"{name}/manifest.csv", index=False
        )
    about = json.loads(Path("foreign/store.json").read_text())
    Path("foreign/store.json").write_text(json.dumps({**about, "cohort": "another hospital's"}))
    seal("mended")
    seal("foreign")
    words = ["fit", *tiny, "--model.init_from=kept.ckpt"]
    assert main([*words, "--data.store=mended"]) == 2
    assert "trained this checkpoint" in capsys.readouterr().err
    capsys.readouterr()
    assert main([*words, "--data.store=foreign"]) == 0
    said = capsys.readouterr().err
    assert "which may have seen these very patients" in said

    # the same ids with the same labels are the same persons, under another cohort's id too
    shutil.copytree(phantom_store, "namesakes", ignore=shutil.ignore_patterns("cache*"))
    about = json.loads(Path("namesakes/store.json").read_text())
    Path("namesakes/store.json").write_text(
        json.dumps({**about, "cohort": "another hospital's", "digest": "1" * 64})
    )
    seal("namesakes")
    capsys.readouterr()
    exported = ["--data.store=namesakes", "--data.folds_from=swapped.csv"]
    assert main(["test", "--ckpt_path=kept.ckpt", *exported]) == 2
    assert "trained this checkpoint" in capsys.readouterr().err

    # what trained the weights that a run began with is remembered as well
    (second,) = [run for run in all_runs() if run.data.params.get("data.store") == "foreign"]
    start = second.data.tags["start"]
    assert start in said
    its = pd.read_csv(resolve_artifact(second.info.run_id, "folds.csv")).query("fold == 0")
    earlier = ((folds["fold"] == 0) & (folds["part"] == "train")).sum()
    assert f"{earlier} patients of another cohort trained it, and " in start
    assert f" of the {(its['part'] != 'train').sum()} validation and test patients of fold 0" in start
    assert f"{start[1:]}.**" in second.data.tags["mlflow.note.content"]
    shutil.copy(resolve_checkpoint(second.info.run_id), "second.ckpt")
    assert main(["fit", *tiny, "--model.init_from=second.ckpt", "--data.folds_from=swapped.csv"]) == 2
    assert "trained this checkpoint" in capsys.readouterr().err

    # predict scores everybody, and says which patients flatter
    assert main(["predict", "--ckpt_path=kept.ckpt", "--output=all.csv"]) == 0
    told = capsys.readouterr().err
    own = folds.query("fold == 0 and part == 'train'")["patient_id"]
    assert f"{len(own)} of these patients trained this checkpoint" in told
    table = pd.read_csv("all.csv")
    assert set(table.loc[table["split"] == "train", "patient_id"]) == set(own)

    # and training does not go on with another store's images
    assert main(["fit", *tiny, "--ckpt_path=kept.ckpt", "--data.store=grown"]) == 2
    assert "is not the one that this checkpoint was trained on" in capsys.readouterr().err


@pytest.mark.slow
def test_a_part_that_was_cut_short_to_one_class_does_not_lose_the_training(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data.batch_size=3", "--trainer.limit_test_batches=0.2"]  # one batch of a patient
    assert main(["fit", *tiny, *words]) == 0
    told = " ".join(capsys.readouterr().err.split())  # the progress bar wraps lines
    assert "test is not evaluated: an AUC needs both classes" in told
    run = only_run()
    assert run.info.status == "FINISHED"
    assert "an AUC needs both classes" in run.data.tags["not_evaluated_test"]
    assert files(run, "checkpoints") == {"checkpoints/selected.ckpt"}
    assert "val_selected/brier" in run.data.metrics


@pytest.mark.slow
def test_no_test_batches_leave_the_rest_and_no_validation_is_told(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--trainer.limit_val_batches=0"]) == 2
    assert "validation selects the checkpoint" in capsys.readouterr().err
    assert all_runs() == []
    assert main(["fit", *tiny, "--trainer.limit_test_batches=0"]) == 0
    assert "val " in capsys.readouterr().out
    assert files(only_run(), "checkpoints") == {"checkpoints/selected.ckpt"}
    # a finished run has nothing left to train
    words = [*tiny, f"--ckpt_path=runs:/{only_run().info.run_id}"]
    assert main(["fit", *words]) == 2
    assert "no epoch was trained" in capsys.readouterr().err


@pytest.mark.slow
def test_a_callback_may_stand_alone_in_the_configuration(work: Path, tiny: list[str]) -> None:
    Path("one.yaml").write_text(
        "trainer:\n  callbacks:\n    class_path: lightning.pytorch.callbacks.EarlyStopping\n"
        "    init_args:\n      monitor: val/auc\n"
    )
    assert main(["fit", *tiny, "--config=one.yaml", TRAINING_ONLY]) == 0


@pytest.mark.slow
def test_a_patient_may_be_called_na(work: Path, tiny: list[str], phantom_store: Path) -> None:
    manifest = CropStore.open(phantom_store).manifest
    first = manifest["patient_id"].iloc[0]
    shutil.copytree(phantom_store, "na", ignore=shutil.ignore_patterns("cache*"))
    renamed = manifest.assign(patient_id=manifest["patient_id"].replace({first: "NA"}))
    renamed.to_csv("na/manifest.csv", index=False)
    seal("na")
    assert main(["fit", *tiny, "--data.store=na"]) == 0
    run_id = only_run().info.run_id
    words = ["fit", *tiny, "--data.store=na", TRAINING_ONLY]
    assert main([*words, f"--data.folds_from={run_id}"]) == 0
    assert main([*words, "--data.folds_from=folds.csv"]) == 2
    shutil.copy(resolve_artifact(run_id, "folds.csv"), "folds.csv")
    assert main([*words, "--data.folds_from=folds.csv"]) == 0
    assert {run.data.tags["protocol"] for run in all_runs()} == {"paper", "from_file"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.encodr=x"], "unrecognized arguments: --model.encodr=x"),
        (["--trainer.max_epoch=3"], "unrecognized arguments: --trainer.max_epoch=3"),
        (["--config=wrong.yaml"], "there is no setting data.stor"),
        (["--config=broken.yaml"], "broken.yaml is not YAML"),
        (["--config=nowhere.yaml"], "configuration nowhere.yaml is not there"),
        (["--data.store=nowhere"], "there is no crop store at nowhere"),
        (["--data.fold=5"], "data.fold is 5, but the folds are 0 to 4"),
        (["--data.batch_size=1000"], "data.batch_size is 1000, but fold 0 has only 57 training images"),
        (["--data.batch_size=0"], "data.batch_size is 0, expected 1 or more"),
        (["--data.batch_size=many"], "data.batch_size: Expected a int. Got value: many"),
        (["--data.modalities=[mri]"], "data.modalities: Expected one of 'bmode', 'ceus'"),
        (["--data.protocol=center", "--data.fold=9"], "data.fold is 9, but the folds are 0 to 1"),
        (["--data.n_folds=40"], "needs at least 41 low-grade patients, found 15"),
        (["--data.folds_from=nowhere.csv"], "nowhere.csv: there is no such file"),
        (["--model.encoder=efficientnet_b33"], "which timm does not have"),
        (["--model.fusion=max"], "model.fusion is 'max', expected softmax, sigmoid or"),
        (["--model.init_from=nowhere.ckpt"], "nowhere.ckpt: there is no such file"),
        (["--model.init_from=0123456789"], "neither a file nor a run"),
        (["--checkpoint.monitor=val/f1"], "checkpoint.monitor is val/f1, expected val/"),
        (["--checkpoint.monitor=test_watched/accuracy"], "needs data.watch_test: true"),
        (["--seed_everything=-1"], "seed_everything: -1 is not in bounds"),
        (["--trainer.accelerator=abacus"], "trainer: You selected an invalid accelerator name"),
        (["--trainer.precision=99"], "trainer.precision: expected one of 64, 32, 16"),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt: there is no such file"),
        (["--config=resumes.yaml"], "last.ckpt: there is no such file"),
        (["--model.beta=1"], "model.beta is 1.0, expected 0 up to, but not, 1"),
        (["--model.gamma=-1"], "model.gamma is -1.0, expected 0 or more"),
        (["--model.dropout=2"], "model.dropout is 2.0, expected 0 up to, but not, 1"),
        (["--optimizer.lr=-1"], "optimizer cannot be used as given: Invalid learning rate: -1.0"),
        (["--optimizer.lr=.nan"], "optimizer.lr is nan, expected a number"),
        (["--optimizer.lr=0"], "lr is 0.0, expected more than 0"),
        (["--lr_scheduler.gamma=0"], "gamma is 0.0, expected more than 0"),
        (["--optimizer.momentum=-0.5"], "Invalid momentum value: -0.5"),
        (["--optimizer.weight_decay=-1"], "Invalid weight_decay value: -1.0"),
        (["--lr_scheduler.step_size=0"], "lr_scheduler cannot be used as given"),
        (["--model.lr=0.1"], "model.lr is --optimizer.lr now"),
        (["--data.num_workers=-1"], "data.num_workers is -1, expected 0 or more"),
        (["--data.augmentation.flip=2"], "data.augmentation.flip is 2.0, expected 0 to 1"),
        (
            ["--data.augmentation.scale=1"],
            "data.augmentation.scale is 1.0, expected 0 up to, but not, 1",
        ),
        (["--data.augmentation.rotate=-3"], "data.augmentation.rotate is -3.0, expected 0 or more"),
        (["--trainer.overfit_batches=1"], "trainer.overfit_batches would replace the class-balanced"),
        (["--trainer.gradient_clip_val=.nan"], "trainer.gradient_clip_val is nan, expected a number"),
        (["--optimizer.lr=.inf"], "optimizer.lr is inf, expected a number"),
        (["--optimizer.weight_decay=.inf"], "optimizer.weight_decay is inf, expected a number"),
        (["--lr_scheduler.gamma=.inf"], "lr_scheduler.gamma is inf, expected a number"),
        (["--model.gamma=.inf"], "model.gamma is inf, expected a number"),
        (["--data.augmentation.rotate=.inf"], "data.augmentation.rotate is inf, expected a number"),
        (["--data.split_seed=-1"], "data.split_seed is -1, expected 0 or more"),
        (["--data.image_size=1"], "data.image_size is 1, expected 16 or more"),
        (["--data.image_size=1000000"], "data.image_size is 1000000, expected at most 4,096"),
        (["--model.classes=[low, Low]"], "model.classes must name two classes that differ"),
        (["--config=lists.yaml"], "data, or model: a group of settings is a list"),
        (["--config=twice.yaml"], "configuration twice.yaml has fold twice, in lines 2 and 3"),
        (["--config=latin.yaml"], "configuration latin.yaml is no text in UTF-8 (byte 7)"),
        (["--config=laughs.yaml"], "configuration laughs.yaml has more than 100,000 values"),
        (["--config=deep.yaml"], "configuration deep.yaml nests deeper than 50"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_sentence_and_no_run(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    Path("wrong.yaml").write_text("data:\n  stor: x\n")
    Path("broken.yaml").write_text("data: [\n")
    Path("resumes.yaml").write_text("ckpt_path: last.ckpt\n")
    Path("lists.yaml").write_text("data:\n  augmentation: [[]]\n")
    Path("twice.yaml").write_text("data:\n  fold: 0\n  fold: 1\n")
    Path("latin.yaml").write_bytes(b"data: {\xe9: 1}\n")
    lists = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    Path("laughs.yaml").write_text("\n".join(["a0: &a0 [x]", *lists]))
    Path("deep.yaml").write_text("[" * 10_000)
    assert main(["fit", *tiny, *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.strip()]
    assert line.startswith("mufnet: ")
    assert expected in line
    assert all_runs() == []


@pytest.mark.slow
def test_fused_on_a_store_without_ceus_is_told(
    work: Path, tiny: list[str], phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = pd.read_csv(phantom_store.parent / "cohort" / "clips.csv", dtype=str)
    boxes = pd.read_csv(phantom_store.parent / "cohort" / "boxes.csv", dtype=str)
    Path("one").mkdir()
    shutil.copytree(phantom_store.parent / "cohort" / "clips", "one/clips")
    shutil.copy(phantom_store.parent / "cohort" / "patients.csv", "one/patients.csv")
    # the box was drawn on the CEUS pane; call that pane B-mode, and there is no CEUS
    clips = clips.drop(columns="bmode_pane").rename(columns={"ceus_pane": "bmode_pane"})
    clips.to_csv("one/clips.csv", index=False)
    boxes.assign(pane="bmode").to_csv("one/boxes.csv", index=False)
    assert main(["prepare", "one", "only_bmode"]) == 0
    capsys.readouterr()
    assert main(["fit", *tiny, "--data.store=only_bmode"]) == 2
    assert "this store has no ceus crops, only bmode" in capsys.readouterr().err
    assert main(["fit", *tiny, "--data.store=only_bmode", "--data.modalities=[bmode]"]) == 0


def test_one_class_in_a_part_is_told(
    work: Path, tiny: list[str], phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = CropStore.open(phantom_store).manifest
    table = manifest[["patient_id", "label"]].drop_duplicates().reset_index(drop=True)
    low = table["label"] == 0
    table["part"] = ["val" if last else "train" for last in (table.index >= 20)]
    table.loc[low & (low.cumsum() <= 4), "part"] = "test"  # four of low grade, none of high
    table.assign(fold=0).to_csv("folds.csv", index=False)
    assert main(["fit", *tiny, "--data.folds_from=folds.csv"]) == 2
    assert "the test part of fold 0 has no image of high grade" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_are_read_from_a_file_or_a_run(fitted: str, tiny: list[str]) -> None:
    plain = only_run()
    assert main(["fit", *tiny, "--data.split_seed=9"]) == 0
    first = next(run for run in all_runs() if run.info.run_id != fitted)
    assert set(predictions(plain)["pair_id"]) != set(predictions(first)["pair_id"])
    assert main(["fit", *tiny, f"--data.folds_from={first.info.run_id}"]) == 0
    second = next(run for run in all_runs() if run.info.run_id not in (fitted, first.info.run_id))
    assert (predictions(first)["pair_id"] == predictions(second)["pair_id"]).all()


@pytest.mark.slow
def test_selecting_on_the_test_set_is_possible_and_tagged(work: Path, tiny: list[str]) -> None:
    words = ["--data.watch_test=true", "--checkpoint.monitor=test_watched/accuracy"]
    assert main(["fit", *tiny, *words]) == 0
    run = only_run()
    assert run.data.tags["selection"] == "optimistic"
    watched = run.data.metrics["test_watched/auc"]  # of the only epoch, in single precision
    assert watched == pytest.approx(run.data.metrics["test/auc"], abs=1e-6)


@pytest.mark.slow
def test_init_from_takes_the_weights_and_a_new_head_for_other_classes(fitted: str) -> None:
    trained = torch.load(resolve_checkpoint(fitted), weights_only=True)["state_dict"]

    def begun(**options: Any) -> dict[str, torch.Tensor]:
        module = MufNetModule(encoder="test_efficientnet", init_from=fitted, **options)
        module.initial = read_checkpoint(fitted)
        module.initialise_weights()
        return module.state_dict()

    same = begun()
    other = begun(classes=("benign", "malignant"))
    single = begun(modalities=("ceus",))
    for name, value in trained.items():
        if name.startswith("net.head"):
            torch.testing.assert_close(same[name], value)
            assert not torch.equal(other[name], value)
        elif name.startswith("net."):
            torch.testing.assert_close(same[name], value)
            if name in single:
                torch.testing.assert_close(single[name], value)


@pytest.mark.slow
def test_a_checkpoint_of_another_network_is_refused(
    fitted: str, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny, f"--ckpt_path=runs:/{fitted}", "--model.share_encoder=false"]
    assert main(["test", *words]) == 2
    assert "the checkpoint does not fit this network" in capsys.readouterr().err
    assert main(["fit", *tiny, f"--model.init_from={fitted}", "--model.share_encoder=false"]) == 2
    assert "its weights do not fit this network" in capsys.readouterr().err


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.slow
def test_loading_a_checkpoint_runs_no_code_from_it(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": _Bomb(), "mufnet_config": ""}, "bomb.ckpt")
    for words in (
        ["test", "--ckpt_path=bomb.ckpt"],
        ["test", *tiny, "--ckpt_path=bomb.ckpt"],
        ["fit", *tiny, "--ckpt_path=bomb.ckpt"],
        ["fit", *tiny, "--model.init_from=bomb.ckpt"],
    ):
        assert main(words) == 2
        assert "bomb.ckpt: not a checkpoint of mufnet: it holds code" in capsys.readouterr().err
        assert not Path("exploded").exists()
    torch.load("bomb.ckpt", weights_only=False)
    assert Path("exploded").exists()  # the bomb was live


@pytest.mark.slow
def test_a_run_that_fails_says_so_and_why(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MufNetModule, batch: object, batch_idx: int) -> None:
        raise FloatingPointError("the loss is not a number")

    monkeypatch.setattr(MufNetModule, "training_step", broken)
    assert main(["fit", *tiny]) == 1
    assert only_run().info.status == "FAILED"
    assert only_run().data.tags["reason"] == "FloatingPointError: the loss is not a number"


@pytest.mark.slow
def test_a_run_that_breaks_off_after_training_is_not_finished(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MufNetModule, batch: object, batch_idx: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(MufNetModule, "test_step", broken)
    assert main(["fit", *tiny]) == 1
    assert only_run().info.status == "FAILED"
    assert "val/auc" in only_run().data.metrics


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_so_and_can_go_on(work: Path, tiny: list[str], number: int) -> None:
    words = [*tiny, "--trainer.max_epochs=500"]
    with Apart("fit", *words) as command:
        command.wait_for(lambda: list(Path("mlruns").glob("checkpoints/*/last.ckpt")))
        command.send(number)
        assert command.wait(120) == 130, command.printed()
    assert "Traceback" not in command.printed()
    run = only_run()
    assert run.info.status == "KILLED"
    (last,) = Path("mlruns").glob("checkpoints/*/last.ckpt")
    epoch = torch.load(last, weights_only=True)["epoch"]
    start = last if number == signal.SIGINT else f"runs:/{run.info.run_id}"
    assert main(["test", f"--ckpt_path=runs:/{run.info.run_id}"]) == 2  # nothing is selected yet
    assert main(["fit", *tiny, f"--ckpt_path={start}", f"--trainer.max_epochs={epoch + 3}"]) == 0
    # the same run goes on, and remembers its best epoch so far
    assert only_run().info.run_id == run.info.run_id
    assert only_run().info.status == "FINISHED"
    assert "reason" not in only_run().data.tags
    steps = [p.step for p in mlflow_client().get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(epoch + 3))  # no epoch is run twice, and none is missing
    curve = mlflow_client().get_metric_history(run.info.run_id, "val/auc")
    # in single precision there
    best = pytest.approx(max(point.value for point in curve), abs=1e-6)
    assert only_run().data.metrics["val_selected/auc"] == best
    assert files(only_run(), "checkpoints") == {"checkpoints/selected.ckpt"}
    assert not list(Path("mlruns").glob("checkpoints/*"))


@pytest.mark.slow
def test_a_runs_configuration_given_back_repeats_it(work: Path, tiny: list[str]) -> None:
    words = ["--optimizer=Adam", "--optimizer.lr=0.01", "--data.split_seed=3"]
    assert main(["fit", *tiny, *words]) == 0
    first = only_run()
    config = resolve_artifact(first.info.run_id, "config.yaml")
    assert main(["fit", f"--config={config}"]) == 0
    second = next(run for run in all_runs() if run.info.run_id != first.info.run_id)
    pd.testing.assert_frame_equal(predictions(second), predictions(first), check_exact=True)
    again = yaml.safe_load(resolve_artifact(second.info.run_id, "config.yaml").read_text())
    assert again == yaml.safe_load(config.read_text())
    assert first.data.params["optimizer.class_path"] == "torch.optim.Adam"
    assert first.data.params["data.split_seed"] == "3"


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["CosineAnnealingLR", "ReduceLROnPlateau"])
def test_optimiser_and_schedule_are_chosen_by_class(work: Path, tiny: list[str], schedule: str) -> None:
    own = {
        "CosineAnnealingLR": "--lr_scheduler.T_max=4",
        "ReduceLROnPlateau": "--lr_scheduler.patience=0",
    }
    words = ["--optimizer=AdamW", "--optimizer.lr=0.01", f"--lr_scheduler={schedule}", own[schedule]]
    words += ["--lr_scheduler.monitor=val/loss"] if schedule == "ReduceLROnPlateau" else []
    assert main(["fit", *tiny, *words, TRAINING_ONLY]) == 0
    rates = mlflow_client().get_metric_history(only_run().info.run_id, "lr-AdamW")
    assert rates[0].value == 0.01


OWN_CLASSES = """
import torch
from mufnet_lightning import MufNetModule, RoiPairDataModule

class Own(MufNetModule):
    def __init__(self, lr: float = 0.5, **arguments):
        super().__init__(**arguments)
        self.save_hyperparameters("lr", logger=False)

class OwnData(RoiPairDataModule):
    def __init__(self, remark: str = "", **arguments):
        super().__init__(**arguments)
        self.remark = remark

class OwnOptimizer(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, halve: bool = False):
        super().__init__(params, lr=lr / 2 if halve else lr)

class OwnSchedule(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, factor: float = 0.5):
        self.factor = factor
        super().__init__(optimizer)

    def get_lr(self):
        return [rate * self.factor**self.last_epoch for rate in self.base_lrs]
"""


@pytest.mark.slow
def test_an_own_module_and_data_are_a_line_in_a_configuration(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_classes.py").write_text(OWN_CLASSES)
    monkeypatch.syspath_prepend(str(work))
    words = ["--model=own_classes.Own", "--model.lr=0.25", "--data=own_classes.OwnData"]
    assert main(["fit", *words, *tiny, "--data.remark=mine"]) == 0
    trained = only_run()
    assert (trained.data.params["model.lr"], trained.data.params["optimizer.init_args.lr"]) == (
        "0.25",
        "0.05",
    )
    assert main(["test", f"--ckpt_path={trained.info.run_id}"]) == 0
    tested = next(run for run in all_runs() if run.info.run_id != trained.info.run_id)
    assert tested.data.params["data.remark"] == "mine"
    assert tested.data.metrics["test/auc"] == trained.data.metrics["test/auc"]


@pytest.mark.slow
def test_an_own_optimiser_and_schedule_are_taken_by_class_path(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_classes.py").write_text(OWN_CLASSES)
    monkeypatch.syspath_prepend(str(work))
    words = ["--optimizer=own_classes.OwnOptimizer", "--optimizer.lr=0.02", "--optimizer.halve=true"]
    words += ["--lr_scheduler=own_classes.OwnSchedule", "--lr_scheduler.factor=0.25"]
    assert main(["fit", *tiny, *words, "--trainer.max_epochs=2"]) == 0
    run = only_run()
    assert run.data.params["optimizer.class_path"] == "own_classes.OwnOptimizer"
    rates = mlflow_client().get_metric_history(run.info.run_id, "lr-OwnOptimizer")
    assert [point.value for point in rates] == pytest.approx([0.01, 0.0025])


@pytest.mark.slow
def test_a_printed_configuration_can_be_given_back(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config=fused", "--print_config"]) == 0
    printed = capsys.readouterr().out
    Path("elsewhere").mkdir()
    Path("elsewhere/mine.yaml").write_text(printed)
    assert yaml.safe_load(printed)["trainer"]["max_epochs"] == 100
    assert main(["fit", "--config=elsewhere/mine.yaml", *tiny[1:], TRAINING_ONLY]) == 0


@pytest.mark.slow
def test_another_logger_stands_beside_mlflow_and_a_missing_one_is_told(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", TRAINING_ONLY]
    assert main(["fit", *tiny, *words]) == 0
    assert only_run().info.status == "FINISHED"
    (table,) = Path("logs").rglob("metrics.csv")
    assert "val/auc" in pd.read_csv(table).columns
    count = len(all_runs())
    assert main(["fit", *tiny, "--trainer.logger=WandbLogger"]) == 2
    assert "wandb" in capsys.readouterr().err
    assert len(all_runs()) == count


@pytest.mark.slow
def test_a_profile_that_was_asked_for_is_printed(
    work: Path, tiny: list[str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["fit", *tiny, "--trainer.profiler=simple", TRAINING_ONLY]) == 0
    assert "Profiler Report" in capfd.readouterr().err + caplog.text  # caplog's where pytest logs


@pytest.mark.slow
def test_the_last_checkpoint_that_is_named_counts_and_c_is_config(
    fitted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--ckpt_path=nowhere.ckpt", f"--ckpt_path={fitted}"]) == 0
    assert main(["test", f"--ckpt_path={fitted}", "--ckpt_path=nowhere.ckpt"]) == 2
    assert "nowhere.ckpt: there is no such file" in capsys.readouterr().err
    # with a configuration, the checkpoint's own does not count
    Path("other.yaml").write_text("data: {store: nowhere}\nmodel: {encoder: test_efficientnet}\n")
    for word in (["--config", "other.yaml"], ["-c", "other.yaml"], ["-cother.yaml"]):
        assert main(["test", *word, f"--ckpt_path={fitted}"]) == 2
        assert "there is no crop store at nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_one_commands_checkpoint_is_not_the_next_ones(fitted: str, tiny: list[str]) -> None:
    """Nothing of a command lives on in the process: two in one process do not know of each other."""
    scored = MufnetCLI(["test", f"--ckpt_path={fitted}", "--explain.enabled=false"])
    assert scored.checkpoint is not None
    assert MufnetCLI(tiny, run=False).checkpoint is None
    assert scored.checkpoint.digest == scored.datamodule.store.digest


def test_what_would_be_run_can_be_had_without_running_it(work: Path, tiny: list[str]) -> None:
    cli = MufnetCLI(tiny, run=False)
    assert "ckpt_path" not in cli.composed_config()
    assert cli.composed_config()["data"]["init_args"]["image_size"] == 32


def test_weights_that_cannot_be_fetched_are_told_and_never_replaced(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(["fit", *tiny, "--model.pretrained=true"]) == 2
    assert "the pretrained weights of test_efficientnet could not be loaded" in capsys.readouterr().err
    assert all_runs() == []
