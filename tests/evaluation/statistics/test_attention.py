"""Where maps point: against cases that can be counted by hand, and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mufnet_lightning.evaluation.statistics.attention import (
    area_above_half,
    by_grade,
    energy_inside,
    hits,
    lesion_ellipse,
    over_patients,
    overlap,
)
from mufnet_lightning.evaluation.statistics.checks import EvaluationError


def test_the_ellipse_has_its_area_and_shrinks_with_the_margin() -> None:
    for margin in (0.0, 0.25, 1.0):
        share = lesion_ellipse(400, 300, margin).mean()
        assert share == pytest.approx(np.pi / 4 / (1 + 2 * margin) ** 2, rel=0.01)
    region = lesion_ellipse(64, 64)
    assert region[32, 32]
    assert not region[0, 0]
    assert (region == region[::-1]).all()


def test_an_even_map_has_the_regions_share_and_a_map_inside_has_everything() -> None:
    region = lesion_ellipse(50, 40)
    maps = np.stack([np.full((50, 40), 3.0), region.astype(float), (~region).astype(float)])
    assert energy_inside(maps, region) == pytest.approx([region.mean(), 1, 0])
    assert energy_inside(maps * 7, region) == pytest.approx(energy_inside(maps, region))
    assert hits(maps, region) == pytest.approx([region.mean(), 1, 0])
    assert area_above_half(maps) == pytest.approx([1, region.mean(), 1 - region.mean()])


def test_a_map_of_zeros_has_no_value_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    maps, region = np.zeros((2, 8, 8)), lesion_ellipse(8, 8)
    for values in (energy_inside(maps, region), area_above_half(maps), hits(maps, region)):
        assert np.isnan(values).all()
    assert all(np.isnan(values).all() for values in overlap(maps, maps).values())
    assert len(recwarn) == 0


def test_overlap_of_equal_opposite_and_shifted_maps() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((1, 30, 30))
    same = overlap(a, 5 * a)
    assert (same["iou"][0], same["correlation"][0]) == pytest.approx((1, 1))
    assert overlap(a, a.max() - a)["correlation"][0] == pytest.approx(-1)
    left, right = np.zeros((1, 10, 12)), np.zeros((1, 10, 12))
    left[0, :, :8], right[0, :, 4:] = 1, 1
    assert overlap(left, right)["iou"][0] == pytest.approx(4 / 12)
    b = rng.random((1, 30, 30))
    expected = stats.pearsonr(a.ravel(), b.ravel()).statistic
    assert overlap(a, b)["correlation"][0] == pytest.approx(expected)


def test_grades_are_compared_patient_by_patient() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(20), 5)
    labels = (patients < 8).astype(int)
    values = rng.normal(size=20)[patients] + labels + 0.1 * rng.normal(size=100)
    result = by_grade(values, labels, patients)
    means = np.array([values[patients == p].mean() for p in range(20)])
    expected = stats.ttest_ind(means[:8], means[8:], equal_var=False)
    assert result.patients == (12, 8)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert result.difference == pytest.approx(means[:8].mean() - means[8:].mean())
    # more images of the same patients are no more evidence
    again = by_grade(np.tile(values, 9), np.tile(labels, 9), np.tile(patients, 9))
    assert again.p == pytest.approx(result.p)
    with_gap = np.where(np.arange(100) % 5 == 0, np.nan, values)
    assert by_grade(with_gap, labels, patients).missing == 20


def test_too_few_patients_have_no_test() -> None:
    result = by_grade([0.5, 0.25, 0.75], [1, 0, 0], ["a", "b", "c"])
    assert (result.p, result.interval) == (None, None)
    assert result.intervals[1] is None
    assert result.difference == pytest.approx(0.0)


def test_what_is_no_map_is_refused() -> None:
    region = lesion_ellipse(4, 4)
    for maps in (np.zeros((4, 4)), np.full((1, 4, 4), -1.0), np.full((1, 4, 4), np.nan)):
        with pytest.raises(EvaluationError):
            energy_inside(maps, region)
    with pytest.raises(EvaluationError, match="does not fit maps"):
        energy_inside(np.ones((1, 5, 5)), region)


def test_a_region_for_each_map_is_a_loop_over_maps() -> None:
    rng = np.random.default_rng(4)
    maps = rng.random((5, 12, 9)).round(1)
    regions = rng.random((5, 12, 9)) < 0.3
    for measure in (energy_inside, hits):
        one_by_one = [measure(maps[i : i + 1], regions[i])[0] for i in range(5)]
        assert measure(maps, regions) == pytest.approx(one_by_one)
        with pytest.raises(EvaluationError, match="does not fit maps"):
            measure(maps, regions[:4])


def test_the_mean_over_patients_is_scipys_of_the_patients_means() -> None:
    rng = np.random.default_rng(5)
    patients = np.repeat(["a", "b", "c", "d", "e", "f"], [1, 2, 3, 4, 5, 9])
    values = rng.normal(0.3, 1, len(patients))
    means = np.array([values[patients == p].mean() for p in "abcdef"])
    expected = stats.ttest_1samp(means, 0)
    result = over_patients(values, patients)
    assert result.patients == 6
    assert result.value == pytest.approx(means.mean())
    assert result.p == pytest.approx(expected.pvalue)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval()))
    wide = over_patients(values, patients, level=0.99).interval
    assert wide == pytest.approx(tuple(expected.confidence_interval(0.99)))


def test_a_patient_without_a_value_is_no_patient() -> None:
    values = [np.nan, 2.0, np.nan, np.nan, 4.0]
    result = over_patients(values, ["a", "a", "b", "b", "c"])
    assert (result.patients, result.value) == (2, 3)
    alone = over_patients(values[:4], ["a", "a", "b", "b"])
    assert (alone.patients, alone.value, alone.interval, alone.p) == (1, 2, None, None)
    nobody = over_patients([np.nan] * 3, ["a", "a", "b"])
    assert (nobody.patients, nobody.interval, nobody.p) == (0, None, None)
    assert np.isnan(nobody.value)
    assert over_patients([1.0, 1.0], ["a", "b"]).p is None


def test_numbers_that_hardly_differ_give_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    values = 0.5 + 1e-16 * np.arange(8)
    patients = np.arange(8)
    assert by_grade(values, patients % 2, patients).means == pytest.approx((0.5, 0.5))
    assert over_patients(values, patients).value == pytest.approx(0.5)
    assert [str(warning.message) for warning in recwarn] == []
