"""Numbers as papers print them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from mufnet_lightning.evaluation.text import (
    interval_text,
    json_text,
    limits_text,
    markdown_table,
    number_text,
    p_text,
)

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("p", "text"), [(None, ""), (0.00099, "<0.001"), (0.001, "0.001"), (0.0496, "0.050"), (1, "1.000")]
)
def test_a_p_is_never_printed_as_zero(p: float | None, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize("value", [None, NAN, INFINITE, -INFINITE])
def test_what_is_not_defined_is_left_out_or_named(value: float | None) -> None:
    assert number_text(value) == ""
    assert number_text(value, "n/a") == "n/a"
    assert interval_text(value, (0.1, 0.2)) == ""
    assert interval_text(value, (0.1, 0.2), undefined="n/a") == "n/a"


def test_an_interval_stands_behind_its_number() -> None:
    assert interval_text(0.8379, (0.74381, 0.9091)) == "0.838 (0.744, 0.909)"
    assert interval_text(-0.0711, [-0.2, 0.05], " to ") == "-0.071 (-0.200 to 0.050)"
    assert interval_text(0.5, None) == "0.500"
    assert limits_text((0, 1)) == "0.000, 1.000"


def test_a_table_is_markdown_row_by_row() -> None:
    table = pd.DataFrame({"arm": ["fused"], "AUC": ["0.909"]})
    assert markdown_table(table) == "| arm | AUC |\n|---|---|\n| fused | 0.909 |"


def test_json_is_strict_and_keeps_letters() -> None:
    assert json.loads(json_text({"α": [0.1, None]})) == {"α": [0.1, None]}
    assert "α" in json_text({"α": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"auc": NAN})
