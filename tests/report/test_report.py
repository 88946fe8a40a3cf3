"""The report of a study: one file that holds all it shows and says what the runs say."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from working_folder import enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.evaluation.risks import RecordedRecalibration
from mufnet_lightning.report import gather
from mufnet_lightning.report.cautions import read_with_care
from mufnet_lightning.report.gather import StudyFacts, _scanners, study_facts
from mufnet_lightning.report.page import render
from mufnet_lightning.report.tables import (
    calibration_frame,
    parts_table,
    recalibration_frame,
    scanners_frame,
)
from mufnet_lightning.report.tripod import ITEMS, checklist
from mufnet_lightning.study.compare import compare
from mufnet_lightning.study.recorded_study import RecordedStudy
from mufnet_lightning.study.spec import Pairs
from mufnet_lightning.tracking.artifacts import RISK_NOTES
from mufnet_lightning.tracking.runs import find_runs, find_study, mlflow_client, resolve_artifact

pytestmark = pytest.mark.slow  # they share runs that are trained first

STUDY = "a <b>bold</b> & brave study"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks that tags are closed as they were opened, and keeps what a browser would act on."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += " ".join(data.split()) + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def studied(
    tmp_path_factory: pytest.TempPathFactory, tiny_options: tuple[str, ...], empty_tracking: bytes
) -> Path:
    """A working folder with a study: two finished arms, one of them explained, and a broken run."""
    folder = make_working_folder(tmp_path_factory.mktemp("reported"), empty_tracking)
    words = [*tiny_options, f"--tracking.study={STUDY}", "--tracking.figures=true"]
    words += ["--explain.draws=1", "--explain.steps=2"]
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        assert main(["fit", *words, "--explain.enabled=true", "--data.image_size=64"]) == 0
        assert main(["fit", "--config=configs/bmode.yaml", *words[1:]]) == 0
        run = mlflow_client().create_run(find_study(STUDY), run_name="ceus-fold0")
        mlflow_client().set_tag(
            run.info.run_id, "reason", "RuntimeError: <out of memory> in /home/anna/store/a.png"
        )
        mlflow_client().set_terminated(run.info.run_id, "FAILED")
    return folder


@pytest.fixture
def here(studied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(studied, monkeypatch)
    return studied


@pytest.fixture
def cohort(phantom_store: Path) -> Path:
    return phantom_store.parent / "cohort"


@pytest.fixture(scope="module")
def gathered(studied: Path, phantom_store: Path) -> tuple[StudyFacts, str]:
    """What the study is found to hold, and its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(studied)
        facts = study_facts(STUDY, phantom_store.parent / "cohort")
        return facts, render(facts)


@pytest.fixture
def facts(here: Path, gathered: tuple[StudyFacts, str]) -> StudyFacts:
    return gathered[0]


@pytest.fixture
def html(here: Path, gathered: tuple[StudyFacts, str]) -> str:
    return gathered[1]


