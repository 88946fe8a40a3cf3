"""The point estimates of the code before the typed results are printed still (kept in `reference`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.evaluation.part import arm_numbers, arm_report, paired_numbers
from mufnet_lightning.evaluation.predictions import match_predictions, read_predictions

REFERENCE = Path(__file__).parent / "reference"
ARMS = [str(REFERENCE / f"{name}.csv") for name in ("bmode", "ceus", "fused")]


ANEW = ("ci", "ci_low", "ci_high", "notes", "z", "_p", "p_holm")
"""What ends so was put right since: intervals, and the tests over images."""


def assert_same(ours: object, stored: object) -> None:
    """All that was there, but what is `ANEW`; numbers to what another processor may round otherwise."""
    if isinstance(stored, dict):
        assert isinstance(ours, dict)
        for key, value in stored.items():
            if key != "p" and not str(key).endswith(ANEW):
                assert_same(ours[key], value)
    elif isinstance(stored, list):
        assert isinstance(ours, list)
        assert len(ours) == len(stored)
        for mine, theirs in zip(ours, stored, strict=True):
            assert_same(mine, theirs)
    elif isinstance(stored, float):
        assert ours == pytest.approx(stored, rel=1e-12, abs=1e-12)
    else:
        assert ours == stored
        assert type(ours) is type(stored)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("compare_images", ["compare", *ARMS, "--no-record"]),
        ("compare_images_youden", ["compare", *ARMS, "--no-record", "--threshold=youden"]),
        (
            "compare_patients",
            [
                *("compare", *ARMS, "--no-record"),
                *("--level=patient", "--threshold=youden"),
            ],
        ),
        ("characteristics", ["characteristics", str(REFERENCE / "patients.csv"), "--by=grade"]),
    ],
)
def test_the_command_prints_what_it_printed(
    stored: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--format=json"]) == 0
    expected = (REFERENCE / f"{stored}.json").read_text(encoding="utf-8")
    assert_same(json.loads(capsys.readouterr().out), json.loads(expected))


def test_a_part_has_the_report_and_the_numbers_that_it_had() -> None:
    tables = {}
    for name in ("fused", "bmode"):
        table = read_predictions(REFERENCE / f"{name}.csv")
        tables[name] = table[table["split"] == "test"].reset_index(drop=True)
    arms = match_predictions(tables)
    report = arm_report(arms)
    stored = json.loads((REFERENCE / "part.json").read_text(encoding="utf-8"))
    assert_same(json.loads(json.dumps(report.as_json())), stored["report"])
    assert_same({**arm_numbers(arms, report), **paired_numbers(report)}, stored["numbers"])
