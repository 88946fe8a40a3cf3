"""A hundred arms: nothing that is recorded, named or drawn of them is cut off or beyond a limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from mufnet_lightning.cli import main
from mufnet_lightning.study.compare import NAME_LENGTH
from mufnet_lightning.tracking.notes import NOTE, NOTE_LENGTH
from mufnet_lightning.tracking.runs import mlflow_client, resolve_artifact


@pytest.fixture
def files(work: Path) -> list[str]:
    """Predictions of a hundred arms on forty patients, one image each."""
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    table = pd.DataFrame({"pair_id": [f"p{n}" for n in range(40)], "label": label, "split": "test"})
    table["patient_id"] = table["pair_id"]
    words = []
    for number in range(100):
        score = 1 / (1 + np.exp(-rng.normal(label)))
        table.assign(score=score).to_csv(f"arm{number}.csv", index=False)
        words.append(f"some_long_encoder_{number:02d}=arm{number}.csv")
    return words


def recorded(*words: str) -> tuple[str, dict[str, str], dict[str, float], str]:
    """Name, tags, metrics and id of the run that a comparison leaves."""
    assert main(["compare", *words, "--level=patient", "--study=s"]) == 0
    client = mlflow_client()
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    return str(run.info.run_name), run.data.tags, run.data.metrics, run.info.run_id


def test_a_hundred_arms_and_their_planned_tests(files: list[str]) -> None:
    planned = ",".join(f"some_long_encoder_00:some_long_encoder_{n:02d}" for n in range(1, 100))
    name, tags, metrics, run = recorded(*files, f"--planned={planned}")
    assert name == "compare-patients-100-arms"
    note = tags[NOTE]
    assert NOTE_LENGTH == MAX_TAG_VAL_LENGTH
    assert note.startswith("**some_long_encoder_00** and 99 others on the same test patients")
    rows = {"compare.csv": 100, "tests.csv": 99, "rate_tests.csv": 297}
    for file, count in rows.items():
        assert len(pd.read_csv(resolve_artifact(run, file))) == count
    # a table is there with all of its rows, or its file is named in its place
    there = [file for file in rows if f"`{file}`" not in note]
    lines = [line for line in note.splitlines() if line.startswith("|")]
    assert len(lines) == sum(rows[file] + 2 for file in there)
    assert all(line.endswith("|") for line in lines)
    assert "rate_tests.csv" not in there
    assert note.splitlines()[-1] == "- some_long_encoder_99: arm99.csv"
    assert sum(metric.startswith("auc/") for metric in metrics) == 100
    assert sum(metric.startswith("auc_difference/") for metric in metrics) == 99


def test_of_very_many_tests_the_metrics_are_the_arms_alone(files: list[str]) -> None:
    _, tags, metrics, run = recorded(*files[:16])
    assert set(metrics) == {f"auc/some_long_encoder_{number:02d}" for number in range(16)}
    assert len(pd.read_csv(resolve_artifact(run, "tests.csv"))) == 120
    assert "`tests.csv`" in tags[NOTE]


def test_where_no_link_has_room_what_was_read_is_in_a_file(files: list[str]) -> None:
    folder = Path("a_folder_" * 10)
    folder.mkdir()
    far = []
    for word in files:
        name, file = word.split("=")
        Path(file).rename(folder / file)
        far.append(f"{name}={folder / file}")
    _, tags, _, run = recorded(*far, "--planned=some_long_encoder_00:some_long_encoder_01")
    assert tags[NOTE].splitlines()[-1] == "*What each arm was read from is in this run's `arms.json`.*"
    read = json.loads(resolve_artifact(run, "arms.json").read_text())
    assert [f"{name}={file}" for name, file in read.items()] == far


def test_a_name_fits_where_names_are_kept(files: list[str]) -> None:
    long = [word.replace("some", "some" * 8) for word in files[:6]]
    name, tags, metrics, _ = recorded(*long)
    assert name == "compare-patients-6-arms"
    assert len(metrics) == 6 + 2 * 15
    assert "somesomesome" in tags[NOTE]
    name, *_ = recorded(*files[:3])
    assert name == "compare-patients-" + "-".join(f"some_long_encoder_{n:02d}" for n in range(3))
    assert len(name) <= NAME_LENGTH
