"""The numbers of an explanation: verdicts that can fall either way, strict JSON, folds together."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mufnet_lightning.evaluation.statistics.attention import by_grade
from mufnet_lightning.explain.record import ExplainedTables, pool_explanations
from mufnet_lightning.explain.summary import Summary, measure_names, printed, summarise
from mufnet_lightning.vocabulary import STAGES

BOTH = ("bmode", "ceus")
TOLD = {"method": "gradcam", "target": "predicted", "draws": 3}
PATIENTS, IMAGES = 14, 3


def tables(
    seed: int = 0, modalities=BOTH, similar: float = 0.1, better: float = 0.2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    rows = PATIENTS * IMAGES
    patient = np.repeat(np.arange(PATIENTS), IMAGES)
    table = pd.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(rows)],
            "patient_id": [f"{p:03d}" for p in patient],
            "label": (patient < 6).astype(int),
            "score": rng.random(rows),
            "signal_area": rng.uniform(0.7, 0.8, rows),
        }
    )
    for name in [*measure_names(modalities), *(f"signal_energy_{m}" for m in modalities)]:
        table[name] = rng.random(rows)
    for m in modalities:
        table[f"signal_hit_{m}"] = rng.integers(0, 2, rows).astype(float)
    checks = table.groupby("patient_id", as_index=False)[["pair_id"]].first()
    for name, sign in (("deletion", -1), ("insertion", 1)):
        checks[f"{name}_random"] = rng.uniform(0.4, 0.5, PATIENTS)
        checks[name] = checks[f"{name}_random"] + sign * better + rng.normal(0, 0.02, PATIENTS)
    for m in modalities:
        for i, stage in enumerate(STAGES):
            drawn = similar + (len(STAGES) - 1 - i) * 0.1
            checks[f"similarity_{stage}_{m}"] = drawn + rng.normal(0, 0.02, PATIENTS)
        for draw in range(3):
            checks[f"random_energy_{m}_{draw}"] = rng.uniform(0.6, 0.9, PATIENTS)
            checks[f"random_hit_{m}_{draw}"] = rng.random(PATIENTS)
    return table, checks


def summary(modalities=BOTH, **options: float) -> Summary:
    return summarise(*tables(modalities=modalities, **options), modalities, TOLD)


def test_maps_that_random_weights_give_too_fail_and_others_pass():
    for similar, word in ((0.05, "depend on the weights"), (0.95, "FAIL the sanity check")):
        told = [line for line in summary(similar=similar)["verdicts"] if "maps" in line.split("By")[0]]
        assert [word in line for line in told] == [True, True]
        assert [line.split()[0] for line in told] == ["B-mode", "CEUS"]
    (alone,) = [line for line in summary(("ceus",), similar=0.95)["verdicts"] if "FAIL" in line]
    assert alone.startswith("CEUS")


def test_even_maps_do_not_pass_for_maps_that_depend_on_the_weights():
    table, checks = tables()
    even = {f"similarity_{stage}_bmode": np.nan for stage in STAGES}
    bmode, ceus, *_ = summarise(table, checks.assign(**even), BOTH, TOLD)["verdicts"]
    assert bmode.startswith("B-mode maps are even")
    assert ceus.startswith("CEUS maps depend on the weights")


@pytest.mark.parametrize(
    ("better", "word"), [(0.2, "more than on chance"), (0.0, "NOT SHOWN"), (-0.2, "NOT SHOWN")]
)
def test_maps_are_better_than_random_ones_only_where_they_are(better, word):
    told = [line for line in summary(better=better)["verdicts"] if line.startswith("By ")]
    assert [line.split(",")[0] for line in told] == ["By deletion", "By insertion"]
    assert all(word in line for line in told)


def test_random_maps_taken_for_the_networks_own_are_no_better():
    table, checks = tables()
    checks["deletion"], checks["insertion"] = checks["deletion_random"], checks["insertion_random"]
    found = summarise(table, checks, BOTH, TOLD)
    assert found["faithfulness"]["deletion"]["gain"]["value"] == 0
    assert sum("NOT SHOWN" in line for line in found["verdicts"]) == 2


def test_numbers_are_those_of_their_patients():
    table, checks = tables()
    found = summarise(table, checks, BOTH, TOLD)
    assert (found["images"], found["patients"]) == (PATIENTS * IMAGES, PATIENTS)
    assert TOLD.items() <= found.items()
    for row in found["by_grade"]:
        grades = by_grade(table[row["measure"]], table["label"], table["patient_id"])
        assert row["p"] == pytest.approx(grades.p)
        assert (row["low"]["value"], row["high"]["value"]) == pytest.approx(grades.means)
        assert row["p_holm"] >= row["p"]
    ps = [row["p"] for row in found["by_grade"]]
    assert min(row["p_holm"] for row in found["by_grade"]) == pytest.approx(min(1, 6 * min(ps)))
    gain = checks["deletion_random"] - checks["deletion"]
    told = found["faithfulness"]["deletion"]["gain"]
    assert told["p"] == pytest.approx(stats.ttest_1samp(gain, 0).pvalue)
    assert told["ci"] == pytest.approx(list(stats.ttest_1samp(gain, 0).confidence_interval()))
    area = table.groupby("patient_id")["signal_area"].mean()
    for row in found["pointing"]:
        column = f"signal_{row['kind']}_{row['modality']}"
        pointed = table.groupby("patient_id")[column].mean() - area
        assert row["chance"] == pytest.approx(area.mean())
        assert row["gain"]["p"] == pytest.approx(stats.ttest_1samp(pointed, 0).pvalue)
        own = table.set_index("pair_id")["signal_area"].loc[checks["pair_id"]].to_numpy()
        names = [f"random_{row['kind']}_{row['modality']}_{draw}" for draw in range(3)]
        networks = [float((checks[name] - own).mean()) for name in names]
        told = stats.ttest_1samp(networks, 0).confidence_interval()
        assert row["random_weights"]["value"] == pytest.approx(np.mean(networks))
        assert row["random_weights"]["ci"] == pytest.approx(list(told))


def test_more_folds_are_no_more_random_networks():
    table, checks = tables()
    once = summarise(table, checks, BOTH, TOLD)["pointing"][0]["random_weights"]
    again = pd.concat([checks.assign(fold=fold) for fold in range(5)], ignore_index=True)
    found = summarise(table, again, BOTH, TOLD)["pointing"][0]["random_weights"]
    assert found["draws"] == once["draws"] == 3
    assert found["ci"] == pytest.approx(once["ci"])


def test_few_patients_tell_nothing_of_the_weights():
    table, checks = tables()
    noisy = {f"similarity_{stage}_bmode": [-0.9, 0.9] * (PATIENTS // 2) for stage in STAGES}
    few = checks.assign(**noisy).head(4)
    bmode, *_ = summarise(table, few, BOTH, TOLD)["verdicts"]
    assert bmode.startswith("B-mode maps: too few patients to tell")


@pytest.mark.parametrize("modalities", [BOTH, ("bmode",)])
def test_a_measure_that_nobody_has_is_empty_and_the_json_strict(modalities):
    table, checks = tables(modalities=modalities)
    for name in table.columns.difference(["pair_id", "patient_id", "label", "score"]):
        found = summarise(table.assign(**{name: np.nan}), checks, modalities, TOLD)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert "nan" not in printed(found)
    for name in checks.columns.difference(["pair_id", "patient_id"]):
        found = summarise(table, checks.assign(**{name: np.nan}), modalities, TOLD)
        json.dumps(found, allow_nan=False)
        assert "nan" not in printed(found)
    assert summarise(table.assign(inside_bmode=np.nan), checks, modalities, TOLD)["by_grade"][0][
        "missing"
    ] == len(table)


def test_what_was_not_checked_is_empty():
    table, _ = tables()
    found = summarise(table.drop(columns="signal_area"), None, BOTH, TOLD)
    assert (found["sanity"], found["faithfulness"], found["pointing"]) == ([], {}, [])
    assert found["verdicts"] == []
    assert "rank correlation" not in printed(found)
    assert "rank correlation" in printed(summary())


def test_one_patient_has_numbers_and_no_verdict():
    table, checks = tables()
    found = summarise(table[:IMAGES], checks[:1], BOTH, TOLD)
    json.dumps(found, allow_nan=False)
    assert found["verdicts"] == []
    assert found["sanity"][0]["value"] == checks[f"similarity_{STAGES[0]}_bmode"][0]


def fold(table: pd.DataFrame, checks: pd.DataFrame | None) -> ExplainedTables:
    told = {**TOLD, "chosen": [{"patient_id": "000"}]}
    return ExplainedTables(table, checks, summarise(table, checks, BOTH, told))


def test_folds_that_explain_the_same_patients_are_no_more_evidence():
    table, checks = tables()
    alone, pooled = fold(table, checks), pool_explanations({n: fold(table, checks) for n in (0, 2, 5)})
    assert pooled.summary["folds"] == [0, 2, 5]
    assert "chosen" not in pooled.summary
    assert list(pooled.table["fold"].unique()) == [0, 2, 5]
    assert len(pooled.table) == 3 * len(table)
    assert pooled.summary["patients"] == PATIENTS
    assert pooled.summary["verdicts"] == alone.summary["verdicts"]
    for name in ("by_grade", "sanity", "pointing", "faithfulness"):
        one, three = (
            pd.json_normalize(found.summary[name]).drop(columns="missing", errors="ignore")
            for found in (alone, pooled)
        )
        pd.testing.assert_frame_equal(one, three, rtol=1e-6)


def test_folds_of_other_patients_stand_side_by_side():
    table, checks = tables()
    early, late = (p < "007" for p in (table["patient_id"], checks["patient_id"]))
    folds = {0: fold(table[early], checks[late]), 1: fold(table[~early], checks[~late])}
    pooled = pool_explanations(folds)
    whole = summarise(table, checks, BOTH, TOLD)
    assert pooled.summary["by_grade"] == whole["by_grade"]
    assert pooled.summary["sanity"] == whole["sanity"]
    assert pooled.table.index.is_unique
    some = pool_explanations({0: folds[0], 1: fold(table[~early], None)})
    assert some.checks is None
    assert some.summary["sanity"] == []
