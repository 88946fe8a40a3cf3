"""Laws of boxes and panes: both crops show the same tissue."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mufnet_lightning.cohort.geometry import Box, Pane, box_outward, carry, crop, expand, parse_pane

sides = st.integers(1, 200)
corners = st.integers(0, 300)
panes = st.builds(Pane, corners, corners, sides, sides)
margins = st.floats(0, 3)


@st.composite
def boxes_in_panes(draw: st.DrawFn) -> tuple[Box, Pane]:
    pane = draw(panes)
    width, height = draw(st.integers(1, pane.width)), draw(st.integers(1, pane.height))
    x = draw(st.integers(pane.x, pane.right - width))
    y = draw(st.integers(pane.y, pane.bottom - height))
    return Box(x, y, width, height), pane


@given(boxes_in_panes(), corners, corners)
def test_between_panes_of_one_size_a_box_moves_by_their_offset(
    placed: tuple[Box, Pane], x: int, y: int
) -> None:
    box, source = placed
    target = Pane(x, y, source.width, source.height)
    assert carry(box, source, target) == Box(
        box.x - source.x + x, box.y - source.y + y, box.width, box.height
    )
    assert carry(carry(box, source, target), target, source) == box


@given(boxes_in_panes(), panes)
def test_a_box_inside_the_source_lands_inside_the_target(
    placed: tuple[Box, Pane], target: Pane
) -> None:
    box, source = placed
    assert target.contains(carry(box, source, target))
    assert carry(source, source, target) == Box(target.x, target.y, target.width, target.height)


@given(boxes_in_panes(), st.integers(1, 4))
def test_between_panes_of_different_size_a_box_is_scaled(placed: tuple[Box, Pane], scale: int) -> None:
    box, source = placed
    target = Pane(7, 5, source.width * scale, source.height * scale)
    carried = carry(box, source, target)
    assert (carried.width, carried.height) == (box.width * scale, box.height * scale)
    assert carry(carried, target, source) == box


@given(boxes_in_panes(), margins)
def test_a_margin_stays_in_the_pane_and_never_shrinks_the_box(
    placed: tuple[Box, Pane], margin: float
) -> None:
    box, pane = placed
    grown = expand(box, margin, pane)
    assert pane.contains(grown)
    assert grown.contains(box)
    assert expand(box, 0.0, pane) == box


def test_a_margin_is_a_share_of_the_side_on_each_side() -> None:
    assert expand(Box(40, 50, 20, 10), 0.5, Pane(0, 0, 100, 100)) == Box(30, 45, 40, 20)
    assert expand(Box(5, 50, 20, 10), 0.5, Pane(0, 0, 100, 100)) == Box(0, 45, 35, 20)


@given(boxes_in_panes(), margins)
def test_both_crops_show_the_same_tissue(placed: tuple[Box, Pane], margin: float) -> None:
    box, source = placed
    target = Pane(source.right + 3, source.y + 2, source.width, source.height)
    tissue = np.arange(source.width * source.height).reshape(source.height, source.width, 1)
    frame = np.full((target.bottom, target.right, 1), -1)
    for pane in (source, target):
        frame[pane.y : pane.bottom, pane.x : pane.right] = tissue
    grown = expand(box, margin, source)
    np.testing.assert_array_equal(crop(frame, grown), crop(frame, carry(grown, source, target)))


@given(*[st.floats(0, 500, allow_nan=False)] * 2, *[st.floats(0.01, 500, allow_nan=False)] * 2)
def test_fractions_are_rounded_outward(x: float, y: float, width: float, height: float) -> None:
    box = box_outward(x, y, width, height)
    assert box.x <= x + 1e-6
    assert x + width <= box.right + 1e-6
    assert box.y <= y + 1e-6
    assert y + height <= box.bottom + 1e-6
    assert box.width <= math.ceil(width) + 1
    assert box.height <= math.ceil(height) + 1


def test_a_rounding_error_costs_no_pixel() -> None:
    assert box_outward(0.1, 0, 29.9, 3.0000000001) == Box(0, 0, 30, 3)


@given(panes)
def test_a_pane_reads_what_it_writes(pane: Pane) -> None:
    assert parse_pane(str(pane)) == pane


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,10.5,10", "-1,0,9,9", "0,0,0,9", "0,0,9,-9"]
)
def test_what_is_no_pane_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_pane(text)


def test_a_crop_never_reaches_outside_the_frame() -> None:
    frame = np.zeros((10, 20, 3), np.uint8)
    assert crop(frame, Box(18, 8, 2, 2)).shape == (2, 2, 3)
    with pytest.raises(ValueError, match="outside"):
        crop(frame, Box(18, 8, 3, 2))


def test_hand_drawn_panes_may_differ_a_little_in_shape() -> None:
    assert Pane(0, 0, 400, 300).same_shape(Pane(400, 0, 402, 299))
    assert Pane(0, 0, 400, 300).same_shape(Pane(400, 0, 200, 150))
    assert not Pane(0, 0, 400, 300).same_shape(Pane(400, 0, 300, 300))
