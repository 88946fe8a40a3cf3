"""The page of a look at a cohort or a store: one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from mufnet_lightning import __version__
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.text import p_text
from mufnet_lightning.report.inspection_tables import (
    box_sizes,
    centre_by_scanner,
    class_counts,
    crop_sizes,
    pairs_of_patients,
    phase_counts,
    size_figure,
)
from mufnet_lightning.store.contradictions import two_grades
from mufnet_lightning.store.inspection.findings import Inspection, SiteTable
from mufnet_lightning.store.inspection.numbers import per_patient
from mufnet_lightning.system.files import write_atomic
from mufnet_lightning.system.pages import page_templates
from mufnet_lightning.vocabulary import CLASS_NAMES, MODALITIES, MODALITY_NAMES, PATHS

SITE_NAMES = {"center": "Centre", "scanner": "Scanner"}


@dataclass(frozen=True)
class ShownCrop:
    """A crop on the page.

    Attributes:
        address: its picture.
        of: patient, clip and frame.
        what: what is said below it.
        grade: `low`, `high`, or "" where it is not known.
    """

    address: str
    of: str
    what: str
    grade: str


@dataclass(frozen=True)
class ShownTwins:
    """Two patients who look alike, side by side."""

    one: ShownCrop
    other: ShownCrop
    similarity: float
    two_grades: bool


@dataclass(frozen=True)
class ShownPair:
    """A pair on the contact sheet; the address of a crop that is missing is ""."""

    patient: str
    grade: str
    addresses: tuple[str, str]


@dataclass(frozen=True)
class ShownSite:
    """A table of centres or scanners, and what is said of it."""

    title: str
    table: pd.DataFrame
    sentence: str


@dataclass(frozen=True)
class InspectionPage:
    """What the page shows beside the inspection itself."""

    inspection: Inspection
    version: str
    written: str
    counts: pd.DataFrame
    phases: pd.DataFrame
    sites: Sequence[ShownSite]
    centre_by_scanner: pd.DataFrame
    pairs: pd.DataFrame
    boxes: pd.DataFrame
    figure: str
    frames: Sequence[tuple[str, Sequence[tuple[str, str]], str]]
    doubted: Sequence[tuple[str, str, str]]
    twins: Sequence[ShownTwins]
    odd: Sequence[ShownCrop]
    odd_count: int
    contact: Sequence[ShownPair]


def write_inspection(inspection: Inspection, out: Path) -> Path:
    """Write the page of an inspection.

    >>> from tempfile import mkdtemp
    >>> from mufnet_lightning.phantom.generate import write_phantom
    >>> from mufnet_lightning.phantom.options import PhantomOptions
    >>> from mufnet_lightning.store.inspection.gather import inspect_path
    >>> folder = Path(mkdtemp())
    >>> few = PhantomOptions(patients=4, high_share=0.5, frames=3, clip_length=6, pane_size=128)
    >>> write_phantom(folder / "cohort", few)  # doctest: +ELLIPSIS
    wrote 4 patients (2 high), ...
    >>> page = write_inspection(inspect_path(folder / "cohort"), folder / "inspect.html")
    >>> "5 folds need 5 of each" in page.read_text(encoding="utf-8")
    True

    Raises:
        InputFault: the file cannot be written.
    """
    if out.is_dir():
        raise InputFault(f"--out {out} is a folder; name a file in it")
    if not out.parent.is_dir():
        raise InputFault(f"--out {out}: there is no folder {out.parent}")
    try:
        write_atomic(out, render_inspection(inspection))
    except OSError as error:
        raise InputFault(f"--out {out} cannot be written: {error.strerror}") from None
    return out


def render_inspection(inspection: Inspection) -> str:
    """The page as HTML; everything that it shows is in it."""
    environment = page_templates("mufnet_lightning.report")
    template = environment.get_template("inspection.html.jinja")
    return template.render(page=inspection_page(inspection), seen=inspection)


def inspection_page(inspection: Inspection) -> InspectionPage:
    """What the page shows."""
    where = _crops_of(inspection.manifest)
    odd = {name: crop.note.looks for name, crop in inspection.crops.items() if crop.note.looks}
    sizes = crop_sizes(inspection)
    return InspectionPage(
        inspection,
        __version__,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        class_counts(inspection),
        phase_counts(inspection.manifest),
        [_site(table) for table in inspection.sites],
        centre_by_scanner(inspection),
        pairs_of_patients(inspection.manifest),
        box_sizes(sizes),
        size_figure(sizes, per_patient(inspection.manifest)),
        [
            (
                f"patient {clip.patient}, clip {clip.clip}",
                [(_address(frame.jpeg), f"frame {frame.frame}") for frame in clip.frames],
                _address(clip.grid),
            )
            for clip in inspection.shown
        ],
        [
            (f"patient {one.patient}, clip {one.clip}", one.reason, _address(one.grid))
            for one in inspection.doubted
        ],
        [
            ShownTwins(
                _shown(inspection, where, pair.crops[0], ""),
                _shown(inspection, where, pair.crops[1], ""),
                pair.similarity,
                two_grades(pair),
            )
            for pair in inspection.twins
            if all(crop in inspection.pictures for crop in pair.crops)
        ],
        [
            _shown(inspection, where, name, looks)
            for name, looks in odd.items()
            if name in inspection.pictures
        ],
        len(odd),
        _contact(inspection),
    )


def _site(table: SiteTable) -> ShownSite:
    name = SITE_NAMES[table.column]
    counts = table.counts.rename(columns={table.column: name})
    total = counts[list(CLASS_NAMES)].sum(axis=1)
    counts["share of high"] = [f"{100 * share:.0f}%" for share in counts["high"] / total]
    said = ""
    if table.v is not None:
        said = f"Cramér's V {table.v:.2f}" + (
            f"; {table.test}, p {p_text(table.p)}" if table.test else ""
        )
    return ShownSite(f"Patients by {name.lower()} and grade", counts, said)


def _crops_of(manifest: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """By file name of each crop: patient, clip and frame in words, and the class."""
    where = {}
    for row in manifest.to_dict("records"):
        clip = f", clip {row['clip_id']}" if row["clip_id"] else ""
        frame = "" if pd.isna(row["frame"]) else f", frame {row['frame']}"
        for name, column in zip(MODALITIES, PATHS, strict=True):
            if row[column]:
                words = f"patient {row['patient_id']}{clip}{frame}, {MODALITY_NAMES[name]}"
                where[str(row[column]).rpartition("/")[2]] = (words, _class(row["label"]))
    return where


def _shown(
    inspection: Inspection, where: dict[str, tuple[str, str]], name: str, what: str
) -> ShownCrop:
    words, grade = where.get(name, (name, ""))
    return ShownCrop(_address(inspection.pictures[name]), words, what, grade)


def _contact(inspection: Inspection) -> list[ShownPair]:
    rows = inspection.manifest.set_index("pair_id")
    pairs = []
    for pair in inspection.contact:
        row = rows.loc[pair]
        names = [str(row[column]).rpartition("/")[2] for column in PATHS]
        addresses = [_address(inspection.pictures.get(name, b"")) for name in names]
        pairs.append(
            ShownPair(str(row["patient_id"]), _class(row["label"]), (addresses[0], addresses[1]))
        )
    return pairs


def _class(label: object) -> str:
    return "" if pd.isna(label) else CLASS_NAMES[int(label)]  # type: ignore[call-overload]


def _address(jpeg: bytes) -> str:
    """A picture as a data address; "" for none."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
