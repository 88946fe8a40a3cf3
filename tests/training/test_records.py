"""What a training leaves in MLflow for those who look at it: curves, single numbers, descriptions."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from working_folder import enter, make_working_folder

from mufnet_lightning import MufNetModule, RoiPairDataModule, RunLogger
from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.tracking.checkpoints import checkpoint_folder
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    find_run,
    find_runs,
    find_study,
    mlflow_client,
    open_study,
)
from mufnet_lightning.training.callbacks.checkpoint import LastCheckpoint, SelectedCheckpoint
from mufnet_lightning.training.callbacks.evaluation import Evaluation
from mufnet_lightning.training.callbacks.predictions import PredictionWriter

EPOCHS = 3
NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class Recorded:
    """A working folder with a fit, and with its checkpoint scored again on validation and test."""

    folder: Path
    fit: str
    validate: str
    test: str


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, tiny_options: tuple[str, ...], empty_tracking: bytes
) -> Recorded:
    folder = make_working_folder(tmp_path_factory.mktemp("recorded"), empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        words = ["--data.watch_test=true", "--checkpoint.monitor=test_watched/accuracy"]
        assert main(["fit", *tiny_options, *words, f"--trainer.max_epochs={EPOCHS}"]) == 0
        fit = of_verb("fit").id
        for verb in ("validate", "test"):
            assert main([verb, f"--ckpt_path=runs:/{fit}"]) == 0
        return Recorded(folder, fit, of_verb("validate").id, of_verb("test").id)


@pytest.fixture
def at(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The same, in its working folder."""
    enter(recorded.folder, monkeypatch)
    return recorded


def of_verb(verb: str) -> TrackedRun:
    (run,) = find_runs(find_study("demo"), verb=verb)
    return run


def steps(run_id: str) -> dict[str, list[int]]:
    """Of each metric's points, but for those of the machine, which have an axis of their own."""
    client = mlflow_client()
    return {
        name: [point.step for point in client.get_metric_history(run_id, name)]
        for name in find_run(run_id).metrics
        if not name.startswith("system/")
    }


def best_epoch(run_id: str) -> int:
    """The one that the fit selected."""
    points = mlflow_client().get_metric_history(run_id, "test_watched/accuracy")
    return min(points, key=lambda point: (-point.value, point.step)).step


@pytest.mark.slow
def test_curves_have_a_point_an_epoch_and_final_numbers_one_at_the_selected_epoch(at: Recorded) -> None:
    points = steps(at.fit)
    curves = {name for name, there in points.items() if len(there) > 1}
    assert {name.partition("/")[0] for name in curves} == {"train", "val", "test_watched", "lr-SGD"}
    assert all(points[name] == list(range(EPOCHS)) for name in curves)
    single = points.keys() - curves
    assert {name.partition("/")[0] for name in single} == {"val_selected", "test"}
    assert all(points[name] == [best_epoch(at.fit)] for name in single)
    # nothing that says nothing, and what selected is what is told
    assert not points.keys() & {"epoch", "step"}
    metrics = find_run(at.fit).metrics
    curve = mlflow_client().get_metric_history(at.fit, "val/auc")
    assert metrics["val_selected/auc"] == pytest.approx(curve[best_epoch(at.fit)].value, abs=1e-6)


@pytest.mark.slow
def test_scored_again_the_numbers_are_the_same_at_the_same_epoch(at: Recorded) -> None:
    fit = find_run(at.fit).metrics
    for run_id, part, before in ((at.validate, "val", "val_selected"), (at.test, "test", "test")):
        again = {n: v for n, v in find_run(run_id).metrics.items() if not n.startswith("system/")}
        assert again == {
            name.replace(before, part): value
            for name, value in fit.items()
            if name.startswith(f"{before}/")
        }
        assert set(map(tuple, steps(run_id).values())) == {(best_epoch(at.fit),)}


