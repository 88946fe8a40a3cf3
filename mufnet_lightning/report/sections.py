"""What the page shows, section by section: all that its template knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mufnet_lightning.explain.summary import Origin
from mufnet_lightning.report.flow import Flow
from mufnet_lightning.report.gather import StudyFacts
from mufnet_lightning.report.tables import TableOne
from mufnet_lightning.report.tripod import Item
from mufnet_lightning.study.table_two import Comparison
from mufnet_lightning.vocabulary import Level


@dataclass(frozen=True)
class Methods:
    """How it was done.

    Attributes:
        boxes: whether the crops were cut along boxes.
        margin: context around a box, as a share of its side.
        protocols: how the patients were split, in sentences.
        usual_encoder: whether all arms have an encoder of timm.
        usual_balance: whether sampler and loss of all arms are ours, and even out the classes.
        optimistic: titles of the arms whose checkpoint was selected on the test set.
        swept: titles of the arms whose settings a sweep chose.
        unselected: of those whose weights nobody selected: of the last epoch, or a mean.
        pooled: whether scores of an arm are pooled out of folds.
        settings, runs, environments: see `report.settings`.
    """

    boxes: bool
    margin: float
    protocols: Sequence[str]
    usual_encoder: bool
    usual_balance: bool
    optimistic: Sequence[str]
    swept: Sequence[str]
    unselected: Sequence[str]
    pooled: bool
    settings: pd.DataFrame
    runs: pd.DataFrame
    environments: pd.DataFrame


@dataclass(frozen=True)
class Participants:
    """Who they are, see `report.tables` and `report.flow`; `parts` by the arms that share them,
    `between_parts` who is tested beside who is not.
    """

    centres: pd.DataFrame
    scanners: pd.DataFrame
    flow: Flow
    parts: Mapping[str, pd.DataFrame]
    table_one: TableOne
    between_parts: pd.DataFrame


@dataclass(frozen=True)
class ComparedLevel:
    """Table 2 over patients or over images, and its pictures as data addresses."""

    level: Level
    comparison: Comparison
    roc: str
    confusion: str


@dataclass(frozen=True)
class ArmSection:
    """One arm: its folds (None where it is no cross-validation), and pictures by caption."""

    title: str
    folds: pd.DataFrame | None
    pictures: Mapping[str, str]


@dataclass(frozen=True)
class ExplainedPart:
    """Where an arm's network looks.

    Attributes:
        title: of the arm.
        label: of the options.
        origin, verdicts: of the numbers.
        frames: the numbers as tables, by caption.
        fold: whose network is shown.
        panels: data address of the chosen patients; None where there are none.
    """

    title: str
    label: str
    origin: Origin
    verdicts: Sequence[str]
    frames: Mapping[str, pd.DataFrame]
    fold: int
    panels: str | None


@dataclass(frozen=True)
class Performance:
    """What came of the arms.

    Attributes:
        levels: the arms side by side; empty where they cannot be compared.
        refused: why they cannot.
        headline: each arm's AUC, in a sentence, and what is known of their differences.
        ceilings, centres, calibration, recalibration, weights, external: see `report.tables`.
    """

    levels: Sequence[ComparedLevel]
    refused: str
    headline: Sequence[str]
    ceilings: pd.DataFrame
    centres: pd.DataFrame | None
    calibration: pd.DataFrame
    recalibration: pd.DataFrame
    weights: pd.DataFrame
    external: pd.DataFrame


@dataclass(frozen=True)
class Page:
    """All that the template shows.

    Attributes:
        facts: of the study.
        version, written: of this software, and when.
        methods, participants, performance, arms, explained: the sections.
        broken: runs that broke off.
        care: what must be read with care, the weightiest first.
        checklist: of TRIPOD+AI.
    """

    facts: StudyFacts
    version: str
    written: str
    methods: Methods
    participants: Participants
    performance: Performance
    arms: Sequence[ArmSection]
    explained: Sequence[ExplainedPart]
    broken: pd.DataFrame
    care: Sequence[str]
    checklist: Sequence[Item]
