"""Scores that are checked when they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.evaluation.statistics.rates import patient_scores
from mufnet_lightning.evaluation.statistics.scores import Scores

SOUND: dict[str, Any] = {
    "labels": [0, 0, 1, 1, 1],
    "scores": [[0.1, 0.3, 0.6, 0.9, 0.2], [0.2, 0.4, 0.1, 0.8, 0.7]],
    "patients": ["b", "b", "a", "c", "a"],
    "names": ["fused", "ceus"],
}


def test_lists_arrays_and_columns_are_the_same_scores() -> None:
    table = pd.DataFrame({"label": SOUND["labels"], "patient": SOUND["patients"]})
    columns: list[tuple[Any, Any]] = [
        (SOUND["labels"], SOUND["patients"]),
        (np.array(SOUND["labels"], float), np.array(SOUND["patients"], object)),
        (table["label"], table["patient"]),
    ]
    for labels, patients in columns:
        scores = Scores.of(labels, SOUND["scores"], patients, SOUND["names"])
        assert scores.labels.tolist() == [False, False, True, True, True]
        assert scores.scores.shape == (2, 5)
        assert scores.names == ("fused", "ceus")
        assert scores.codes.tolist() == [0, 0, 1, 2, 1]
        assert scores.patient_names.tolist() == ["b", "a", "c"]
        assert scores.patient_labels.tolist() == [False, True, True]


def test_one_arm_without_patients_has_a_patient_an_image() -> None:
    scores = Scores.of([0, 1, 1], [0.1, 0.2, 0.3])
    assert scores.names == ("arm 1",)
    assert scores.patient_names.tolist() == [0, 1, 2]
    assert scores.at("patient").scores.tolist() == [[0.1, 0.2, 0.3]]


def test_over_patients_is_the_mean_of_their_images() -> None:
    scores = Scores.of(**SOUND)
    pooled = patient_scores(SOUND["labels"], SOUND["scores"], SOUND["patients"])
    patients = scores.at("patient")
    assert scores.at("image") is scores
    assert scores.at("patient") is patients  # made once
    np.testing.assert_array_equal(patients.scores, pooled.scores)
    np.testing.assert_array_equal(patients.labels, pooled.labels)
    np.testing.assert_array_equal(patients.patients, pooled.patients)
    assert patients.names == scores.names


def test_a_subset_keeps_what_belongs_together() -> None:
    part = Scores.of(**SOUND).subset(np.array([True, False, True, False, True]))
    assert part.patients.tolist() == ["b", "a", "a"]
    assert part.scores.tolist() == [[0.1, 0.6, 0.2], [0.2, 0.1, 0.7]]
    assert part.codes.tolist() == [0, 1, 1]


def test_whether_scores_are_probabilities_is_said_of_each_arm() -> None:
    scores = Scores.of([0, 1], [[0.0, 1.0], [0.5, 1.5], [-0.1, 0.5]])
    assert scores.are_probabilities.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 0, 1, 1, 2]}, "labels must be 0 .* image 4 has 2"),
        ({"labels": [0, 0, 1, 1, None]}, "labels must be 0"),
        ({"labels": [[0, 0, 1, 1, 1]]}, "labels need one dimension"),
        ({"labels": []}, "no images"),
        ({"scores": [0.1, 0.2]}, r"scores need the shape \(5,\)"),
        ({"scores": [["a"] * 5]}, "scores must be numbers"),
        ({"scores": [[0.1, 0.2, np.nan, 0.3, 0.4]] * 2}, "2 scores are missing .* image 2 in arm 0"),
        ({"scores": [[0.1, 0.2, np.inf, 0.3, 0.4]] * 2}, "2 scores are missing or infinite"),
        ({"patients": ["a", "b"]}, r"patients need the shape \(5,\)"),
        ({"patients": ["b", "b", None, "c", "a"]}, "1 images have no patient, the first is image 2"),
        ({"patients": ["b", "a", "a", "c", "a"]}, "1 patient has images of both classes, .* a"),
        ({"names": ["fused"]}, "1 names do not fit 2 arms"),
        ({"names": ["fused", "fused"]}, "two arms have the same name"),
    ],
)
def test_what_a_check_refuses_cannot_be_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Scores.of(**{**SOUND, **change})
    whole = {**SOUND, **change}
    with pytest.raises(EvaluationError, match=message):  # nor by the constructor itself
        Scores(*(whole[name] for name in ("names", "labels", "scores", "patients")))


def test_they_stay_as_they_were_made() -> None:
    scores = Scores.of(**SOUND)
    with pytest.raises(FrozenInstanceError):
        scores.labels = np.zeros(5, bool)  # type: ignore[misc]
