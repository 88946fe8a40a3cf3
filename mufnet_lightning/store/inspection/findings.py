"""What a look at a cohort or a store gives: findings, and what a page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from mufnet_lightning.store.inspection.alignment import Offset
from mufnet_lightning.store.inspection.look import CropLook, DrawnFrame
from mufnet_lightning.store.twins import Twins

Severity = Literal["fault", "doubt", "fact"]
Section = Literal["tables", "patients", "sites", "boxes", "frames", "panes", "twins", "odd"]


@dataclass(frozen=True)
class Finding:
    """One thing that was seen.

    Attributes:
        severity: `fault` where it spoils a study, `doubt` where somebody has to look, else `fact`.
        section: of the page, where more of it is.
        sentence: without a full stop.
    """

    severity: Severity
    section: Section
    sentence: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.sentence}"


@dataclass(frozen=True)
class SiteTable:
    """Whether the centre or the scanner tells the grade; patients are counted.

    Attributes:
        column: `center` or `scanner`.
        counts: a row a site: its name, and the patients of low and of high grade.
        v: Cramér's V, 0 to 1; None where there is one site or one class alone.
        test, p: name and p of the test; None as for `v`.
        one_class: sites whose patients are all of one class.
    """

    column: str
    counts: pd.DataFrame
    v: float | None = None
    test: str | None = None
    p: float | None = None
    one_class: tuple[str, ...] = ()


@dataclass(frozen=True)
class GradeAuc:
    """How well one number of a patient tells high from low grade by itself.

    Attributes:
        name: of the number.
        auc: of its mean over a patient's images.
        limits: its 95% interval.
    """

    name: str
    auc: float
    limits: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.limits
        return f"AUC of {self.name} {self.auc:.3f} (95% interval {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class SameFile:
    """Files of two patients that are the same, byte for byte.

    Attributes:
        patients: ids.
        files: as the table names them.
        two_grades: whether one patient is of low and one of high grade.
    """

    patients: tuple[str, str]
    files: tuple[str, str]
    two_grades: bool


@dataclass(frozen=True)
class ShownClip:
    """A clip with some frames drawn, and both panes of one under a grid."""

    patient: str
    clip: str
    frames: Sequence[DrawnFrame]
    grid: bytes = b""


@dataclass(frozen=True)
class DoubtedClip:
    """A clip whose panes, or boxes, may not lie on the same tissue.

    Attributes:
        patient, clip: ids.
        reason: a sentence.
        offset: by the outlines, where that is the reason.
        grid: both panes under one grid, as JPEG.
    """

    patient: str
    clip: str
    reason: str
    offset: Offset | None
    grid: bytes


@dataclass(frozen=True)
class Inspection:
    """All that was seen. The findings of one severity stand in the order of the page.

    Attributes:
        path: of the cohort folder or the store.
        is_store: which of them it is.
        findings: the faults first.
        manifest: a row a pair of which a crop could be read, as a store's.
        scanners: by clip.
        crops: by the file name of each crop that could be read.
        sites: centre and scanner, as far as they are known.
        sizes: what tells the grade by itself.
        twins: patients who look alike, those of two grades first.
        same_files: of two patients.
        shown: clips with frames drawn.
        clips: how many there are.
        pane_areas: pixels of a pane, by clip.
        with_frames: whether whole frames and panes may be shown.
        doubted: clips whose panes or boxes are doubted.
        pictures: JPEG by the file name of each crop that a page shows.
        contact: pair ids of the contact sheet, in the order of patients.
    """

    path: Path
    is_store: bool
    findings: Sequence[Finding]
    manifest: pd.DataFrame
    scanners: Mapping[str, str] = field(default_factory=dict)
    crops: Mapping[str, CropLook] = field(default_factory=dict)
    sites: Sequence[SiteTable] = ()
    sizes: Sequence[GradeAuc] = ()
    twins: Sequence[Twins] = ()
    same_files: Sequence[SameFile] = ()
    shown: Sequence[ShownClip] = ()
    clips: int = 0
    pane_areas: Mapping[str, int] = field(default_factory=dict)
    with_frames: bool = False
    doubted: Sequence[DoubtedClip] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    contact: Sequence[str] = ()

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def is_spoilt(self) -> bool:
        """Whether a study on it would be spoilt: there is a fault."""
        return bool(self.of("fault"))

    @property
    def patients(self) -> pd.DataFrame:
        """A row a patient with pairs: patient_id, label, grade, center."""
        columns = ["patient_id", "label", "grade", "center"]
        return self.manifest.drop_duplicates("patient_id")[columns].reset_index(drop=True)
