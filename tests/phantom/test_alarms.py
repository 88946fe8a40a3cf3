"""Cohorts with a fault on purpose, whether it is written down, and whether the framework notices."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, mannwhitneyu
from sklearn.metrics import roc_auc_score

from mufnet_lightning.cli import main
from mufnet_lightning.phantom.options import PhantomOptions, ceilings
from mufnet_lightning.phantom.patients import draw_latents, draw_patients

MANY = PhantomOptions(patients=3000, high_share=0.4, frames=10)
TINY = ["--high-share", "0.5", "--frames", "1", "--clip-length", "1", "--pane-size", "128"]


def drawn(options: PhantomOptions) -> pd.DataFrame:
    """A row a patient: what decides the clip, and the table's centre."""
    hidden = draw_latents(options)
    patients, rows = draw_patients(hidden, options)
    table = pd.DataFrame([vars(patient) for patient in patients])
    table["scanner"] = [patient.scanner.name for patient in patients]
    return table.assign(label=hidden.label, center=[row["center"] for row in rows])


# Numbers of frames


def test_numbers_of_frames_differ_and_say_nothing_of_the_grade() -> None:
    table = drawn(MANY)
    assert table["frames"].sum() == MANY.patients * MANY.frames
    assert (table["frames"].min(), table["frames"].max()) == (5, 15)
    assert (table["length"] == 2 * table["frames"]).all()
    high = table["label"] == 1
    assert mannwhitneyu(table["frames"][high], table["frames"][~high]).pvalue > 1e-3
    same = drawn(replace(MANY, frames_spread=0.0))
    assert set(same["frames"]) == {10}
    assert same[["b", "c", "scanner", "center"]].equals(table[["b", "c", "scanner", "center"]])


def test_the_papers_imbalance_is_48_and_105_frames() -> None:
    table = drawn(replace(MANY, frames_by_grade=(48, 105)))
    low, high = table.groupby("label")["frames"].mean()
    assert (low, high) == pytest.approx((48, 105), rel=0.03)
    assert roc_auc_score(table["label"], table["frames"]) > 0.9  # and so it can be cheated on


def test_a_given_length_holds_all_frames() -> None:
    table = drawn(replace(MANY, clip_length=12))
    assert set(table["length"]) == {12}
    assert (table["frames"].min(), table["frames"].max()) == (8, 12)


# What is tied to the grade


@pytest.mark.parametrize("name", ["center", "scanner"])
@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_a_tie_is_as_strong_as_was_asked(name: str, strength: float) -> None:
    options = replace(MANY, confound=name, confound_strength=strength, centers=4)
    table, free = drawn(options), drawn(replace(MANY, centers=4))
    assert table["tied"].mean() == pytest.approx(strength, abs=0.03)
    assert table[["b", "c", "frames"]].equals(free[["b", "c", "frames"]])
    untied = table[~table["tied"]]
    if name == "scanner":
        assert untied["scanner"].equals(free["scanner"][~table["tied"]])
        assert table["center"].equals(free["center"])
    for rows, is_tied in ((untied, False), (table[table["tied"]], True)):
        counts = pd.crosstab(rows["label"], rows[name])
        if len(rows):
            assert (chi2_contingency(counts).pvalue < 1e-6) == is_tied
    if strength == 1:
        assert (pd.crosstab(table[name], table["label"]) > 0).sum(axis=1).max() == 1
    assert ceilings(options) == ceilings(MANY)


def test_a_tie_is_written_down_and_table_one_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p_values = []
    for name, tie in (("free", []), ("tied", ["--confound", "center", "--confound-strength", "0.9"])):
        out = tmp_path / name
        assert main(["phantom", str(out), "--patients", "40", *TINY, *tie]) == 0
        told = capsys.readouterr().out
        truth = json.loads((out / "truth.json").read_text())
        tied = sum(patient["tied"] for patient in truth["patients"])
        assert truth["options"]["confound"] == ("center" if tie else None)
        assert (tied > 25) == ("who reads it off may beat the ceilings" in told) == bool(tie)
        assert main(["characteristics", str(out / "patients.csv"), "--by", "grade"]) == 0
        lines = capsys.readouterr().out.splitlines()
        p_values.append(next(line for line in lines if line.split()[:1] == ["center"]))
    assert "<0.001" in p_values[1].replace(" ", "")
    assert "<0.001" not in p_values[0].replace(" ", "")


# One scan under two patients


def test_duplicates_are_another_ones_scan_and_grade() -> None:
    options = replace(MANY, duplicates=50)
    table, free = drawn(options), drawn(MANY)
    copies = table[table["duplicate_of"].notna()]
    assert len(copies) == 50
    sources = table.set_index("patient_id").loc[copies["duplicate_of"]]
    assert not sources["duplicate_of"].notna().any()
    assert sources.index.is_unique
    for name in ("b", "c", "label", "frames", "length", "scanner", "center", "index"):
        assert (sources[name].to_numpy() == copies[name].to_numpy()).all(), name
    assert table["label"].equals(free["label"])
    rest = table["duplicate_of"].isna()
    assert np.array_equal(table["b"][rest], free["b"][rest])


def test_prepare_warns_of_every_duplicate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cohort"
    assert main(["phantom", str(out), "--patients", "8", *TINY, "--duplicates", "2"]) == 0
    assert "2 patients are another one's scan" in capsys.readouterr().out
    truth = json.loads((out / "truth.json").read_text())
    pairs = {
        frozenset((p["patient_id"], p["duplicate_of"])) for p in truth["patients"] if p["duplicate_of"]
    }
    assert len(pairs) == 2
    with caplog.at_level(logging.WARNING):
        assert main(["prepare", str(out), str(tmp_path / "store")]) == 0
    warnings = [record.message for record in caplog.records if "byte for byte" in record.message]
    assert len(warnings) == 2
    for pair in pairs:
        assert any(all(repr(patient) in warning for patient in pair) for warning in warnings)
