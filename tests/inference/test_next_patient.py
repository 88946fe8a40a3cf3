"""New patients, as the command is given them: a clip and a box file, a cohort folder, a store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from edited_stores import seal
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from trained_models import Models
from working_folder import enter

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.recalibration import recalibrate
from mufnet_lightning.inference.files import RESULT_FILES
from mufnet_lightning.inference.load import load_grader, save_grader
from mufnet_lightning.tracking.arms import read_arm
from mufnet_lightning.tracking.artifacts import artifact_files
from mufnet_lightning.tracking.checkpoints import CHECKPOINT
from mufnet_lightning.tracking.runs import resolve_artifact

pytestmark = pytest.mark.slow  # they share runs that are trained first


@pytest.fixture(autouse=True)
def there(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(models.folder, monkeypatch)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients who trained nothing: the third has no CEUS pane, the fourth a clip cut off."""
    folder = tmp_path_factory.mktemp("new") / "cohort"
    size = ["--frames", "3", "--clip-length", "6", "--pane-size", "128", "--high-share", "0.5"]
    same = ["--frames-spread", "0", "--seed", "9"]
    assert main(["phantom", str(folder), "--patients", "4", *size, *same]) == 0
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("patients", "clips", "boxes")
    }
    for name in ("patients", "clips"):  # new ids: those of the training's phantom are P001, ...
        tables[name]["patient_id"] = "N" + tables[name]["patient_id"]
    tables["patients"] = tables["patients"].drop(columns="grade")
    clips, boxes = tables["clips"], tables["boxes"]
    third = boxes["clip_id"] == clips["clip_id"][2]
    (bx, *_), (cx, *_) = (map(int, clips[f"{m}_pane"][2].split(",")) for m in ("bmode", "ceus"))
    boxes.loc[third, "x"] = (boxes.loc[third, "x"].astype(int) + bx - cx).astype(str)
    boxes.loc[third, "pane"] = "bmode"
    clips.loc[2, "ceus_pane"] = ""
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    last = folder / clips["path"][3]
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 3])
    return folder


