"""What each kind of signal may tell: its hidden number, and by mean grey or a single frame nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp, spearmanr

from mufnet_lightning.phantom.scene import draw_scene
from mufnet_lightning.phantom.signals import KINDS, Shown, course, double_line, texture
from mufnet_lightning.phantom.ultrasound import (
    CEUS_GRAINS,
    CORTICAL_START,
    SCANNERS,
    render_bmode,
    render_ceus,
)

PANE = 128
LATENTS = (-2.0, 0.0, 2.0)


def test_a_kind_that_is_not_chosen_stays_in_the_middle() -> None:
    for pane, kinds in KINDS.items():
        for kind in kinds:
            shown = vars(Shown.of(1.5, [kind]))
            assert shown.pop(kind) == pytest.approx(1.386, abs=1e-3), pane
            assert set(shown.values()) == {0}
    values = [Shown.of(latent, ["margin"]).margin for latent in np.linspace(-9, 9, 50)]
    assert (np.diff(values) > 0).all()
    assert max(map(abs, values)) < 3


def test_the_bolus_at_any_one_moment_is_the_same_whatever_is_shown() -> None:
    """And two moments are not: a quick tumour forgets sooner where it was."""
    rng, moments = np.random.default_rng(0), np.array([0.0, 0.3, 1.0])
    slow, quick = (
        np.array([course(start, shown, moments) for start in rng.random(20_000)]) for shown in (-2, 2)
    )
    for moment in range(3):
        assert ks_2samp(slow[:, moment], quick[:, moment]).pvalue > 1e-3
    assert np.corrcoef(slow[:, 0], slow[:, 1])[0, 1] > 0.5
    assert np.corrcoef(quick[:, 0], quick[:, 1])[0, 1] < 0


def test_texture_has_the_same_power_in_a_tumour_at_any_grain() -> None:
    inside = draw_scene(np.random.default_rng(3), 0.58, 256, 1).inside
    tumor = inside > 0
    fields = [texture(np.random.default_rng(1), inside, s, CEUS_GRAINS, 1.0) for s in (-3, 0, 3)]
    for field in fields:
        assert field[tumor].mean() == pytest.approx(0, abs=0.12)  # LIFT at most
        assert field[tumor].std() == pytest.approx(1, abs=0.1)  # two fields are not quite independent
    for field in fields[::2]:
        assert field[tumor].std() == pytest.approx(1, abs=0.01)
    rough = [np.abs(np.diff(field, axis=0)).mean() for field in fields]
    assert rough[0] > 1.2 * rough[1] > 1.2 * 1.2 * rough[2]


def test_a_double_line_is_as_dark_as_it_is_bright() -> None:
    line = double_line(np.linspace(-10, 10, 2001), 1.5)
    assert line.mean() == pytest.approx(0, abs=1e-9)
    assert (line.min(), line.max()) == pytest.approx((-1, 1), abs=1e-3)
    assert line[800] > 0  # outside


def grey_of(pane: str, kind: str, patient: int, seconds: np.ndarray[Any, Any]) -> list[np.ndarray]:
    """Grey in the tumour's box in each frame, for each of the latents: (latents), (frames,)."""
    scene = draw_scene(np.random.default_rng([1, patient]), 0.58, PANE, len(seconds))
    scanner = SCANNERS[patient % 3]
    curves = []
    for latent in LATENTS:
        rng, shown = np.random.default_rng([2, patient]), Shown.of(latent, [kind])
        images = (
            render_bmode(rng, scene, scanner, shown)
            if pane == "bmode"
            else render_ceus(rng, scene, scanner, shown, seconds)
        )
        curve = []
        for frame, image in enumerate(images):
            edge = scene.moved(scene.outline)[frame]
            left, right = round(edge.real.min()), round(edge.real.max())
            top, bottom = round(edge.imag.min()), round(edge.imag.max())
            curve.append(image[top:bottom, left:right].mean())
        curves.append(np.array(curve))
    return curves


@pytest.mark.parametrize(
    ("pane", "kind"), [(pane, kind) for pane, kinds in KINDS.items() for kind in kinds]
)
def test_brightness_alone_moves_the_mean_grey(pane: str, kind: str) -> None:
    """By far less than patients differ for any other kind."""
    seconds = np.array([50.0])
    grey = np.array([grey_of(pane, kind, patient, seconds) for patient in range(40)])[:, :, 0]
    if kind == "timing":  # in one frame at all, not only on average
        assert ks_2samp(grey[:, 0], grey[:, 2]).pvalue > 0.01
    between = grey[:, 1].std()
    moved = (grey[:, 2] - grey[:, 0]).mean() / between  # over four standard deviations of b or c
    if kind == "brightness":
        assert moved < -1.5
    else:
        assert abs(moved) < 0.6 if kind == "timing" else abs(moved) < 0.4
    assert between > 6  # grey levels: gain and tumours differ


def test_the_curve_over_time_tells_the_timing_of_the_bolus() -> None:
    seconds = np.linspace(CORTICAL_START, 100, 12)
    tempi: list[float] = []
    for patient in range(12):
        for curve in grey_of("ceus", "timing", patient, seconds):
            share, left = np.linspace(0, 1, 12), []
            rounds = np.linspace(0.3, 2.1, 37)
            for tempo in rounds:
                angle = 2 * np.pi * tempo * share
                waves = np.stack([np.ones(12), np.cos(angle), np.sin(angle)], axis=1)
                fit = waves @ np.linalg.lstsq(waves, curve, rcond=None)[0]
                left.append(((curve - fit) ** 2).sum())
            tempi.append(rounds[np.argmin(left)])
    assert spearmanr(tempi, np.tile(LATENTS, 12)).statistic > 0.7
