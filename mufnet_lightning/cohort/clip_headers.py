"""The headers of a cohort's clips, and what follows from them: panes, doubts, sections that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.faults import Report
from mufnet_lightning.cohort.geometry import Box, Pane
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.header_doubts import doubts, known
from mufnet_lightning.cohort.headers import read_headers
from mufnet_lightning.cohort.panes import EMPTY, WRITE, HeaderPanes, header_panes, some
from mufnet_lightning.cohort.paths import located
from mufnet_lightning.cohort.regions import (
    SAME_VIEW,
    Scale,
    scale_of,
    shown_on_both,
    view_difference,
)
from mufnet_lightning.cohort.schemas import numbers
from mufnet_lightning.vocabulary import MODALITIES, PANES, Contrast

OUTLINED = 0.1  # share of a pane: by hand, panes are outlined less exactly than `SAME_VIEW`


@dataclass(frozen=True)
class ClipHeaders:
    """The headers of the clips that have boxes, and what they say.

    Attributes:
        of: header by clip; stills, and what cannot be read, have none.
        panes: by modality, by clip: of the clips whose table gives none.
        views: of clips whose panes show different sections, scale by modality: a box is carried
            by centimetres there.
        said: sentences of what was read.
        warnings: sentences of what is odd.
    """

    of: Mapping[str, ClipHeader] = field(default_factory=dict)
    panes: Mapping[str, Mapping[str, Pane]] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, Scale]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def renamed(self, name: Callable[[str], str]) -> ClipHeaders:
        """The same under other ids of the clips."""
        return replace(
            self,
            of={name(clip): header for clip, header in self.of.items()},
            panes={name(clip): panes for clip, panes in self.panes.items()},
            views={name(clip): views for clip, views in self.views.items()},
        )


def with_headers(
    clips: pd.DataFrame,
    texts: Mapping[str, pd.DataFrame | None],
    roots: Sequence[Path],
    contrast: Contrast,
    report: Report,
) -> tuple[pd.DataFrame, ClipHeaders]:
    """Read the headers of the clips that have boxes, and take panes from them where the table has none.

    Args:
        clips: clips.csv, checked.
        texts: the tables as text, see `read.check_cohort`.
        roots: where paths start, see `paths.located`.
        contrast: which pane of two shows it, where the header names them.
        report: takes faults.

    Returns:
        The clips with those panes, and the headers.
    """
    frames = _frames(texts["boxes.csv"])
    good = report.good_rows("clips.csv", clips)
    if frames is not None:
        good = good[good["clip_id"].isin(frames)]
    paths = zip(good["clip_id"], good["path"], strict=True)
    headers = read_headers({clip: located(roots, path) for clip, path in paths})
    without = good[good[list(PANES)].isna().all(axis=1)]
    text = texts["clips.csv"]
    columns = set() if text is None else {str(name).lower().replace(" ", "_") for name in text}
    silent = not any(header.regions for header in headers.values())
    if len(without) and silent and not columns & {*PANES}:
        report.add("clips.csv", None, "has no column bmode_pane or ceus_pane, expected at least one")
        without = without[:0]
    of_headers = header_panes(without, headers, frames or {}, roots, contrast, report)
    for modality in MODALITIES:
        filled = [
            of_headers.of.get(clip, {}).get(modality) or pane
            for clip, pane in clips[["clip_id", f"{modality}_pane"]].itertuples(index=False)
        ]
        clips[f"{modality}_pane"] = pd.Series(filled, index=clips.index, dtype=object)
    used = clips.loc[good.index]
    views, said, warnings = _views(used, headers, of_headers, report)
    return clips, ClipHeaders(
        of=headers,
        panes=of_headers.of,
        views=views,
        said=(*of_headers.said, *said, *known(used, headers)),
        warnings=(*of_headers.warnings, *warnings, *doubts(used, headers, of_headers.of)),
    )


def check_views(boxes: pd.DataFrame, clips: pd.DataFrame, headers: ClipHeaders, report: Report) -> None:
    """A box that is to be carried by centimetres lies on what both panes show."""
    place = ["clip_id", "frame", "lesion_id", "pane"]
    drawn = set(boxes[place].itertuples(index=False, name=None))
    panes = {
        row["clip_id"]: {name: row[f"{name}_pane"] for name in MODALITIES}
        for _, row in clips.iterrows()
        if row["clip_id"] in headers.views
    }
    for row, clip, frame, lesion, pane, *sides in boxes[
        [*place, "x", "y", "width", "height"]
    ].itertuples():
        if clip not in panes or not pane:
            continue
        scales = headers.views[clip]
        for other in MODALITIES:
            if other == pane or (clip, frame, lesion, other) in drawn:
                continue
            own = panes[clip]
            part = shown_on_both(own[pane], scales[pane], own[other], scales[other])
            box = Box(*(int(side) for side in sides))
            if part is None or not part.contains(box):
                report.add(
                    "boxes.csv",
                    row,
                    f"the box {box} reaches outside what the {other} pane shows of the {pane} pane "
                    f"({part or 'nothing'}), expected a box on each pane",
                )


def _frames(boxes: pd.DataFrame | None) -> dict[str, list[int]] | None:
    """Annotated frames by clip, ascending; None where the table does not say."""
    if boxes is None or not {"clip_id", "frame"} <= set(boxes):
        return None
    frames: dict[str, set[int]] = {}
    for clip, frame in zip(boxes["clip_id"], numbers(boxes["frame"]), strict=True):
        of_clip = frames.setdefault(clip, set())
        if frame >= 0 and frame % 1 == 0:
            of_clip.add(int(frame))
    return {clip: sorted(of_clip) for clip, of_clip in frames.items()}


def _views(
    clips: pd.DataFrame, headers: Mapping[str, ClipHeader], of_headers: HeaderPanes, report: Report
) -> tuple[dict[str, dict[str, Scale]], list[str], list[str]]:
    """Clips whose panes show different sections: (scales to carry by, what is said, warnings)."""
    views: dict[str, dict[str, Scale]] = {}
    apart = []
    for row, clip, *panes in clips[["clip_id", *PANES]].itertuples():
        header = headers.get(clip)
        if header is None or not all(isinstance(pane, Pane) for pane in panes):
            continue
        scales = [scale_of(pane, header) for pane in panes]
        bmode, ceus = scales
        if bmode is None or ceus is None:
            continue
        difference = view_difference(panes[0], bmode, panes[1], ceus)
        if clip not in of_headers.of:
            if difference > OUTLINED:
                apart.append(clip)
        elif difference > SAME_VIEW:
            if bmode.origin is None or ceus.origin is None:
                report.add(
                    "clips.csv",
                    row,
                    f"{EMPTY}: those that its header names show different sections "
                    f"({_size(panes[0], bmode)} and {_size(panes[1], ceus)}) and it does not say "
                    f"where; {WRITE} that show one section",
                )
            else:
                views[clip] = {"bmode": bmode, "ceus": ceus}
    said, warnings = [], []
    if views:
        said.append(
            f"{some([*views])}: the panes show different sections; boxes are carried by the header's "
            "centimetres"
        )
    if apart:
        warnings.append(
            f"of {some(apart)} the panes in clips.csv show different sections, as the header has their "
            "scale: a box that is carried in proportion lands on other tissue. Leave both panes empty "
            "to take them from the header, or give a box on each"
        )
    return views, said, warnings


def _size(pane: Pane, scale: Scale) -> str:
    return f"{pane.width * scale.x_cm:.1f} × {pane.height * scale.y_cm:.1f} cm"
