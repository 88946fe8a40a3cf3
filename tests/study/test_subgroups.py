"""`mufnet compare --by`: subgroups by columns of a cohort's tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.cli import main


@pytest.fixture
def cohort(work: Path) -> Path:
    """40 patients with two images each, their tables, and the predictions of two arms."""
    rng = np.random.default_rng(3)
    ids, high = [f"{p:03d}" for p in range(40)], np.arange(40) < 16
    folder = work / "cohort"
    folder.mkdir()
    pd.DataFrame(
        {
            "patient_id": ids,
            "grade": np.where(high, 3, 1),
            "center": ["A" if p % 4 < 3 else "B" for p in range(40)],
            "size_cm": [f"{1 + p % 10 / 2:.1f}" for p in range(40)],
            "surname": [f"Doe{p}" for p in range(40)],
        }
    ).to_csv(folder / "patients.csv", index=False)
    clips = [(f"{i}-{c}", i, f"S{(p + c * (p == 5)) % 2}") for p, i in enumerate(ids) for c in (0, 1)]
    pd.DataFrame(clips, columns=["clip_id", "patient_id", "scanner"]).to_csv(
        folder / "clips.csv", index=False
    )
    for name in ("bmode", "fused"):
        score = np.clip(0.4 + 0.2 * high + rng.normal(0, 0.2, 40), 0, 1)
        rows = {"patient_id": ids * 2, "label": [*high.astype(int)] * 2, "frame": [0] * 40 + [1] * 40}
        pd.DataFrame({**rows, "score": [*score] * 2}).to_csv(f"{name}.csv", index=False)
    return folder


ARMS = ["compare", "bmode.csv", "fused.csv", "--no-record"]


def test_each_column_is_a_table_in_text_json_and_files(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*ARMS, f"--cohort={cohort}", "--by=center,scanner,size_cm:2"]
    assert main([*words, "--out=out"]) == 0
    text = capsys.readouterr().out
    for sentence in (
        "By center: AUC over patients with its 95% interval.",
        "By size_cm; cut at 2, as it was given",
        "Whether the subgroups differ is not tested.",
        "several",
        "too few",
    ):
        assert sentence in text
    assert main([*words, "--format=json"]) == 0
    center, scanner, size = json.loads(capsys.readouterr().out)["subgroups"]
    assert [(g["name"], g["low"], g["high"], g["images"]) for g in center["groups"]] == [
        ("A", 18, 12, 60),
        ("B", 6, 4, 20),
    ]
    assert center["groups"][1]["auc"] is None
    assert set(center["groups"][0]["auc"]) == {"bmode", "fused"}
    assert [(g["name"], g["low"] + g["high"]) for g in scanner["groups"]] == [
        *(("S0", 20), ("S1", 19), ("several", 1)),
    ]
    assert [g["name"] for g in size["groups"]] == ["2 or less", "above 2"]
    table = pd.read_csv("out/subgroups.csv")
    assert table["by"].value_counts().to_dict() == {"center": 2, "scanner": 3, "size_cm": 2}
    assert main([*ARMS, "--out=out"]) == 0
    assert not Path("out/subgroups.csv").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by=center"], "--by center: there is no such column (--cohort DIR adds"),
        (["--by=sex", "--cohort=cohort"], "no such column; patients.csv: patient_id, grade, center"),
        (["--by=surname", "--cohort=cohort"], "no subgroups are made by it: more than half"),
        (["--by=patient_id", "--cohort=cohort"], "no subgroups are made by it: it names the patients"),
        (["--by=center:2", "--cohort=cohort"], "center cannot be cut at 2: 'A' is no number"),
        (["--by=size_cm:two", "--cohort=cohort"], "'two' is no number to cut size_cm at"),
        (["--by=center", "--cohort=."], "there is no patients.csv in it"),
    ],
)
def test_what_makes_no_subgroups_is_refused(
    cohort: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main([*ARMS, *words]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.out == ""
    assert "Doe" not in printed.err
