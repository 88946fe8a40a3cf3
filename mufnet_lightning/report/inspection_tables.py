"""The tables and the figure of a look at a cohort or a store."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mufnet_lightning.evaluation.figures import figure_png
from mufnet_lightning.store.inspection.findings import Inspection
from mufnet_lightning.store.inspection.numbers import per_patient
from mufnet_lightning.vocabulary import CLASS_NAMES, MODALITIES, MODALITY_NAMES, PATHS

COLOURS = ("#3b6fb6", "#c4472b")
"""Of low and high grade, in figures and beside pictures."""
DPI = 120
MOST_POINTS = 3_000
"""In a figure."""


def class_counts(inspection: Inspection) -> pd.DataFrame:
    """Patients, clips and pairs of each class and grade."""
    manifest = inspection.manifest
    rows = []
    for name, own in _by_class(manifest):
        row = {"": name, "patients": own["patient_id"].nunique()}
        if (own["clip_id"] != "").any():
            row["clips"] = (
                own.loc[own["clip_id"] != "", ["patient_id", "clip_id"]].drop_duplicates().shape[0]
            )
        row["pairs"] = len(own)
        row["with both pictures"] = int((own[[*PATHS]] != "").all(axis=1).sum())
        for grade in (1, 2, 3, 4):
            if manifest["grade"].notna().any():
                row[f"patients of grade {grade}"] = own.loc[
                    own["grade"] == grade, "patient_id"
                ].nunique()
        rows.append(row)
    return _whole(pd.DataFrame(rows))


def phase_counts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Pairs of each phase and class."""
    if not (manifest["phase"] != "").any():
        return pd.DataFrame()
    rows = [
        {
            "": name,
            **{
                phase or "not said": int((own["phase"] == phase).sum())
                for phase in sorted(set(manifest["phase"]))
            },
        }
        for name, own in _by_class(manifest)
    ]
    return _whole(pd.DataFrame(rows))


def centre_by_scanner(inspection: Inspection) -> pd.DataFrame:
    """Patients of each centre and scanner."""
    manifest = inspection.manifest
    if not inspection.scanners or not (manifest["center"] != "").any():
        return pd.DataFrame()
    named = manifest.assign(scanner=manifest["clip_id"].map(inspection.scanners).fillna("not said"))
    patients = named[["patient_id", "center", "scanner"]].drop_duplicates()
    crossed = pd.crosstab(patients["center"].replace("", "not said"), patients["scanner"])
    return crossed.rename_axis(None, axis=1).rename_axis("Centre").reset_index()


def pairs_of_patients(manifest: pd.DataFrame) -> pd.DataFrame:
    """How many pairs patients have."""
    rows = []
    for name, own in _by_class(per_patient(manifest)):
        numbers = own["pairs"]
        rows.append(
            {
                "": name,
                "fewest": int(numbers.min()),
                "lower quartile": f"{numbers.quantile(0.25):.0f}",
                "median": f"{numbers.median():.0f}",
                "upper quartile": f"{numbers.quantile(0.75):.0f}",
                "most": int(numbers.max()),
            }
        )
    return pd.DataFrame(rows)


def crop_sizes(inspection: Inspection) -> pd.DataFrame:
    """A row a crop: modality, class, width, height, share of the pane (NaN where it is not known)."""
    rows = [
        (
            name,
            label,
            crop.width,
            crop.height,
            crop.width * crop.height / inspection.pane_areas.get(clip, np.nan),
        )
        for column, name in zip(PATHS, MODALITIES, strict=True)
        for path, label, clip in inspection.manifest[[column, "label", "clip_id"]].itertuples(
            index=False
        )
        if path and (crop := inspection.crops.get(path.rpartition("/")[2]))
    ]
    columns = ["modality", "label", "width", "height", "share"]
    return pd.DataFrame(rows, columns=columns).astype({"label": "Int64", "share": "float64"})


def box_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """Median and range of what boxes measure."""
    rows = []
    for modality in MODALITIES:
        for name, own in _by_class(sizes[sizes["modality"] == modality]):
            numbers = {
                "width, px": own["width"],
                "height, px": own["height"],
                "width / height": own["width"] / own["height"],
                "share of the pane": own["share"],
            }
            row = {"": f"{MODALITY_NAMES[modality]}, {name}", "crops": f"{len(own):,}"}
            rows.append(row | {key: _range(values) for key, values in numbers.items()})
    frame = pd.DataFrame(rows)
    return frame.loc[:, (frame != "").any()] if len(frame) else frame


def _range(values: pd.Series) -> str:
    """Median, and smallest to largest."""
    if values.isna().all():
        return ""
    digits = 0 if values.max() > 20 else 2
    low, middle, high = (f"{values.quantile(share):.{digits}f}" for share in (0, 0.5, 1))
    return f"{middle} ({low} to {high})"


def size_figure(sizes: pd.DataFrame, patients: pd.DataFrame) -> str:
    """Width against height of the crops, their area, and the pairs of patients, by class."""
    if sizes.empty:
        return ""
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    scatter, areas, pairs = figure.subplots(1, 3)
    some = sizes.sample(min(len(sizes), MOST_POINTS), random_state=0)
    area = np.sqrt(sizes["width"] * sizes["height"])
    bins = np.linspace(0, float(area.max()) * 1.02, 26)
    count_bins = np.linspace(0, float(patients["pairs"].max()) + 1, 26)
    for name, colour, chosen in (
        ("low", COLOURS[0], 0),
        ("high", COLOURS[1], 1),
        ("not graded", "#777777", None),
    ):
        own, every, of = (
            frame[frame["label"].isna() if chosen is None else (frame["label"] == chosen).fillna(False)]
            for frame in (some, sizes, patients)
        )
        if not len(of):
            continue
        scatter.scatter(own["width"], own["height"], s=5, alpha=0.45, color=colour, lw=0, label=name)
        look = {"histtype": "step", "color": colour, "lw": 1.6, "label": name}
        areas.hist(np.sqrt(every["width"] * every["height"]), bins, density=True, **look)
        pairs.hist(of["pairs"], count_bins, **look)
    scatter.set(
        xlabel="width of the crop, pixels", ylabel="height, pixels", xlim=(0, None), ylim=(0, None)
    )
    areas.set(xlabel="√(width × height), pixels", ylabel="share of crops", yticks=[])
    pairs.set(xlabel="pairs of a patient", ylabel="patients")
    scatter.legend(frameon=False, fontsize=8, markerscale=2)
    for axis in (scatter, areas, pairs):
        axis.spines[["top", "right"]].set_visible(False)
    png = figure_png(figure, DPI)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _by_class(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each class that there is, those without a grade, and all."""
    labels = table["label"]
    parts = [
        (f"{name} grade", table[(labels == code).fillna(False)])
        for code, name in enumerate(CLASS_NAMES)
    ]
    parts += [("without a grade", table[labels.isna()])]
    there = [(name, part) for name, part in parts if len(part)]
    return [*there, ("all", table)] if len(there) > 1 else there


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    return table.map(lambda cell: f"{cell:,}" if isinstance(cell, int) else cell)