@pytest.mark.slow
def test_descriptions_say_what_one_is_looking_at(at: Recorded) -> None:
    fit, epoch = find_run(at.fit), best_epoch(at.fit)
    note, value = fit.tags[NOTE], fit.metrics["test/patient_auc"]
    patients = {part: fit.params[f"patients_{part}"] for part in ("train", "val", "test")}
    assert note.startswith(
        "A training of arm **fused** (B-mode and CEUS) on fold 0 of 5 (protocol `paper`), with "
        f"{patients['train']} patients ({fit.params['images_train']} images) to train on, "
        f"{patients['val']} to validate and {patients['test']} to test on. "
        f"`test/patient_auc` {value:.3f} ("
    )
    # a selection on the test set is told with the number that it flatters
    assert note.endswith(
        f"over the {patients['test']} test patients, scored by epoch {epoch} (counted from 0) of the "
        f"{EPOCHS} trained, which had the highest `test_watched/accuracy`: **selected on the test "
        "patients themselves, so the test numbers flatter**."
    )
    tested, validated = find_run(at.test).tags[NOTE], find_run(at.validate).tags[NOTE]
    assert tested.startswith("The test part of fold 0 of 5 (protocol `paper`), scored by a network of ")
    assert f"`test/patient_auc` {value:.3f} (" in tested
    assert "selected on its run's test patients, so numbers over them flatter" in tested
    assert "`val/patient_auc`" in validated
    assert "test patients" not in validated

    client = mlflow_client()
    study = client.get_experiment(find_study("demo"))
    assert study.tags[NOTE].startswith("Study **demo**: ")
    assert "`test/patient_auc`" in study.tags[NOTE]
    # a description of somebody's own stays, and a study without one gets it
    client.set_experiment_tag(study.experiment_id, NOTE, "mine")
    assert open_study("demo") == study.experiment_id
    assert client.get_experiment(study.experiment_id).tags[NOTE] == "mine"
    bare = client.create_experiment("bare")
    assert open_study("bare") == bare
    assert client.get_experiment(bare).tags[NOTE].startswith("Study **bare**: ")


@pytest.mark.slow
def test_a_copied_folder_is_worked_with_and_a_new_run_is_written_into_it(
    at: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(at.folder, tmp_path / "copy", symlinks=True)
    before = sorted(at.folder.rglob("*"))
    enter(tmp_path / "copy", monkeypatch)
    assert main(["predict", f"--ckpt_path=runs:/{at.fit}", "--output=scores.csv"]) == 0
    assert main(["compare", f"a={at.fit}", f"b={at.test}"]) == 0
    assert main(["test", f"--ckpt_path=runs:/{at.fit}"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count(f"moved or copied from {at.folder / 'mlruns'}") == 1
    new = find_runs(find_study("demo"), most=1, verb="test")[0]
    here = (tmp_path / "copy" / "mlruns" / "artifacts").as_uri()
    for run in (new, find_run(at.fit)):
        assert run.artifact_uri == f"{here}/{run.id}/artifacts"
    listed = {entry.path for entry in mlflow_client().list_artifacts(new.id)}
    assert {"config.yaml", "predictions.csv", "figures"} <= listed
    assert sorted(at.folder.rglob("*")) == before


@pytest.mark.parametrize("kind", [SelectedCheckpoint, LastCheckpoint])
def test_the_best_epoch_so_far_is_known_where_the_folder_was_moved(
    kind: type[SelectedCheckpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_in(folder: Path, run: str) -> SelectedCheckpoint:
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        callback = kind()
        callback.dirpath = str(checkpoint_folder(run))
        return callback

    first = made_in(tmp_path / "first", "0123")
    best = f"{first.dirpath}/selected.ckpt"
    first.best_model_path, first.best_k_models = best, {best: 0.75}  # type: ignore[dict-item]
    moved = made_in(tmp_path / "second", "0123")
    moved.load_state_dict(first.state_dict())
    assert moved.best_model_path == str(tmp_path / "second/mlruns/checkpoints/0123/selected.ckpt")
    assert moved.best_k_models == {moved.best_model_path: 0.75}
    if kind is SelectedCheckpoint:
        # who goes on without it would train to the end, and have nothing to keep
        with pytest.raises(InputFault, match="bring it along with last"):
            moved.check_best()
        # another run's best epoch is not this one's
        other = made_in(tmp_path / "second", "4567")
        other.load_state_dict(first.state_dict())
        assert other.best_model_path == ""


@pytest.mark.slow
def test_who_validates_twice_has_the_later_numbers_alone(work: Path, phantom_store: Path) -> None:
    data = RoiPairDataModule(str(phantom_store), image_size=32, num_workers=0, fold=0)
    modules = [MufNetModule(encoder="test_efficientnet", pretrained=False) for _ in range(2)]
    risks = {}
    for scored in (modules, modules[1:]):  # the second one alone, too
        with RunLogger() as run:
            callbacks = [PredictionWriter(), Evaluation(figures=False)]
            trainer = Trainer(logger=run, callbacks=callbacks, accelerator="cpu", barebones=False)
            for module in scored:
                trainer.validate(module, data, verbose=False)
            trainer.test(scored[-1], data, verbose=False)
            written = run.experiment.download_artifacts(run.run, "predictions.csv")
            table = read_predictions(Path(written))
            told = json.loads(
                Path(run.experiment.download_artifacts(run.run, "evaluation/test.json")).read_text()
            )
        assert not [tag for tag in find_run(run.run).tags if tag.startswith("not_evaluated")]
        assert not table.duplicated(["split", "pair_id"]).any()
        risks[len(scored)] = (table["risk"].tolist(), told)
    assert risks[2] == risks[1]
