"""The boxes that are cut of a frame, and the millimetres and seconds of it: pure geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mufnet_lightning.cohort.geometry import Box, Pane, carry, expand
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.measures import mm_per_pixel, since_injection_s
from mufnet_lightning.cohort.regions import Scale, carry_in_space, shown_on_both


def boxes_to_cut(
    drawn: Mapping[str, Box],
    first: str,
    panes: Mapping[str, Pane],
    margin: float,
    views: Mapping[str, Scale] | None,
) -> dict[str, Box]:
    """What is cut of each pane: its own box if one was drawn there, else the first, carried over.

    With `views`, panes of different sections: a box with its margin is kept to what both show, and
    carried by centimetres.
    """
    wanted = {}
    for name, pane in panes.items():
        source = name if name in drawn else first
        wide = expand(drawn[source], margin, _common(source, panes, drawn, views))
        if views is None or source == name:
            wanted[name] = carry(wide, panes[source], pane)
        else:
            wanted[name] = carry_in_space(wide, views[source], views[name])
    return wanted


def _common(
    source: str, panes: Mapping[str, Pane], drawn: Mapping[str, Box], views: Mapping[str, Scale] | None
) -> Pane:
    """How far a box on the pane `source` may grow."""
    own = panes[source]
    for other, pane in panes.items():
        if views is not None and other not in drawn:
            part = shown_on_both(own, views[source], pane, views[other])
            assert part is not None  # else a fault of the tables
            own = part
    return own


def measures(
    box: Mapping[str, Any],
    clip: Mapping[str, Any],
    panes: Mapping[str, Pane],
    header: ClipHeader | None,
) -> dict[str, float | None]:
    """The manifest's columns of millimetres and seconds; None where nobody says."""
    pixel = mm_per_pixel(clip, panes[box["pane"]], header)
    wide, high = pixel or (None, None)
    time = header.time_s(box["frame"]) if header else None
    since = since_injection_s(clip, box["frame"], header)
    return {
        "mm_per_pixel_x": _rounded(wide, 6),
        "mm_per_pixel_y": _rounded(high, 6),
        "lesion_width_mm": _rounded(wide and box["width"] * wide, 3),
        "lesion_height_mm": _rounded(high and box["height"] * high, 3),
        "time_s": _rounded(time, 6),
        "time_since_injection_s": _rounded(since, 6),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
