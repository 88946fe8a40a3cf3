"""`mufnet predict`: a checkpoint or a cross-validation over a store; nobody vanishes in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from edited_stores import seal
from trained_models import Models

from mufnet_lightning.cli import main
from mufnet_lightning.inference.load import load_grader
from mufnet_lightning.inference.predict import predict_store
from mufnet_lightning.tracking.checkpoints import CHECKPOINT
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact

pytestmark = pytest.mark.slow  # they share runs that are trained first

COLUMNS = (
    "pair_id,patient_id,clip_id,frame,label,score,risk,weight_bmode,weight_ceus,fold,split,spread,"
    "missing"
)


@pytest.fixture
def here(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs of `models`."""
    shutil.copytree(models.folder / "mlruns", tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def lacking(phantom_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's store; its first patient has no CEUS, its second lacks B-mode in one pair."""
    store = tmp_path_factory.mktemp("lacking") / "store"
    shutil.copytree(phantom_store, store, ignore=shutil.ignore_patterns("cache*"))
    manifest = pd.read_csv(store / "manifest.csv", dtype=str, keep_default_na=False)
    first, second = manifest["patient_id"].unique()[:2]
    manifest.loc[manifest["patient_id"] == first, "ceus_path"] = ""
    manifest.loc[manifest.index[manifest["patient_id"] == second][0], "bmode_path"] = ""
    manifest.to_csv(store / "manifest.csv", index=False)
    seal(store)
    return store


def predict(reference: str, store: Path, *more: str) -> int:
    options = [f"--data.store={store}", "--trainer.accelerator=cpu", "--output=scores.csv"]
    return main(["predict", f"--ckpt_path={reference}", *options, *more])


def edited(run: str, file: Path, **changes: object) -> str:
    """A run's checkpoint with other hyperparameters, or with weights that are no numbers."""
    content = torch.load(resolve_artifact(run, CHECKPOINT), weights_only=True)
    if changes.pop("broken", False):
        content["state_dict"]["net.head.weight"][:] = torch.nan
    content["hyper_parameters"].update(changes)
    torch.save(content, file)
    return str(file)


def test_a_cross_validation_is_a_model(
    models: Models, here: Path, phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(f"runs:/{models.cv}", phantom_store) == 0
    told = capsys.readouterr()
    table = pd.read_csv("scores.csv")
    assert ",".join(table.columns) == COLUMNS
    assert len(table) == 90

    # as the networks score in other ways: one by one, and all together over the store
    grader = load_grader(models.cv)
    expected = predict_store(grader, grader.open_store(phantom_store))
    numbers = ["score", "spread", "weight_bmode", "weight_ceus"]
    np.testing.assert_allclose(table[numbers], expected.table[numbers], atol=1e-6)
    each = []
    for run in models.fits:
        assert predict(run, phantom_store) == 0
        each.append(pd.read_csv("scores.csv"))
        assert each[-1]["spread"].isna().all()
    scores = np.stack([one["score"] for one in each])
    np.testing.assert_allclose(table["score"], scores.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["spread"], scores.std(axis=0, ddof=1), atol=1e-6)

    # who trained any fold is marked
    of_each = [set(one.loc[one["split"] == "train", "patient_id"]) for one in each]
    trained = set(table.loc[table["split"] == "train", "patient_id"])
    assert trained == of_each[0] | of_each[1] > of_each[0]
    assert f"{len(trained)} of these patients trained one of the folds" in told.err

    # a row a patient, with the spread of the patient's mean
    means = np.stack([pd.Series(one).groupby(table["patient_id"]).mean() for one in scores])
    patient = sorted(set(table["patient_id"]))[0]
    line = next(line for line in told.out.splitlines() if line.split()[:1] == [patient])
    assert float(line.split()[4]) == pytest.approx(means.std(axis=0, ddof=1)[0], abs=6e-4)


def test_who_lacks_a_modality_is_scored_where_the_network_was_trained_so(
    models: Models, here: Path, lacking: Path
) -> None:
    assert predict(models.cv, lacking) == 0
    table = pd.read_csv("scores.csv", keep_default_na=False)
    assert len(table) == 90
    first, second = table["patient_id"].unique()[:2]
    assert set(table.loc[table["patient_id"] == first, "missing"]) == {"ceus"}
    assert set(table.loc[table["patient_id"] == first, "weight_ceus"]) == {""}
    assert list(table.loc[table["patient_id"] == second, "missing"]) == ["bmode", "", ""]
    grader = load_grader(models.cv)
    expected = predict_store(grader, grader.open_store(lacking)).table
    np.testing.assert_allclose(table["score"].astype(float), expected["score"], atol=1e-6)


def test_who_lacks_a_modality_is_named_where_it_was_not(
    models: Models, here: Path, lacking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = edited(models.fits[0], here / "plain.ckpt", modality_dropout=0.0)
    assert predict(plain, lacking) == 2  # after the others were scored
    told = capsys.readouterr()
    table = pd.read_csv("scores.csv")
    assert len(table) == 86
    first, second = pd.read_csv(lacking / "manifest.csv")["patient_id"].unique()[:2]
    assert first not in set(table["patient_id"])
    assert (table["patient_id"] == second).sum() == 2
    assert f"not scored: patient {first} (3 images): no CEUS picture" in told.err
    assert f"not scored: patient {second} (1 image): no B-mode picture" in told.err
    assert "Traceback" not in told.err

    manifest = pd.read_csv(lacking / "manifest.csv", dtype=str, keep_default_na=False)
    shutil.copytree(lacking, here / "nobody", ignore=shutil.ignore_patterns("cache*"))
    manifest[manifest["patient_id"] == first].to_csv(here / "nobody" / "manifest.csv", index=False)
    seal(here / "nobody")
    Path("scores.csv").unlink()
    assert predict(plain, here / "nobody") == 2
    assert "no CEUS" in capsys.readouterr().err
    assert not Path("scores.csv").exists()


def test_scores_that_are_no_numbers_are_not_written(
    models: Models, here: Path, phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(edited(models.fits[0], here / "nan.ckpt", broken=True), phantom_store) == 2
    assert "no number" in capsys.readouterr().err
    assert not Path("scores.csv").exists()


def test_what_cannot_score_says_what_can(
    models: Models, here: Path, phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("validate", "test"):
        assert main([verb, f"--ckpt_path=runs:/{models.cv}"]) == 2
        told = capsys.readouterr().err
        assert "is a cross-validation" in told
        assert f"fold 1: {models.fits[1]}" in told
    assert predict("models:/kidney/1", phantom_store) == 2
    assert "mufnet predict --run models:/kidney/1" in capsys.readouterr().err
    mlflow_client().update_run(models.cv, status="SCHEDULED")
    assert predict(models.cv, phantom_store) == 2
    assert "has not come to its end" in capsys.readouterr().err


def test_a_checkpoint_needs_no_runs_to_predict(
    models: Models, here: Path, phantom_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = edited(models.fits[0], here / "kept.ckpt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert predict(kept, phantom_store) == 0
    assert [path.name for path in Path().iterdir()] == ["scores.csv"]
