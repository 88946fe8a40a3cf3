"""What a scanner shows: both hidden numbers in every frame, each pane in a place of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mufnet_lightning.phantom.scene import Scene, draw_scene
from mufnet_lightning.phantom.signals import Shown
from mufnet_lightning.phantom.ultrasound import (
    CORTICAL_START,
    SCANNERS,
    Scanner,
    compose,
    contrast_seconds,
    draw_screen,
    render_bmode,
    render_ceus,
)

PANE, LENGTH, FRAMES = 128, 12, 5
SECONDS = contrast_seconds(LENGTH, FRAMES)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(np.random.default_rng(3), SCANNERS[0].half_angle, PANE, LENGTH)


def panes(arm: str, scene: Scene, hidden: float, kind: str) -> list[Any]:
    rng, shown = np.random.default_rng(4), Shown.of(hidden, [kind])
    if arm == "bmode":
        return list(render_bmode(rng, scene, SCANNERS[0], shown))
    return list(render_ceus(rng, scene, SCANNERS[0], shown, SECONDS))


@pytest.mark.parametrize("arm", ["bmode", "ceus"])
def test_the_hidden_number_shows_in_every_frame_that_may_be_annotated(arm: str, scene: Scene) -> None:
    center = scene.moved(np.array([scene.tumor.center], np.complex64))[:, 0]
    half = round(scene.tumor.short * 0.6)
    levels = []
    for hidden in (-3.0, -1.0, 1.0, 3.0):
        images = panes(arm, scene, hidden, "brightness")
        assert len(images) == LENGTH
        levels.append(
            [
                images[frame][
                    round(center[frame].imag) - half : round(center[frame].imag) + half,
                    round(center[frame].real) - half : round(center[frame].real) + half,
                ].mean()
                for frame in np.flatnonzero(SECONDS >= CORTICAL_START)
            ]
        )
    assert (np.diff(levels, axis=0) < -3).all()  # grey levels: darker with each step


@pytest.mark.parametrize("arm", ["bmode", "ceus"])
def test_panes_are_colour_images_and_black_outside_the_sector(arm: str, scene: Scene) -> None:
    for image in panes(arm, scene, 0.0, "texture"):
        assert image.shape == (PANE, PANE, 3)
        assert image.dtype == np.uint8
        assert not image[0, 0].any()
        assert not image[-1, -1].any()
        assert image.any()


def test_the_contrast_arrives_before_the_annotated_frames_where_there_is_room() -> None:
    for length, frames in ((120, 60), (12, 5), (7, 7), (1, 1)):
        seconds = contrast_seconds(length, frames)
        assert seconds.shape == (length,)
        assert (np.diff(seconds) > 0).all()
        assert (seconds >= CORTICAL_START).sum() >= frames
    assert contrast_seconds(120, 60)[0] == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("pane", [128, 320])
@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: scanner.name)
def test_a_frame_holds_both_panes_untouched_and_texts_outside_them(scanner: Scanner, pane: int) -> None:
    screen = draw_screen(scanner, 12.0, pane)
    bmode, ceus = np.full((2, pane, pane, 3), ((1, 2, 3),), np.uint8)
    ceus = ceus + np.uint8(100)
    image = compose(screen, bmode, ceus, 3, SECONDS)
    for (x, y, width, height), wanted in ((screen.bmode, bmode), (screen.ceus, ceus)):
        assert (x % 16, y % 16) == (0, 0)  # a block of the video codec
        assert (image[y : y + height, x : x + width] == wanted).all()
        image[y : y + height, x : x + width] = 0
        assert not screen.background[y : y + height, x : x + width].any()
    assert (screen.ceus[0] < screen.bmode[0]) == scanner.ceus_left
    assert abs(screen.ceus[0] - screen.bmode[0]) >= pane + 16  # no block holds something of both
    assert image.any()
