"""What the headers of a cohort's clips give, and what is odd there, in a sentence for each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.header_film import FILM_RATE
from mufnet_lightning.cohort.measures import mm_per_pixel
from mufnet_lightning.cohort.panes import some
from mufnet_lightning.cohort.regions import is_tissue, near, scale_of, tissue_panes, visible
from mufnet_lightning.vocabulary import PANES

SQUARE = 0.01  # share by which the sides of a pixel may differ
SAME_SCALE = 0.05


def known(clips: pd.DataFrame, headers: Mapping[str, ClipHeader]) -> Iterator[str]:
    """What scale and times are known by, in a sentence each.

    Args:
        clips: clips.csv, checked, with the panes of headers.
        headers: by clip.
    """
    by: Counter[str] = Counter()
    timings: Counter[str] = Counter()
    for clip in _rows(clips):
        header = headers.get(clip["clip_id"])
        panes = [clip[name] for name in PANES if isinstance(clip[name], Pane)]
        if any(mm_per_pixel(clip, pane, header) for pane in panes):
            by["header" if pd.isna(clip["mm_per_pixel"]) else "table"] += 1
        if header is not None and header.timing:
            timings[header.timing] += 1
    if by:
        parts = ", ".join(f"{count:,} by the {source}" for source, count in sorted(by.items()))
        yield f"millimetres a pixel of {by.total():,} of {len(clips):,} clips: {parts}"
    if set(timings) - {FILM_RATE}:
        parts = ", ".join(f"{count:,} by {timing}" for timing, count in timings.most_common())
        yield f"frame times of {timings.total():,} of {len(clips):,} clips: {parts}"


def doubts(
    clips: pd.DataFrame, headers: Mapping[str, ClipHeader], filled: Collection[str]
) -> Iterator[str]:
    """What is odd, each kind in one sentence.

    Args:
        clips: clips.csv, checked, with the panes of headers.
        headers: by clip.
        filled: clips whose panes are of the header.
    """

    def those(odd: Callable[[ClipHeader], bool]) -> list[str]:
        return [clip for clip, header in headers.items() if odd(header)]

    if burned := those(lambda header: header.burned_in is True):
        yield (
            f"text is burned into the pixels of {some(burned)}, as the header has it "
            "(BurnedInAnnotation YES): look that no box holds any; pixels outside the boxes are never "
            "stored"
        )
    if aspects := _aspects(clips, headers):
        yield (
            f"pixels are not square: {'; '.join(aspects)}. Boxes and panes count stored pixels, as the "
            "crops hold them; a training makes every crop a square, whatever the shape of its pixels"
        )
    if turned := those(lambda header: header.rotation != 0):
        angles = sorted({headers[clip].rotation for clip in turned})
        yield (
            f"frames of {some(turned)} are stored turned, by {' or '.join(map(str, angles))} degrees, "
            "and read upright, as players show them: boxes and panes count pixels of upright frames"
        )
    if outside := those(_reaches_outside):
        yield (
            f"of {some(outside)} the header has regions that reach outside the picture (was it made "
            "smaller, or cut?): neither panes nor millimetres are taken from them"
        )
    if moved := [
        clip
        for _, clip, *panes in clips[["clip_id", *PANES]].itertuples()
        if clip in headers and clip not in filled and _disagree(panes, headers[clip])
    ]:
        yield f"of {some(moved)} the panes in clips.csv are not those of the header; the table counts"
    yield from _of_measures(clips, headers)


def _aspects(clips: pd.DataFrame, headers: Mapping[str, ClipHeader]) -> list[str]:
    """`2 clips (A, B) 1.33 times as high as wide`; empty where all pixels are square."""
    kinds: dict[str, list[str]] = {}
    for clip in _rows(clips):
        header = headers.get(clip["clip_id"])
        if header is None:
            continue
        aspect = header.pixel_aspect
        for name in PANES:
            scale = scale_of(clip[name], header) if isinstance(clip[name], Pane) else None
            if scale is not None:
                aspect = scale.y_cm / scale.x_cm  # more exact than a ratio of whole numbers
        kind = "square" if abs(aspect - 1) <= SQUARE else f"{aspect:.2f} times as high as wide"
        kinds.setdefault(kind, []).append(clip["clip_id"])
    square = kinds.pop("square", [])
    if not kinds:
        return []
    parts = [f"{some(ids)} {kind}" for kind, ids in sorted(kinds.items())]
    return [*parts, f"{len(square):,} with square ones"] if square else parts


def _reaches_outside(header: ClipHeader) -> bool:
    return any(is_tissue(region) and visible(region, header) is None for region in header.regions)


def _disagree(panes: Sequence[object], header: ClipHeader) -> bool:
    """Whether a table's pane is none of those in the header, which has as many."""
    given = [pane for pane in panes if isinstance(pane, Pane)]
    regions = tissue_panes(header)
    if len(regions) < len(given):  # one region around both panes, say
        return False
    return not all(any(near(pane, region) for region in regions) for pane in given)


def _of_measures(clips: pd.DataFrame, headers: Mapping[str, ClipHeader]) -> Iterator[str]:
    """Where the table's numbers and the header's differ, or one needs the other."""
    other_scale, timeless = list[str](), list[str]()
    for clip in _rows(clips):
        header = headers.get(clip["clip_id"])
        injection = clip["injection_frame"]
        if not pd.isna(injection) and (header is None or header.time_s(int(injection)) is None):
            timeless.append(clip["clip_id"])
        for name in PANES:
            scale = (
                scale_of(clip[name], header)
                if header is not None and isinstance(clip[name], Pane)
                else None
            )
            if scale is None or pd.isna(clip["mm_per_pixel"]):
                continue
            if abs(clip["mm_per_pixel"] / (10 * scale.x_cm) - 1) > SAME_SCALE:
                other_scale.append(clip["clip_id"])
                break
    if other_scale:
        yield f"of {some(other_scale)} mm_per_pixel is not that of the header; the table counts"
    if timeless:
        yield (
            f"of {some(timeless)} the injection_frame gives no time, as the header has none for that "
            "frame; give start_s"
        )


def _rows(clips: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in clips.to_dict("records"):
        yield {str(name): cell for name, cell in row.items()}
