"""Rows of several prediction tables that are the same image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.evaluation.predictions import match_predictions
from mufnet_lightning.evaluation.statistics.checks import EvaluationError


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pair_id": [f"p{number}" for number in range(6)],
            "patient_id": ["A", "A", "B", "B", "C", "C"],
            "clip_id": ["a", "a", "b", "b", "c", "c"],
            "frame": [0, 5, 0, 5, 0, 5],
            "label": [0, 0, 1, 1, 0, 0],
            "score": [0.1, 0.2, 0.8, 0.9, 0.4, 0.3],
        }
    )


@pytest.fixture
def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    other = table.sample(frac=1, random_state=4)
    return other.assign(score=other["score"] + 0.05)


def test_rows_are_matched_by_pair_id_whatever_their_order(
    table: pd.DataFrame, shuffled: pd.DataFrame
) -> None:
    matched = match_predictions({"bmode": table, "ceus": shuffled})
    assert matched.names == ("bmode", "ceus")
    assert matched.matched_by == ("pair_id",)
    np.testing.assert_allclose(matched.scores, np.stack([table["score"], table["score"] + 0.05]))
    assert matched.labels.tolist() == [False, False, True, True, False, False]
    assert matched.patients.tolist() == table["patient_id"].tolist()


def test_without_pair_id_rows_are_matched_by_patient_clip_and_frame(
    table: pd.DataFrame, shuffled: pd.DataFrame
) -> None:
    matched = match_predictions({"a": table, "b": shuffled.drop(columns="pair_id")})
    assert matched.matched_by == ("patient_id", "clip_id", "frame")
    np.testing.assert_allclose(matched.scores[1] - matched.scores[0], 0.05)


def test_only_what_both_have_is_matched_on(table: pd.DataFrame, shuffled: pd.DataFrame) -> None:
    table["clip_id"] = [None, "a", "b", "b", "c", "c"]  # one empty cell: not there
    matched = match_predictions({"a": table, "b": shuffled.drop(columns="pair_id")})
    assert matched.matched_by == ("patient_id", "frame")
    np.testing.assert_allclose(matched.scores[1] - matched.scores[0], 0.05)


def test_a_row_a_patient_needs_no_more_than_the_patient(table: pd.DataFrame) -> None:
    patients = table.drop_duplicates("patient_id")[["patient_id", "label", "score"]]
    matched = match_predictions({"a": patients, "b": patients[::-1]})
    assert matched.matched_by == ("patient_id",)
    assert matched.scores.shape == (2, 3)


def test_numbers_match_their_text_but_leading_zeros_count(table: pd.DataFrame) -> None:
    numbers = table.assign(patient_id=[1, 1, 2, 2, 3, 3]).drop(columns="pair_id")
    texts = numbers.assign(patient_id=list("112233"), frame=numbers["frame"].astype(float))
    assert match_predictions({"a": numbers, "b": texts}).scores.shape == (2, 6)
    padded = texts.assign(patient_id="0" + texts["patient_id"])
    with pytest.raises(EvaluationError, match="different patients: 3 of a are not in b, for example 1"):
        match_predictions({"a": numbers, "b": padded})


def test_three_arms_and_one(table: pd.DataFrame, shuffled: pd.DataFrame) -> None:
    assert match_predictions({"a": table, "b": shuffled, "c": table}).scores.shape == (3, 6)
    assert match_predictions({"a": table}).scores.shape == (1, 6)


def test_a_match_that_is_not_one_to_one_is_refused(table: pd.DataFrame) -> None:
    images = table.drop(columns=["pair_id", "clip_id", "frame"])
    with pytest.raises(EvaluationError, match="a has 3 more rows than images that patient_id can tell"):
        match_predictions({"a": images, "b": images})
    twice = pd.concat([table, table.iloc[[2]]])
    with pytest.raises(EvaluationError, match=r"b has 1 more rows .* the first repeated is pair_id p2"):
        match_predictions({"a": table, "b": twice})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["patient_id"] != "B"], "different patients: 1 of a are not in b, for example B"),
        (lambda t: t.iloc[1:], "different images: 1 of a are not in b, for example pair_id p0"),
        (lambda t: t.assign(pair_id="x" + t["pair_id"]), "different images: 6 of a"),
        (
            lambda t: t.assign(label=[1, 1, 1, 1, 0, 0]),
            "disagree on the label of 2 images, .* pair_id p0",
        ),
        (lambda t: t.assign(patient_id=list("ABBBCC")), "disagree on the patient of 1 images"),
        (lambda t: t.drop(columns="score"), "b has no column score"),
        (lambda t: t.iloc[:0], "b has no rows"),
        (lambda t: t.assign(patient_id=["A", None, "B", "B", "C", "C"]), "1 rows without a patient_id"),
        (lambda t: t.assign(score=[np.nan] * 6), "b: 6 scores are missing"),
        (lambda t: t.assign(label=[2] * 6), "b: labels must be 0"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused_in_a_sentence(
    table: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        match_predictions({"a": table, "b": change(table)})


def test_more_images_in_the_other_arm_are_refused_too(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="1 of b are not in a"):
        match_predictions({"a": table.iloc[1:], "b": table})


def test_a_patient_with_two_labels_is_refused(table: pd.DataFrame) -> None:
    two = table.assign(label=[0, 1, 1, 1, 0, 0])
    with pytest.raises(EvaluationError, match="1 patient has images of both classes, for example A"):
        match_predictions({"a": two, "b": two})


def test_no_tables_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no predictions"):
        match_predictions({})
