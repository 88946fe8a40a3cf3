"""CSV for people: no cell is a formula, and every cell reads back as it was."""

from __future__ import annotations

import csv
import io
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mufnet_lightning
from mufnet_lightning.system.sheets import as_meant, csv_text, is_run, meant, shown

FORMULAS = ('=HYPERLINK("http://x")', "+1+A1", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1")
HARMLESS = ("-12", "+3.5", "-0.012 (-0.1 to 0.08)", "-", "-1e-5", "P-001", "1-2", "it's", "-50 %", "")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_behind_a_quote(text: str) -> None:
    assert is_run(text)
    assert shown(text) == f"'{text}"
    assert meant(shown(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_plain_text_stay(text: str) -> None:
    assert shown(text) == text == meant(text)
    assert not is_run(text)


@given(st.text(alphabet="'=+-@\t\r\n1a.,e( )toE%", max_size=8) | st.text(max_size=5))
def test_every_text_reads_back(text: str) -> None:
    written = shown(text)
    assert meant(written) == text
    assert not is_run(written)


def test_a_table_reads_back_with_its_numbers_and_names() -> None:
    table = pd.DataFrame({"=id": [*FORMULAS, "'=x", "P1"], "score": [-0.5, 1, 2, 3, 4, 5, 6, None]})
    text = csv_text(table)
    assert not any(map(is_run, chain.from_iterable(csv.reader(io.StringIO(text, newline="")))))
    assert "-0.5" in text
    pd.testing.assert_frame_equal(as_meant(pd.read_csv(io.StringIO(text))), table)
    assert csv_text(table.set_index("=id"), index=True) == text


def test_every_table_of_the_package_is_written_so() -> None:
    package = Path(mufnet_lightning.__file__).parent
    for_people = {"sheets.py": 2, "flow.py": 1, "cautions.py": 1}  # the last two only compare tables
    written = {
        file.name: file.read_text().count(".to_csv(")
        for file in package.rglob("*.py")
        if ".to_csv(" in file.read_text()
    }
    assert written == for_people
