"""A moved or copied working folder: its runs are found, and written, where it is now."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking import relocation
from mufnet_lightning.tracking.runs import find_run, mlflow_client, open_study, resolve_artifact

SETTLE = """
import logging, sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname
from mufnet_lightning.tracking.relocation import settle
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
settle(Path("mlruns"))
"""


@pytest.fixture
def before(work: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A working folder whose name has signs that addresses escape, and a run with a file in it."""
    folder = work / "first place, ä"
    folder.mkdir()
    shutil.move(work / "mlruns", folder / "mlruns")
    enter(folder, monkeypatch)
    client = mlflow_client()
    run_id = client.create_run(open_study("demo")).info.run_id
    client.log_text(run_id, "words", "some/words.txt")
    model = client.create_logged_model(find_run(run_id).experiment_id, name="net", source_run_id=run_id)
    client.create_registered_model("kidney")
    client.create_model_version("kidney", model.artifact_location, run_id, model_id=model.model_id)
    return folder, run_id


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work there as a new process does."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it
    monkeypatch.chdir(folder)


def holds(folder: Path, text: str) -> dict[str, int]:
    """How many values of each column of a folder's database hold a text."""
    found = {}
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for column in [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]:
                words = f'SELECT count(*) FROM "{table}" WHERE instr("{column}", ?)'
                ((count,),) = database.execute(words, (text,)).fetchall()
                if count:
                    found[f"{table}.{column}"] = count
    return found


def assert_whole(folder: Path, run_id: str) -> None:
    """The run's artifacts are in that folder, and can be listed and read."""
    assert find_run(run_id).artifact_uri.startswith(folder.as_uri() + "/mlruns/artifacts/")
    assert [entry.path for entry in mlflow_client().list_artifacts(run_id, "some")] == [
        "some/words.txt"
    ]
    assert resolve_artifact(run_id, "some/words.txt").read_text() == "words"
    assert file(run_id, "some/words.txt").is_relative_to(folder)


def file(run_id: str, name: str) -> Path:
    """Where an artifact of a run lies."""
    path = Path(url2pathname(urlsplit(find_run(run_id).artifact_uri).path)) / name
    assert path.is_file()
    return path


def test_a_moved_folder_has_all_its_runs_and_no_address_of_before(
    before: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, run_id = before
    old = holds(folder, "first%20place")
    assert {"experiments.artifact_location", "runs.artifact_uri"} <= old.keys()
    assert {"logged_models.artifact_location", "model_versions.source"} <= old.keys()
    folder.rename(tmp_path / "second place")
    enter(tmp_path / "second place", monkeypatch)
    caplog.set_level(logging.INFO, relocation.__name__)
    assert_whole(tmp_path / "second place", run_id)
    assert caplog.messages == [
        f"moved or copied from {folder / 'mlruns'}: the artifacts of 1 runs are here now"
    ]
    for text in ("first%20place", "first place"):
        assert holds(Path(), text) == {}
    assert holds(Path(), "second%20place") == old
    # and back again
    (tmp_path / "second place").rename(folder)
    enter(folder, monkeypatch)
    assert_whole(folder, run_id)
    assert len(caplog.messages) == 2


def test_a_copy_is_on_its_own_and_the_original_is_not_touched(
    before: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run_id = before
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    kept = (folder / "mlruns" / "mlflow.db").read_bytes()
    enter(copied, monkeypatch)
    assert_whole(copied, run_id)
    client = mlflow_client()
    new = client.create_run(open_study("demo")).info.run_id
    client.log_text(new, "more", "more.txt")
    assert file(new, "more.txt").is_relative_to(copied)
    assert (folder / "mlruns" / "mlflow.db").read_bytes() == kept
    assert not list(folder.rglob(new))
    enter(folder, monkeypatch)
    assert_whole(folder, run_id)


def test_what_lies_elsewhere_stays_there(
    before: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, run_id = before
    client, disk = mlflow_client(), tmp_path / "disk" / "runs"
    places = ["s3://bucket/mlruns/artifacts", disk.as_uri()]
    for number, place in enumerate(places):
        client.create_experiment(f"elsewhere {number}", place)
    # the database alone is copied: its run is still read where its artifacts are
    (tmp_path / "copy" / "mlruns").mkdir(parents=True)
    shutil.copy(folder / "mlruns" / "mlflow.db", tmp_path / "copy" / "mlruns")
    enter(tmp_path / "copy", monkeypatch)
    assert file(run_id, "some/words.txt").is_relative_to(folder)
    assert f"the artifacts of 1 runs are not here; they are still read from {folder}" in caplog.text
    of_studies = {e.name: e.artifact_location for e in mlflow_client().search_experiments()}
    assert [of_studies[f"elsewhere {number}"] for number in (0, 1)] == places
    assert of_studies["demo"] == (tmp_path / "copy" / "mlruns" / "artifacts").as_uri()


def test_artifacts_that_are_kept_elsewhere_on_purpose_stay_there(
    before: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run_id = before
    central = tmp_path / "central" / "mlruns" / "artifacts"  # has no database of its own
    central.mkdir(parents=True)
    client = mlflow_client()
    kept = client.create_run(client.create_experiment("kept", central.as_uri())).info.run_id
    client.log_text(kept, "words", "words.txt")
    for place in (folder, tmp_path / "second"):
        if place != folder:
            folder.rename(place)
        enter(place, monkeypatch)
        relocation._settled.clear()
        assert file(kept, "words.txt").is_relative_to(central)
        of_studies = {e.name: e.artifact_location for e in mlflow_client().search_experiments()}
        assert of_studies["kept"] == central.as_uri()
    assert_whole(tmp_path / "second", run_id)


def test_another_name_of_the_same_folder_is_no_move(
    before: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run_id = before
    kept = (folder / "mlruns" / "mlflow.db").read_bytes()
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mlruns").symlink_to(folder / "mlruns")
    for other in ("link", "work"):
        enter(tmp_path / other, monkeypatch)
        assert_whole(folder, run_id)
    assert (folder / "mlruns" / "mlflow.db").read_bytes() == kept


def test_several_processes_at_once_move_it_once(before: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = before
    moved = folder.rename(tmp_path / "second")
    words = [sys.executable, "-c", SETTLE]
    processes = [
        subprocess.Popen(words, cwd=moved, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(text.count("moved or copied") for text in told) == [0, 0, 1]
    assert holds(moved, "first%20place") == {}


def test_a_database_that_cannot_be_changed_is_not_worked_with(
    before: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run_id = before
    moved = folder.rename(tmp_path / "second")
    enter(moved, monkeypatch)
    monkeypatch.setattr(relocation, "_WAIT", 0.05)
    with closing(sqlite3.connect("mlruns/mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputFault, match=r"mlflow.db was made in .*, and cannot be told .*locked"):
            find_run(run_id)
    assert_whole(moved, run_id)
