"""All folds under one parent: resumed without running a finished fold again."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from apart import Apart
from edited_stores import seal
from mlflow.entities import Run
from sklearn.metrics import roc_auc_score
from torch import Tensor

from mufnet_lightning.cli import main
from mufnet_lightning.data.datamodule import RoiPairDataModule
from mufnet_lightning.data.folds import make_folds
from mufnet_lightning.models.module import MufNetModule
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

LINK = re.compile(r"^mufnet ui demo   opens http://127\.0\.0\.1:5000/#/\S+=mufnet-arms\n\Z", re.M)
"""The last line: where it is looked at."""


def runs() -> dict[str, Run]:
    store = mlflow_client()
    ids = [e.experiment_id for e in store.search_experiments()]
    return {run.info.run_id: run for run in store.search_runs(ids)}


def of_verb(verb: str, **tags: str) -> list[Run]:
    wanted = {"verb": verb, **tags}
    return [run for run in runs().values() if wanted.items() <= run.data.tags.items()]


def artifact(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(resolve_artifact(run.info.run_id, name), dtype={"patient_id": str})


@pytest.mark.slow
def test_cv_runs_every_fold_once_and_goes_on_where_it_stopped(
    work: Path, tiny: list[str], phantom_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = CropStore.open(phantom_store).manifest
    patients = manifest[["patient_id", "label", "center"]].drop_duplicates("patient_id")
    split = make_folds(patients, "paper", n_folds=2).query("fold == 0 and part == 'test'")
    coin = manifest[manifest["patient_id"].isin(split["patient_id"])][
        ["pair_id", "patient_id", "label"]
    ]
    coin.assign(score=np.random.default_rng(0).random(len(coin))).to_csv("coin.csv", index=False)
    words = ["cv", *tiny, "--data.n_folds=2", "--trainer.max_epochs=3", "--data.watch_test=true"]
    words += [
        "--tracking.baseline=coin.csv",
        "--explain.enabled=true",
        "--explain.draws=1",
        "--explain.steps=2",
    ]
    assert main(words) == 0
    printed = capfd.readouterr().out
    (parent,) = [run for run in runs().values() if run.data.tags["verb"] == "cv"]
    children = [run for run in runs().values() if run is not parent and run.data.tags["verb"] == "fit"]
    assert sorted(run.data.tags["fold"] for run in children) == ["0", "1"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    values = pd.Series([run.data.metrics["test/auc"] for run in children])
    metrics = parent.data.metrics
    assert metrics["test/auc_fold_mean"] == pytest.approx(values.mean())
    assert metrics["test/auc_fold_sd"] == pytest.approx(values.std())
    assert metrics["test/auc_fold_max"] == values.max()
    assert "mean" in printed
    table = artifact(parent, "folds_results.csv").set_index("fold")
    assert list(table.index) == ["0", "1", "mean", "sd", "min", "max"]

    # against the baseline: the folds together, not each of them
    known = roc_auc_score(coin["label"], pd.read_csv("coin.csv")["score"])
    assert metrics["test/auc_difference"] == pytest.approx(metrics["test/auc"] - known)
    assert parent.data.tags["baseline"] == "coin.csv"
    assert not any("test/auc_difference" in run.data.metrics for run in children)

    # the ensemble on the one test part, and the out-of-fold scores of all other patients
    pooled = artifact(parent, "predictions.csv")
    test, val = (pooled[pooled["split"] == part] for part in ("test", "val"))
    scores = [artifact(run, "predictions.csv").query("split == 'test'") for run in children]
    mean = pd.concat(scores).groupby("pair_id")["score"].mean()
    assert test.set_index("pair_id")["score"].sort_index().to_numpy() == pytest.approx(mean.to_numpy())
    assert test["fold"].isna().all()
    assert val["fold"].notna().all()
    assert val["pair_id"].is_unique
    assert not set(val["patient_id"]) & set(test["patient_id"])
    assert metrics["test/auc"] == pytest.approx(roc_auc_score(test["label"], test["score"]))
    assert metrics["val/auc"] == pytest.approx(roc_auc_score(val["label"], val["score"]))
    assert metrics["test/auc_ci_low"] < metrics["test/auc"] < metrics["test/auc_ci_high"]
    # what it was made with is in the parent, too
    settings = [{**run.data.params} for run in (parent, *children)]
    assert settings[0].pop("folds") == "2"
    for of_fold in settings[1:]:
        assert of_fold.pop("tracking.parent_run") == parent.info.run_id
        of_fold.pop("tracking.baseline", None)
        named = {"data.fold"} | {
            f"{what}_{p}" for what in ("images", "patients") for p in ("train", "val")
        }
        assert {name: of_fold[name] for name in of_fold.keys() - named} == {
            name: value for name, value in settings[0].items() if name != "tracking.baseline"
        }
    inputs = [run.inputs.to_dictionary() for run in (parent, *children) if run.inputs]
    assert len(inputs) == 3
    assert inputs[1:] == inputs[:1] * 2
    for name in (name for name in metrics if not name.startswith("system/")):
        assert len(mlflow_client().get_metric_history(parent.info.run_id, name)) == 1, name
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("A cross-validation of arm **fused**: 2 folds (protocol `paper`)")
    assert f"AUC over images {metrics['test/auc']:.3f} (" in note
    names = {entry.path for entry in mlflow_client().list_artifacts(parent.info.run_id, "figures")}
    for name in ("test_roc_folds", "test_roc", "test_confusion", "val_reliability", "test_weights"):
        assert {f"figures/{name}.png", f"figures/{name}.pdf"} <= names
    assert {entry.path for entry in mlflow_client().list_artifacts(parent.info.run_id)} >= {
        "folds.csv",
        "config.yaml",
        "environment.json",
        "predictions.csv",
        "evaluation",
    }

    # where the folds' networks look, over the same test patients
    told = resolve_artifact(parent.info.run_id, "explain/gradcam/summary.json").read_text()
    looked = json.loads(told)
    assert (looked["folds"], looked["patients"]) == ([0, 1], test["patient_id"].nunique())

    # nothing left to do
    before = set(runs())
    assert main(words) == 0
    assert set(runs()) == before

    # what selecting on the test set would have gained is what the curves say
    assert main(["fit", *tiny]) == 0
    (plain,) = [run for run in of_verb("fit") if "mlflow.parentRunId" not in run.data.tags]
    capfd.readouterr()
    assert main(["compare", parent.info.run_id, plain.info.run_id, "--selection"]) == 2
    assert "--selection needs runs with data.watch_test: true" in capfd.readouterr().err
    ids = [f"{name}={parent.info.run_id}" for name in ("one", "two")]
    assert main(["compare", *ids, "--selection", "--format=json", "--no-record"]) == 0
    (one, _) = json.loads(capfd.readouterr().out)["selection"]
    gains = []
    for child in of_verb("fit"):
        if "mlflow.parentRunId" in child.data.tags and child.info.status == "FINISHED":
            history = {
                name: [p.value for p in mlflow_client().get_metric_history(child.info.run_id, name)][:3]
                for name in ("val/auc", "test_watched/accuracy")
            }
            watched = history["test_watched/accuracy"]
            gains.append(max(watched) - watched[int(np.argmax(history["val/auc"]))])
    assert len(gains) == one["runs"] == 2
    assert one["metrics"]["accuracy"]["optimism"] == pytest.approx(np.mean(gains))
    assert one["metrics"]["accuracy"]["optimism"] >= 0
    assert main(["compare", *ids, "--selection", "--no-record"]) == 0
    assert "Optimism of selecting the epoch on the test set" in capfd.readouterr().out


def test_a_configuration_that_no_fold_can_run_opens_no_run(
    work: Path, tiny: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["cv", *tiny, "--data.batch_size=1000"]) == 2
    assert "data.batch_size is 1000" in capfd.readouterr().err
    assert runs() == {}


@pytest.mark.parametrize(
    "word",
    [
        "--ckpt_path=last.ckpt",
        "--trainer.logger=false",
        "--trainer.fast_dev_run=true",
        "--trainer.enable_checkpointing=false",
        "--trainer.limit_test_batches=2",
        "--trainer.limit_val_batches=0.5",
    ],
)
def test_what_leaves_nothing_to_pool_is_refused(
    work: Path, tiny: list[str], capfd: pytest.CaptureFixture[str], word: str
) -> None:
    assert main(["cv", *tiny, word]) == 2
    assert f"cv cannot take {word.split('=')[0]}" in capfd.readouterr().err
    assert runs() == {}


@pytest.mark.slow
def test_some_folds_now_and_the_whole_study_later(
    work: Path, tiny: list[str], phantom_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["cv", *tiny, "--data.n_folds=2", "--data.protocol=nested"]
    assert main([*words, "--fold=0,7"]) == 2
    assert "--fold 7: the folds are 0, 1" in capfd.readouterr().err
    assert runs() == {}
    assert main([*words, "--fold", "1"]) == 0
    (parent,) = of_verb("cv")
    assert parent.info.status == "SCHEDULED"
    assert [run.data.tags["fold"] for run in of_verb("fit")] == ["1"]
    assert "test/auc" not in parent.data.metrics
    assert "folds 0 are still to be run" in capfd.readouterr().err
    capfd.readouterr()
    assert main(words) == 0
    assert LINK.search(capfd.readouterr().out)
    (parent,) = of_verb("cv")
    assert parent.info.status == "FINISHED"
    # every patient once, each by the fold that never saw that patient
    pooled = artifact(parent, "predictions.csv").query("split == 'test'")
    assert pooled["pair_id"].is_unique
    assert len(pooled) == 90
    folds = artifact(parent, "folds.csv").query("part == 'test'").set_index("patient_id")["fold"]
    assert (pooled["fold"] == pooled["patient_id"].map(folds)).all()
    assert "val/auc" not in parent.data.metrics

    # the whole study goes on with that arm, takes its patients for the other, and compares the two
    capfd.readouterr()
    options = [word for word in words[1:] if not word.startswith("--config=configs/fused")]
    arms = ["configs/fused.yaml", "configs/ceus.yaml"]
    cohort = phantom_store.parent / "cohort" / "patients.csv"
    study = ["--arms", *arms, f"--patients={cohort}", "--out=results", *options]
    assert main(["study", *study]) == 0
    printed = capfd.readouterr().out
    assert LINK.search(printed)
    (second,) = of_verb("cv", arm="ceus")
    assert second.data.tags["protocol"] == "nested"
    assert artifact(second, "folds.csv").equals(artifact(parent, "folds.csv"))
    assert [run.data.tags["fold"] for run in of_verb("fit", arm="fused")] == ["0", "1"]
    assert "== Table 1" in printed
    for level in ("patient", "image"):
        found = json.loads(Path(f"results/over_{level}s/compare.json").read_text())
        assert [row["name"] for row in found["arms"]] == ["fused", "ceus"]
        assert f"{found['arms'][0]['auc']:.3f} (" in printed
    assert found["arms"][0]["auc"] == pytest.approx(parent.data.metrics["test/auc"])
    over = found["arms"][0]["over_folds"]["test/auc"]["mean"]
    assert over == pytest.approx(parent.data.metrics["test/auc_fold_mean"])
    assert "low grade" in Path("results/table1.csv").read_text()
    compared = of_verb("compare", level="image")[0]
    assert compared.data.tags["compares"] == f"{parent.info.run_id},{second.info.run_id}"
    assert compared.info.experiment_id == parent.info.experiment_id
    assert f"runs/{second.info.run_id})" in compared.data.tags["mlflow.note.content"]

    # once more: nothing is left to do, and nothing is recorded twice
    before = set(runs())
    assert main(["study", *study]) == 0
    assert set(runs()) == before
    capfd.readouterr()
    assert main(["compare", parent.info.run_id, second.info.run_id, "--threshold=youden"]) == 0
    printed = capfd.readouterr().out
    assert "Youden's on validation scores" in printed
    assert LINK.search(printed)

    # a single run's own images were not all scored by the other arm's runs
    (fold,) = of_verb("fit", arm="fused", fold="0")
    assert main(["compare", parent.info.run_id, fold.info.run_id]) == 2
    assert "were scored on different patients" in capfd.readouterr().err


@pytest.mark.slow
def test_a_study_file_trains_arms_of_the_same_modalities_apart(
    work: Path, tiny: list[str], phantom_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in tiny if "--config" not in word]
    arms: dict[str, object] = {
        "fused": "fused",
        "gated": {"config": "fused", "settings": {"model.fusion": "mean"}},  # not known
    }
    study: dict[str, object] = {
        "study": "shapes",
        "config": "demo",
        "settings": {"data": {"n_folds": 2, "protocol": "nested"}},
        "arms": arms,
        "reference": "fused",
        "out": "tables",
    }

    def run(*words: str) -> int:
        Path("shapes.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        return main(["study", "shapes.yaml", *words, *options])

    assert run() == 2
    assert "arm gated: model.fusion is 'mean'" in capfd.readouterr().err
    arms["gated"] = {"config": "fused"}
    assert run() == 2
    assert "the arms fused and gated train the very same" in capfd.readouterr().err
    arms["gated"] = {"config": "fused", "settings": {"model.fusion": "sigmoid"}}
    assert run("--dry-run") == 0
    rows = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert [row[:5] for row in rows[1:3]] == [[name, "2", "0", "2", "1"] for name in arms]
    assert all(float(row[5]) > 0 for row in rows[1:3])
    assert "Tested: 1 planned pairs." in " ".join(rows[-1])
    assert runs() == {}  # nothing has been trained yet
    assert run() == 0
    parents = {one.data.tags["arm"]: one for one in of_verb("cv")}
    assert set(parents) == {"fused", "gated"}
    names = {one.info.run_name for one in runs().values()}
    assert {"gated-cv", "gated-fold0", "gated-fold1"} <= names
    assert artifact(parents["fused"], "folds.csv").equals(artifact(parents["gated"], "folds.csv"))

    # one more arm, and another name of one: the new one alone is trained
    arms["mean of both"] = arms.pop("gated")
    arms["bmode"] = "bmode"
    before = set(runs())
    assert run() == 0
    new = [runs()[run_id] for run_id in set(runs()) - before]
    assert {one.data.tags["arm"] for one in new if one.data.tags["verb"] == "fit"} == {"bmode"}
    for level in ("patient", "image"):
        found = json.loads(Path(f"tables/over_{level}s/compare.json").read_text())
        assert [row["name"] for row in found["arms"]] == ["fused", "mean of both", "bmode"]
        # the two tests that the file plans, not all three
        tests = [(test["a"], test["b"]) for test in found["tests"]]
        assert tests == [("fused", "mean of both"), ("fused", "bmode")]
    page = Path("tables/report.html").read_text()
    assert "fused (MUF-Net) minus mean of both" in page
    assert "fused (MUF-Net) minus B-mode" in page
    assert "mean of both minus" not in page
    assert "B-mode minus" not in page
    assert "the pairs that the study planned" in page


@pytest.mark.slow
def test_a_stopped_fold_goes_on_from_its_last_epoch_to_the_same_result(
    work: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = [
        "--data.n_folds=2",
        "--model.dropout=0.5",
        "--lr_scheduler.step_size=2",
        "--trainer.max_epochs=4",
    ]
    words = [*tiny, *settings]
    assert main(["cv", *words, "--fold=1"]) == 0
    (parent,) = of_verb("cv")
    (uninterrupted,) = of_verb("fit")
    mlflow_client().delete_run(uninterrupted.info.run_id)  # so that the fold is still to be run

    train = MufNetModule.training_step

    def dies_in_epoch_2(self: MufNetModule, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.current_epoch == 2:
            raise FloatingPointError("the machine is gone")
        return train(self, batch, batch_idx)

    monkeypatch.setattr(MufNetModule, "training_step", dies_in_epoch_2)
    assert main(["fit", *words, "--data.fold=1", f"--tracking.parent_run={parent.info.run_id}"]) == 1
    (broken,) = of_verb("fit")
    mlflow_client().update_run(broken.info.run_id, status="RUNNING")  # as if nobody could close it
    capfd.readouterr()
    assert main(["cv", *words, "--fold=1"]) == 0
    assert "fold 1 of 0, 1, from its last epoch" in capfd.readouterr().err
    (resumed,) = of_verb("fit")
    assert resumed.info.run_id == broken.info.run_id
    assert resumed.info.status == "FINISHED"
    pd.testing.assert_frame_equal(
        artifact(resumed, "predictions.csv"),
        artifact(uninterrupted, "predictions.csv"),
        check_exact=True,
    )
    for name in ("train/loss", "val/auc"):
        there, here = (
            [(p.step, p.value) for p in mlflow_client().get_metric_history(run.info.run_id, name)]
            for run in (uninterrupted, resumed)
        )
        assert here == there, name
    assert not list(Path("mlruns").glob("checkpoints/*"))
    # its record can be run again: it names no file that is gone
    config = yaml.safe_load(resolve_artifact(resumed.info.run_id, "config.yaml").read_text())
    assert config["data"]["init_args"]["folds_from"] is None
    assert resumed.data.tags["protocol"] == "paper"


def test_arms_that_cannot_use_the_same_images_are_told_before_training(
    work: Path, tiny: list[str], phantom_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(phantom_store, "some", ignore=shutil.ignore_patterns("cache*"))
    manifest = pd.read_csv("some/manifest.csv", dtype=str, keep_default_na=False)
    manifest.loc[::3, "ceus_path"] = ""
    manifest.to_csv("some/manifest.csv", index=False)
    seal("some")
    options = [word for word in tiny if not word.startswith(("--config=configs/fused", "--data.store"))]
    study = ["--arms", "configs/bmode.yaml", "configs/fused.yaml", *options, "--data.store=some"]
    assert main(["study", *study]) == 2
    told = capfd.readouterr().err
    assert "the arms can use different numbers of pairs (bmode 90, fused 60)" in told
    assert "data.complete_pairs" in told
    assert runs() == {}
    data = RoiPairDataModule("some", ["bmode"], complete_pairs=True)
    assert len(data.usable_rows) == 60


def epochs_kept(call: Apart) -> bool:
    """Whether the fold that a call of `cv` trains could go on from an epoch."""
    folds = re.findall(r"fold (\d) of", call.printed())
    runs = [run.info.run_id for run in of_verb("fit") if run.data.tags["fold"] in folds[-1:]]
    return any(Path("mlruns", "checkpoints", run, "last.ckpt").is_file() for run in runs)


@pytest.mark.slow
def test_two_calls_share_the_folds_and_a_terminated_one_leaves_the_rest_to_the_other(
    work: Path, tiny: list[str]
) -> None:
    words = ["cv", *tiny, "--data.n_folds=2", "--trainer.max_epochs=40", "--jobs=1"]
    with Apart(*words) as first, Apart(*words) as second:
        first.wait_for(lambda: epochs_kept(first))
        second.wait_for(lambda: len(of_verb("fit")) > 1)
        first.send(signal.SIGTERM)
        assert first.wait(120) == 130
        assert second.wait(240) == 0, second.printed()
    (parent,) = of_verb("cv")
    assert parent.info.status == "FINISHED"
    fits = of_verb("fit")
    assert sorted(run.data.tags["fold"] for run in fits) == ["0", "1"]
    assert {run.info.status for run in fits} == {"FINISHED"}
    for run in fits:
        steps = [p.step for p in mlflow_client().get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(40))
    assert "from its last epoch" in second.printed()
    assert not list(Path("mlruns").glob("direct/*"))
    assert not list(Path("mlruns").glob("checkpoints/*"))


@pytest.mark.slow
def test_a_terminated_call_says_so(work: Path, tiny: list[str]) -> None:
    with Apart("cv", *tiny, "--data.n_folds=2", "--trainer.max_epochs=500") as command:
        command.wait_for(lambda: list(Path("mlruns").glob("checkpoints/*/last.ckpt")))
        command.send(signal.SIGTERM)
        assert command.wait(120) == 130
    assert {run.info.status for run in runs().values()} == {"KILLED"}
