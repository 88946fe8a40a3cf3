"""What the folds of a cross-validation say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class PooledPredictions:
    """What the folds say together, in the form of a predictions CSV.

    Attributes:
        table: rows of `test` and `val`. An image that several folds tested has the mean of their
            scores and weights and no fold (the fold ensemble); one that a single fold tested has
            that fold's.
        ensemble: whether any test image was scored by more than one fold.
        out_of_fold: whether there are validation rows that can be pooled: each image once, and no
            test patient.
    """

    table: pd.DataFrame
    ensemble: bool
    out_of_fold: bool


def pool_predictions(folds: Mapping[int, pd.DataFrame]) -> PooledPredictions:
    """Pool the predictions of all folds.

    Protocol `paper`: the test rows are the ensemble of all folds on the one test part, the validation
    rows are out of fold: every patient of the rest once, by a model that did not train on them
    (though its epoch may have been selected on them). `nested`, `center` and `kfold`: the test rows are
    out of fold, every patient once, by a model that never saw them; `kfold` has no validation rows.

    Args:
        folds: the predictions of each fold, see `prediction_table`.
    """
    rows = pd.concat([table.assign(fold=fold) for fold, table in folds.items()], ignore_index=True)
    test, val = rows[rows["split"] == "test"], rows[rows["split"] == "val"]
    values = ["score", "weight_bmode", "weight_ceus"]
    by_image = test.groupby("pair_id", sort=False)
    pooled = by_image.first()
    pooled[values] = by_image[values].mean()
    several = by_image.size() > 1
    pooled["fold"] = pooled["fold"].astype("Int64").mask(several)
    table = pd.concat([pooled.reset_index()[list(rows.columns)], val], ignore_index=True)
    apart = len(val) and val["pair_id"].is_unique and not val["pair_id"].isin(pooled.index).any()
    return PooledPredictions(table, bool(several.any()), bool(apart))
