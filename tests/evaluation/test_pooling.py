"""What the folds' predictions give together."""

from __future__ import annotations

import pandas as pd
import pytest

from mufnet_lightning.evaluation.pooling import pool_predictions


def fold(test: dict[str, float], val: list[str]) -> pd.DataFrame:
    """The predictions of a fold: test scores by image, and the images of its validation part."""
    scores = [*test.values(), *([0.5] * len(val))]
    table = pd.DataFrame({"pair_id": [*test, *val], "score": scores})
    table["weight_bmode"], table["weight_ceus"] = table["score"], 1 - table["score"]
    return table.assign(split=["test"] * len(test) + ["val"] * len(val))


def test_on_one_shared_test_part_an_image_has_the_mean_of_the_folds() -> None:
    paper = pool_predictions(
        {0: fold({"a": 0.2, "b": 0.4}, ["c"]), 1: fold({"b": 0.8, "a": 0.6}, ["d"])}
    )
    assert paper.ensemble
    assert paper.out_of_fold
    test = paper.table.query("split == 'test'").set_index("pair_id")
    assert test["score"].to_dict() == pytest.approx({"a": 0.4, "b": 0.6})
    assert test["weight_ceus"].to_dict() == pytest.approx({"a": 0.6, "b": 0.4})
    assert test["fold"].isna().all()


def test_on_disjoint_test_parts_an_image_keeps_its_fold() -> None:
    nested = pool_predictions({0: fold({"a": 0.2}, ["b"]), 3: fold({"b": 0.8}, ["b"])})
    assert not nested.ensemble
    assert not nested.out_of_fold
    assert nested.table.query("split == 'test'")["fold"].tolist() == [0, 3]


def test_validation_scores_of_tested_images_are_not_out_of_fold() -> None:
    # two centres: each validates the fold that tests the other
    center = pool_predictions(
        {0: fold({"a": 0.2, "b": 0.1}, ["c"]), 1: fold({"c": 0.8, "d": 0.3}, ["a"])}
    )
    assert not center.out_of_fold