@pytest.fixture(scope="module")
def few(models: Models, phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the training's store three patients who trained and three who were tested."""
    store = Path(shutil.copytree(phantom_store, tmp_path_factory.mktemp("few") / "store"))
    shutil.rmtree(store / "cache", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(models.folder, patch)
        table = pd.read_csv(resolve_artifact(models.cv, "predictions.csv"))
    parts = table.groupby("split")["patient_id"]
    named = [patient for part in ("val", "test") for patient in parts.get_group(part).unique()[:3]]
    manifest = pd.read_csv(store / "manifest.csv", keep_default_na=False)
    manifest[manifest["patient_id"].isin(named)].to_csv(store / "manifest.csv", index=False)
    seal(store)
    return store


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values={"score": [""]})


@pytest.fixture(scope="module")
def graded(models: Models, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole cohort, graded by the folds together."""
    out = tmp_path_factory.mktemp("graded")
    with pytest.MonkeyPatch.context() as patch:
        enter(models.folder, patch)
        assert main(["predict", "--run", models.cv, "--cohort", str(phantom), "--out", str(out)]) == 2
    return out


def test_everybody_who_can_be_graded_is_and_the_others_are_named(
    models: Models, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", f"--run=runs:/{models.fits[0]}", f"--cohort={phantom}", f"--out={tmp_path}"]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert read(tmp_path, "patients")["patient_id"].tolist() == ["NP001", "NP002", "NP003"]
    assert read(tmp_path, "patients")["missing"].tolist() == ["", "", "ceus"]
    assert "not graded: patient NP004 (3 images): clips.csv row 5" in printed.err
    assert "NP003" in printed.out
    result = json.loads((tmp_path / "result.json").read_text())
    (lost,) = result["not_graded"]
    assert (lost["patient_id"], lost["images"]) == ("NP004", 3)
    page = (tmp_path / "page.html").read_text()
    assert "NP004 (3 images)" in page
    assert "Missing: CEUS" in page
    assert "No medical device" in page


def test_a_patient_is_the_mean_of_the_images_and_the_spread_that_of_the_folds(
    models: Models, phantom: Path, graded: Path
) -> None:
    images, patients = read(graded, "predictions"), read(graded, "patients")
    means = images.groupby("patient_id", sort=False)["score"].mean()
    np.testing.assert_allclose(patients["score"], means, rtol=1e-12)
    card = load_grader(models.cv).card
    assert (patients["threshold"] == card.threshold).all()
    assert patients["class"].tolist() == [card.called(score) for score in patients["score"]]
    # each fold's validation patients, none of whom trained that fold's network
    known = pd.read_csv(resolve_artifact(models.cv, "predictions.csv")).query("split == 'val'")
    fit = recalibrate(known["label"], known["score"], known["patient_id"])
    assert card.recalibration == fit
    risks = patients["risk"].astype(float)
    np.testing.assert_allclose(risks, fit.apply(patients["score"]), rtol=1e-9)
    of_images = images.assign(risk=images["risk"].astype(float)).groupby("patient_id")["risk"]
    assert (of_images.nunique() == 1).all()
    np.testing.assert_allclose(of_images.first()[patients["patient_id"]], risks, rtol=1e-12)
    page = (graded / "page.html").read_text()
    assert f"recalibrated on {fit.high + fit.low} validation patients" in page
    assert f"; risk {risks[0]:.2f}" in page
    assert (images["spread"] > 0).all()
    assert (images["split"] == "predict").all()
    of_third = images[images["patient_id"] == "NP003"]
    assert (of_third["weight_bmode"].astype(float) == 1).all()
    assert (of_third["weight_ceus"] == "").all()
    members = [load_grader(run) for run in models.fits]
    clip = phantom / "clips" / "P001-1.avi"
    alone = []
    for number, member in enumerate(members):
        out = graded.parent / f"alone{number}"
        run = models.fits[number]
        assert main(["predict", "--run", run, "--clip", str(clip), "--out", str(out)]) == 0
        assert member.card.members == 1
        alone.append(read(out, "patients")["score"][0])
    assert patients["score"][0] == pytest.approx(np.mean(alone), abs=1e-6)
    assert patients["spread"][0] == pytest.approx(np.std(alone, ddof=1), abs=1e-6)


def test_a_clip_and_a_box_file_need_no_tables(
    models: Models, phantom: Path, graded: Path, tmp_path: Path
) -> None:
    shutil.copy(phantom / "clips" / "P001-1.avi", tmp_path / "scan.avi")
    boxes = pd.read_csv(phantom / "boxes.csv", dtype=str)
    own = boxes[boxes["clip_id"] == "P001-1"].drop(columns="clip_id")
    own.to_csv(tmp_path / "drawn.csv", index=False)
    clips = pd.read_csv(phantom / "clips.csv", dtype=str).set_index("clip_id").loc["P001-1"]
    words = [
        "predict",
        f"--run={models.cv}",
        f"--clip={tmp_path / 'scan.avi'}",
        f"--out={tmp_path / 'out'}",
    ]
    panes = [f"--{name}-pane={clips[f'{name}_pane']}" for name in ("bmode", "ceus")]
    assert main([*words, *panes, f"--boxes={tmp_path / 'drawn.csv'}"]) == 0
    images = read(tmp_path / "out", "predictions")
    expected = read(graded, "predictions").query("patient_id == 'NP001'")
    np.testing.assert_allclose(images["score"], expected["score"], atol=1e-6)
    assert images["patient_id"].unique().tolist() == ["scan"]
    (caution,) = json.loads((tmp_path / "out" / "result.json").read_text())["cautions"]
    assert "called as the clip's file" in caution


def test_a_clip_whose_header_names_its_panes_needs_no_options(
    models: Models, phantom: Path, files: ModuleType, tmp_path: Path
) -> None:
    """The phantom's two panes are grey, so the side of contrast is given."""
    pixels = dict(iter_frames(phantom / "clips" / "P001-1.avi", range(6)))
    dataset = files.write_dicom(tmp_path / "scan", np.stack([*pixels.values()]))
    boxes = pd.read_csv(phantom / "boxes.csv", dtype=str)
    own = boxes[boxes["clip_id"] == "P001-1"].drop(columns="clip_id")
    own.to_csv(tmp_path / "drawn.csv", index=False)
    clips = pd.read_csv(phantom / "clips.csv", dtype=str).set_index("clip_id").loc["P001-1"]
    panes = {name: clips[f"{name}_pane"] for name in ("bmode", "ceus")}
    regions = []
    for x, y, width, height in (map(int, pane.split(",")) for pane in panes.values()):
        region = Dataset()
        region.RegionLocationMinX0, region.RegionLocationMinY0 = x, y
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = x + width - 1, y + height - 1
        region.RegionSpatialFormat = region.RegionDataType = 1
        regions.append(region)
    dataset.SequenceOfUltrasoundRegions = Sequence(regions)
    dataset.save_as(tmp_path / "scan", enforce_file_format=True)
    words = [
        *("predict", f"--run={models.fits[0]}", f"--clip={tmp_path / 'scan'}"),
        f"--boxes={tmp_path / 'drawn.csv'}",
    ]
    given = [f"--{name}-pane={pane}" for name, pane in panes.items()]
    assert main([*words, *given, f"--out={tmp_path / 'given'}"]) == 0
    side = "right" if int(panes["ceus"].split(",")[0]) else "left"
    assert main([*words, f"--contrast={side}", f"--out={tmp_path / 'header'}"]) == 0
    expected = read(tmp_path / "given", "predictions")["score"]
    assert read(tmp_path / "header", "predictions")["score"].tolist() == expected.tolist()
    assert main([*words, "--contrast=top", f"--out={tmp_path / 'none'}"]) == 2


def test_a_store_is_graded_as_a_cohort_is_and_who_trained_is_told(
    models: Models, few: Path, tmp_path: Path
) -> None:
    words = ["predict", f"--run={models.cv}", f"--store={few}", f"--out={tmp_path}"]
    assert main(words) == 0
    patients = read(tmp_path, "patients").set_index("patient_id")
    recorded = pd.read_csv(resolve_artifact(models.cv, "predictions.csv"), dtype={"patient_id": str})
    tested = recorded.loc[recorded["split"] == "test", "patient_id"].unique()
    # whoever validated one fold trained the other
    assert (patients["trained"] == "").equals(patients.index.to_series().isin(tested))
    assert (patients["trained"] == "yes").sum() == 3
    assert "trained the model" in (tmp_path / "page.html").read_text()


def test_who_comes_again_under_another_id_is_known_by_the_pictures(
    models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    cohort = Path(shutil.copytree(phantom_store.parent / "cohort", tmp_path / "cohort"))
    (cohort / "cohort.json").unlink()
    recorded = pd.read_csv(resolve_artifact(models.fits[0], "predictions.csv"), dtype=str)
    scored = set(recorded["patient_id"])
    tables = {
        name: pd.read_csv(cohort / f"{name}.csv", dtype=str) for name in ("patients", "clips", "boxes")
    }
    trained, unseen = (
        next(name for name in tables["patients"]["patient_id"] if (name in scored) == of_the_scored)
        for of_the_scored in (False, True)
    )
    new = {trained: "X1", unseen: "X2"}
    for name in ("patients", "clips"):
        table = tables[name][tables[name]["patient_id"].isin(new)]
        tables[name] = table.assign(patient_id=table["patient_id"].map(new))
    tables["patients"] = tables["patients"][["patient_id"]]
    tables["boxes"] = tables["boxes"][tables["boxes"]["clip_id"].isin(tables["clips"]["clip_id"])]
    for name, table in tables.items():
        table.to_csv(cohort / f"{name}.csv", index=False)
    words = ["predict", f"--run={models.fits[0]}", f"--cohort={cohort}", f"--out={tmp_path / 'out'}"]
    assert main(words) == 0
    patients = read(tmp_path / "out", "patients").set_index("patient_id")
    assert patients["looks_like"].to_dict() == {"X1": trained, "X2": ""}
    assert (patients["trained"] == "").all(), "no id says so"
    said = "The pictures look like those of a patient who trained the model"
    assert (tmp_path / "out/page.html").read_text().count(said) == 1


def test_another_network_refuses_who_lacks_a_modality_and_grades_the_rest(
    models: Models, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    content["hyper_parameters"]["modality_dropout"] = 0.0
    torch.save(content, tmp_path / "plain.ckpt")
    words = ["predict", f"--run={tmp_path / 'plain.ckpt'}", f"--out={tmp_path}"]
    assert main([*words, f"--cohort={phantom}"]) == 2
    assert read(tmp_path, "patients")["patient_id"].tolist() == ["NP001", "NP002"]
    told = capsys.readouterr().err
    assert "patient NP003 (3 images): no CEUS picture, which" in told
    assert "model.modality_dropout" in told
    clip = phantom / "clips" / "P003-1.avi"
    assert main([*words, f"--clip={clip}", f"--out={tmp_path / 'none'}"]) == 2
    assert not (tmp_path / "none" / "page.html").exists()


def test_a_saved_model_knows_its_patients_by_its_run_and_says_so_where_it_cannot(
    models: Models, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_grader(load_grader(models.cv), tmp_path / "model")
    words = ["predict", f"--run={tmp_path / 'model'}", f"--store={few}"]
    assert main([*words, f"--out={tmp_path / 'here'}"]) == 0
    assert (read(tmp_path / "here", "patients")["risk"].astype(float) > 0).all()
    # a card of a version that knew no risks
    card = json.loads((tmp_path / "model/card.json").read_text())
    del card["recalibration"], card["digest"]
    (tmp_path / "model/card.json").write_text(json.dumps(card))
    assert (read(tmp_path / "here", "patients")["trained"] == "yes").sum() == 3
    monkeypatch.chdir(tmp_path)  # where no run is recorded
    assert main([*words, f"--out={tmp_path / 'there'}"]) == 0
    assert (read(tmp_path / "there", "patients")["trained"] == "unknown").all()
    assert (read(tmp_path / "there", "predictions")["split"] == "unknown").all()
    assert (read(tmp_path / "there", "patients")["risk"] == "").all()
    assert "There is no risk beside the score" in (tmp_path / "there/page.html").read_text()
    assert (
        "nobody can tell whether these patients trained it"
        in (tmp_path / "there/page.html").read_text()
    )
    with pytest.raises(InputFault, match="no scores of the test part"):
        read_arm(str(tmp_path / "there" / "predictions.csv")).part("test")
    arm = read_arm(str(tmp_path / "here" / "predictions.csv"))
    assert set(arm.part("test")["split"]) == {"predict"}  # and not who trained it


def test_the_last_patients_result_does_not_stay_where_nobody_is_graded(
    models: Models, phantom: Path, tmp_path: Path
) -> None:
    words = ["predict", f"--run={models.fits[0]}", f"--out={tmp_path}"]
    assert main([*words, f"--clip={phantom / 'clips' / 'P001-1.avi'}"]) == 0
    assert {file.name for file in tmp_path.iterdir()} == set(RESULT_FILES)
    assert main([*words, f"--clip={phantom / 'clips' / 'P004-1.avi'}"]) == 2
    assert not list(tmp_path.iterdir())


def test_crops_that_were_cut_otherwise_are_refused_either_way(
    models: Models, phantom_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    info = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**info, "margin": 0.5}))
    seal(store)
    told = "was cut with a margin of 0.5"
    assert main(["predict", f"--run={models.cv}", f"--store={store}", f"--out={tmp_path / 'o'}"]) == 2
    assert told in capsys.readouterr().err
    words = [f"--ckpt_path={models.fits[0]}", f"--data.store={store}", f"--output={tmp_path / 'a.csv'}"]
    assert main(["predict", *words]) == 2
    assert told in capsys.readouterr().err


def test_weights_bear_their_modalities_names_in_any_order(
    models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    words = ["predict", f"--ckpt_path={models.fits[0]}", f"--data.store={phantom_store}"]
    for name, order in (("a", "[bmode,ceus]"), ("b", "[ceus,bmode]")):
        output = f"--output={tmp_path / name}.csv"
        assert main([*words, f"--data.modalities={order}", output, "--trainer.accelerator=cpu"]) == 0
    first, second = (pd.read_csv(tmp_path / f"{name}.csv") for name in "ab")
    columns = ["score", "weight_bmode", "weight_ceus"]
    np.testing.assert_allclose(second[columns], first[columns], atol=1e-6)
    assert (first["weight_bmode"] != first["weight_ceus"]).any()


def test_another_epoch_does_not_get_the_selected_ones_threshold(models: Models, tmp_path: Path) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    torch.save(content, tmp_path / "same.ckpt")
    ours = load_grader(models.fits[0]).card
    same = load_grader(str(tmp_path / "same.ckpt")).card
    assert (same.threshold, same.threshold_rule) == (ours.threshold, ours.threshold_rule)
    content["state_dict"]["net.head.bias"] += 0.1
    torch.save(content, tmp_path / "other.ckpt")
    other = load_grader(str(tmp_path / "other.ckpt")).card
    assert (other.threshold, other.threshold_rule) == (0.5, "0.5")


def test_an_unknown_margin_must_be_given_and_a_known_one_holds(
    models: Models, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    del content["mufnet_margin"]
    torch.save(content, tmp_path / "old.ckpt")
    clip = f"--clip={phantom / 'clips' / 'P001-1.avi'}"
    words = ["predict", f"--run={tmp_path / 'old.ckpt'}", clip, f"--out={tmp_path}"]
    assert main(words) == 2
    assert "give --margin" in capsys.readouterr().err
    assert main([*words, "--margin=0"]) == 0
    assert main(["predict", f"--run={models.cv}", clip, f"--out={tmp_path}", "--margin=0.5"]) == 2
    assert "was trained with 0.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "one of them; got none of them"),
        (["--clip=a.avi", "--store=s"], "got --clip and --store"),
        (["--store=s", "--patient=P1"], "--patient goes with --clip alone"),
        (["--store=s", "--contrast=left"], "--contrast is of clips; a store has been cut"),
        (["--store=nowhere"], "there is no crop store at nowhere"),
        (["--store=s", "--margin=0.1"], "a store has been cut"),
        (["--clip=a.avi", "--margin=-1"], "--margin is -1.0"),
        (["--clip=nowhere.avi", "--out=o"], "--clip nowhere.avi: there is no such file"),
        (["--cohort=nowhere"], "there is no cohort folder nowhere"),
    ],
)
def test_what_cannot_be_meant_is_told(
    words: list[str], told: str, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--run", models.fits[0], *words]) == 2
    assert told in capsys.readouterr().err


def test_help_of_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--help"]) == 0
    assert "--bmode-pane" in capsys.readouterr().out


def test_a_store_without_grades_is_explained_beside_the_run(
    models: Models, phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {n: pd.read_csv(phantom / f"{n}.csv", dtype=str) for n in ("patients", "clips", "boxes")}
    cohort = Path(shutil.copytree(phantom, tmp_path / "cohort"))
    kept = tables["boxes"]["clip_id"] != tables["clips"]["clip_id"][3]  # the clip that is cut off
    tables["boxes"][kept].to_csv(cohort / "boxes.csv", index=False)
    store, out = str(tmp_path / "store"), tmp_path / "out"
    assert main(["prepare", str(cohort), store, "--without-grades"]) == 0
    words = ["explain", f"--run={models.fits[0]}", f"--store={store}"]
    before = artifact_files(models.fits[0], "explain")
    capsys.readouterr()
    assert main(words) == 2
    assert "has no grades, so nothing is recorded" in capsys.readouterr().err
    assert main([*words, f"--out={out}", "--target=true"]) == 2
    assert main([*words, f"--out={out}", "--patient=nobody"]) == 2
    assert "it has NP001, NP002" in capsys.readouterr().err
    assert main([*words, f"--out={out}"]) == 0
    told = capsys.readouterr()
    assert "3 pairs lack a modality" in told.err
    assert {file.name for file in out.iterdir()} == {
        "images.csv",
        "NP001.png",
        "NP001.pdf",
        "NP002.png",
        "NP002.pdf",
    }
    images = pd.read_csv(out / "images.csv")
    assert images["patient_id"].unique().tolist() == ["NP001", "NP002"]
    empty = images["area_ceus"].isna()  # only a map of zeros has no area above half of its maximum
    assert not empty.all()
    assert images["inside_ceus"].isna().equals(empty)
    assert images.loc[~empty, "inside_ceus"].between(0, 1).all()
    lacking = images["weight_ceus"] == 0
    assert empty[lacking].all()
    assert artifact_files(models.fits[0], "explain") == before
