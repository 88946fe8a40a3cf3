"""The sampler's laws: even classes, equal and disjoint ranks, new epochs, all from the seed."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from mufnet_lightning.data.sampler import ClassBalancedSampler

LABELS = np.array([0] * 900 + [1] * 100)
PATIENTS = np.array(["long"] * 800 + ["short"] * 100 + ["h1"] * 90 + ["h2"] * 10)


def indices(sampler: ClassBalancedSampler) -> np.ndarray:
    return np.array([draw.image for draw in sampler])


def many(**options: Any) -> np.ndarray:
    sampler = ClassBalancedSampler(LABELS, PATIENTS, **options)
    drawn = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        drawn.append(indices(sampler))
    return np.concatenate(drawn)


def test_classes_are_drawn_evenly_and_images_evenly_within_a_class() -> None:
    drawn = many()
    assert binomtest(int((LABELS[drawn] == 1).sum()), len(drawn)).pvalue > 1e-3
    assert chisquare(np.bincount(drawn, minlength=1000)[:900]).pvalue > 1e-3
    assert chisquare(np.bincount(drawn, minlength=1000)[900:]).pvalue > 1e-3


def test_patient_balanced_draws_a_short_clips_patient_as_often_as_a_long_ones() -> None:
    drawn = many(patient_balanced=True)
    counts = [(PATIENTS[drawn] == p).sum() for p in ("long", "short", "h1", "h2")]
    assert chisquare(counts).pvalue > 1e-3


def test_without_it_a_long_clip_weighs_more() -> None:
    drawn = many()
    assert (PATIENTS[drawn] == "long").sum() > 6 * (PATIENTS[drawn] == "short").sum()


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    sampler = ClassBalancedSampler(LABELS, seed=3)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    assert first == list(ClassBalancedSampler(LABELS, seed=3))
    assert first != list(ClassBalancedSampler(LABELS, seed=4))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_share_the_stream_of_one_process(world: int) -> None:
    shares = [list(ClassBalancedSampler(LABELS, num_replicas=world, rank=r)) for r in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert all(len(ClassBalancedSampler(LABELS, num_replicas=world, rank=0)) == len(s) for s in shares)
    together = [draw for step in zip(*shares, strict=True) for draw in step]
    alone = list(ClassBalancedSampler(LABELS))
    assert together[: len(alone)] == alone


def test_every_draw_has_a_seed_of_its_own() -> None:
    seeds = [draw.seed for draw in ClassBalancedSampler(LABELS)]
    assert len(set(seeds)) == len(seeds)


def test_one_class_or_no_patients_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        ClassBalancedSampler(np.zeros(5))
    with pytest.raises(ValueError, match="needs the patient"):
        ClassBalancedSampler(LABELS, patient_balanced=True)
