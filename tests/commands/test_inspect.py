"""`mufnet inspect`: planted faults are named and end with exit code 2; an ordinary cohort does not."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mufnet_lightning.cli import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
Rows = list[dict[str, str]]


def rows_of(path: Path) -> Rows:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path: Path, change: Callable[[Rows], object]) -> None:
    """Change a table in place."""
    rows = rows_of(path)
    change(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        table.writerows(rows)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom's cohort, to be copied."""
    folder = tmp_path_factory.mktemp("ordinary") / "cohort"
    size = ["--patients", "14", "--high-share", "0.5", "--frames", "6", "--pane-size", "160"]
    assert main(["phantom", str(folder), *size, "--frames-spread", "0", "--seed", "2"]) == 0
    return folder


@pytest.fixture
def phantom(ordinary: Path, tmp_path: Path) -> Path:
    """A copy that the test may spoil."""
    return Path(shutil.copytree(ordinary, tmp_path / "cohort"))


def inspect(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and the page."""
    capsys.readouterr()
    page = path.parent / "inspect.html"
    code = main(["inspect", str(path), "--out", str(page), *words])
    return code, capsys.readouterr().out, page.read_text(encoding="utf-8")


def faults(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("fault: ")]


def doubts(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("doubt: ")]


def test_an_ordinary_cohort_and_its_store_give_no_fault_and_no_doubt(
    ordinary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ordinary, tmp_path / "cohort")
    code, printed, page = inspect(tmp_path / "cohort", capsys)
    assert (code, faults(printed), doubts(printed)) == (0, [], [])
    assert "7 patients of low grade and 7 patients of high grade" in printed
    assert "compared in 14 of 14 clips" in printed
    assert "Nothing seen that would spoil a study" in page
    assert main(["prepare", str(tmp_path / "cohort"), str(tmp_path / "store")]) == 0
    code, printed, page = inspect(tmp_path / "store", capsys)
    assert (code, faults(printed), doubts(printed)) == (0, [], [])
    assert "one pair each of 14 of 14 patients" in page


def test_without_frames_the_page_has_crops_alone(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, whole = inspect(phantom, capsys)
    code, _, page = inspect(phantom, capsys, "--without-frames", "--pairs", "3")
    assert code == 0
    assert "For your own eyes" in whole
    assert whole.count("panes and boxes drawn") == 12 * 3
    assert "panes and boxes drawn" not in page
    assert "under one grid" not in page
    assert page.count("data:image/jpeg") == 3 * 2
    assert "3 of 14 patients" in page


def test_a_clip_filed_under_two_grades_is_a_fault(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = rows_of(phantom / "clips.csv")
    boxes = rows_of(phantom / "boxes.csv")
    patients = {row["patient_id"]: int(row["grade"]) for row in rows_of(phantom / "patients.csv")}
    one = clips[0]
    other = next(
        c for c in clips if (patients[c["patient_id"]] > 2) != (patients[one["patient_id"]] > 2)
    )
    again = phantom / other["path"]
    source = cv2.VideoCapture(str(phantom / one["path"]))
    size = (int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    again.unlink()
    writer = cv2.VideoWriter(str(again), cv2.VideoWriter.fourcc(*"MJPG"), 10, size)
    while (frame := source.read())[0]:  # decoded and encoded once more
        writer.write(cv2.convertScaleAbs(frame[1], None, 1.1, 3))
    writer.release()

    def as_the_first(rows: Rows) -> None:
        row = next(row for row in rows if row["clip_id"] == other["clip_id"])
        row.update({name: one[name] for name in ("bmode_pane", "ceus_pane", "scanner")})

    def its_boxes(rows: Rows) -> None:
        rows[:] = [row for row in rows if row["clip_id"] != other["clip_id"]]
        rows += [
            {**row, "clip_id": other["clip_id"], "x": str(int(row["x"]) + 2)}
            for row in boxes
            if row["clip_id"] == one["clip_id"]
        ]

    rewrite(phantom / "clips.csv", as_the_first)
    rewrite(phantom / "boxes.csv", its_boxes)
    code, printed, page = inspect(phantom, capsys)
    assert code == 2
    (fault,) = faults(printed)
    assert (
        f"patients {one['patient_id']!r} and {other['patient_id']!r}, one of low and one of high"
        in fault
    )
    assert 'class="twin two"' in page


def test_one_file_of_two_patients_is_named(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(phantom / "clips.csv", lambda rows: rows[0].update(path=f"./{rows[0]['path']}"))
    first, second = rows_of(phantom / "clips.csv")[:2]
    shutil.copy(phantom / first["path"], phantom / second["path"])
    _, printed, _ = inspect(phantom, capsys)
    assert f"{first['path']} of patient" in printed
    assert "the same file, byte for byte" in printed


def test_patients_of_one_class_and_too_few_of_one(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(phantom / "patients.csv", lambda rows: [row.update(grade="1") for row in rows])
    code, printed, _ = inspect(phantom, capsys)
    assert code == 2
    assert faults(printed) == [
        "fault: all 14 patients with a grade are of low grade: nothing can be told apart"
    ]
    rewrite(phantom / "patients.csv", lambda rows: [row.update(grade="4") for row in rows[:3]])
    code, printed, _ = inspect(phantom, capsys)
    assert code == 2
    assert "11 patients of low grade and 3 patients of high grade: 5 folds need 5" in faults(printed)[0]


def test_a_centre_that_is_the_grade_is_a_fault(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tie(rows: Rows) -> None:
        for row in rows:
            row["center"] = "north" if int(row["grade"]) > 2 else "south"

    rewrite(phantom / "patients.csv", tie)
    code, printed, _ = inspect(phantom, capsys)
    assert code == 2
    (fault,) = faults(printed)
    assert "the centre predicts the grade (Cramér's V 1.00" in fault
    assert "north, south" in printed


def test_black_crops_are_shown_and_most_of_them_a_fault(
    files: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, rows = np.random.default_rng(3), []
    cohort = tmp_path / "cohort"
    (cohort / "images").mkdir(parents=True)
    for number in range(12):
        row = {"patient_id": f"P{number}"}
        for modality in ("bmode", "ceus"):
            pixels = rng.integers(0, 255, (40 + number, 50, 3), np.uint8)
            if modality == "ceus" and number < 2:
                pixels[:] = 0
            row[f"{modality}_path"] = f"images/{number}_{modality}.png"
            cv2.imwrite(str(cohort / row[f"{modality}_path"]), pixels)
        rows.append(row)
    files.write_table(cohort / "pairs.csv", rows)
    grades = [{"patient_id": f"P{n}", "grade": "1" if n % 2 else "4"} for n in range(12)]
    files.write_table(cohort / "patients.csv", grades)
    code, printed, page = inspect(cohort, capsys)
    assert code == 0, printed
    assert any("2 of 12 CEUS crops are black" in line for line in doubts(printed))
    assert page.count("black: patient") == 2 * 2  # the picture's text, and what stands below it
    for number in range(2, 8):
        black = np.zeros((60 + number, 50, 3), np.uint8)
        cv2.imwrite(str(cohort / f"images/{number}_ceus.png"), black)
    code, printed, _ = inspect(cohort, capsys)
    assert code == 2
    assert any("8 of 12 CEUS crops are black" in line for line in faults(printed))


@pytest.mark.parametrize(("shift", "severity"), [(16, "fault"), (1, None)])
def test_panes_that_lie_elsewhere_are_named(
    shift: int, severity: str | None, phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def move(rows: Rows) -> None:
        for row in rows:
            x, y, width, height = map(int, row["ceus_pane"].split(","))
            row["ceus_pane"] = f"{x},{y - shift},{width},{height}"

    def within(rows: Rows) -> None:
        for row in rows:
            row["y"] = str(max(int(row["y"]) - shift, 0))

    rewrite(phantom / "clips.csv", move)
    rewrite(phantom / "boxes.csv", within)
    code, printed, page = inspect(phantom, capsys)
    if severity is None:  # below 2% of the pane, and what is named
        assert (code, faults(printed) + doubts(printed)) == (0, [])
        return
    assert code == 2
    (fault,) = faults(printed)
    assert "14 of 14 clips may not show the same tissue in both panes" in fault
    assert any(f"{by} px further down" in fault for by in range(shift - 3, shift + 4))
    assert page.count("both panes under one grid") >= 14


def test_a_cohort_with_faults_still_gives_a_page(
    phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(phantom / "patients.csv", lambda rows: rows[0].update(grade="7"))
    clips = rows_of(phantom / "clips.csv")
    (phantom / clips[5]["path"]).write_bytes(b"no film at all")

    def behind(rows: Rows) -> None:
        own = [row for row in rows if row["clip_id"] == clips[6]["clip_id"]]
        own[-1]["frame"] = "12"  # clips have twelve frames, 0 to 11

    rewrite(phantom / "boxes.csv", behind)
    code, printed, page = inspect(phantom, capsys)
    assert code == 2
    named = faults(printed)
    assert any("patients.csv row 2: grade is 7" in line for line in named)
    assert any(clips[5]["path"] in line and "cannot be opened" in line for line in named)
    assert any(clips[6]["path"] in line and "does the table count from 1?" in line for line in named)
    assert "12 of 12 patients" in page  # the contact sheet: all but the first and the sixth


@pytest.mark.parametrize("table", ["patients.csv", "boxes.csv"])
def test_a_table_that_is_not_there_gives_a_page_that_says_so(
    table: str, phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (phantom / table).unlink()
    code, printed, page = inspect(phantom, capsys)
    assert code == 2
    assert any(f"has no {table}" in line for line in faults(printed))
    assert "Nothing can be read" in page


def test_a_crop_that_is_lost_is_named(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(phantom), str(tmp_path / "store")]) == 0
    (tmp_path / "store" / "crops" / "p000003_ceus.png").unlink()
    code, printed, _ = inspect(tmp_path / "store", capsys)
    assert code == 2
    assert any("pair p000003: cannot be read" in line for line in faults(printed))


def test_nothing_at_the_path_and_nowhere_to_write(
    tmp_path: Path, phantom: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    assert "there is no cohort folder and no store" in caplog.text
    assert main(["inspect", str(phantom), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "expected a file in a folder that is there" in caplog.text


@pytest.mark.slow
def test_the_page_in_a_browser(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        pytest.skip("there is no browser")
    rewrite(phantom / "patients.csv", lambda rows: rows[0].update(grade="<b>7</b>"))
    code, _, _ = inspect(phantom, capsys)
    assert code == 2
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    address = (phantom.parent / "inspect.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(address)
        tab.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
        tab.wait_for_function("[...document.images].every(one => one.complete)")
        assert tab.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0
        assert tab.evaluate("document.images.length") > 12 * 3 + 13 * 2
        assert "would spoil a study" in tab.locator("h1").inner_text()
        assert "'<b>7</b>'" in tab.locator("#faults").inner_text()
        targets = tab.evaluate("[...document.querySelectorAll('a')].map(one => one.hash.slice(1))")
        assert targets
        assert tab.evaluate("names => names.every(name => document.getElementById(name))", targets)
        for width in (1200, 400):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
