"""`mufnet compare` on prediction files: the contract, outside references, what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mufnet_lightning.cli import main
from mufnet_lightning.evaluation.statistics.rates import youden_threshold
from mufnet_lightning.tracking import durable_client
from mufnet_lightning.tracking.runs import find_runs, mlflow_client, open_study, resolve_artifact

NAMES = ("bmode", "ceus", "fused")


@pytest.fixture
def arms(work: Path) -> dict[str, pd.DataFrame]:
    """Three arms of 40 patients with 6 images each, as files; fused knows both signals."""
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 6)
    label = (patient < 16).astype(int)
    hidden = {name: rng.normal(size=40)[patient] + 1.2 * label for name in ("bmode", "ceus")}
    hidden["fused"] = hidden["bmode"] + hidden["ceus"]
    tables = {}
    for name in NAMES:
        score = 1 / (1 + np.exp(-(hidden[name] - 0.6 + 0.5 * rng.normal(size=240))))
        tables[name] = pd.DataFrame(
            {
                "pair_id": [f"pair{i}" for i in range(240)],
                "patient_id": [f"{p:03d}" for p in patient],
                "clip_id": [f"{p:03d}-1" for p in patient],
                "frame": np.tile(np.arange(6), 40),
                "label": label,
                "score": score,
                "fold": 0,
                "split": "test",
            }
        )
        tables[name].to_csv(f"{name}.csv", index=False)
    return tables


FILES = [f"{name}.csv" for name in NAMES]


def result(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["compare", *words, "--format=json", "--no-record"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_json_is_the_contract_and_the_aucs_are_scikit_learns(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = result(capsys, *FILES)
    assert (printed["level"], printed["method"]) == ("image", "obuchowski")
    for row, name in zip(printed["arms"], NAMES, strict=True):
        assert {"name", "images", "patients", "auc", "auc_ci", "auc_variance"} <= set(row)
        assert (row["name"], row["images"], row["patients"]) == (name, 240, 40)
        assert row["auc"] == pytest.approx(roc_auc_score(arms[name]["label"], arms[name]["score"]))
        for rate in ("accuracy", "sensitivity", "specificity", "ppv", "npv"):
            assert set(row[rate]) == {"value", "ci"}
    assert [(t["a"], t["b"]) for t in printed["tests"]] == [
        ("bmode", "ceus"),
        ("bmode", "fused"),
        ("ceus", "fused"),
    ]
    patients = result(capsys, *FILES, "--level=patient")
    assert (patients["level"], patients["method"]) == ("patient", "delong")
    mean = arms["fused"].groupby("patient_id")[["label", "score"]].mean()
    assert patients["arms"][2]["auc"] == pytest.approx(roc_auc_score(mean["label"], mean["score"]))
    naive = result(capsys, *FILES, "--method=delong")
    assert naive["arms"][0]["auc_variance"] < printed["arms"][0]["auc_variance"] / 2


def test_the_order_of_rows_and_arms_changes_nothing(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    before = result(capsys, "bmode.csv", "fused.csv")
    shuffled = arms["fused"].sample(frac=1, random_state=0)
    shuffled.to_csv("fused.csv", index=False)
    assert result(capsys, "bmode.csv", "fused.csv") == before
    turned = result(capsys, "fused.csv", "bmode.csv")
    assert turned["tests"][0]["z"] == pytest.approx(-before["tests"][0]["z"])
    assert turned["tests"][0]["p"] == pytest.approx(before["tests"][0]["p"])


def test_three_columns_are_enough_where_patients_have_one_image(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, table in arms.items():
        one = table[table["frame"] == 0][["patient_id", "label", "score"]]
        one.to_csv(f"{name}.csv", index=False)
    printed = result(capsys, *FILES)
    assert printed["arms"][0]["images"] == printed["arms"][0]["patients"] == 40


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t[t["patient_id"] != "007"], "were scored on different patients"),
        (lambda t: t[t["pair_id"] != "pair9"], "were scored on different images"),
        (
            lambda t: t.assign(label=t["label"].where(t["patient_id"] != "003", 0)),
            "disagree on the label",
        ),
        (lambda t: pd.concat([t, t.iloc[:1]]), "more rows than images"),
        (lambda t: t.drop(columns="score"), "has no column score"),
        (lambda t: t.assign(score=t["score"].mask(t.index == 4)), "scores are missing"),
        (lambda t: t.iloc[:0], "has a header and no rows"),
        (lambda t: t.assign(score=t["score"] * 100), "divide scores in percent by 100"),
        (
            lambda t: t.assign(score=1.5),
            "scores are no probabilities, the first of them that of image 0",
        ),
        (lambda t: t.assign(score=-0.1), "expected 0 to 1"),
        (lambda t: t.assign(score="high"), "fused.csv, row 2: score is 'high', expected a number"),
        (lambda t: t.assign(split="val"), "has no scores of the test part (parts in it: val)"),
        (lambda t: t.assign(split="testing"), "has no scores of the test part (parts in it: testing)"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused_with_the_reason(
    arms: dict[str, pd.DataFrame],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    expected: str,
) -> None:
    change(arms["fused"]).to_csv("fused.csv", index=False)
    assert main(["compare", "bmode.csv", "fused.csv", "--out=out"]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("score", "label", "has 2 columns label, expected one"),
        ("\n", "\0\n", "fused.csv is not plain text"),
        ("\n", ",1\n", "the header has"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str], old: str, new: str, expected: str
) -> None:
    text = Path("fused.csv").read_text()
    head, end, body = text.partition("\n")
    # a cell too many in every row: pandas would take the first column for an index
    Path("fused.csv").write_text(head.replace(old, new) + end + body.replace(old, new))
    assert main(["compare", "bmode.csv", "fused.csv"]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert "Traceback" not in printed.err


def test_a_patient_with_two_labels_is_refused(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, table in arms.items():
        table.loc[2, "label"] = 0  # the patient's other images say 1
        table.to_csv(f"{name}.csv", index=False)
    assert main(["compare", *FILES]) == 2
    assert "1 patient has images of both classes, for example 000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bmode.csv"], "compare needs two arms or more"),
        (["bmode.csv", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["bmode.csv", "0123456789abcdef"], "neither a file nor a run"),
        (["bmode.csv", "ceus.csv", "--threshold=youden"], "has no scores of the val part"),
        (["bmode.csv", "ceus.csv", "--selection"], "--selection needs runs, and bmode.csv is a file"),
        (["bmode.csv", ".=ceus.csv"], "an arm's name needs a letter or a digit"),
        (["bmode.csv", "ceus.csv", "--margin=0.6"], "--margin is 0.6, expected a number above 0"),
        (["bmode.csv", "ceus.csv", "--out=bmode.csv"], "--out bmode.csv cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert main(["compare", *words]) == 2
    assert expected in capsys.readouterr().err


def test_out_has_tables_and_figures_that_open(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *FILES, "--out=out", "--no-record"]) == 0
    printed = capsys.readouterr().out
    out = Path("out")
    tables = {"compare.csv", "tests.csv", "rate_tests.csv", "compare.json", "table2.tex"}
    figures = {f"{name}.{form}" for name in ("roc", "confusion") for form in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == tables | figures
    table = pd.read_csv(out / "compare.csv")
    assert list(table["arm"]) == list(NAMES)
    numbers = json.loads((out / "compare.json").read_text())
    for row, arm in zip(table.to_dict("records"), numbers["arms"], strict=True):
        low, high = arm["auc_ci"]
        assert row["AUC"] == f"{arm['auc']:.3f} ({low:.3f}, {high:.3f})"
        assert row["AUC"] in printed
        assert row["AUC"] in (out / "table2.tex").read_text()
    assert "p (Holm)" in printed
    # a % that is not escaped makes the rest of a line of LaTeX a comment
    body = (out / "table2.tex").read_text().splitlines()[1:]
    assert not [line for line in body if re.search(r"(?<!\\)%", line)]
    for name in ("roc", "confusion"):
        image = cv2.imread(str(out / f"{name}.png"))
        assert image is not None
        assert min(image.shape[:2]) > 400
        assert len(np.unique(image)) > 10
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_what_an_earlier_comparison_left_is_gone(arms: dict[str, pd.DataFrame]) -> None:
    assert main(["compare", *FILES, "--out=out", "--no-record"]) == 0
    Path("out/selection.csv").write_text("of an earlier call")
    Path("out/mine.txt").write_text("of somebody else")
    assert main(["compare", *FILES, "--out=out", "--no-record"]) == 0
    assert not Path("out/selection.csv").exists()
    assert Path("out/mine.txt").exists()
    assert not list(Path("out").glob(".partial*"))


def test_arms_can_be_named_and_equal_names_are_told_apart(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        arms["bmode" if folder == "a" else "ceus"].to_csv(f"{folder}/predictions.csv", index=False)
    printed = result(capsys, "a/predictions.csv", "b/predictions.csv", "ours=fused.csv")
    assert [row["name"] for row in printed["arms"]] == ["a", "b", "ours"]


def test_youdens_threshold_comes_from_validation_alone(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        test = arms[name]
        val = test.assign(
            split="val", pair_id="v" + test["pair_id"], patient_id="v" + test["patient_id"]
        )
        low = val.assign(score=val["score"] * 0.5)  # so the best cut on validation is lower
        pd.concat([test, low]).to_csv(f"{name}.csv", index=False)
    printed = result(capsys, *FILES, "--threshold=youden")
    for row in printed["arms"]:
        assert 0 < row["threshold"] < 0.5
        table = arms[row["name"]]
        called = table["score"] > row["threshold"]
        sensitivity = called[table["label"] == 1].mean()
        assert row["sensitivity"]["value"] == pytest.approx(sensitivity)
    assert printed["arms"][0]["auc"] == result(capsys, *FILES)["arms"][0]["auc"]


def test_youdens_threshold_over_patients_comes_from_validation_patients(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        test = arms[name]
        val = test.assign(
            split="val", pair_id="v" + test["pair_id"], patient_id="v" + test["patient_id"]
        )
        pd.concat([test, val]).to_csv(f"{name}.csv", index=False)
    printed = result(capsys, *FILES, "--threshold=youden", "--level=patient")
    for row in printed["arms"]:
        mean = arms[row["name"]].groupby("patient_id")[["label", "score"]].mean()
        best = youden_threshold(mean["label"], mean["score"]).value
        assert row["threshold"] == pytest.approx(best)


def test_youdens_threshold_is_each_folds_own_where_folds_score_their_own_patients(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    fold = (arms["bmode"]["patient_id"].astype(int) % 2).to_numpy()
    for name in NAMES:
        test = arms[name].assign(fold=fold)
        val = test.assign(split="val", fold=1 - fold)
        # fold 0's scores are half as large, so half its threshold calls the same images
        val["score"] = val["score"].where(val["fold"] == 1, val["score"] / 2)
        both = pd.concat([test, val]).sample(frac=1, random_state=len(name))  # in no arm's order
        both.to_csv(f"{name}.csv", index=False)
    printed = result(capsys, *FILES, "--threshold=youden")
    for row in printed["arms"]:
        table = pd.read_csv(f"{row['name']}.csv")
        test = table[table["split"] == "test"]
        cuts = {
            k: youden_threshold(rows["label"], rows["score"]).value
            for k, rows in table[table["split"] == "val"].groupby("fold")
        }
        assert row["threshold"] == pytest.approx(sorted(cuts.values()))
        called = test["score"] > test["fold"].map(cuts)
        for rate, label in (("sensitivity", 1), ("specificity", 0)):
            expected = (called == label)[test["label"] == label].mean()
            assert row[rate]["value"] == pytest.approx(expected)
    # a patient has one threshold, so patients can be counted with it as well
    assert result(capsys, *FILES, "--threshold=youden", "--level=patient")["arms"][0]["patients"] == 40


def test_non_inferiority_and_power_are_printed_beside_the_test(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *FILES, "--margin=0.3", "--effect=0.1", "--no-record"]) == 0
    printed = capsys.readouterr().out
    assert "a not worse by 0.3" in printed
    assert "power for" not in printed
    assert "Its power is told over patients alone" in printed
    assert main(["compare", *FILES, "--level=patient", "--effect=0.1", "--no-record"]) == 0
    over_patients = capsys.readouterr().out
    assert "power for 0.1" in over_patients
    assert "finds a true difference of 0.1." in over_patients
    assert "patients better / worse" in printed
    test = result(capsys, *FILES, "--margin=0.3", "--effect=0.1")["tests"][0]
    assert test["noninferior"] == (test["auc_difference_ci"][0] > -0.3)
    assert test["power"]["auc_difference"] == 0.1


@pytest.mark.parametrize(
    ("level", "folds", "rule", "statistic", "said", "unsaid"),
    [
        ("image", False, "small-sample", "t", "paired test: t of a jackknife over patients", "folds"),
        ("patient", False, "small-sample", "z", "paired test: DeLong's z", "folds"),
        (
            "patient",
            True,
            "small-sample",
            "t",
            "(pooled out of folds, with 1.4 times the variance); paired test: Nadeau and Bengio's",
            "DeLong's z",
        ),
        ("patient", True, "plain", "t", "which this interval does not allow for)", "allows for it"),
    ],
)
def test_the_test_and_the_variance_are_called_by_their_names(
    arms: dict[str, pd.DataFrame],
    capsys: pytest.CaptureFixture[str],
    level: str,
    folds: bool,
    rule: str,
    statistic: str,
    said: str,
    unsaid: str,
) -> None:
    if folds:
        for name, table in arms.items():
            table.assign(fold=table["patient_id"].astype(int) % 5).to_csv(f"{name}.csv", index=False)
    words = [f"--level={level}", f"--intervals={rule}", "--out=out", "--no-record"]
    assert main(["compare", *FILES, *words]) == 0
    printed, latex = capsys.readouterr().out, Path("out/table2.tex").read_text()
    for text in (printed, latex):
        assert said in text
        assert unsaid not in text
    columns = set(pd.read_csv("out/tests.csv"))
    assert (statistic in columns, ("z" in columns) + ("t" in columns)) == (True, 1)
    assert ("df" in columns) == (statistic == "t")
    # what the tests' own table is called
    name = said.partition("paired test: ")[2]
    assert f"Paired differences of AUC: {name}" in printed
    assert f"Paired differences of AUC: {name}" in latex
    assert ("widened to MOVER's limits" in latex) == (rule != "plain")


def test_a_comparison_is_recorded_once(
    arms: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    # somebody may commit meanwhile
    monkeypatch.setattr("mufnet_lightning.study.compare.git_commit", lambda: "0123456")
    assert main(["compare", *FILES, "--study=mine"]) == 0
    assert main(["compare", *FILES, "--study=mine"]) == 0
    (run,) = find_runs(open_study("mine"))
    assert run.is_finished
    assert run.verb == "compare"
    note = run.tags["mlflow.note.content"]
    numbers = json.loads(resolve_artifact(run.id, "compare.json").read_text())
    assert run.metrics["auc/fused"] == numbers["arms"][2]["auc"]
    assert re.search(r"\| fused \| 0\.\d{3} \(", note)
    # names that MLflow would not take, or that would become one
    odd = ["a+b=bmode.csv", "a/b=ceus.csv", "../x=fused.csv"]
    assert main(["compare", *odd, "--study=odd"]) == 0
    (other,) = find_runs(open_study("odd"))
    assert {"auc/a_b", "auc/a_b_1", "auc/___x"} <= set(other.metrics)
    names = {entry.path for entry in mlflow_client().list_artifacts(run.id, "figures")}
    assert {"figures/roc.png", "figures/roc.pdf", "figures/confusion.png"} <= names


def test_a_patient_may_be_called_na(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, table in arms.items():
        table.assign(patient_id=table["patient_id"].replace("003", "NA")).to_csv(
            f"{name}.csv", index=False
        )
    assert result(capsys, *FILES)["arms"][0]["patients"] == 40


def test_comparing_files_waits_for_neither_torch_nor_lightning(arms: dict[str, pd.DataFrame]) -> None:
    code = (
        "import sys; from mufnet_lightning.cli import main;"
        "assert main(['compare', 'bmode.csv', 'fused.csv', '--no-record']) == 0;"
        "print([name for name in ('torch', 'lightning', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_disk_that_is_full_is_told_in_a_sentence_and_the_run_has_failed(
    arms: dict[str, pd.DataFrame], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """These runs are written to the store as they are made: no journal keeps what it does not take."""

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(durable_client, "sync_file", full)
        assert main(["compare", *FILES]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("mufnet: ")] == told
    assert re.search(r"mlruns/artifacts/.*: No space left on device$", told[-1])
    (run,) = find_runs(open_study("mufnet"), verb="compare")
    assert run.status == "FAILED"
    assert main(["compare", *FILES]) == 0
