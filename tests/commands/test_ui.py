"""MLflow's pages, by the real command, its real server and a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from mufnet_lightning.cli import main
from mufnet_lightning.commands import ui
from mufnet_lightning.commands.ui import Ui, _can_open
from mufnet_lightning.tracking.runs import mlflow_client, open_study
from mufnet_lightning.tracking.tags import run_tags
from mufnet_lightning.tracking.views import PORT, write_views

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NUMBERS = {
    "bmode": (0.871, 0.762, 0.981),
    "ceus": (0.933, 0.854, 0.999),
    "fused": (0.902, 0.813, 0.991),
}
"""Test AUC over patients of each arm, and its interval."""
BY_AUC = ("ceus", "fused", "bmode")
INTERVAL = ("test/patient_auc", "test/patient_auc_ci_low", "test/patient_auc_ci_high")


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; none of one that has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def record_study(name: str) -> str:
    """Three cross-validations with two folds each, and what else is in a study's experiment; its id."""
    store, study = mlflow_client(), open_study(name)

    def add(verb: str, run: str, arm: str, parent: str | None = None, **more: str) -> str:
        tags = run_tags(verb, name, arm=arm, parent=parent, protocol="paper", **more)
        run_id = str(store.create_run(study, tags=tags, run_name=run).info.run_id)
        if verb in ("fit", "cv"):
            for metric, number in zip(INTERVAL, NUMBERS[arm], strict=True):
                store.log_metric(run_id, metric, number)
        store.set_terminated(run_id)
        return run_id

    for arm in NUMBERS:
        add("fit", f"{arm}-fold0", arm, fold="0")
        parent = add("cv", f"{arm}-cv", arm)
        for fold in ("0", "1"):
            add("fit", f"{arm}-part{fold}", arm, parent, fold=fold)
    add("test", "fused-fold0-test", "fused", fold="0")
    store.log_metric(add("compare", "compare-patients", "fused"), "auc/fused", 0.9)
    add("report", "report", "fused")
    return study


