"""The column `risk`: fitted on validation patients alone, of a fit and of pooled folds."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mufnet_lightning.evaluation.pooling import pool_predictions
from mufnet_lightning.evaluation.risks import risk_report, with_risk, with_risks
from mufnet_lightning.evaluation.statistics.recalibration import recalibrate

IMAGES = 3


def part(patients: list[int], split: str, fold: int, seed: int = 0) -> pd.DataFrame:
    """Odd patients are high; a score follows the patient, the fold and the image."""
    ids = np.repeat(np.array(patients, int), IMAGES)
    rng = np.random.default_rng([seed, fold])
    logits = (ids % 2) * 1.5 - 0.5 + rng.normal(size=1000)[ids] + 0.3 * rng.normal(size=len(ids))
    return pd.DataFrame(
        {
            "pair_id": [f"{one}-{place % IMAGES}" for place, one in enumerate(ids)],
            "patient_id": [f"P{one}" for one in ids],
            "label": ids % 2,
            "score": 1 / (1 + np.exp(-logits)),
            "weight_bmode": 0.5,
            "weight_ceus": 0.5,
            "fold": fold,
            "split": split,
        }
    )


def fit(val: list[int], test: list[int], fold: int = 0) -> pd.DataFrame:
    return pd.concat([part(val, "val", fold), part(test, "test", fold)])


def by_patient(rows: pd.DataFrame) -> pd.DataFrame:
    assert (rows.groupby("patient_id")["risk"].nunique() == 1).all()
    return rows.groupby("patient_id").agg({"score": "mean", "risk": "first", "label": "first"})


def test_a_fit_is_recalibrated_on_its_validation_patients() -> None:
    table = fit(list(range(16)), list(range(100, 120)))
    risks = with_risks(table)
    assert list(risks.table.columns[3:5]) == ["score", "risk"]
    val = table[table["split"] == "val"]
    expected = recalibrate(val["label"], val["score"], val["patient_id"])
    assert risks.recalibration == expected == risks.of_fold["0"]
    assert (expected.high, expected.low) == (8, 8)
    tested = by_patient(risks.table[risks.table["split"] == "test"])
    np.testing.assert_allclose(tested["risk"], expected.apply(tested["score"]))
    again = with_risks(risks.table).table
    pd.testing.assert_frame_equal(again, risks.table)
    new = table[table["split"] == "test"].reset_index(drop=True)
    np.testing.assert_allclose(by_patient(with_risk(new, expected))["risk"], tested["risk"])
    assert with_risk(new, None)["risk"].isna().all()
    json.dumps(risks.as_json(), allow_nan=False)


def test_no_label_of_a_test_patient_moves_a_risk_of_its_fold() -> None:
    # each patient is tested by one fold, and validated by the next
    parts = [list(range(place, 60, 3)) for place in range(3)]
    nested = {fold: fit(parts[(fold + 1) % 3], parts[fold], fold) for fold in range(3)}
    table = pool_predictions(nested).table
    risks = with_risks(table)
    assert set(risks.of_fold) == {"0", "1", "2"}
    assert all(one.high + one.low == 40 for one in risks.of_fold.values())
    assert risks.recalibration is not None
    assert risks.recalibration.high + risks.recalibration.low == 60
    for fold in range(3):
        tested = table["patient_id"].isin([f"P{one}" for one in parts[fold]])
        turned = table.assign(label=table["label"].where(~tested, 1 - table["label"]))
        here = (table["split"] == "test") & (table["fold"] == fold)
        others = (table["split"] == "test") & (table["fold"] != fold)
        after = with_risks(turned).table["risk"]
        assert after[here].equals(risks.table["risk"][here])
        assert not np.allclose(after[others], risks.table["risk"][others])


def test_the_ensemble_of_folds_is_recalibrated_out_of_fold() -> None:
    test = list(range(100, 120))
    folds = {fold: fit(list(range(10 * fold, 10 * fold + 10)), test, fold) for fold in range(4)}
    old = {fold: with_risks(table).table for fold, table in folds.items()}  # a fold's own are replaced
    risks = with_risks(pool_predictions(old).table)
    assert set(risks.of_fold) == {"all"}
    assert risks.of_fold["all"] == risks.recalibration
    assert risks.recalibration is not None
    assert risks.recalibration.high + risks.recalibration.low == 40
    tested = by_patient(risks.table[risks.table["split"] == "test"])
    np.testing.assert_allclose(tested["risk"], risks.recalibration.apply(tested["score"]))
    report = risk_report(risks.table[risks.table["split"] == "test"])
    assert report is not None
    assert report.calibration.patients == 20
    numbers = report.numbers()
    assert numbers["patient_risk_brier"] == pytest.approx(
        np.mean((tested["risk"] - tested["label"]) ** 2)
    )
    assert {f"patient_risk_calibration_{name}" for name in ("p", "slope", "intercept")} <= set(numbers)


@pytest.mark.parametrize(
    ("val", "reason"),
    [([], "no validation patients"), ([1, 3, 5], "all 3 patients are of high grade")],
)
def test_where_nothing_can_be_fitted_there_is_no_risk_and_it_is_said_why(
    val: list[int], reason: str
) -> None:
    risks = with_risks(fit(val, list(range(100, 110))))
    assert risks.table["risk"].isna().all()
    assert risks.recalibration is None
    assert reason in risks.reason
    assert risk_report(risks.table[risks.table["split"] == "test"]) is None


def test_scores_that_are_no_probabilities_have_no_risks() -> None:
    table = fit(list(range(16)), list(range(100, 120)))
    assert "from 0 to 1" in with_risks(table.assign(score=table["score"] * 4)).reason
    odd = table["score"].mask(table["split"] == "test", table["score"] + 5)
    assert with_risks(table.assign(score=odd)).table.query("split == 'test'")["risk"].isna().all()


def useless(rng: np.random.Generator, folds: int = 5, high: int = 8, low: int = 22) -> pd.DataFrame:
    """Stratified nested folds pooled, of scores that know nothing of the patients."""
    labels = np.repeat([1, 0], [high, low])
    tested = np.arange(high + low) % folds  # as even in both classes as can be
    rows = []
    for fold in range(folds):
        for split, of in (("val", (fold + 1) % folds), ("test", fold)):
            here = np.flatnonzero(tested == of)
            rows.append(
                pd.DataFrame(
                    {
                        "pair_id": [f"P{one}" for one in here],
                        "patient_id": [f"P{one}" for one in here],
                        "label": labels[here],
                        "score": 1 / (1 + np.exp(-rng.normal(size=len(here)))),
                        "fold": fold,
                        "split": split,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def test_pooled_risks_of_an_arm_that_learnt_nothing_have_no_calibration_slope() -> None:
    """With slope 0 a fold's risk is the others' share of high grade, which runs against its labels."""
    reported = []
    for seed in range(30):
        risks = with_risks(useless(np.random.default_rng(seed)))
        flat = [fold for fold, one in risks.of_fold.items() if one.is_flat]
        report = risk_report(risks.table.query("split == 'test'"), risks.doubt)
        assert report is not None
        numbers, content = report.numbers(), report.calibration.as_json()
        json.dumps(content, allow_nan=False)
        told = {"patient_risk_calibration_slope", "patient_risk_calibration_p"} & set(numbers)
        reported.append(len(told) == 2)
        assert np.isfinite(numbers["patient_risk_brier"])
        if flat:
            assert not told
            assert content["p"] is None
            assert content["slope"] == {"value": None, "ci": [None, None]}
            assert content["note"] == risks.doubt
            assert f"{', '.join(flat)} of 5" in risks.doubt
            assert any(flat[0] in note and "the wrong way" in note for note in risks.notes)
        else:
            assert risks.doubt == ""
            assert len(told) == 2
    assert 0 < sum(reported) < 20


def test_notes_of_recalibrations_are_said_once() -> None:
    narrow = fit(list(range(16)), list(range(100, 120)))
    narrow["score"] = 0.5 + 0.001 * narrow["score"]
    risks = with_risks(narrow)
    assert risks.recalibration is not None
    assert risks.notes == [risks.recalibration.note]
    assert "span only" in risks.notes[0]
    assert risks.as_json()["notes"] == risks.notes
    assert risks.doubt == ""
    assert with_risks(fit(list(range(16)), list(range(100, 120)))).notes == []
