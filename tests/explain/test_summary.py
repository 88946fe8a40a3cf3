"""The numbers of an explanation: verdicts that can fall either way, strict JSON, folds together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mufnet_lightning.evaluation.statistics.attention import by_grade
from mufnet_lightning.explain.choice import Chosen
from mufnet_lightning.explain.options import ExplainOptions
from mufnet_lightning.explain.record import ExplainedTables, headline, pool_explanations
from mufnet_lightning.explain.summarise import measure_names, summarise
from mufnet_lightning.explain.summary import Origin, Summary
from mufnet_lightning.explain.tables import printed
from mufnet_lightning.vocabulary import STAGES

BOTH = ("bmode", "ceus")
PATIENTS, IMAGES = 14, 3
EARLIER = Path(__file__).parent / "data"  # as version 0.1 wrote them


def origin(modalities: Sequence[str] = BOTH) -> Origin:
    return Origin(ExplainOptions(), 0.785, True, tuple(modalities))


def tables(
    seed: int = 0, modalities: Sequence[str] = BOTH, similar: float = 0.1, better: float = 0.2
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


def summary(modalities: Sequence[str] = BOTH, similar: float = 0.1, better: float = 0.2) -> Summary:
    return summarise(*tables(0, modalities, similar, better), origin(modalities))


def test_maps_that_random_weights_give_too_fail_and_others_pass() -> None:
    for similar, word in ((0.05, "depend on the weights"), (0.95, "FAIL the sanity check")):
        of_maps = [
            verdict for verdict in summary(similar=similar).verdicts if "maps" in verdict.split("By")[0]
        ]
        assert [word in verdict for verdict in of_maps] == [True, True]
        assert [verdict.split()[0] for verdict in of_maps] == ["B-mode", "CEUS"]
    (alone,) = [v for v in summary(("ceus",), similar=0.95).verdicts if "FAIL" in v]
    assert alone.startswith("CEUS")


def test_even_maps_do_not_pass_for_maps_that_depend_on_the_weights() -> None:
    table, checks = tables()
    even = {f"similarity_{stage}_bmode": np.nan for stage in STAGES}
    bmode, ceus, *_ = summarise(table, checks.assign(**even), origin()).verdicts
    assert bmode.startswith("B-mode maps are even")
    assert ceus.startswith("CEUS maps depend on the weights")


@pytest.mark.parametrize(
    ("better", "word"), [(0.2, "more than on chance"), (0.0, "NOT SHOWN"), (-0.2, "NOT SHOWN")]
)
def test_maps_are_better_than_random_ones_only_where_they_are(better: float, word: str) -> None:
    of_curves = [v for v in summary(better=better).verdicts if v.startswith("By ")]
    assert [verdict.split(",")[0] for verdict in of_curves] == ["By deletion", "By insertion"]
    assert all(word in verdict for verdict in of_curves)


def test_random_maps_taken_for_the_networks_own_are_no_better() -> None:
    table, checks = tables()
    checks["deletion"], checks["insertion"] = checks["deletion_random"], checks["insertion_random"]
    alike = summarise(table, checks, origin())
    assert alike.faithfulness[0].gain.value == 0
    assert sum("NOT SHOWN" in verdict for verdict in alike.verdicts) == 2


def test_numbers_are_those_of_their_patients() -> None:
    table, checks = tables()
    whole = summarise(table, checks, origin())
    assert (whole.images, whole.patients) == (PATIENTS * IMAGES, PATIENTS)
    assert whole.origin == origin()
    ps = []
    for row in whole.by_grade:
        grades = by_grade(table[row.measure], table["label"], table["patient_id"])
        assert row.p == pytest.approx(grades.p)
        assert (row.low.value, row.high.value) == pytest.approx(grades.means)
        assert row.p is not None
        assert row.p_holm is not None
        assert row.p_holm >= row.p
        ps.append((row.p, row.p_holm))
    assert min(holm for _, holm in ps) == pytest.approx(min(1, 6 * min(p for p, _ in ps)))
    test = stats.ttest_1samp(checks["deletion_random"] - checks["deletion"], 0)
    gain = whole.faithfulness[0].gain
    assert gain.p == pytest.approx(test.pvalue)
    assert gain.ci == pytest.approx(tuple(test.confidence_interval()))
    area = table.groupby("patient_id")["signal_area"].mean()
    for pointing in whole.pointing:
        column = f"signal_{pointing.kind}_{pointing.modality}"
        pointed = table.groupby("patient_id")[column].mean() - area
        assert pointing.chance == pytest.approx(area.mean())
        assert pointing.gain.p == pytest.approx(stats.ttest_1samp(pointed, 0).pvalue)
        own = table.set_index("pair_id")["signal_area"].loc[checks["pair_id"]].to_numpy()
        names = [f"random_{pointing.kind}_{pointing.modality}_{draw}" for draw in range(3)]
        networks = [float((checks[name] - own).mean()) for name in names]
        interval = stats.ttest_1samp(networks, 0).confidence_interval()
        assert pointing.random_weights is not None
        assert pointing.random_weights.value == pytest.approx(np.mean(networks))
        assert pointing.random_weights.ci == pytest.approx(tuple(interval))


def test_more_folds_are_no_more_random_networks() -> None:
    table, checks = tables()
    once = summarise(table, checks, origin()).pointing[0].random_weights
    again = pd.concat([checks.assign(fold=fold) for fold in range(5)], ignore_index=True)
    repeated = summarise(table, again, origin()).pointing[0].random_weights
    assert once is not None
    assert repeated is not None
    assert repeated.draws == once.draws == 3
    assert repeated.ci == pytest.approx(once.ci)


def test_few_patients_tell_nothing_of_the_weights() -> None:
    table, checks = tables()
    noisy = {f"similarity_{stage}_bmode": [-0.9, 0.9] * (PATIENTS // 2) for stage in STAGES}
    few = checks.assign(**noisy).head(4)
    bmode, *_ = summarise(table, few, origin()).verdicts
    assert bmode.startswith("B-mode maps: too few patients to tell")


@pytest.mark.parametrize("modalities", [BOTH, ("bmode",)])
def test_a_measure_that_nobody_has_is_empty_and_the_json_strict(modalities: Sequence[str]) -> None:
    table, checks = tables(modalities=modalities)
    lacking = [
        (table.assign(**{name: np.nan}), checks)
        for name in table.columns.difference(["pair_id", "patient_id", "label", "score"])
    ] + [
        (table, checks.assign(**{name: np.nan}))
        for name in checks.columns.difference(["pair_id", "patient_id"])
    ]
    for some_table, some_checks in lacking:
        some = summarise(some_table, some_checks, origin(modalities))
        content = json.loads(json.dumps(some.as_json(), allow_nan=False))
        assert content == some.as_json()
        assert Summary.from_json(content) == some
        assert "nan" not in printed(some)
    nobody = summarise(table.assign(inside_bmode=np.nan), checks, origin(modalities))
    assert nobody.by_grade[0].missing == len(table)


def test_what_was_not_checked_is_empty() -> None:
    table, _ = tables()
    some = summarise(table.drop(columns="signal_area"), None, origin())
    assert (some.sanity, some.faithfulness, some.pointing) == ((), (), ())
    assert (some.as_json()["sanity"], some.as_json()["faithfulness"]) == ([], {})
    assert some.verdicts == ()
    assert "rank correlation" not in printed(some)
    assert "rank correlation" in printed(summary())


def test_one_patient_has_numbers_and_no_verdict() -> None:
    table, checks = tables()
    one = summarise(table[:IMAGES], checks[:1], origin())
    json.dumps(one.as_json(), allow_nan=False)
    assert one.verdicts == ()
    assert one.sanity[0].value == checks[f"similarity_{STAGES[0]}_bmode"][0]


@pytest.mark.parametrize("file", sorted(EARLIER.glob("*.json")), ids=lambda path: path.stem)
def test_a_summary_of_an_earlier_version_is_read_and_written_to_the_bit(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    earlier = Summary.from_json(json.loads(text))
    assert json.dumps(earlier.as_json(), indent=2, allow_nan=False, ensure_ascii=False) == text
    assert (earlier.origin.folds is None) == (earlier.origin.chosen is not None)
    assert earlier.by_grade[0].low.patients + earlier.by_grade[0].high.patients == earlier.patients
    assert printed(earlier).startswith(f"{earlier.origin.options.method} for the ")


def test_there_are_summaries_of_an_earlier_version() -> None:
    assert {path.stem for path in EARLIER.glob("*.json")} == {"bmode_folds", "ceus_fold", "phantom"}


def test_a_summary_says_how_its_maps_were_made_and_whose_they_are() -> None:
    options = ExplainOptions("layercam", "blocks.3", "high", seed=4, draws=2, steps=5)
    chosen = (Chosen("P001", "most certain", "p000003"),)
    one = Origin(options, 0.5, False, BOTH, chosen=chosen)
    assert list(one.as_json()) == [
        *("method", "layer", "target", "seed", "draws", "steps"),
        *("lesion_area", "phantom", "chosen", "modalities"),
    ]
    assert list(replace(one, chosen=None, folds=(0, 2)).as_json())[-2:] == ["modalities", "folds"]
    table, checks = tables()
    for some in (one, replace(one, chosen=None, folds=(0, 2))):
        numbers = summarise(table, checks, some)
        assert Summary.from_json(json.loads(json.dumps(numbers.as_json()))) == numbers
    assert one.is_alike(replace(one, chosen=None, lesion_area=0.4))
    assert not one.is_alike(replace(one, phantom=True))
    assert not one.is_alike(replace(one, options=replace(options, steps=6)))


def fold(table: pd.DataFrame, checks: pd.DataFrame | None) -> ExplainedTables:
    of_fold = replace(origin(), chosen=(Chosen("000", "most certain", "p0"),))
    return ExplainedTables(table, checks, summarise(table, checks, of_fold))


def test_folds_that_explain_the_same_patients_are_no_more_evidence() -> None:
    table, checks = tables()
    alone, pooled = fold(table, checks), pool_explanations({n: fold(table, checks) for n in (0, 2, 5)})
    assert pooled.summary.origin == replace(origin(), folds=(0, 2, 5))
    assert "chosen" not in pooled.summary.as_json()
    assert list(pooled.table["fold"].unique()) == [0, 2, 5]
    assert len(pooled.table) == 3 * len(table)
    assert pooled.summary.patients == PATIENTS
    assert pooled.summary.verdicts == alone.summary.verdicts
    for name in ("by_grade", "sanity", "pointing", "faithfulness"):
        one, three = (
            pd.json_normalize(tables.summary.as_json()[name]).drop(columns="missing", errors="ignore")  # type: ignore[arg-type]
            for tables in (alone, pooled)
        )
        pd.testing.assert_frame_equal(one, three, rtol=1e-6)


def test_folds_of_other_patients_stand_side_by_side() -> None:
    table, checks = tables()
    early, late = (p < "007" for p in (table["patient_id"], checks["patient_id"]))
    folds = {0: fold(table[early], checks[late]), 1: fold(table[~early], checks[~late])}
    pooled = pool_explanations(folds)
    whole = summarise(table, checks, origin())
    assert pooled.summary.by_grade == whole.by_grade
    assert pooled.summary.sanity == whole.sanity
    assert pooled.table.index.is_unique
    some = pool_explanations({0: folds[0], 1: fold(table[~early], None)})
    assert some.checks is None
    assert some.summary.sanity == ()


@pytest.mark.parametrize("modalities", [BOTH, ("ceus",)])
def test_a_handful_of_numbers_stands_for_an_explanation(modalities: Sequence[str]) -> None:
    table, checks = tables(modalities=modalities, similar=0.3, better=0.2)
    told = headline(ExplainedTables(table, checks, summarise(table, checks, origin(modalities))))
    assert list(told) == [
        *(f"inside_{modality}" for modality in modalities),
        "similarity_all_weights",
        "deletion_gain",
        "insertion_gain",
    ]
    for modality in modalities:
        of_patients = table.groupby("patient_id")[f"inside_{modality}"].mean()
        assert told[f"inside_{modality}"] == pytest.approx(of_patients.mean())
    # the modality whose maps depend least on the weights is told
    similar = [checks[f"similarity_{STAGES[-1]}_{modality}"].mean() for modality in modalities]
    assert told["similarity_all_weights"] == pytest.approx(max(similar))
    # better than random ones, whichever curve
    assert told["deletion_gain"] == pytest.approx(0.2, abs=0.02)
    assert told["insertion_gain"] == pytest.approx(0.2, abs=0.02)

    # without the checks, and of maps that are even
    table["inside_ceus"] = np.nan
    unchecked = headline(ExplainedTables(table, None, summarise(table, None, origin(modalities))))
    assert list(unchecked) == [f"inside_{m}" for m in modalities if m != "ceus"]
