"""`mufnet test --run RUN --store OTHER`: a trained model on another cohort, as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from edited_stores import seal
from sklearn.metrics import roc_auc_score
from trained_models import Models
from working_folder import copy_runs, enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.inference.load import load_grader, save_grader
from mufnet_lightning.report.gather import study_facts
from mufnet_lightning.report.tables import external_frame
from mufnet_lightning.tracking.artifacts import artifact_files
from mufnet_lightning.tracking.checkpoints import CHECKPOINT
from mufnet_lightning.tracking.runs import find_run, find_runs, find_study, resolve_artifact

pytestmark = pytest.mark.slow  # they share runs that are trained first


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another cohort of 16 patients, half of them high, N001 to N016; its store lies beside it."""
    folder = tmp_path_factory.mktemp("other")
    size = ["--frames", "2", "--clip-length", "4", "--pane-size", "128", "--high-share", "0.5"]
    assert main(["phantom", str(folder / "cohort"), "--patients", "16", *size, "--seed", "9"]) == 0
    for name in ("patients", "clips"):  # ids of the training's phantom are P001, ...
        table = pd.read_csv(folder / "cohort" / f"{name}.csv", dtype=str)
        table["patient_id"] = table["patient_id"].str.replace("P", "N")
        table.to_csv(folder / "cohort" / f"{name}.csv", index=False)
    assert main(["prepare", str(folder / "cohort"), str(folder / "hospital_b")]) == 0
    return folder / "hospital_b"


