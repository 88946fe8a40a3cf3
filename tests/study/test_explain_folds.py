"""Real runs that are explained: after test, by the verb, and what cannot be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from working_folder import enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.statistics.attention import energy_inside, lesion_ellipse
from mufnet_lightning.explain.explain import explain
from mufnet_lightning.explain.maps import activation_maps
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.record import (
    labels_of,
    read_tables,
    record_pooled_explanations,
    record_tables,
)
from mufnet_lightning.inference.trained import Trained, load_trained
from mufnet_lightning.study.explain_fold import file_name
from mufnet_lightning.study.explain_folds import ExplainRequest
from mufnet_lightning.tracking.artifacts import artifact_files, artifact_folders
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    find_run,
    find_runs,
    mlflow_client,
    resolve_artifact,
)

pytestmark = pytest.mark.slow  # they share runs that are trained first

MADE = {"panels.png", "panels.pdf", "images.csv", "checks.csv", "summary.json"}
IDS = {"pair_id": str, "patient_id": str}


@dataclass(frozen=True)
class Fitted:
    """Two runs of one configuration: explained after test, and not."""

    folder: Path
    explained: str
    plain: str


@pytest.fixture(scope="module")
def fitted(
    tmp_path_factory: pytest.TempPathFactory, tiny_options: tuple[str, ...], empty_tracking: bytes
) -> Fitted:
    folder = make_working_folder(tmp_path_factory.mktemp("explained"), empty_tracking)
    words = [*tiny_options, "--data.image_size=96", "--trainer.max_epochs=3", "--explain.draws=1"]
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        assert main(["fit", *words]) == 0
        (plain,) = all_runs()
        assert main(["fit", *words, "--explain.enabled=true"]) == 0
        (explained,) = (run for run in all_runs() if run.id != plain.id)
    return Fitted(folder, explained.id, plain.id)


@pytest.fixture
def run_id(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> str:
    """The explained run, in its working folder."""
    enter(fitted.folder, monkeypatch)
    return fitted.explained


def all_runs() -> list[TrackedRun]:
    studies = mlflow_client().search_experiments()
    return [run for study in studies for run in find_runs(study.experiment_id)]


def files(run_id: str, folder: str) -> set[str]:
    names = [*artifact_files(run_id, folder), *artifact_folders(run_id, folder)]
    return {Path(name).name for name in names}


def artifact(run_id: str, name: str) -> pd.DataFrame:
    return pd.read_csv(resolve_artifact(run_id, name), dtype=IDS)


def scored(run_id: str) -> pd.DataFrame:
    return artifact(run_id, "predictions.csv").query("split == 'test'").reset_index(drop=True)


def pictures(trained: Trained) -> dict[str, torch.Tensor]:
    batches = list(trained.data.rows_dataloader(trained.data.part_rows("test")))
    return {m: torch.cat([batch[m] for batch in batches]) for m in trained.net.modalities}


def test_fit_explains_its_test_part(run_id: str) -> None:
    assert files(run_id, "explain") == {"gradcam"}
    assert files(run_id, "explain/gradcam") == MADE
    table, expected = artifact(run_id, "explain/gradcam/images.csv"), scored(run_id)
    assert list(table["pair_id"]) == list(expected["pair_id"])
    for name in ("patient_id", "label", "frame"):
        assert (table[name] == expected[name]).all()
    for name in ("score", "weight_bmode", "weight_ceus"):
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-5)
    assert (table["target"] == (table["score"] > 0.5)).all()
    checks = artifact(run_id, "explain/gradcam/checks.csv")
    assert list(checks["patient_id"]) == list(dict.fromkeys(table["patient_id"]))
    summary = json.loads(resolve_artifact(run_id, "explain/gradcam/summary.json").read_text())
    assert (summary["images"], summary["patients"]) == (len(table), table["patient_id"].nunique())
    # a handful of numbers is a metric, the rest is in the files
    metrics = find_run(run_id).metrics
    told = {
        name.removeprefix("explain/gradcam/"): value
        for name, value in metrics.items()
        if name.startswith("explain/")
    }
    similar = [f"similarity_all weights_{modality}" for modality in ("bmode", "ceus")]
    assert told == pytest.approx(
        {
            "inside_bmode": table.groupby("patient_id")["inside_bmode"].mean().mean(),
            "inside_ceus": table.groupby("patient_id")["inside_ceus"].mean().mean(),
            "similarity_all_weights": checks[similar].mean().max(),
            "deletion_gain": (checks["deletion_random"] - checks["deletion"]).mean(),
            "insertion_gain": (checks["insertion"] - checks["insertion_random"]).mean(),
        }
    )


def test_explaining_changes_nothing_else_of_a_run(fitted: Fitted, run_id: str) -> None:
    pd.testing.assert_frame_equal(
        artifact(fitted.plain, "predictions.csv"), artifact(run_id, "predictions.csv"), check_exact=True
    )
    assert "explain" not in files(fitted.plain, "")
    one, other = (
        {
            name: value
            for name, value in find_run(run).metrics.items()
            if not name.startswith(("system/", "explain/"))
        }
        for run in (fitted.plain, run_id)
    )
    assert one == other


def test_explained_later_it_is_the_same(
    fitted: Fitted, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resolve_artifact(run_id, "explain/gradcam/images.csv").read_bytes()
    assert main(["explain", "--run", f"runs:/{fitted.plain}", "--draws=1", "--out=out"]) == 0
    printed = capsys.readouterr()
    assert "explain/gradcam" in printed.err
    for name in ("images.csv", "checks.csv"):
        pd.testing.assert_frame_equal(
            artifact(run_id, f"explain/gradcam/{name}"),
            artifact(fitted.plain, f"explain/gradcam/{name}"),
            rtol=1e-4,
        )
        assert Path("out", name).is_file()
    assert {"panels.png", "panels.pdf"} <= {path.name for path in Path("out").iterdir()}
    assert resolve_artifact(run_id, "explain/gradcam/images.csv").read_bytes() == before


def test_method_target_and_checks_are_as_asked_and_every_patient_has_a_montage(
    run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--method=layercam", "--target=high", "--draws=0", "--all"]
    assert main(["explain", "--run", run_id, *words]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("layercam for the high class: 6 patients, 18 images")
    folder = "explain/layercam-high"
    assert files(run_id, folder) == (MADE - {"checks.csv"}) | {"patients"}
    table = artifact(run_id, f"{folder}/images.csv")
    assert (table["target"] == 1).all()
    assert files(run_id, f"{folder}/patients") == {
        f"{patient}.{form}" for patient in table["patient_id"] for form in ("png", "pdf")
    }
    summary = json.loads(resolve_artifact(run_id, f"{folder}/summary.json").read_text())
    assert (summary["sanity"], summary["faithfulness"]) == ([], {})
    assert read_tables(run_id, "layercam-high").checks is None

    trained = load_trained(run_id, device="cpu")
    maps = activation_maps(trained.net, pictures(trained), [1] * len(table), "layercam").maps
    for modality in trained.net.modalities:
        expected = energy_inside(maps[modality], lesion_ellipse(96, 96))
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(table[f"inside_{modality}"], expected, rtol=1e-4)


def test_patients_are_shown_whichever_part_they_are_in(
    run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = artifact(run_id, "folds.csv").query("fold == 0").set_index("patient_id")["part"]
    new, known = folds.index[folds == "test"][0], folds.index[folds == "train"][0]
    words = ["--method=gradcam++", "--out=some"]
    assert main(["explain", "--run", run_id, "--patient", new, "--patient", known, *words]) == 0
    printed = capsys.readouterr()
    assert "a patient of part train was seen in training" in printed.err
    assert len(re.findall(rf"^ *p\d+ +(test|train) +({new}|{known}) ", printed.out, re.M)) == 6
    expected = {f"{patient}.{form}" for patient in (new, known) for form in ("png", "pdf")}
    assert files(run_id, "explain/gradcam++/patients") == expected
    assert {path.name for path in Path("some").iterdir()} == expected
    assert files(run_id, "explain/gradcam++") == {"patients"}


def test_a_phantoms_signal_is_pointed_at(
    run_id: str, phantom_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = phantom_store.parent / "cohort"
    words = ["--phantom", str(cohort), "--target=true", "--draws=1"]
    assert main(["explain", "--run", run_id, *words]) == 0
    assert "maximum in the signal" in capsys.readouterr().out
    table = artifact(run_id, "explain/gradcam-true/images.csv")
    assert (table["target"] == table["label"]).all()
    assert table["signal_area"].between(0.75, 1).all()
    assert table["signal_energy_ceus"].dropna().between(0, 1).all()
    summary = json.loads(resolve_artifact(run_id, "explain/gradcam-true/summary.json").read_text())
    assert summary["phantom"]
    assert [(row["kind"], row["modality"]) for row in summary["pointing"]] == [
        ("energy", "bmode"),
        ("energy", "ceus"),
        ("hit", "bmode"),
        ("hit", "ceus"),
    ]
    assert all(row["random_weights"]["draws"] for row in summary["pointing"])


def test_a_network_is_left_as_it_was_by_its_explanation(run_id: str) -> None:
    trained = load_trained(run_id, device="cpu")
    state = {name: value.clone() for name, value in trained.net.state_dict().items()}
    rows = trained.data.part_rows("test")
    explain(trained.net, trained.data, rows, ExplainOptions(draws=1, steps=2))
    assert all(torch.equal(value, state[name]) for name, value in trained.net.state_dict().items())
    images = pictures(trained)
    with torch.no_grad():
        scores = trained.net(images).logits.softmax(1)[:, 1]
    np.testing.assert_allclose(scores, scored(run_id)["score"], rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--run=0123456789"], "0123456789: neither a file nor a run"),
        (["--patient=P999"], "has no patient 'P999'; its test part has P"),
        (["--layer=blocks.9"], "test_efficientnet has no layer 'blocks.9'; it has conv_stem"),
        (["--layer=global_pool"], "test_efficientnet has no feature maps there"),
        (["--layer=classifier"], "no score depends on layer 'classifier'"),
        (["--store=nowhere"], "there is no crop store at nowhere"),
        (["--phantom=."], "no truth.json; only a phantom has one"),
        (["--device=cuda:99"], "--device cuda:99: there is no such device here"),
        (["--draws=-1"], "explain.draws is -1, expected 0 or more"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    run_id: str, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    before = files(run_id, "explain")
    assert main(["explain", f"--run={run_id}", "--draws=0", "--seed=3", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("mufnet: ")]
    assert sentence in line
    assert "Traceback" not in printed.err
    assert files(run_id, "explain") == before


def test_a_run_without_a_checkpoint_is_told(
    fitted: Fitted, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint,) = fitted.folder.glob(f"mlruns/artifacts/{run_id}/**/selected.ckpt")
    kept = checkpoint.rename(fitted.folder / "kept.ckpt")
    try:
        assert main(["explain", "--run", run_id]) == 2
    finally:
        kept.rename(checkpoint)
    assert "run fused-fold0 has no checkpoints/selected.ckpt" in capsys.readouterr().err


def test_an_encoder_without_feature_maps_is_trained_all_the_same(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model.encoder=test_vit", "--data.image_size=160", "--explain.enabled=true"]
    assert main(["fit", *tiny, *words, "--trainer.limit_train_batches=1"]) == 0
    (run,) = all_runs()
    assert run.is_finished
    assert "test_vit has no feature maps there" in run.tags["not_explained"]
    assert "the test part is not explained" in capsys.readouterr().err
    assert files(run.id, "explain") == set()
    assert main(["explain", "--run", run.id]) == 2
    assert "test_vit has no feature maps there" in capsys.readouterr().err


def test_folds_are_pooled_where_all_of_them_have_the_same_explanation(run_id: str) -> None:
    client, experiment = mlflow_client(), find_run(run_id).experiment_id
    parent, *folds = (
        find_run(client.create_run(experiment, run_name=name).info.run_id)
        for name in ("cv", "one", "two")
    )
    own = read_tables(run_id, "gradcam")
    for run in folds:
        for label in ("gradcam", "gradcam++"):
            record_tables(client, run.id, label, own)
        client.log_text(run.id, "", "explain/layercam/patients/P001.png")
    record_tables(client, folds[0].id, "gradcam-high", own)
    pooled = record_pooled_explanations(parent, dict(enumerate(folds)))
    assert set(pooled) == {"gradcam", "gradcam++"}
    assert labels_of(parent.id) == ["gradcam", "gradcam++"]
    assert files(parent.id, "explain") == {"gradcam", "gradcam++"}
    again = read_tables(parent.id, "gradcam++")
    assert again.summary.origin.folds == (0, 1)
    assert again.summary.by_grade[0].p == pytest.approx(own.summary.by_grade[0].p)
    metrics, of_parent = (find_run(run).metrics for run in (run_id, parent.id))
    names = {name.removeprefix("explain/") for name in metrics if name.startswith("explain/gradcam/")}
    assert {n.removeprefix("explain/") for n in of_parent} == names | {
        name.replace("gradcam/", "gradcampp/") for name in names
    }
    for name in names:
        assert of_parent[f"explain/{name}"] == pytest.approx(metrics[f"explain/{name}"])


def test_folds_that_were_explained_differently_are_named_and_not_pooled(
    run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, experiment = mlflow_client(), find_run(run_id).experiment_id
    parent, *folds = (
        find_run(client.create_run(experiment, run_name=name).info.run_id)
        for name in ("cv", "one", "two")
    )
    own = read_tables(run_id, "gradcam")
    other = replace(own.summary.origin, options=replace(own.summary.origin.options, seed=7))
    record_tables(client, folds[0].id, "gradcam", own)
    other_tables = replace(own, summary=replace(own.summary, origin=other))
    record_tables(client, folds[1].id, "gradcam", other_tables)
    assert record_pooled_explanations(parent, dict(enumerate(folds))) == {}
    assert "gradcam: the folds were explained differently, and are not pooled" in caplog.text
    assert files(parent.id, "explain") == set()


def test_patients_and_what_is_of_the_test_part_do_not_go_together() -> None:
    with pytest.raises(InputFault, match="--patient goes with neither --all nor --phantom"):
        ExplainRequest("0123", patients=("P001",), every=True)
    with pytest.raises(InputFault, match="--patient goes with neither --all nor --phantom"):
        ExplainRequest("0123", patients=("P001",), phantom=Path("cohort"))


def test_a_montages_file_name_is_plain_and_its_patients_own() -> None:
    assert file_name("P001") == "P001"
    names = [file_name(name) for name in ("a/b", "a_b", "a b", "..", "../../x", "ä")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) for name in names)