def test_the_file_asks_for_nothing_outside_itself(
    here: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", STUDY, "--cohort", str(cohort), "--out", "page.html"]) == 0
    assert capsys.readouterr().out == "page.html\n"
    html = Path("page.html").read_text()
    page = Page(html)
    assert page.all("script") == page.all("iframe") == page.all("object") == []
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert "url(" not in html
    assert "@import" not in html
    links = [attrs["href"] or "" for attrs in page.all("a")]
    targets = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link.removeprefix("#") for link in links} <= targets
    images = page.all("img")
    assert len(images) >= 10
    for image in images:
        head, content = (image["src"] or "").split(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.std() > 5
        assert image["alt"]
    assert len(html) < 15e6


def test_names_are_text_and_never_markup(html: str) -> None:
    assert "<b>bold</b>" not in html
    assert STUDY in Page(html).text
    assert "RuntimeError: <out of memory> in …/a.png" in Page(html).text


def test_the_numbers_are_those_of_the_comparison(facts: StudyFacts, html: str) -> None:
    text = Page(html).text
    arms = [f"{arm.name}={arm.run.id}" for arm in facts.arms]
    assert [arm.name for arm in facts.arms] == ["bmode", "fused"]
    for level in ("patient", "image"):
        for row in compare(arms, level=level).table().to_numpy():
            assert " ".join(row) in text
    summary = json.loads(
        resolve_artifact(facts.arms[1].run.id, "explain/gradcam/summary.json").read_text()
    )
    for row in summary["by_grade"]:
        assert f"{row['name']} {row['low']['value']:.3f}" in text
    for verdict in summary["verdicts"]:
        assert verdict in text
    assert facts.store is not None
    flow = facts.store.manifest
    assert f"{flow['patient_id'].nunique()} patients, {len(flow)} pairs of crops" in text


def test_risks_are_judged_by_their_test_and_not_by_the_calibration_error(
    facts: StudyFacts, html: str
) -> None:
    page = Page(html).text
    for arm in facts.arms:
        numbers = arm.run.metrics
        ends = [f"test/patient_risk_calibration_slope{end}" for end in ("", "_ci_low", "_ci_high")]
        if set(ends) <= set(numbers):  # of risks that are all alike there is none
            slope, low, high = (numbers[name] for name in ends)
            assert f"{slope:.3f} ({low:.3f} to {high:.3f})" in page
        p = numbers["test/patient_risk_calibration_p"]
        said = " ".join(read_with_care(facts, None))
        assert (f"{arm.name} (p " in said) == (p < 0.05)
        wanted = {**numbers, "test/patient_risk_calibration_p": 0.004}
        changed = replace(arm, run=replace(arm.run, metrics=wanted))
        said = " ".join(read_with_care(replace(facts, arms=[changed]), None))
        assert f"are doubtful on the test patients: {arm.name} (p 0.004)" in said
        fit = arm.recalibration.recalibration
        assert fit is not None
        assert f"by a line fitted on {fit.high + fit.low} validation patients" in said
        unchosen = replace(arm, run=replace(arm.run, tags={**arm.run.tags, "selection": "last"}))
        assert "by a line fitted on" not in " ".join(
            read_with_care(replace(facts, arms=[unchosen]), None)
        )
        none = {name: value for name, value in numbers.items() if "risk" not in name}
        changed = replace(arm, run=replace(arm.run, metrics=none))
        said = " ".join(read_with_care(replace(facts, arms=[changed]), None))
        assert f"No risk beside the score: {arm.name}" in said
        assert calibration_frame([changed])["p of both being right"].tolist() == ["no risk"]
        # its test patients chose the epoch: there is a risk, and it is not judged
        choosing = {**arm.run.tags, "selection": "optimistic"}
        chosen = replace(arm, run=replace(arm.run, metrics=none, tags=choosing))
        said = " ".join(read_with_care(replace(facts, arms=[chosen]), None))
        assert f"The risks of {arm.name} are not judged" in said
        assert "No risk beside the score" not in said
        assert calibration_frame([chosen])["p of both being right"].tolist() == ["chosen here"]
        # slope and test would mislead, and the run says why
        doubted = {n: v for n, v in numbers.items() if "risk_calibration" not in n}
        tags = {**arm.run.tags, RISK_NOTES: "No relation of scores and grades."}
        changed = replace(arm, run=replace(arm.run, metrics=doubted, tags=tags))
        said = " ".join(read_with_care(replace(facts, arms=[changed]), None))
        assert f"Risks of {arm.name}: No relation of scores and grades." in said
        assert "No risk beside the score" not in said
        assert calibration_frame([changed])["p of both being right"].tolist() == ["not given"]
        # the line itself is printed, and the risk that the threshold stands for
        row = recalibration_frame([arm]).iloc[0]
        low, high = (float(limit) for limit in row["followed for scores of"].split(" to "))
        line = float(row["intercept"]) + float(row["slope"]) * logit(min(max(0.5, low), high))
        assert float(row["risk at a score of 0.5"]) == pytest.approx(expit(line), abs=0.03)
        assert recalibration_frame([replace(arm, recalibration=RecordedRecalibration(None))]).empty
    assert "Decision curve over patients" in page


def test_a_phantom_is_called_one_and_has_its_ceilings(html: str) -> None:
    text = Page(html).text
    assert "a simulated cohort" in text
    assert "say nothing about real tumours" in text
    assert "the ceiling is that reader's AUC on endless patients" in text
    assert "0.838" in text
    assert "platelets_10e9_l" in text  # Table 1
    assert "Sonara E9" in text
    assert "Patients who are tested beside those who train and validate" in text
    said = r"B-mode minus fused \(MUF-Net\): -?\d\.\d{3}( \(95% interval -?\d|, not tested)"
    assert re.search(said, text)
    without = Page(render(study_facts(STUDY))).text
    assert "cannot tell whether these are real" in without
    assert "the ceiling is" not in without
    assert "Not recorded: give the cohort's folder" in without


def test_who_is_tested_stands_beside_who_is_not_and_scanners_beside_grades(
    facts: StudyFacts, cohort: Path
) -> None:
    patients = pd.read_csv(cohort / "patients.csv")
    clips = pd.read_csv(cohort / "clips.csv")
    frame = scanners_frame(facts)
    assert frame["clips"].sum() == len(clips)
    high = clips.merge(patients, on="patient_id")["grade"] >= 3
    assert (frame["low grade"].sum(), frame["high grade"].sum()) == ((~high).sum(), high.sum())
    split = facts.arms[0].split
    tested = set(split.loc[split["part"] == "test", "patient_id"])
    parts = parts_table(facts)
    assert f"tested (N = {len(tested)})" in parts
    of_tested = parts[f"tested (N = {len(tested)})"]
    fours = int((patients["patient_id"].isin(tested) & (patients["grade"] == 4)).sum())
    assert of_tested[parts["level"] == "4, n (%)"].iloc[0].startswith(f"{fours} (")
    # grades as a spreadsheet writes them beside a gap, whose label is known
    graded = patients.assign(grade=patients["grade"].astype(float).astype(str), label="")
    first = graded.index[patients["grade"] >= 3][0]
    graded.loc[first, ["grade", "label"]] = ["", "1"]
    assert facts.cohort is not None
    again = _scanners(clips.astype(str), graded.astype(str))
    assert (again["low grade"].sum(), again["high grade"].sum()) == ((~high).sum(), high.sum())
    # where all take turns in the test part there is nothing to put side by side
    turns = split.assign(fold=1, part=split["part"].replace({"test": "train", "train": "test"}))
    both = pd.concat([split, turns])
    arm = replace(facts.arms[0], split=both, folds={0: facts.arms[0].run, 1: facts.arms[0].run})
    assert parts_table(replace(facts, arms=[arm])).empty
    # a fold that was not run says nothing, and of arms with different splits none is told
    alone = replace(facts.arms[0], split=both, folds={0: facts.arms[0].run})
    assert parts_table(replace(facts, arms=[alone])).equals(parts)
    other = replace(facts.arms[0], split=turns, folds={1: facts.arms[0].run})
    assert parts_table(replace(facts, arms=[alone, other])).empty


def test_the_cohort_must_be_the_stores_own(
    here: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = (cohort / "patients.csv").read_text().splitlines()
    (tmp_path / "patients.csv").write_text("\n".join(patients[:-1]))
    assert main(["report", STUDY, "--cohort", str(tmp_path)]) == 2
    assert "is not what the study's store was made from" in capsys.readouterr().err


def test_columns_that_may_name_a_person_are_left_out_of_table_one(
    here: Path, cohort: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(cohort / "patients.csv", dtype=str)
    table["surname"] = [f"Doe{i}" for i in range(len(table))]
    table.to_csv(tmp_path / "patients.csv", index=False)
    text = Page(render(study_facts(STUDY, tmp_path))).text
    assert "Doe7" not in text
    assert "Left out: surname (more than half of the patients have a value of their own)" in text


def test_what_must_be_read_with_care_follows_the_study(facts: StudyFacts, here: Path) -> None:
    sentences = " ".join(read_with_care(facts, None))
    assert "Few patients" in sentences
    assert "Trained from random weights: bmode, fused" in sentences
    assert "trained once, on one split" in sentences
    assert "OPTIMISTIC" not in sentences
    store, run_id = mlflow_client(), facts.arms[0].run.id
    store.set_tag(run_id, "selection", "optimistic")
    store.set_tag(run_id, "git_commit", "0123456789abcdef-dirty")
    try:
        changed = study_facts(STUDY)
        sentences = " ".join(read_with_care(changed, None))
        assert "OPTIMISTIC: the checkpoints of bmode were selected on the test set" in sentences
        assert "different commits" in sentences
        assert "changes that no commit holds" in sentences
        text = Page(render(changed)).text
        assert "The checkpoint of B-mode was selected on the test set, as in the paper" in text
        assert "The checkpoint of the other arms was selected on validation patients" in text
        # its numbers have neither interval nor p, wherever the page shows them
        for start in ("B-mode: AUC over patients ", "bmode "):
            assert re.search(rf"{start}\d\.\d{{3}} \(chosen here\)", text)
        assert re.search(r"fused \(MUF-Net\): AUC over patients \d\.\d{3} \(95% interval", text)
        assert re.search(r"bmode fused -?\d\.\d{3} \(chosen here\) n/a n/a", text)
        assert "Note: bmode: chosen here: these patients chose the epoch" in text
        assert "a difference whose interval holds 0" not in text
    finally:
        store.set_tag(run_id, "selection", "validation")
        store.set_tag(run_id, "git_commit", facts.arms[0].commit)


def test_data_of_the_authors_own_class_are_reported_too(facts: StudyFacts, html: str) -> None:
    own = [
        replace(arm, settings={**arm.settings, "data": {"store": arm.settings["data"]["store"]}})
        for arm in facts.arms
    ]
    text = Page(render(replace(facts, arms=own))).text
    assert "Crops were stored without loss." in text
    assert "what they do about the imbalance the authors have to say" in text
    assert "Training images were drawn class by class" in Page(html).text


def test_it_goes_on_without_the_store(
    here: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, phantom_store: Path
) -> None:
    gone = phantom_store.with_name("moved")
    phantom_store.rename(gone)
    try:
        text = Page(render(study_facts(STUDY))).text
    finally:
        gone.rename(phantom_store)
    assert "The crop store store is no longer where it was" in text
    assert str(phantom_store.parent) not in text
    assert "30 patients, 90 pairs" in text


def test_of_more_arms_than_pairs_could_be_read_none_is_tested(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MOST_ARMS_IN_PAIRS", 1)
    facts = study_facts(STUDY)
    assert facts.planned == ()
    text = Page(render(facts)).text
    assert "No two arms are tested: no pair that the study planned has both its arms here" in text
    assert "Paired differences" not in text
    assert "Paired tests of arms on the same patients" not in text
    assert "Table 2a" in text


@pytest.mark.parametrize(
    ("planned", "tests"),
    [
        (None, "Paired differences of AUC"),  # each two, as the study's file has it
        ((("fused", "bmode"),), "Planned paired differences of AUC"),
        ((("fused", "gone"),), None),  # an arm that did not come to its end
    ],
)
def test_of_any_number_of_arms_what_was_laid_down_is_tested(
    here: Path, monkeypatch: pytest.MonkeyPatch, planned: Pairs | None, tests: str | None
) -> None:
    monkeypatch.setattr(gather, "MOST_ARMS_IN_PAIRS", 1)
    monkeypatch.setattr(gather, "recorded_study", lambda _: RecordedStudy({}, planned))
    text = Page(render(study_facts(STUDY))).text
    assert ("No two arms are tested" in text) == (tests is None)
    assert ("Paired tests of arms on the same patients" in text) == (tests is not None)
    assert tests is None or tests in text


def test_arms_that_cannot_be_compared_are_told_and_not_compared(facts: StudyFacts) -> None:
    run_id = facts.arms[0].run.id
    before = resolve_artifact(run_id, "predictions.csv").read_text()
    table = pd.read_csv(resolve_artifact(run_id, "predictions.csv"))
    missed = table.query("split == 'test'")["pair_id"].iloc[0]
    less = table[table["pair_id"] != missed].to_csv(index=False)
    try:
        mlflow_client().log_text(run_id, less, "predictions.csv")
        text = Page(render(study_facts(STUDY))).text
    finally:
        mlflow_client().log_text(run_id, before, "predictions.csv")
    assert "The arms cannot be put side by side:" in text
    assert "Table 2a" not in text


def test_the_same_runs_have_one_report_in_mlflow(
    here: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", STUDY, "--out", "again.html"]
    ids = set()
    for more in ([], ["--cohort", str(cohort)]):
        assert main([*words, *more]) == 0
        ids.add(re.findall(r"recorded as run (\w+)", capsys.readouterr().err)[0])
    (run_id,) = ids
    recorded = resolve_artifact(run_id, "report.html").read_text()
    assert recorded == Path("again.html").read_text()
    count = len(find_runs(find_study(STUDY)))
    assert main([*words, "--no-record"]) == 0
    assert len(find_runs(find_study(STUDY))) == count


def whole_number(item: str) -> int:
    return int(item.rstrip("abcdefg"))


def test_every_answer_of_the_checklist_leads_somewhere(html: str) -> None:
    numbers = [item.number for item in ITEMS]
    assert len(numbers) == len(set(numbers)) == 52
    assert [whole_number(number) for number in numbers] == sorted(map(whole_number, numbers))
    ids = {attrs["id"] for _, attrs in Page(html).tags if "id" in attrs}
    for item in ITEMS:
        assert (item.answer == "authors") == (item.where == "")
        assert item.where in ids | {""}
        assert item.missing or item.answer == "here"
    lacking = {item.number: item for item in checklist({"table1": False})}
    assert lacking["20b"].answer == "authors"
    assert lacking["20b"].missing


def test_what_cannot_be_reported_is_told_in_a_sentence(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    faults: dict[tuple[str, ...], str] = {
        ("nobody's",): 'there is no study "nobody\'s" in sqlite',
        (STUDY, "--cohort", str(tmp_path / "empty")): "there is no patients.csv in it",
        (STUDY, "--out", str(tmp_path)): "is a folder; name a file in it",
        (STUDY, "--out", str(tmp_path / "no" / "a.html")): "there is no folder",
    }
    mlflow_client().create_experiment("begun")
    faults["begun",] = "has no finished cross-validation and no finished fit"
    for words, expected in faults.items():
        assert main(["report", *words]) == 2
        err = capsys.readouterr().err
        assert expected in err
        assert err.count("\n") == 1
