"""A model by its name grades as its runs did, whichever way the pictures come."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from trained_models import Models
from working_folder import enter

from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.evaluation.statistics.rates import youden_threshold
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.grader import Grader, ImageGrades
from mufnet_lightning.inference.load import load_grader, save_grader
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.checkpoints import CHECKPOINT, read_checkpoint
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact
from mufnet_lightning.vocabulary import MODALITIES

pytestmark = pytest.mark.slow  # they share runs that are trained first


@pytest.fixture(autouse=True)
def there(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(models.folder, monkeypatch)


def recorded(run: str, split: str) -> pd.DataFrame:
    table = read_predictions(resolve_artifact(run, "predictions.csv"))
    return table[table["split"] == split].set_index("pair_id")


def grades(grader: Grader, store: Path, pairs: pd.Index) -> ImageGrades:
    data = grader.open_store(store)
    return grader.grade_rows(data, pd.Index(data.store.manifest["pair_id"]).get_indexer(pairs))


def pictures(store: Path, pairs: pd.Index) -> list[dict[str, np.ndarray]]:
    manifest = CropStore.open(store).manifest.set_index("pair_id")
    read = []
    for pair in pairs:
        paths = {str(name): str(manifest.loc[pair, f"{name}_path"]) for name in MODALITIES}
        read.append({name: read_image(store / path) for name, path in paths.items()})
    return read


@pytest.mark.parametrize("which", ["cv", "fit", "checkpoint"])
def test_a_model_gives_the_scores_that_its_run_recorded(
    which: str, models: Models, phantom_store: Path
) -> None:
    run = models.cv if which == "cv" else models.fits[0]
    name = run if which != "checkpoint" else str(resolve_artifact(run, CHECKPOINT))
    grader = load_grader(name)
    expected = recorded(run, "test")
    got = grades(grader, phantom_store, expected.index)
    np.testing.assert_allclose(got.score, expected["score"], atol=1e-6)
    weights = expected[["weight_bmode", "weight_ceus"]]
    np.testing.assert_allclose(got.weights, weights, atol=1e-6)
    if which == "cv":
        each = np.stack([recorded(fold, "test")["score"].loc[expected.index] for fold in models.fits])
        np.testing.assert_allclose(got.spread, each.std(axis=0, ddof=1), atol=1e-6)
    else:
        assert np.isnan(got.spread).all()
    assert got.present.all()


def test_pictures_are_graded_as_the_store_is(models: Models, phantom_store: Path) -> None:
    grader = load_grader(f"runs:/{models.cv}")
    pairs = recorded(models.cv, "test").index
    of_store = grades(grader, phantom_store, pairs)
    of_pictures = grader.grade_pictures(pictures(phantom_store, pairs))
    np.testing.assert_allclose(of_pictures.members, of_store.members, atol=1e-6)


def test_the_card_says_who_trained_it_and_where_the_threshold_is_from(models: Models) -> None:
    card = load_grader(models.cv).card
    folds = [read_checkpoint(run).trained[-1]["train"] for run in models.fits]
    assert card.patients == len({patient for fold in folds for patient in fold}) > len(folds[0])
    assert (card.members, card.modalities, card.takes_missing) == (2, ("bmode", "ceus"), True)
    assert card.margin == 0.0
    assert card.run_id == models.cv
    val = recorded(models.cv, "val").groupby("patient_id").agg({"label": "first", "score": "mean"})
    found = youden_threshold(val["label"], val["score"])
    assert card.threshold_rule == ("0.5" if found.note else "youden")
    assert card.threshold == (0.5 if found.note else found.value)
    assert card.called(card.threshold + 1e-9) == "high grade"
    assert card.called(card.threshold) == "low grade"
    assert ModelCard.from_json(card.as_json()) == card


def test_a_saved_model_is_the_same_and_names_no_patient(
    models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    grader = load_grader(models.cv)
    save_grader(grader, tmp_path / "model")
    again = load_grader(str(tmp_path / "model"))
    assert again.card == grader.card
    some = pictures(phantom_store, recorded(models.cv, "test").index[:5])
    np.testing.assert_array_equal(
        again.grade_pictures(some).members, grader.grade_pictures(some).members
    )
    patient = str(CropStore.open(phantom_store).manifest["patient_id"].iloc[0]).encode()
    assert not [file for file in (tmp_path / "model").iterdir() if patient in file.read_bytes()]
    (tmp_path / "model" / "member_1.pt").write_bytes(b"cut")
    with pytest.raises(InputFault, match=r"not a saved network|damaged"):
        load_grader(str(tmp_path / "model"))


def test_who_lacks_a_modality_is_graded_by_the_other_alone(models: Models, phantom_store: Path) -> None:
    grader = load_grader(models.fits[0])
    some = pictures(phantom_store, recorded(models.cv, "test").index[:4])
    lacking = [{"bmode": pair["bmode"]} for pair in some[:2]] + some[2:]
    got = grader.grade_pictures(lacking)
    assert got.present.tolist() == [[True, False]] * 2 + [[True, True]] * 2
    np.testing.assert_allclose(got.weights[:2], [[1, 0]] * 2)
    whole = grader.grade_pictures(some)
    np.testing.assert_allclose(got.score[2:], whole.score[2:], atol=1e-6)
    assert (got.score[:2] != whole.score[:2]).all()
    with pytest.raises(InputFault, match="pair 1 has no B-mode and CEUS picture"):
        grader.grade_pictures([some[0], {}])


def test_a_network_that_was_not_trained_so_refuses_them(
    models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    content["hyper_parameters"]["modality_dropout"] = 0.0
    torch.save(content, tmp_path / "plain.ckpt")
    grader = load_grader(str(tmp_path / "plain.ckpt"))
    assert not grader.card.takes_missing
    with pytest.raises(InputFault, match="pair 0 has no CEUS picture"):
        grader.grade_pictures([{"bmode": np.zeros((8, 8, 3), np.uint8)}])


def test_weights_that_give_no_number_are_refused(
    models: Models, phantom_store: Path, tmp_path: Path
) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    variances = next(name for name in content["state_dict"] if name.endswith("running_var"))
    content["state_dict"][variances][:] = -1  # numbers, whose roots are none
    torch.save(content, tmp_path / "roots.ckpt")
    grader = load_grader(str(tmp_path / "roots.ckpt"))
    with pytest.raises(InputFault, match="no number"):
        grader.grade_pictures(pictures(phantom_store, recorded(models.cv, "test").index[:1]))


def test_a_cross_validation_that_has_not_ended_is_no_model(models: Models, tmp_path: Path) -> None:
    shutil.copytree(models.folder / "mlruns", tmp_path / "mlruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        mlflow_client().update_run(models.cv, status="SCHEDULED")
        with pytest.raises(InputFault, match="has not come to its end"):
            load_grader(models.cv)


def test_what_cannot_be_read_now_is_not_taken_for_what_was_never_chosen(
    models: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(models.folder / "mlruns", tmp_path / "mlruns")
    with pytest.MonkeyPatch.context() as patch:
        enter(tmp_path, patch)
        run = models.fits[0]
        file = str(shutil.copy(resolve_artifact(run, CHECKPOINT), tmp_path / "mine.ckpt"))
        chosen = load_grader(file).card
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
        with pytest.raises(InputFault, match="does not answer"):
            load_grader(file)
        patch.delenv("MLFLOW_TRACKING_URI")
        predictions = tmp_path / "mlruns/artifacts" / run / "artifacts" / "predictions.csv"
        kept = predictions.read_bytes()
        predictions.unlink()
        predictions.symlink_to(predictions)  # a disk that is broken there
        for reference in (file, run):
            with pytest.raises(InputFault, match=r"does not give its predictions\.csv"):
                load_grader(reference)
        predictions.unlink()
        assert load_grader(file).card.threshold_rule == "0.5"  # the run has none, and the store says so
        predictions.write_bytes(kept)
        assert load_grader(file).card == chosen
        # a file that is whole is graded with; whether it is the run's selected epoch nobody can tell
        predictions.with_name("checkpoints").joinpath("selected.ckpt").write_bytes(b"damaged")
        assert load_grader(file).card.threshold_rule == "0.5"
        assert "cannot be told" in caplog.text


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match=r"no card\.json"):
        load_grader(str(tmp_path))
    with pytest.raises(InputFault, match="neither a file nor a run"):
        load_grader("0" * 32)
    with pytest.raises(InputFault, match="models:/nobody/1"):
        load_grader("models:/nobody/1")


def test_a_module_that_scores_in_its_own_way_is_not_asked_for_its_network_alone(
    models: Models, own_blocks: ModuleType, tmp_path: Path
) -> None:
    content = torch.load(resolve_artifact(models.fits[0], CHECKPOINT), weights_only=True)
    config = yaml.safe_load(content["mufnet_config"])
    config["model"]["class_path"] = "own_blocks.ScoresOtherwise"
    content["mufnet_config"] = yaml.safe_dump(config)
    torch.save(content, tmp_path / "own.ckpt")
    with pytest.raises(InputFault, match="ScoresOtherwise has a forward of its own"):
        load_grader(str(tmp_path / "own.ckpt"))
    assert load_grader(str(tmp_path / "own.ckpt"), bare=True).card.members == 1
