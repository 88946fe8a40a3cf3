"""The views that the MLflow UI opens on, as tags of the experiment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.runs import mlflow_client, open_study
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.views import (
    TAG,
    link_line,
    server_address,
    study_link,
    views_of,
    write_views,
)

MACHINE_LEARNING = "/runs?workflowType=machine_learning"


def add(store: MlflowClient, study: str, verb: str, name: str, parent: str | None = None) -> str:
    """A run of a verb, as the verbs file it."""
    tags = run_tags(verb, "ward", parent=parent, arm=name.partition("-")[0])
    return str(store.create_run(study, tags=tags, run_name=name).info.run_id)


def shown(store: MlflowClient, study: str) -> dict[str, set[str]]:
    """Names of the runs that each view of the study holds."""
    return {
        key: {run.info.run_name for run in store.search_runs([study], view.filter)}
        for key, view in views_of(study).items()
    }


def test_each_scored_run_is_in_one_view_and_no_other_run_in_any(work: Path) -> None:
    store, study = mlflow_client(), open_study("ward")
    add(store, study, "compare", "compare-images")
    assert shown(store, study) == {}
    assert study_link("ward").endswith(MACHINE_LEARNING)
    for name in ("bmode-fold0", "fused-fold0"):
        add(store, study, "fit", name)
    for verb in ("test", "validate", "compare", "report", "explain"):
        add(store, study, verb, f"fused-{verb}")
    assert shown(store, study) == {"arms": {"bmode-fold0", "fused-fold0"}}
    parent = add(store, study, "cv", "fused-cv")
    add(store, study, "fit", "fused-fold1", parent)
    assert shown(store, study) == {
        "arms": {"fused-cv"},
        "folds": {"fused-fold1"},
        "fits": {"bmode-fold0", "fused-fold0"},
    }


def test_views_are_written_once_and_anew_where_they_change(work: Path) -> None:
    store, study = mlflow_client(), open_study("ward")

    def tags() -> dict[str, str]:
        known = store.get_experiment(study).tags
        return {name: text for name, text in known.items() if name.startswith(TAG)}

    add(store, study, "fit", "fused-fold0")
    write_views(study)
    first = tags()
    assert set(first) == {f"{TAG}mufnet-arms"}
    write_views(study)
    assert tags() == first
    add(store, study, "cv", "fused-cv")
    assert write_views(study) == {"arms", "folds", "fits"}
    assert tags()[f"{TAG}mufnet-arms"] != first[f"{TAG}mufnet-arms"]
    store.set_experiment_tag(study, f"{TAG}mufnet-folds", "no JSON")
    write_views(study)
    assert json.loads(tags()[f"{TAG}mufnet-folds"])["name"] == "Folds"


def test_a_view_that_was_saved_over_in_the_ui_stays(work: Path) -> None:
    store, study = mlflow_client(), open_study("ward")
    add(store, study, "fit", "fused-fold0")
    write_views(study)
    theirs = json.loads(store.get_experiment(study).tags[f"{TAG}mufnet-arms"])
    del theirs["written_by"]  # the UI writes its own four words alone
    store.set_experiment_tag(study, f"{TAG}mufnet-arms", json.dumps({**theirs, "state": "{}"}))
    add(store, study, "cv", "fused-cv")
    write_views(study)
    assert json.loads(store.get_experiment(study).tags[f"{TAG}mufnet-arms"])["state"] == "{}"


def test_the_link_is_that_of_the_server_which_mufnet_ui_starts(work: Path) -> None:
    study = open_study("east wing")
    add(mlflow_client(), study, "fit", "fused-fold0")
    link = (
        f"http://127.0.0.1:5000/#/experiments/{study}{MACHINE_LEARNING}&viewStateShareKey=mufnet-arms"
    )
    assert study_link("east wing") == study_link("east wing", "folds") == link
    assert link_line("east wing") == f"mufnet ui 'east wing'   opens {link}"
    add(mlflow_client(), study, "cv", "fused-cv")
    assert study_link("east wing", "folds") == link.replace("arms", "folds")


def test_an_mlflow_without_named_views_gets_the_plain_table_of_runs(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study("ward")
    add(mlflow_client(), study, "fit", "fused-fold0")
    monkeypatch.setattr("mlflow.__version__", "3.14.2")
    assert study_link("ward") == f"http://127.0.0.1:5000/#/experiments/{study}{MACHINE_LEARNING}"
    assert not any(name.startswith(TAG) for name in mlflow_client().get_experiment(study).tags)


def test_arms_have_the_colours_of_the_figures_where_each_has_one_run(work: Path) -> None:
    from mufnet_lightning.evaluation.figures import COLOURS

    store, study = mlflow_client(), open_study("ward")

    def colours() -> dict[str, str | None]:
        runs = store.search_runs([study], order_by=["attributes.start_time"])
        return {run.info.run_name: run.data.tags.get("mlflow.runColor") for run in runs}

    for arm in ("bmode", "ceus", "fused"):
        add(store, study, "cv", f"{arm}-cv")
    for name in ("fused-cv again", "own-cv"):
        add(store, study, "cv", name)
    write_views(study)
    assert colours() == {
        "bmode-cv": COLOURS[0],
        "ceus-cv": COLOURS[1],
        "fused-cv": None,
        "fused-cv again": None,
        "own-cv": None,
    }


def test_a_link_that_cannot_be_had_stops_no_verb(work: Path) -> None:
    with pytest.raises(InputFault, match="no study 'nowhere'"):
        study_link("nowhere")
    assert link_line("nowhere") == ""


def test_no_password_is_in_a_link(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@runs.example:8443/mlflow/")
    assert server_address() == "https://runs.example:8443/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    with pytest.raises(InputFault, match="pages of its own"):
        server_address()


def test_no_torch_is_waited_for() -> None:
    code = "import sys, mufnet_lightning.tracking.views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