@pytest.mark.slow
def test_pages_open_on_the_arms_and_nothing_is_left_running(
    work: Path, free_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = record_study("ward")
    opener = work / "opener"
    opener.write_text(
        "#!/bin/sh\ntrap '' INT\nprintf %s \"$1\" > opened.part; mv opened.part opened; exec sleep 99\n"
    )
    opener.chmod(0o755)
    somebody = {**os.environ, "DISPLAY": ":0", "BROWSER": str(opener)}
    command = [sys.executable, "-m", "mufnet_lightning", "ui", f"--port={free_port}"]
    here, terminal = os.openpty()
    told = work / "told"
    with told.open("w") as errors:  # a group of its own, as a shell gives it one
        server = subprocess.Popen(
            command, stdout=terminal, stderr=errors, env=somebody, start_new_session=True
        )
    os.close(terminal)
    try:
        with os.fdopen(here, closefd=False) as printed:
            link = printed.readline().strip()
        base = f"http://127.0.0.1:{free_port}"
        page = f"{base}/#/experiments/{study}/runs?workflowType=machine_learning&viewStateShareKey="
        assert link == f"{page}mufnet-arms"
        until = time.monotonic() + 30
        while not (work / "opened").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert (work / "opened").read_text() == link
        children = psutil.Process(server.pid).children(recursive=True)
        started = [process for process in children if words_of(process)]  # one may just have ended
        (browser,) = (process for process in started if "sleep" in words_of(process))
        (worker,) = (process for process in started if process != browser)

        assert main(["ui", "ward", "--port", str(free_port)]) == 2  # before anything is started

        monkeypatch.setenv("MLFLOW_TRACKING_URI", base)
        check_server_of_others(study, link, capsys)
        seen = look(link, page, base)
    finally:
        os.killpg(server.pid, signal.SIGINT)  # Ctrl-C is for the whole group
        try:
            ended = server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
        os.close(here)
    assert ended == 0
    assert "serving until Ctrl-C" in told.read_text()
    assert "Traceback" not in told.read_text()
    assert not worker.is_running()
    assert browser.is_running()  # what the user looks at is the user's to close
    browser.kill()
    if not seen:
        pytest.skip(f"no browser was asked: none of {', '.join(BROWSERS)} is installed")


def test_views_are_written_into_the_study_that_is_opened_alone(work: Path) -> None:
    store = mlflow_client()
    ours, annex = record_study("ward"), open_study("annex")
    tags = run_tags("fit", "annex", arm="fused")
    earlier = store.create_run(annex, tags=tags, start_time=1).info.run_id
    theirs = store.create_experiment("language")  # somebody else's, on the same server, at work now
    later = int(time.time() * 1000) + 5000
    foreign = [
        store.create_run(theirs, tags={"verb": "cv", "arm": "fused", **more}, start_time=later)
        for more in ({}, {"study": "sleep"})
    ]
    before = [store.get_experiment(study).tags for study in (annex, theirs)]

    addresses = Ui()._addresses("http://ours")

    assert list(addresses) == ["ward", "annex", "language"]
    end = "runs?workflowType=machine_learning"
    assert addresses["ward"] == f"http://ours/#/experiments/{ours}/{end}&viewStateShareKey=mufnet-arms"
    assert addresses["annex"] == f"http://ours/#/experiments/{annex}/{end}"
    assert [store.get_experiment(study).tags for study in (annex, theirs)] == before
    for run in (earlier, *(run.info.run_id for run in foreign)):
        assert "mlflow.runColor" not in store.get_run(run).data.tags
    assert list(Ui("annex")._addresses("http://ours")) == ["annex"]
    assert "mlflow.sharedViewState.mufnet-arms" in store.get_experiment(annex).tags


def check_server_of_others(study: str, link: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that are recorded on a server: nothing is started, and the link is that server's."""
    capsys.readouterr()
    for words in (["ui"], ["ui", "ward"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"{link}\n"
    other = open_study("annex")
    assert main(["ui"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"ward  {link}"  # its run is the latest
    assert second.startswith("annex  ")
    assert f"/experiments/{other}/runs" in second
    store: MlflowClient = mlflow_client()
    store.delete_experiment_tag(study, "mlflow.sharedViewState.mufnet-arms")
    assert "arms" in write_views(study)
    assert "mlflow.sharedViewState.mufnet-arms" in store.get_experiment(study).tags


def look(link: str, page: str, base: str) -> bool:
    """What somebody sees who opens the link for the first time; False where there is no browser."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        return False
    from playwright.sync_api import expect, sync_playwright

    asked: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 800})
        tab.on("request", lambda request: asked.add(request.url))
        tab.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)

        names = cells(tab, "attributes.`Run Name`").get_by_role("link")

        tab.goto(link)
        expect(names).to_have_text([f"{arm}-cv" for arm in BY_AUC])
        for number, metric in enumerate(INTERVAL):
            column = cells(tab, f"metrics.`{metric}`")
            expect(column).to_have_text([str(NUMBERS[arm][number]) for arm in BY_AUC])
            for row in range(len(BY_AUC)):  # nothing lies over it, and nobody has scrolled
                expect(column.nth(row)).to_be_in_viewport(ratio=0.99)

        tab.get_by_role("button", name="Arms").click()  # MLflow's menu of views
        tab.get_by_text("Folds", exact=True).click()
        folds = [f"{arm}-part{fold}" for arm in NUMBERS for fold in (0, 1)]
        expect(names).to_have_text(folds)

        charts = browser.new_page(viewport={"width": 1400, "height": 800})
        charts.goto(f"{page}mufnet-arms&compareRunsMode=CHART")
        first = charts.get_by_text("test/", exact=False).first
        expect(first).to_have_text("test/patient_auc")
        expect(first).to_be_in_viewport()
        browser.close()
    strangers = {url for url in asked if not url.startswith((base, "data:", "blob:"))}
    assert not strangers
    return True


def cells(tab: Any, column: str) -> Any:
    """The cells of a column, from the top."""
    return tab.locator(f'[role="gridcell"][col-id="{column}"]')


def test_a_port_that_is_taken_is_told_before_anything_is_started(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be had" in caplog.text
    assert "--port" in caplog.text
    assert main(["ui", "--port", "0"]) == 2


def test_a_server_that_does_not_answer_is_told_at_once(
    work: Path,
    free_port: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ui, "SECONDS_TO_ASK", 0.5)
    begin = time.monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (free_port, silent.getsockname()[1]):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
            assert main(["ui"]) == 2
            fault = f"http://127.0.0.1:{port}, which MLFLOW_TRACKING_URI names, does not answer"
            assert caplog.messages[-1].startswith(fault)
    assert time.monotonic() - begin < 20
    assert "Traceback" not in capfd.readouterr().err
    assert "secret" not in caplog.text


def test_a_server_that_is_not_mlflows_is_told_in_a_sentence(
    work: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:  # 501 to every GET
        thread = Thread(target=other.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{other.server_port}"
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//me:secret@"))
            assert main(["ui"]) == 2
            assert caplog.messages[-1].startswith(
                f"{address}, which MLFLOW_TRACKING_URI names, answers"
            )
            monkeypatch.setattr(other, "RequestHandlerClass", SimpleHTTPRequestHandler)  # 404
            assert main(["ui"]) == 2
            assert caplog.messages[-1].startswith(
                f"{address} cannot be asked for its runs; MLflow says"
            )
        finally:
            other.shutdown()
            thread.join()
    assert "Traceback" not in capfd.readouterr().err
    assert "secret" not in caplog.text


def test_it_serves_where_the_links_of_the_verbs_lead() -> None:
    assert Ui().port == PORT


def test_a_study_that_is_not_there_is_told(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["ui", "nowhere"]) == 2
    assert "there is no study 'nowhere'" in caplog.text


def test_a_browser_is_opened_before_a_display_and_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    assert not _can_open()  # what is printed here goes to no terminal