@pytest.fixture(scope="module")
def runs(models: Models, empty_tracking: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a copy of the trained models."""
    folder = make_working_folder(tmp_path_factory.mktemp("external"), empty_tracking)
    copy_runs(models.folder, folder)
    return folder


@pytest.fixture(autouse=True)
def there(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(runs, monkeypatch)


def changed(store: Path, folder: Path, **columns: object) -> Path:
    """A copy of a store whose manifest differs."""
    copy = Path(shutil.copytree(store, folder / "changed"))
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.assign(**columns).to_csv(copy / "manifest.csv", index=False)  # type: ignore[arg-type]
    seal(copy)
    return copy


def test_every_number_is_of_the_frozen_model_on_the_other_patients(
    models: Models, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--run", models.cv, "--store", str(other), "--device=cpu", f"--out={tmp_path}"]
    more = ["--by=center,sex,size_cm", f"--cohort={other.parent / 'cohort'}"]
    columns = pd.read_csv(other.parent / "cohort" / "patients.csv").columns
    number = next(name for name in columns if name.startswith(("hemoglobin", "age")))
    more[0] = f"--by=center,sex,{number}"
    assert main([*words, *more]) == 0
    text = capsys.readouterr().out
    card = load_grader(models.cv, "cpu").card
    assert text.startswith("External validation of fused-cv, an ensemble of 2 networks")
    assert f"threshold {card.threshold:.3f}" in text
    assert "16 patients (8 of high grade, 8 of low grade; 32 images) of hospital_b" in text
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert set(table["split"]) == {"test"}
    patients = table.groupby("patient_id")[["label", "score"]].mean()
    result = json.loads((tmp_path / "external.json").read_text())
    (arm,) = result["patient"]["arms"]
    assert arm["auc"] == pytest.approx(roc_auc_score(patients["label"], patients["score"]))
    assert 0 <= arm["auc_ci"][0] < arm["auc"] < arm["auc_ci"][1] <= 1
    high = patients["label"] == 1
    called = patients["score"] > card.threshold
    assert arm["sensitivity"]["value"] == pytest.approx(called[high].mean())
    assert arm["specificity"]["value"] == pytest.approx(1 - called[~high].mean())
    center, sex, numbers = result["subgroups"]
    for made in (center, sex, numbers):
        assert sum(g["low"] + g["high"] for g in made["groups"]) == 16
    assert numbers["cut_is_median"]
    assert set(pd.read_csv(tmp_path / "subgroups.csv")["by"]) == {"center", "sex", number}
    # and the run of it
    run = find_run(text.rsplit("recorded as run ", 1)[1].strip())
    assert (run.verb, run.arm, run.tags["model"]) == ("external", "fused", models.cv)
    assert run.tags["store_digest"] == json.loads((other / "store.json").read_text())["digest"]
    assert run.experiment_id == find_run(models.cv).experiment_id
    assert run.metrics["external/patient_auc"] == pytest.approx(arm["auc"])
    assert run.metrics["external/patient_sensitivity"] == pytest.approx(arm["sensitivity"]["value"])
    assert not [name for name in run.metrics if not name.startswith("external/")]
    files = {*artifact_files(run.id), *artifact_files(run.id, "figures")}
    assert {"predictions.csv", "external.json", "figures/external_roc_patients.png"} <= files
    assert run.datasets[0].digest == run.tags["store_digest"][:36]
    # an arm that says what it is
    assert main(["compare", run.id, f"again={run.id}", "--by=center", "--no-record"]) == 0
    compared = capsys.readouterr().out
    assert "fused external" in compared
    assert "By center" in compared
    facts = study_facts(find_run(models.cv).study)
    (row,) = external_frame(facts).to_dict("records")
    assert (row["model"], row["cohort"], row["patients"]) == ("fused-cv", "hospital_b", 16)
    assert row["AUC"].startswith(f"{arm['auc']:.3f} (")


def test_who_trained_the_model_is_named_and_does_not_count(
    models: Models, phantom_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", f"--run={models.fits[0]}", f"--store={phantom_store}", "--device=cpu"]
    assert main([*words, f"--out={tmp_path}", "--no-record"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Held-out patients of the model's own cohort, no external validation")
    table = pd.read_csv(tmp_path / "predictions.csv")
    own = pd.read_csv(resolve_artifact(models.fits[0], "folds.csv"))
    own = own[own["fold"] == find_run(models.fits[0]).fold]
    parts = own.groupby("part")["patient_id"].agg(set)
    for part in ("train", "val", "test"):
        assert set(table.loc[table["split"] == part, "patient_id"]) == parts[part]
    left_out = json.loads((tmp_path / "external.json").read_text())["left_out"]
    named = {one["reason"]: set(one["patients"]) for one in left_out}
    assert named == {
        "they trained the model": parts["train"],
        "they chose the model's epoch and threshold": parts["val"],
    }
    assert f"{min(parts['train'])}, " in text
    assert (
        f"{len(parts['test'])} of the patients are of the cohort that the model was developed" in text
    )


def parts_of(run: str) -> dict[str, set[str]]:
    """The patients of each part of a fit's own fold."""
    folds = pd.read_csv(resolve_artifact(run, "folds.csv"))
    own = folds[folds["fold"] == find_run(run).fold]
    return {str(part): set(rows["patient_id"]) for part, rows in own.groupby("part")}


def left_out_of(reference: object, store: Path, out: Path) -> dict[str, set[str]]:
    """Who is left out of an external validation, by the reason; as `external.json` has it."""
    words = ["test", f"--run={reference}", f"--store={store}", "--device=cpu", f"--out={out}"]
    assert main([*words, "--no-record"]) == 0
    named = json.loads((out / "external.json").read_text())["left_out"]
    return {one["reason"]: set(one["patients"]) for one in named}


def kept_otherwise(run: str, file: Path, **settings: object) -> Path:
    """A run's checkpoint as a file, whose configuration says that another epoch was kept."""
    content = torch.load(resolve_artifact(run, CHECKPOINT), weights_only=True)
    config = yaml.safe_load(content["mufnet_config"])
    stops = settings.pop("callbacks", None)
    config["checkpoint"] = {**(config.get("checkpoint") or {}), **settings}
    config["trainer"]["callbacks"] = stops
    content["mufnet_config"] = yaml.safe_dump(config)
    torch.save(content, file)
    return file


def test_who_chose_the_epoch_of_an_optimistic_run_does_not_count(
    models: Models,
    phantom_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = parts_of(models.fits[0])
    file = kept_otherwise(
        models.fits[0], tmp_path / "o.ckpt", keep="best", monitor="test_watched/accuracy"
    )
    # its validation patients chose the threshold: nobody is left
    assert main(["test", f"--run={file}", f"--store={phantom_store}", "--no-record"]) == 2
    told = capsys.readouterr().err
    assert (
        f"all {sum(map(len, parts.values()))} of its patients whose grade is known had a part" in told
    )
    assert f"{len(parts['test'])}: they chose the model's epoch" in told
    assert f"{len(parts['val'])}: they chose the model's threshold" in told
    enter(tmp_path, monkeypatch)  # where the run is not: its threshold is 0.5
    assert left_out_of(file, phantom_store, tmp_path / "out") == {
        "they trained the model": parts["train"],
        "they chose the model's epoch": parts["test"],
    }
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(table.loc[table["split"] == "test", "patient_id"]) == parts["val"]


def test_a_checkpoint_of_another_machine_knows_who_chose_its_epoch(
    models: Models, phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, run in enumerate(models.fits):
        parts = parts_of(run)
        file = shutil.copy(resolve_artifact(run, CHECKPOINT), tmp_path / f"{number}.ckpt")
        with monkeypatch.context() as patch:
            enter(tmp_path, patch)
            assert left_out_of(file, phantom_store, tmp_path / "out") == {
                "they trained the model": parts["train"],
                "they chose the model's epoch": parts["val"],
            }


@pytest.mark.parametrize("keep", ["last", "average"])
def test_who_chose_the_threshold_alone_is_said_to_have_done_that(
    keep: str, models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    parts = parts_of(models.fits[0])
    file = kept_otherwise(models.fits[0], tmp_path / "kept.ckpt", keep=keep)
    left_out = left_out_of(file, phantom_store, tmp_path / "out")
    assert left_out["they chose the model's threshold"] == parts["val"]
    # unless they could stop the training
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping"}
    stop["init_args"] = {"monitor": "val/loss"}  # type: ignore[assignment]
    file = kept_otherwise(models.fits[0], tmp_path / "stopped.ckpt", keep=keep, callbacks=[stop])
    left_out = left_out_of(file, phantom_store, tmp_path / "out")
    assert left_out["they chose the model's epoch and threshold"] == parts["val"]


def test_where_nobody_can_tell_who_chose_it_is_said(
    models: Models,
    phantom_store: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_grader(load_grader(models.fits[0], "cpu"), tmp_path / "model")
    parts = parts_of(models.fits[0])
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    del content["mufnet_folds"]
    torch.save(content, tmp_path / "no_folds.ckpt")
    # a saved model whose run is at hand tells it
    left_out = left_out_of(tmp_path / "model", phantom_store, tmp_path / "out")
    assert left_out["they chose the model's epoch and threshold"] == parts["val"]
    enter(tmp_path, monkeypatch)
    capsys.readouterr()
    words = ["--device=cpu", "--no-record"]
    for reference, store, said in (
        ("model", phantom_store, True),
        ("no_folds.ckpt", phantom_store, True),
        ("no_folds.ckpt", other, False),
    ):
        assert main(["test", f"--run={reference}", f"--store={store}", *words]) == 0
        printed = capsys.readouterr().out
        notes = [line for line in printed.splitlines() if line.startswith("Note: ")]
        assert any("epoch or threshold" in note for note in notes) == said


def test_a_store_without_others_or_without_grades_is_refused(
    models: Models,
    other: Path,
    phantom_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = len(find_runs(find_study(find_run(models.cv).study)))
    folds = pd.read_csv(resolve_artifact(models.cv, "folds.csv"))
    trained = set(folds.loc[folds["part"] == "train", "patient_id"])
    copy = Path(shutil.copytree(phantom_store, tmp_path / "seen"))
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str, keep_default_na=False)
    manifest[manifest["patient_id"].isin(trained)].to_csv(copy / "manifest.csv", index=False)
    seal(copy)
    assert main(["test", f"--run={models.cv}", f"--store={copy}"]) == 2
    assert f"all {len(trained)} of its patients" in capsys.readouterr().err
    info = json.loads((other / "store.json").read_text())
    ungraded = changed(other, tmp_path, grade="", label="")
    for name in ("low", "high"):
        (where,) = [
            d for d in (info, *filter(lambda v: isinstance(v, dict), info.values())) if name in d
        ]
        where[name] = 0
    (ungraded / "store.json").write_text(json.dumps(info))
    seal(ungraded)
    assert main(["test", f"--run={models.cv}", f"--store={ungraded}"]) == 2
    assert "has no grades" in capsys.readouterr().err
    labels = pd.read_csv(other / "manifest.csv")["label"]
    shutil.rmtree(ungraded)
    some = changed(other, tmp_path, label=np.where(labels == 1, "", "0"), grade="")
    assert main(["test", f"--run={models.cv}", f"--store={some}"]) == 2
    assert "patients of low grade alone can be counted" in capsys.readouterr().err
    assert len(find_runs(find_study(find_run(models.cv).study))) == before


def test_the_same_ids_in_another_cohort_are_doubted(
    models: Models, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = pd.read_csv(other / "manifest.csv")["patient_id"].str.replace("N", "P")
    copy = changed(other, tmp_path, patient_id=ids)
    assert main(["test", f"--run={models.cv}", f"--store={copy}", "--no-record"]) == 0
    assert "bear the id and the grade of a patient of another cohort" in capsys.readouterr().out


def test_lightnings_test_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test"]) == 2
    assert "test needs --ckpt_path" in capsys.readouterr().err
    assert main(["test", "--run=abc", "--data.store=x"]) == 2
    assert "--data.store" in capsys.readouterr().err
