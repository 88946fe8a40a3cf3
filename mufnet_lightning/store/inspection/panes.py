"""What is said of panes and boxes: of a clip alone, and of all clips with the same panes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mufnet_lightning.cohort.geometry import Box, Pane, carry
from mufnet_lightning.store.inspection.alignment import SIDE, STEP, is_off, tissue_offset
from mufnet_lightning.store.inspection.findings import DoubtedClip, Finding
from mufnet_lightning.store.inspection.look import ClipAlignment
from mufnet_lightning.vocabulary import MODALITIES, MODALITY_NAMES, PANES

SPOILT_SHARE, SPOILT_OFF = 0.5, 0.05
"""Of the clips that tell, more than so many off by so much of the pane's side: a fault."""
INSIDE = 0.7
"""Of the boxes of a clip, on the mean: a smaller part inside the sector is doubted."""
TISSUE_PATIENTS, TISSUE_OFF = 5, 0.045
"""Patients with the same panes that tell by their tissue, and the share of the side it may be off."""
APART, APART_FRAMES = 0.05, 3
"""Of the pane's side: the boxes on both panes of a frame may lie so far apart; and how many frames."""
SHOWN = 5


@dataclass(frozen=True)
class PanedClip:
    """A clip with both panes.

    Attributes:
        patient, clip: ids.
        panes: by modality.
        alignment: what was measured.
        apart: by how much of the pane's side boxes that were drawn on both panes lie apart, median over
            its frames; None where fewer than `APART_FRAMES` have both.
    """

    patient: str
    clip: str
    panes: Mapping[str, Pane]
    alignment: ClipAlignment
    apart: float | None = None


def boxes_apart(boxes: pd.DataFrame, panes: Mapping[str, Pane]) -> float | None:
    """How far the boxes on both panes of a clip lie apart once one is carried over.

    Args:
        boxes: of one clip, as `Cohort.boxes`.
        panes: of the clip.

    Returns:
        The median over frames, as a share of the pane's side; None where too few frames have both.
    """
    distances = []
    for _, of_frame in boxes.groupby("frame"):
        drawn = {
            row["pane"]: Box(int(row["x"]), int(row["y"]), int(row["width"]), int(row["height"]))
            for row in of_frame.to_dict("records")
        }
        if set(drawn) == set(MODALITIES):
            pane = panes["bmode"]
            one, other = drawn["bmode"], carry(drawn["ceus"], panes["ceus"], pane)
            right = (one.x + one.right - other.x - other.right) / 2 / pane.width
            down = (one.y + one.bottom - other.y - other.bottom) / 2 / pane.height
            distances.append(np.hypot(right, down))
    return float(np.median(distances)) if len(distances) >= APART_FRAMES else None


def doubted_clips(clips: Sequence[PanedClip], pictures: bool) -> list[DoubtedClip]:
    """Clips whose panes or boxes may not show the same tissue, with the reason.

    Args:
        clips: those with two panes.
        pictures: with their panes under a grid.
    """
    doubted = []
    for one in clips:
        offset, reasons = one.alignment.offset, []
        if offset is not None and is_off(offset):
            reasons.append(
                f"the two sectors lie on each other where ceus_pane begins "
                f"{_elsewhere(offset.pixels(one.panes['ceus']))} "
                f"(overlap {offset.overlap:.2f}, as the table has it {offset.before:.2f})"
            )
        for name, share in one.alignment.inside.items():
            if share < INSIDE:
                reasons.append(
                    f"{100 * share:.0f}% of the boxes lie inside the {MODALITY_NAMES[name]} sector"
                )
        if one.apart is not None and one.apart > APART:
            reasons.append(f"boxes drawn on both panes lie {100 * one.apart:.0f}% of the pane apart")
        if reasons:
            grid = one.alignment.grid if pictures else b""
            doubted.append(DoubtedClip(one.patient, one.clip, "; ".join(reasons), offset, grid))
    return doubted


def of_the_panes(clips: Sequence[PanedClip], doubted: Sequence[DoubtedClip]) -> list[Finding]:
    """What is said of all clips."""
    findings = []
    telling = [one.alignment.offset for one in clips if one.alignment.offset is not None]
    if doubted:
        far = [offset for offset in telling if is_off(offset) and offset.size >= SPOILT_OFF]
        spoilt = len(far) > SPOILT_SHARE * len(telling)
        named = "; ".join(f"clip {one.clip}: {one.reason}" for one in doubted[:SHOWN])
        more = f"; and {len(doubted) - SHOWN:,} more" if len(doubted) > SHOWN else ""
        findings.append(
            Finding(
                "fault" if spoilt else "doubt",
                "panes",
                f"{len(doubted):,} of {len(clips):,} clips may not show the same tissue in both panes: "
                f"{named}{more}",
            )
        )
    findings += _of_the_tissue(clips, {one.clip for one in doubted})
    if clips:
        findings.append(
            Finding(
                "fact",
                "panes",
                f"the outlines of both sectors could be compared in {len(telling):,} of {len(clips):,} "
                "clips with two panes",
            )
        )
    return findings


def _of_the_tissue(clips: Sequence[PanedClip], doubted: set[str]) -> list[Finding]:
    """Groups of clips with the same panes whose tissue lies elsewhere in the other pane."""
    groups: dict[tuple[Pane, ...], list[PanedClip]] = {}
    for one in clips:
        if one.alignment.tissue is not None and one.clip not in doubted:
            groups.setdefault(tuple(one.panes[name] for name in MODALITIES), []).append(one)
    findings = []
    for panes, own in groups.items():
        maps = [one.alignment.tissue for one in own if one.alignment.tissue is not None]
        if len({one.patient for one in own}) < TISSUE_PATIENTS:
            continue
        whole, halves = tissue_offset(maps), [tissue_offset(maps[half::2]) for half in (0, 1)]
        agree = all(
            np.hypot(half.right - whole.right, half.down - whole.down) <= 1.5 * STEP / SIDE
            for half in halves
        )
        if agree and whole.size > TISSUE_OFF:
            findings.append(
                Finding(
                    "doubt",
                    "panes",
                    f"in {len(own):,} clips with {PANES[0]} {panes[0]} and {PANES[1]} {panes[1]} the "
                    f"edges of tissue lie on each other where ceus_pane begins "
                    f"{_elsewhere(whole.pixels(panes[1]))}: "
                    + ", ".join(one.clip for one in own[:SHOWN])
                    + (", ..." if len(own) > SHOWN else ""),
                )
            )
    return findings


def _elsewhere(pixels: tuple[int, int]) -> str:
    """Where the CEUS pane should begin, as seen from where the table has it."""
    ways = ((pixels[0], "right", "left"), (pixels[1], "down", "up"))
    said = [f"{abs(by)} px further {forth if by > 0 else back}" for by, forth, back in ways if by]
    return " and ".join(said)
