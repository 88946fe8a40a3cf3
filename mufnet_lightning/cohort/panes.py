"""The panes of clips whose table gives none, from their headers.

A table that gives a pane is never overruled. Of two panes, which one shows contrast is said by an
option or by its tint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.clips import FILM_ENDINGS, iter_frames
from mufnet_lightning.cohort.dicom_file import is_dicom
from mufnet_lightning.cohort.faults import ClipFault, Report
from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.paths import located
from mufnet_lightning.cohort.regions import beside, is_tissue, tissue_panes
from mufnet_lightning.cohort.series import series_files
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS
from mufnet_lightning.cohort.tint import TintJob, described, tinted_of, tints
from mufnet_lightning.system.processes import in_processes
from mufnet_lightning.vocabulary import MODALITIES, Contrast

EMPTY = "bmode_pane and ceus_pane are both empty, expected at least one"
WRITE = "write bmode_pane and ceus_pane (x,y,width,height)"
WRITE_ONE = "write it into bmode_pane or ceus_pane, or bmode or ceus into a column modality"
ENDED = "cannot be decoded: the process that tried was ended from outside"
FEW_CLIPS = 4  # processes would take longer to start than these to measure
LOOKED_AT = 4  # frames of a clip, to see its tint
HORIZONTAL, VERTICAL = ("left", "right"), ("top", "bottom")


@dataclass(frozen=True)
class HeaderPanes:
    """What headers gave.

    Attributes:
        of: panes by modality, by clip.
        said: sentences of how they came about.
        warnings: of what is odd.
    """

    of: dict[str, dict[str, Pane]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Dual:
    """A clip of two panes, of which one shows contrast."""

    row: int
    clip: str
    panes: tuple[Pane, Pane]
    sides: tuple[str, str]
    named: str  # its path in the table
    path: Path
    frames: tuple[int, ...]


def header_panes(
    clips: pd.DataFrame,
    headers: Mapping[str, ClipHeader],
    frames: Mapping[str, Sequence[int]],
    roots: Sequence[Path],
    contrast: Contrast,
    report: Report,
) -> HeaderPanes:
    """Panes of the clips whose table gives none; a fault where the header does not settle them.

    Args:
        clips: checked rows of clips.csv that lack both panes; a column `modality` is heard where a
            header names one pane.
        headers: by clip; a clip may have none.
        frames: annotated ones, ascending, by clip.
        roots: where paths start, see `paths.located`.
        contrast: which of two panes shows it.
        report: takes the faults.
    """
    panes: dict[str, dict[str, Pane]] = {}
    duals, single = [], Counter[tuple[str, str]]()
    for row, cells in clips.iterrows():
        clip, named = str(cells["clip_id"]), str(cells["path"])
        header = headers.get(clip)
        given = tissue_panes(header) if header is not None else ()
        asked = str(cells.get("modality", "")).strip().lower()
        line = int(str(row))
        if len(given) == 1 and asked in MODALITIES:
            panes[clip] = {asked: given[0]}
            single[str(given[0]), asked] += 1
        elif len(given) == 2 and (given[0].overlaps(given[1]) or not given[0].same_shape(given[1])):
            wrong = "overlap" if given[0].overlaps(given[1]) else "differ in shape"
            both = " and ".join(map(str, given))
            report.add("clips.csv", line, f"{EMPTY}: those that its header names, {both}, {wrong}")
        elif len(given) == 2:
            sides = HORIZONTAL if beside(*given) else VERTICAL
            first, second = sorted(given, key=lambda pane: pane.x if sides == HORIZONTAL else pane.y)
            assert header is not None
            path = located(roots, named)
            # a box behind the last is told when the clip is cut
            there = header.frames or (len(series_files(path)) if path.is_dir() else 1)
            of_clip = tuple(frame for frame in frames.get(clip, ()) if frame < there) or (0,)
            duals.append(_Dual(line, clip, (first, second), sides, named, path, of_clip))
        else:
            reason = _unsettled(located(roots, named), named, header, given, frames.get(clip))
            report.add("clips.csv", line, reason)
    said = [
        f"{count:,} clip{'s' * (count != 1)}: one pane, read from the header ({pane}): {modality}, by "
        "the column modality"
        for (pane, modality), count in single.items()
    ]
    settled = _settle(duals, contrast, report)
    return HeaderPanes(panes | settled.of, (*said, *settled.said), settled.warnings)


def _unsettled(
    path: Path,
    named: str,
    header: ClipHeader | None,
    given: Sequence[Pane],
    frames: Sequence[int] | None,
) -> str:
    """Why the panes of a clip are not known."""
    if len(given) == 1:
        return f"{EMPTY}: its header names one, {given[0]}; {WRITE_ONE}"
    if given:
        return f"{EMPTY}: its header names {len(given)}, {_listed(given)}; {WRITE}"
    if header is not None and header.regions:
        outside = any(is_tissue(region) for region in header.regions)
        why = (
            f"reach outside the picture of {header.width} × {header.height} pixels"
            if outside
            else "show no tissue"
        )
        return f"{EMPTY}: the regions in its header ({_listed(header.regions)}) {why}; {WRITE}"
    if tells_nothing(path):
        return EMPTY
    try:
        next(iter_frames(path, frames or [0]))
    except ClipFault as fault:
        return f"{named} {fault.reason}"
    return f"{EMPTY}: its header names no regions; {WRITE}"


def _settle(duals: Sequence[_Dual], contrast: Contrast, report: Report) -> HeaderPanes:
    """Which of two panes shows contrast."""
    panes: dict[str, dict[str, Pane]] = {}
    layouts, against = Counter[tuple[str, str]](), list[str]()
    for dual, tint in zip(duals, _measured(duals), strict=True):
        by_tint = None if isinstance(tint, str) else tinted_of(*tint)
        if contrast != "tint" and contrast not in dual.sides:
            report.add(
                "clips.csv",
                dual.row,
                f"has the panes {_named(dual)}, of which --contrast {contrast} is none, expected "
                f"{' or '.join(dual.sides)}",
            )
            continue
        if contrast == "tint" and isinstance(tint, str):
            report.add("clips.csv", dual.row, f"{dual.named} {tint}")
            continue
        chosen = by_tint if contrast == "tint" else dual.sides.index(contrast)
        if chosen is None:
            looks = [described(one) for one in tint if not isinstance(one, str)]
            report.add(
                "clips.csv",
                dual.row,
                f"{EMPTY}: its header names two, {_named(dual, looks)}, whose tint does not tell which "
                f"shows contrast; say --contrast {dual.sides[0]} or {dual.sides[1]}, or {WRITE}",
            )
            continue
        if by_tint is not None and by_tint != chosen:
            against.append(dual.clip)
        bmode, ceus = dual.panes[1 - chosen], dual.panes[chosen]
        panes[dual.clip] = {"bmode": bmode, "ceus": ceus}
        layouts[f"bmode {bmode}, ceus {ceus}", dual.sides[chosen]] += 1
    by = "by its tint" if contrast == "tint" else f"by --contrast {contrast}"
    said = tuple(
        f"{count:,} clip{'s' * (count != 1)}: panes read from the header ({layout}), contrast at the "
        f"{side} {by}"
        for (layout, side), count in layouts.items()
    )
    warnings: tuple[str, ...] = ()
    if against:
        warnings = (
            f"of {some(against)} the pane that --contrast {contrast} names is the grey one of two",
        )
    return HeaderPanes(panes, said, warnings)


def tells_nothing(path: Path) -> bool:
    """Whether a clip is a film or a still, whose header never names panes."""
    return not is_dicom(path) and path.suffix.lower() in (*FILM_ENDINGS, *IMAGE_ENDINGS)


def some(clips: Sequence[str]) -> str:
    """`3 clips (A, B, C)`, of many the first five."""
    names = ", ".join(clips[:5]) + (", ..." if len(clips) > 5 else "")
    return f"{len(clips):,} clip{'s' * (len(clips) != 1)} ({names})"


def _measured(duals: Sequence[_Dual]) -> list[tuple[float, ...] | str]:
    jobs = [TintJob(dual.path, _spread(dual.frames), dual.panes) for dual in duals]
    if len(jobs) < FEW_CLIPS:
        return [tints(job) for job in jobs]
    return in_processes(tints, jobs, "looking for contrast", lambda _: ENDED)


def _spread(frames: Sequence[int]) -> tuple[int, ...]:
    """A few frames, from the first to the last."""
    if len(frames) <= LOOKED_AT:
        return tuple(frames)
    return tuple(frames[number * (len(frames) - 1) // (LOOKED_AT - 1)] for number in range(LOOKED_AT))


def _named(dual: _Dual, looks: Sequence[str] = ()) -> str:
    parts = [f"{side} {pane}" for side, pane in zip(dual.sides, dual.panes, strict=True)]
    if looks:
        parts = [f"{part} ({look})" for part, look in zip(parts, looks, strict=True)]
    return " and ".join(parts)


def _listed(rectangles: Sequence[object]) -> str:
    names = "; ".join(map(str, rectangles[:6]))
    return names + ("; ..." if len(rectangles) > 6 else "")
