"""The scene's laws: tissue stays where its geometry says, and the tumour in sight."""

from __future__ import annotations

import numpy as np
import pytest

from mufnet_lightning.phantom.scene import Ellipse, draw_scene, sample, two_channels

PANE, LENGTH = 128, 12


def test_an_ellipse_and_the_unit_disc_are_carried_into_each_other() -> None:
    ellipse = Ellipse(complex(30, 50), 20.0, 10.0, 0.4)
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 12))
    np.testing.assert_allclose(ellipse.to_disc(ellipse.from_disc(circle)), circle)
    tip = ellipse.center + 20 * np.exp(0.4j)
    assert ellipse.from_disc(1) == pytest.approx(tip)


@pytest.mark.parametrize("half_angle", [0.54, 0.64])
def test_the_whole_tumour_is_in_the_sector_in_every_frame(half_angle: float) -> None:
    for seed in range(5):
        scene = draw_scene(np.random.default_rng(seed), half_angle, PANE, LENGTH)
        seen = sample(two_channels(scene.scan), scene.moved(scene.outline))
        samples, lines = scene.beams.shape
        assert seen.shape == (LENGTH, len(scene.outline), 2)
        assert (seen > 0).all()
        assert (seen < (lines - 1, samples - 1)).all()


def test_the_beams_and_the_scan_conversion_are_inverse() -> None:
    scene = draw_scene(np.random.default_rng(0), 0.58, PANE, LENGTH)
    inner = (slice(20, -20), slice(20, -20))
    sampled = sample(two_channels(scene.scan), scene.beams)
    samples, lines = scene.beams.shape
    line, along = np.arange(lines)[None, :], np.arange(samples)[:, None]
    wanted = np.stack(np.broadcast_arrays(line, along), axis=-1)
    np.testing.assert_allclose(sampled[inner], wanted[inner], atol=0.3)


def test_the_outline_is_where_the_depth_inside_the_tumour_is_zero() -> None:
    scene = draw_scene(np.random.default_rng(1), 0.58, PANE, LENGTH)
    assert np.abs(sample(scene.inside, scene.outline[None])).max() < 0.5
    center = scene.tumor.center
    assert scene.inside[round(center.imag), round(center.real)] > 0.8 * scene.tumor.short


def test_masks_are_shares_of_a_pane() -> None:
    scene = draw_scene(np.random.default_rng(2), 0.58, PANE, LENGTH)
    for mask in scene.masks.values():
        assert mask.shape == (PANE, PANE)
        assert 0 <= mask.min() <= mask.max() <= 1
