"""A trained model as MLflow's own answers what predict answers, whoever asks it and however."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from trained_models import Models
from working_folder import copy_runs, enter

from mufnet_lightning import __version__
from mufnet_lightning.cli import main
from mufnet_lightning.cohort.stills import decoded
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.inference.card import ModelCard
from mufnet_lightning.inference.load import load_grader
from mufnet_lightning.inference.logged_model import (
    check_registry,
    keep_last_model,
    keep_model,
    log_model,
)
from mufnet_lightning.inference.serve import encoded_noise, read_picture
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.tracking.runs import find_run, mlflow_client, resolve_artifact, tracking_uri
from mufnet_lightning.vocabulary import MODALITIES

pytestmark = pytest.mark.slow  # they share runs that are trained first


@dataclass(frozen=True)
class Registered:
    """A working folder where a fit and a cross-validation are versions 1 and 2 of `kidney`."""

    folder: Path
    fit: str
    cv: str


@pytest.fixture(scope="module")
def registered(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("registered")
    copy_runs(models.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        for run in (models.fits[0], models.cv):
            log_model(f"runs:/{run}", register="kidney")
    return Registered(folder, models.fits[0], models.cv)


@pytest.fixture(autouse=True)
def there(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(registered.folder, monkeypatch)


@pytest.fixture(scope="module")
def ensemble(registered: Registered) -> PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        enter(registered.folder, patch)
        mlflow_client()
        model: PyFuncModel = mlflow.pyfunc.load_model(f"runs:/{registered.cv}/model")
        return model


def of_test_part(run: str) -> pd.DataFrame:
    """The scores that a run recorded of its test part, by pair."""
    table = read_predictions(resolve_artifact(run, "predictions.csv"))
    return table[table["split"] == "test"].set_index("pair_id")


def encoded(store: Path, pairs: pd.Index) -> pd.DataFrame:
    """The crops of some pairs, as the files that they are."""
    manifest = CropStore.open(store).manifest.set_index("pair_id").loc[pairs]
    return pd.DataFrame(
        {
            name: [(store / path).read_bytes() for path in manifest[f"{name}_path"]]
            for name in MODALITIES
        }
    )


def answer(model: PyFuncModel, rows: pd.DataFrame) -> pd.DataFrame:
    found = model.predict(rows)
    assert isinstance(found, pd.DataFrame)
    return found


def as_text(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.map(lambda content: base64.b64encode(content).decode())


def logged(run: str) -> list[Any]:
    found = mlflow_client().search_logged_models([find_run(run).experiment_id])
    return [model for model in found if model.source_run_id == run]


@pytest.mark.parametrize("which", ["fit", "cv"])
def test_it_answers_what_the_run_recorded(
    which: str, registered: Registered, phantom_store: Path
) -> None:
    run = getattr(registered, which)
    expected = of_test_part(run)
    mlflow_client()
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    got = answer(model, encoded(phantom_store, expected.index))
    np.testing.assert_allclose(got["score"], expected["score"], atol=1e-6)
    for name in MODALITIES:
        np.testing.assert_allclose(got[f"weight_{name}"], expected[f"weight_{name}"], atol=1e-6)
    card = load_grader(run).card
    assert list(got["class"]) == [card.called(score) for score in got["score"]]
    assert ("spread" in got) == (which == "cv")
    assert list(got.columns) == model.metadata.get_output_schema().input_names()
    assert (got["missing"] == "").all()


def test_it_says_what_it_is(registered: Registered, models: Models) -> None:
    (model,) = logged(registered.cv)  # cv has logged it at its end
    assert not logged(models.fits[1])  # and nothing of its folds
    assert (model.name, model.status) == ("model", "READY")
    run = find_run(registered.cv)
    numbers = {metric.key: metric.value for metric in model.metrics}
    assert numbers["test/patient_auc"] == run.metrics["test/patient_auc"]
    assert len(mlflow_client().get_metric_history(run.id, "test/patient_auc")) == 1
    info = mlflow.models.get_model_info(f"models:/{model.model_id}")
    assert info.metadata is not None
    assert ModelCard.from_json(info.metadata) == load_grader(registered.cv).card
    inputs = info.signature.inputs
    assert [(spec.name, spec.type.name, spec.required) for spec in inputs] == [
        ("bmode", "binary", False),  # it was trained to do without one
        ("ceus", "binary", False),
    ]
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    needs = (folder / "requirements.txt").read_text().splitlines()
    assert f"mufnet-lightning=={__version__}" in needs
    assert not list(folder.rglob("*.pkl"))
    assert not list(folder.rglob("*.py"))
    assert mlflow.active_run() is None


def test_the_example_shows_no_patient_and_is_answered(ensemble: PyFuncModel) -> None:
    example = ensemble.input_example
    assert example is not None
    assert list(example.columns) == list(MODALITIES)
    for place, name in enumerate(MODALITIES):
        assert read_picture(example[name][0]).tolist() == read_picture(encoded_noise(place)).tolist()  # type: ignore[union-attr]
    assert answer(ensemble, example)["score"].between(0, 1).all()


def test_pictures_may_come_as_bytes_or_as_text_in_every_form_that_mlflow_takes(
    ensemble: PyFuncModel, registered: Registered, phantom_store: Path
) -> None:
    rows = encoded(phantom_store, of_test_part(registered.cv).index[:3])
    texts = as_text(rows)
    whole = answer(ensemble, rows)
    pd.testing.assert_frame_equal(answer(ensemble, texts), whole)
    schema = ensemble.metadata.get_input_schema()
    split = {"columns": list(texts), "data": texts.to_numpy().tolist()}
    records = texts.to_dict("records")
    for body in (
        {"dataframe_split": split},
        {"dataframe_records": records},
        {"inputs": records},
        {"instances": records},
    ):
        reply = scoring_server.invocations(json.dumps(body), "application/json", ensemble, schema)
        assert reply.status == 200
        got = pd.DataFrame(json.loads(reply.response)["predictions"])
        np.testing.assert_allclose(got["score"], whole["score"], atol=1e-12)
    picture = decoded(rows["bmode"][0])
    assert picture is not None
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    near = answer(ensemble, rows.assign(bmode=[jpeg] * 3))["score"][0]
    assert near == pytest.approx(whole["score"][0], abs=0.05)
    assert near != whole["score"][0]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"GIF89a", "is no PNG or JPEG file"),
        ("words that are not base64", "is no PNG or JPEG file"),
        (encoded_noise(0)[:400], "cannot be decoded"),
        (1.5, "is float"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_row(
    cell: object, reason: str, ensemble: PyFuncModel
) -> None:
    noise = encoded_noise(0)
    rows = pd.DataFrame({"bmode": [noise, cell], "ceus": [noise, noise]}, dtype=object)
    with pytest.raises(MlflowException, match=f"row 1: its B-mode picture {reason}") as refused:
        answer(ensemble, rows)
    assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize("nothing", [None, b"", ""])
def test_one_modality_may_be_missing_where_the_model_takes_that(
    nothing: object, ensemble: PyFuncModel, registered: Registered, phantom_store: Path
) -> None:
    rows = encoded(phantom_store, of_test_part(registered.cv).index[:2]).astype(object)
    alone = answer(ensemble, rows[["bmode"]])
    assert list(alone["missing"]) == ["ceus", "ceus"]
    np.testing.assert_allclose(alone[["weight_bmode", "weight_ceus"]], [[1, 0]] * 2)
    rows["ceus"] = [nothing, rows["ceus"][1]]
    mixed = answer(ensemble, rows)
    assert list(mixed["missing"]) == ["ceus", ""]
    assert mixed["score"][0] == pytest.approx(alone["score"][0], abs=1e-6)
    rows["bmode"] = [nothing, rows["bmode"][1]]
    with pytest.raises(MlflowException, match="row 0: it has no B-mode and no CEUS picture"):
        answer(ensemble, rows)


def test_it_is_logged_and_registered_once(registered: Registered) -> None:
    before = [model.model_id for model in logged(registered.cv)]
    assert [log_model(registered.cv, register="kidney")] == before
    assert [model.model_id for model in logged(registered.cv)] == before
    versions = mlflow_client().search_model_versions("name = 'kidney'")
    assert sorted(int(one.version) for one in versions) == [1, 2]
    assert {one.run_id for one in versions} == {registered.fit, registered.cv}
    one = mlflow_client().get_model_version("kidney", "2")
    card = load_grader(registered.cv).card
    assert one.description == card.sentence()
    assert float(one.tags["threshold"]) == card.threshold
    assert one.tags["members"] == "2"


def test_what_was_trained_further_replaces_what_was_logged(registered: Registered) -> None:
    run = load_grader(registered.fit).card.run_id
    assert run is not None
    (before,) = logged(run)
    log_model(run, anew=True)
    (after,) = logged(run)
    assert after.model_id != before.model_id
    keep_last_model(run)  # it is younger than the run's end: a journal that asks again
    assert [model.model_id for model in logged(run)] == [after.model_id]


def test_registered_models_are_loaded_by_version_and_by_alias(registered: Registered) -> None:
    mlflow_client().set_registered_model_alias("kidney", "best", "2")
    expected = load_grader(registered.cv).card
    mlflow.set_tracking_uri("sqlite:///elsewhere.db")  # as a new process, which knows of none yet
    os.environ.pop("MLFLOW_TRACKING_URI")
    for reference in ("models:/kidney/2", "models:/kidney@best", f"runs:/{registered.cv}/model"):
        assert load_grader(reference).card == expected


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", " a", ".."])
def test_names_that_the_registry_does_not_take_are_told_first(name: str) -> None:
    with pytest.raises(InputFault, match=r"tracking\.register"):
        check_registry(name)


def test_a_store_that_is_gone_does_not_lose_the_training(
    registered: Registered, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    keep_model(registered.fit, "kidney")
    assert "could not be logged and registered as kidney" in caplog.text
    with pytest.raises(InputFault, match="does not answer"):
        check_registry("kidney")


def test_fit_registers_what_it_trained(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--tracking.register=kid/ney"]) == 2
    assert "tracking.register is 'kid/ney'" in capsys.readouterr().err
    for option in ("--tracking.parent_run=0", "--trainer.fast_dev_run=true", "--trainer.logger=false"):
        assert main(["fit", *tiny, "--tracking.register=kidney", option]) == 2
        assert "tracking.register needs a run" in capsys.readouterr().err
    assert not mlflow_client().search_registered_models()
    assert main(["fit", *tiny, "--tracking.register=kidney"]) == 0
    (version,) = mlflow_client().search_model_versions("name = 'kidney'")
    assert version.run_id is not None
    (model,) = logged(version.run_id)
    assert version.source == f"models:/{model.model_id}"
    assert find_run(version.run_id).status == "FINISHED"
    assert main(["test", f"--ckpt_path={version.run_id}", "--tracking.register=kidney"]) == 2
    assert "test trains nothing" in capsys.readouterr().err


@contextmanager
def server(model: str) -> Iterator[str]:
    """`mlflow models serve` as a process of its own; yields where it is asked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = str(Path(sys.executable).parent)  # it starts uvicorn by its name
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "serve",
            "--env-manager",
            "local",
            *f"--model-uri {model} --port {port}".split(),
        ],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": tracking_uri(),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def test_the_real_server_answers_what_predict_answers(
    registered: Registered, phantom_store: Path
) -> None:
    options = [f"--data.store={phantom_store}", "--trainer.accelerator=cpu", "--output=all.csv"]
    assert main(["predict", f"--ckpt_path=runs:/{registered.cv}", *options]) == 0
    expected = pd.read_csv("all.csv").set_index("pair_id")
    records = as_text(encoded(phantom_store, expected.index)).to_dict("records")
    with server("models:/kidney/2") as address:

        def ask(rows: Sequence[Mapping[Any, str]]) -> tuple[int, dict[str, Any]]:
            request = urllib.request.Request(
                address,
                json.dumps({"dataframe_records": rows}).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request) as reply:
                    return reply.status, json.loads(reply.read())
            except urllib.error.HTTPError as refused:
                return refused.code, json.loads(refused.read())

        status, said = ask(records)
        assert status == 200
        got = pd.DataFrame(said["predictions"], index=expected.index)
        for name in ("score", "spread", "weight_bmode", "weight_ceus"):
            np.testing.assert_allclose(got[name], expected[name], atol=1e-6)
        status, said = ask([records[0], {"bmode": "AAAA", "ceus": records[0]["ceus"]}])
        assert status == 400
        assert "row 1: its B-mode picture is no PNG or JPEG file" in said["message"]
        status, said = ask([{"bmode": records[0]["bmode"]}])
        assert said["predictions"][0]["missing"] == "ceus"
