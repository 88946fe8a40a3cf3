"""What chose the weights: the part that did carries no interval; without validation nobody does."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mufnet_lightning.cli import main
from mufnet_lightning.study.compare import compare
from mufnet_lightning.tracking.arms import read_arm
from mufnet_lightning.tracking.notes import NOTE
from mufnet_lightning.tracking.runs import (
    TrackedRun,
    find_runs,
    find_study,
    mlflow_client,
    resolve_artifact,
)
from mufnet_lightning.vocabulary import CHOSEN_HERE


def run_of(verb: str) -> TrackedRun:
    (run,) = find_runs(find_study("demo"), most=1, verb=verb)
    return run


def report(run: TrackedRun, part: str) -> dict[str, Any]:
    text: dict[str, Any] = json.loads(resolve_artifact(run.id, f"evaluation/{part}.json").read_text())
    return text


def with_intervals(run: TrackedRun) -> set[str]:
    """The parts whose metrics have an interval."""
    ends = ("_ci_low", "_ci_high")
    names = {name for name in run.metrics if name.endswith(ends) and "/fold" not in name}
    return {name.partition("/")[0] for name in names if "fold_" not in name}


@pytest.mark.slow
def test_the_part_that_chose_the_epoch_has_no_interval_and_says_so(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--checkpoint.keep=best"]) == 0
    printed, fit = capsys.readouterr().out, run_of("fit")
    assert f"val ({CHOSEN_HERE})" in printed
    assert f"test ({CHOSEN_HERE})" not in printed
    assert fit.tags["selection"] == "validation"
    assert with_intervals(fit) == {"test"}
    assert "val_selected/patient_auc" in fit.metrics
    for level in ("image", "patient"):
        (chosen,), (held_out,) = report(fit, "val")[level]["arms"], report(fit, "test")[level]["arms"]
        assert chosen["auc_ci"] is chosen["sensitivity"]["ci"] is None
        assert chosen["notes"][-1].startswith(f"{CHOSEN_HERE}: ")
        assert len(held_out["auc_ci"]) == 2
    # scored again, they are still the patients who chose it
    assert main(["validate", f"--ckpt_path=runs:/{fit.id}"]) == 0
    assert f"val ({CHOSEN_HERE})" in capsys.readouterr().out
    again = run_of("validate")
    assert with_intervals(again) == set()
    assert f"({CHOSEN_HERE})" in again.tags[NOTE]


@pytest.mark.slow
def test_where_the_test_patients_chose_it_is_they_who_have_none(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--checkpoint.keep=best", "--checkpoint.monitor=test_watched/accuracy"]
    assert main(["fit", *tiny, "--data.watch_test=true", *words]) == 0
    fit = run_of("fit")
    assert fit.tags["selection"] == "optimistic"
    assert with_intervals(fit) == {"val_selected"}
    assert f"test ({CHOSEN_HERE})" in capsys.readouterr().out
    # nor has it any beside other arms; a file of the same scores does not say who chose
    shutil.copy(resolve_artifact(fit.id, "predictions.csv"), "file.csv")
    arms = [f"one={fit.id}", f"two={fit.id}", "file.csv", "again=file.csv"]
    words = ["compare", *arms, "--level=patient", "--margin=0.1", "--by=center"]
    assert main([*words, "--out=out"]) == 0
    printed, out = capsys.readouterr().out, Path("out")
    assert printed.count("\nNote: one: chosen here: these patients chose the epoch") == 1
    assert "one and file: chosen here: these patients chose the epoch of one, so nothing" in printed
    content = json.loads((out / "compare.json").read_text())
    assert [arm["auc_ci"] is None for arm in content["arms"]] == [True, True, False, False]
    assert [test["p"] for test in content["tests"]] == [None] * 5 + [1.0]
    table = pd.read_csv(out / "compare.csv", dtype=str, keep_default_na=False).set_index("arm")
    numbers = {arm["name"]: f"{arm['auc']:.3f}" for arm in content["arms"]}
    latex = (out / "table2.tex").read_text()
    for name in ("one", "two"):
        cells = [str(cell) for cell in table.loc[name]]
        assert cells[0] == f"{numbers[name]} ({CHOSEN_HERE})"
        assert all(cell.endswith(f"({CHOSEN_HERE})") or cell == "n/a" for cell in cells)
        assert f"{name} & {numbers[name]} ({CHOSEN_HERE})" in latex
    assert str(table.loc["file", "AUC"]).startswith(f"{numbers['file']} (0.")
    assert f"one, two: {CHOSEN_HERE}: these patients chose the epoch" in latex
    tests = pd.read_csv(out / "tests.csv", dtype=str, keep_default_na=False)
    shown = tests[tests["a"].isin(["one", "two"])].drop(columns=["a", "b"])
    assert len(shown) == 5
    assert shown["AUC difference"].str.fullmatch(r"0.000 \(chosen here\)").all()
    assert set(shown.drop(columns="AUC difference").to_numpy().ravel()) == {"n/a"}
    rates = pd.read_csv(out / "rate_tests.csv", dtype=str, keep_default_na=False)
    assert set(rates.loc[rates["a"].isin(["one", "two"]), "p"]) == {"n/a"}
    (legend,) = compare(arms).figures["roc"].legends
    assert [CHOSEN_HERE in line.get_text() for line in legend.get_texts()] == [True] * 2 + [False] * 2
    recorded = run_of("compare")
    assert set(recorded.metrics) & {"p/one-file", "p/file-again"} == {"p/file-again"}
    assert "**one, two: selected on test patients" in recorded.tags[NOTE]


@pytest.mark.slow
def test_the_last_epoch_is_chosen_by_nobody_unless_validation_stops_the_training(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *tiny, "--checkpoint.keep=last", "--trainer.max_epochs=2"]) == 0
    fit = run_of("fit")
    assert fit.tags["selection"] == "last"
    assert with_intervals(fit) == {"val_selected", "test"}
    assert CHOSEN_HERE not in capsys.readouterr().out
    assert "epoch 1 (counted from 0), the last of the 2 trained" in fit.tags[NOTE]
    kept = torch.load(resolve_artifact(fit.id, "checkpoints/selected.ckpt"), weights_only=True)
    assert kept["epoch"] == 1
    stop = "--trainer.callbacks=lightning.pytorch.callbacks.EarlyStopping"
    words = [stop, "--trainer.callbacks.monitor=val/loss", "--checkpoint.keep=last"]
    assert main(["fit", *tiny, *words]) == 0
    assert run_of("fit").tags["selection"] == "validation"
    assert with_intervals(run_of("fit")) == {"test"}


@pytest.mark.slow
def test_k_folds_without_validation_test_every_patient_once(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny, "--data.protocol=kfold", "--data.n_folds=2", "--trainer.max_epochs=2"]
    assert main(["cv", *words, "--checkpoint.keep=best"]) == 2
    told = capsys.readouterr().err
    assert "no validation patients to choose an epoch on; set checkpoint.keep: last or average" in told
    assert main(["cv", *words, "--checkpoint.keep=average"]) == 0
    parent, fold = run_of("cv"), run_of("fit")
    assert (parent.protocol, parent.tags["selection"]) == ("kfold", "average")
    pooled = pd.read_csv(resolve_artifact(parent.id, "predictions.csv"))
    assert set(pooled["split"]) == {"test"}
    assert pooled["pair_id"].is_unique
    assert pooled["patient_id"].nunique() == 30
    assert math.isfinite(parent.metrics["test/patient_auc_ci_low"])
    assert not [name for name in fold.metrics if name.startswith("val")]
    assert "none to validate" in fold.tags[NOTE]
    assert "the mean of the weights over epochs 1 to 1 (counted from 0)" in fold.tags[NOTE]
    capsys.readouterr()
    assert main(["validate", f"--ckpt_path=runs:/{fold.id}"]) == 2
    assert "has no validation patients" in capsys.readouterr().err
    twice = [f"{name}={parent.id}" for name in "ab"]
    assert main(["compare", *twice, "--threshold=youden", "--no-record"]) == 2
    assert "no scores of the val part" in capsys.readouterr().err
    # folds whose epoch their test patients chose make it such an arm, whatever the parent says
    assert not read_arm(parent.id).chosen_by("test")
    mlflow_client().set_tag(fold.id, "selection", "optimistic")
    assert read_arm(parent.id).chosen_by("test")
    pooled_arms = compare(twice).result
    assert [arm.chosen for arm in pooled_arms.arms] == [test.chosen for test in pooled_arms.tests] * 2
    assert pooled_arms.arms[0].chosen
    # the paper's way, where it is asked for
    optimistic = ["--checkpoint.keep=best", "--checkpoint.monitor=test_watched/accuracy"]
    assert main(["fit", *words, "--data.watch_test=true", *optimistic]) == 0
    assert run_of("fit").tags["selection"] == "optimistic"


def test_what_follows_validation_is_refused_without_it(
    work: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny, "--data.protocol=kfold", "--checkpoint.keep=last"]
    stop = "--trainer.callbacks=lightning.pytorch.callbacks.EarlyStopping"
    assert main(["fit", *words, stop, "--trainer.callbacks.monitor=val/loss"]) == 2
    told = "something follows val/{}, but fold 0 has no validation patients"
    assert told.format("loss") in capsys.readouterr().err
    plateau = [
        "--lr_scheduler=lightning.pytorch.cli.ReduceLROnPlateau",
        "--lr_scheduler.monitor=val/auc",
    ]
    assert main(["fit", *words, *plateau]) == 2
    assert told.format("auc") in capsys.readouterr().err
