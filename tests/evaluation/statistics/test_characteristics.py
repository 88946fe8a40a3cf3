"""Table 1: the paper's own p-values from its published numbers, and what is done with gaps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mufnet_lightning.evaluation.statistics.characteristics import (
    characteristics,
    characteristics_frame,
)
from mufnet_lightning.evaluation.statistics.characteristics_rows import (
    CharacteristicsRow,
    Count,
    Quartiles,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.group_tests import (
    ANOVA,
    CHI_SQUARE,
    FISHER,
    KRUSKAL_WALLIS,
    MANN_WHITNEY,
    STUDENT,
)

LOW, HIGH = 74, 26

# counts of low and of high grade, p
CATEGORIES = {
    "gender": ({"Female": (17, 9), "Male": (57, 17)}, 0.244),
    "clinical_manifestations": ({"Yes": (36, 9), "No": (38, 17)}, 0.216),
    "surgery": ({"Radical nephrectomy": (46, 16), "Partial nephrectomy": (28, 10)}, 0.955),
}
# mean and SD of low and of high grade, p
NUMBERS = {
    "hemoglobin": ((132.93, 16.20), (140.04, 15.29), 0.054),
    "alkaline_phosphatase": ((78.84, 23.33), (85.81, 26.91), 0.211),
    "lactate_dehydrogenase": ((185.61, 38.11), (182.21, 36.26), 0.693),
    "platelets": ((187.12, 71.84), (175.46, 49.26), 0.446),
}


def normal_sample(mean: float, sd: float, size: int) -> np.ndarray:
    """Normal quantiles with exactly this mean and SD."""
    values = stats.norm.ppf((np.arange(size) + 0.5) / size)
    return np.asarray(mean + sd * (values - values.mean()) / values.std(ddof=1))


@pytest.fixture
def paper() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "patient_id": [f"P{number}" for number in range(LOW + HIGH)],
            "label": [0] * LOW + [1] * HIGH,
        }
    )
    for name, (levels, _) in CATEGORIES.items():
        table[name] = [
            level for group in (0, 1) for level, counts in levels.items() for _ in range(counts[group])
        ]
    for name, (low, high, _) in NUMBERS.items():
        table[name] = np.concatenate([normal_sample(*low, LOW), normal_sample(*high, HIGH)])
    return table


def of_variable(rows: list[CharacteristicsRow], name: str) -> list[CharacteristicsRow]:
    return [row for row in rows if row.variable == name]


@pytest.mark.parametrize("name", [*CATEGORIES, *NUMBERS])
def test_the_papers_p_values_follow_from_its_counts_means_and_sds(
    paper: pd.DataFrame, name: str
) -> None:
    rows = of_variable(characteristics(paper, "label"), name)
    expected = CATEGORIES[name][-1] if name in CATEGORIES else NUMBERS[name][-1]
    assert {row.test for row in rows} == {CHI_SQUARE if name in CATEGORIES else STUDENT}
    assert {f"{row.p:.3f}" for row in rows} == {f"{expected:.3f}"}


def test_the_cells_are_printed_as_in_the_paper(paper: pd.DataFrame) -> None:
    rows = characteristics(paper, "label")
    female = of_variable(rows, "gender")[0]
    assert female.level == "Female"
    assert female.groups["0"].text == "17 (23.0)"
    assert female.groups["1"].text == "9 (34.6)"
    assert of_variable(rows, "hemoglobin")[0].groups["0"].text == "132.93 ± 16.20"
    frame = characteristics_frame(rows)
    assert list(frame.columns) == [
        *("variable", "level", "0 (N = 74)", "1 (N = 26)", "test", "p", "SMD", "note"),
    ]
    assert frame["p"].tolist()[:2] == ["0.244", ""]
    assert frame["level"].tolist()[0] == "Female, n (%)"
    assert frame["level"].tolist()[-1] == "mean ± SD"


def test_skewed_numbers_have_medians_and_the_rank_test(paper: pd.DataFrame) -> None:
    paper["lesion"] = np.exp(paper["hemoglobin"] / 10)
    (row,) = characteristics(paper, "label", ["lesion"])
    low, high = (paper.loc[paper["label"] == group, "lesion"] for group in (0, 1))
    assert row.test == MANN_WHITNEY
    assert row.p == stats.mannwhitneyu(low, high).pvalue
    cell = row.groups["1"].summary
    assert isinstance(cell, Quartiles)
    assert cell.q1 == np.quantile(high, 0.25)
    assert characteristics_frame([row])["level"].tolist() == ["median (IQR)"]


def test_missing_values_are_shown_and_change_no_percentage(paper: pd.DataFrame) -> None:
    paper.loc[[0, 1, 99], "gender"] = [None, " ", np.nan]
    paper.loc[[3, 98], "hemoglobin"] = np.nan
    rows = characteristics(paper, "label", ["gender", "hemoglobin"])
    missing = [row for row in rows if row.level == "missing"]
    counts = [[cell.as_json()["count"] for cell in row.groups.values()] for row in missing]
    assert counts == [[2, 1], [1, 1]]
    assert missing[0].groups["0"].text == "2 (2.7)"
    female = of_variable(rows, "gender")[0].groups["0"]
    assert (female.n, female.patients) == (72, 74)
    assert female.summary == Count(15, 100 * 15 / 72)
    number = of_variable(rows, "hemoglobin")[0]
    known = paper.dropna(subset="hemoglobin")
    groups = [known.loc[known["label"] == group, "hemoglobin"] for group in (0, 1)]
    assert number.p == pytest.approx(stats.ttest_ind(*groups).pvalue)


def test_rows_have_the_keys_of_the_contract_and_are_json(paper: pd.DataFrame) -> None:
    paper.loc[0, "platelets"] = np.nan
    rows = [row.as_json() for row in characteristics(paper, "label")]
    for row in json.loads(json.dumps(rows, allow_nan=False)):
        assert list(row) == ["variable", "level", "groups", "test", "p", "note", "smd"]
        assert list(row["groups"]) == ["0", "1"]
    assert {row["variable"] for row in rows} == {*CATEGORIES, *NUMBERS}


def test_whole_numbers_of_few_values_are_categories_unless_told() -> None:
    table = pd.DataFrame({"label": [0, 1] * 6, "stage": [1, 2, 3, 1, 2, 3, 1, 1, 2, 2, 3, 3]})
    rows = characteristics(table, "label")
    assert [row.level for row in rows] == ["1", "2", "3"]
    assert rows[0].test == FISHER
    assert "from 99,999 random tables" in rows[0].note
    (row,) = characteristics(table, "label", kinds={"stage": "number"})
    assert row.level is None
    # a gap turns whole numbers into fractions; the codes stay what they were
    table.loc[0, "stage"] = np.nan
    assert [row.level for row in characteristics(table, "label")] == ["1", "2", "3", "missing"]


def test_numbers_in_text_are_numbers(paper: pd.DataFrame) -> None:
    as_text = paper.astype(str)
    ours, theirs = characteristics(as_text, "label"), characteristics(paper, "label")
    assert [row.p for row in ours] == pytest.approx([row.p for row in theirs])


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([1.5, 1.5, 1.5, 1.5], "All values are equal."),
        (["a", "a", "a", "a"], "All values are equal."),
        ([np.nan, np.nan, 1.5, 2.5], "A group has no values."),
        ([None, None, "a", "b"], "A group has no values."),
        ([None, None, None, None], "A group has no values."),
    ],
)
def test_what_cannot_be_tested_has_no_p_and_a_reason(values: list[Any], note: str) -> None:
    table = pd.DataFrame({"label": [0, 0, 1, 1], "x": values})
    rows = characteristics(table, "label")
    assert {(row.test, row.p, row.note) for row in rows} == {(None, None, note)}
    json.dumps([row.as_json() for row in rows], allow_nan=False)
    assert characteristics_frame(rows)["test"].tolist()[0] == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [1, 1, 1, 1]}, "label must have two values or more, up to 12, but has 1: 1"),
        ({"label": [0, 1, np.nan, 1]}, "1 patients have no value in label"),
        ({"other": [1, 1, 1, 1], "label": None}, "no column label"),
    ],
)
def test_what_makes_no_groups_is_refused(change: dict[str, Any], message: str) -> None:
    table = pd.DataFrame({"label": [0, 0, 1, 1], "x": [1.0, 2.0, 3.0, 4.5]}).assign(**change)
    if change.get("label", 0) is None:
        table = table.drop(columns="label")
    with pytest.raises(EvaluationError, match=message):
        characteristics(table, "label")


def test_text_among_numbers_that_were_asked_for_is_named() -> None:
    table = pd.DataFrame({"label": [0, 0, 1, 1], "x": ["1", "2", "about 3", "4"]})
    with pytest.raises(EvaluationError, match="'about 3' is none"):
        characteristics(table, "label", kinds={"x": "number"})


def table_of(counts: list[list[int]]) -> pd.DataFrame:
    """Patients of these counts, a row a group and a column a level."""
    cells = [(g, f"L{k}") for g, row in enumerate(counts) for k, n in enumerate(row) for _ in range(n)]
    return pd.DataFrame(cells, columns=["group", "x"])


# fisher.test of R 4.2.2; the fourth is Agresti's job satisfaction (2002, p. 57), as in R's own help
FISHERS = [
    ([[3, 1], [1, 3]], 0.485714285714),
    ([[1, 8], [10, 3]], 0.00751879699248),
    ([[0, 6], [12, 7]], 0.0149068322981),
    ([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]], 0.782684938966),
    ([[3, 0, 5], [1, 4, 2], [2, 2, 9], [4, 1, 0]], 0.0108745367028),
    ([[5, 1, 0], [2, 3, 7]], 0.0147058823529),
]


@pytest.mark.parametrize(("counts", "expected"), FISHERS)
def test_small_expected_counts_are_tested_by_fisher_as_in_r(
    counts: list[list[int]], expected: float
) -> None:
    rows, again = (characteristics(table_of(counts), "group") for _ in range(2))
    assert {row.test for row in rows} == {FISHER}
    p = rows[0].p
    assert p is not None
    exact = np.shape(counts) == (2, 2)
    drawn = 4 * np.sqrt(expected * (1 - expected) / 99_999)  # four standard errors of a share
    assert p == pytest.approx(expected, rel=1e-9, abs=0 if exact else drawn)
    assert again[0].p == p


def test_fisher_takes_over_where_an_expected_count_falls_under_5() -> None:
    at_5, under = [[5, 15], [5, 15]], [[5, 14], [5, 15]]
    assert characteristics(table_of(at_5), "group")[0].test == CHI_SQUARE
    assert characteristics(table_of(under), "group")[0].test == FISHER


THREE = {
    "a": [132, 128, 141, 150, 119, 137],
    "b": [140, 155, 149, 138, 161],
    "c": [128, 120, 133, 126, 131, 139, 117],
}


def test_three_groups_have_the_tests_of_r_and_the_largest_smd() -> None:
    table = pd.DataFrame([(name, x) for name, values in THREE.items() for x in values])
    table.columns = pd.Index(["group", "x"])
    (row,) = characteristics(table, "group")
    # anova(lm(x ~ g)) and the SMDs by their formula, in R 4.2.2
    assert row.test == ANOVA
    assert row.p == pytest.approx(0.00577130264179)
    assert row.smd == pytest.approx(2.39152635341)
    assert row.note == "The SMD is that of b and c, the largest of any two groups."
    table["x"] = table["x"].where(table["x"] != 161, 16100)  # one group is not normal; ranks stay
    (row,) = characteristics(table, "group")
    assert row.test == KRUSKAL_WALLIS
    assert row.p == pytest.approx(0.017576358257)  # kruskal.test
    assert list(row.groups) == ["a", "b", "c"]


def test_smds_are_those_of_the_package_tableone(paper: pd.DataFrame) -> None:
    # tableone 0.9.6 (Python), smd=True; the categories' also by solve() in R
    paper["site"] = ["u"] * 30 + ["m"] * 20 + ["l"] * 24 + ["u"] * 4 + ["m"] * 14 + ["l"] * 8
    paper["x"] = [*map(float, range(LOW)), *(i * 1.7 + 3 for i in range(HIGH))]
    rows = {row.variable: row for row in characteristics(paper, "label", ["gender", "site", "x"])}
    assert rows["gender"].smd == pytest.approx(0.259269678936)
    assert rows["site"].smd == pytest.approx(0.671342151356)
    assert rows["x"].smd == pytest.approx(0.689354, abs=5e-7)


def test_an_smd_does_not_grow_with_the_patients_and_has_no_sign(paper: pd.DataFrame) -> None:
    small, large = (
        characteristics(pd.concat([paper] * times), "label", list(CATEGORIES)) for times in (1, 9)
    )
    assert [row.smd for row in small] == pytest.approx([row.smd for row in large])
    assert all(b.p < a.p for a, b in zip(small, large, strict=True) if a.p and b.p)
    turned = characteristics(paper.assign(label=1 - paper["label"]), "label")
    straight = characteristics(paper, "label")
    assert [row.smd for row in turned] == pytest.approx([row.smd for row in straight])


def test_groups_that_share_no_level_have_no_smd() -> None:
    for counts in ([[9, 0], [0, 9]], [[9, 0, 0], [0, 5, 4]]):
        rows = characteristics(table_of(counts), "group")
        assert rows[0].smd is None
        assert "SMD is not defined" in rows[0].note
