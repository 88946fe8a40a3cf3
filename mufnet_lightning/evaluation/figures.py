"""Figures for a paper's column: vector PDF beside PNG, readable in grey.

Each function returns a Matplotlib `Figure` of its own, without pyplot: nothing is left open, and no
window or global style is touched. Arms differ by line style as well as by colour, classes by hatch as
well as by shade.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.statistics.calibration import brier_score
from mufnet_lightning.evaluation.statistics.checks import as_labels
from mufnet_lightning.evaluation.statistics.decision_curve import decision_curve
from mufnet_lightning.evaluation.statistics.rates import Confusion
from mufnet_lightning.evaluation.statistics.risk_calibration import risk_curve
from mufnet_lightning.evaluation.text import number_text
from mufnet_lightning.vocabulary import THRESHOLD

DPI = 300  # what journals ask of a picture
COLUMN = 3.4  # inches, the width of a column of a two-column page
# from dark to light in grey as well (Okabe & Ito's colours, which colour-blind readers tell apart)
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 3)))
CLASSES = ("low grade", "high grade")
SHADES = ("#C6D8E8", "#D98C5F")
HATCHES = ("", "////")
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same picture on every machine
    "font.size": 7,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # text stays text
}


class LineLook(TypedDict):
    """Of a line, as Matplotlib takes it."""

    color: str
    linestyle: Any
    clip_on: bool


def confusion_figure(counts: Mapping[str, Confusion]) -> Figure:
    """Confusion matrices of several arms side by side: counts, and the share of each true class.

    Args:
        counts: by the name of the arm.
    """
    with mpl.rc_context(STYLE):
        columns = min(3, len(counts))
        rows = -(-len(counts) // columns)
        width = 2 * COLUMN * columns / 3
        figure = new_figure(width, (width / columns) * rows)
        for number, (name, matrix) in enumerate(counts.items()):
            axes = figure.add_subplot(rows, columns, number + 1)
            _confusion(axes, name, matrix, first=number % columns == 0)
        return figure


def reliability_figure(
    labels: ArrayLike,
    risks: Mapping[str, ArrayLike],
    bins: int | None = None,
    what: Literal["risk", "score"] = "risk",
) -> Figure:
    """Share of patients of high grade against their mean risk, in bins of about as many patients.

    The bars are Wilson's 95% intervals of the bins (see `risk_curve`), and the area of a point grows
    with its patients; the legend gives the Brier score.

    Args:
        labels: (P,), of patients.
        risks: (P,) probabilities of each arm, by its name.
        bins: how many; by the number of patients unless given.
        what: they are, for the axis.
    """
    markers = "osD^vP"
    with mpl.rc_context(STYLE):
        figure, axes = square()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.6)
        for number, (name, values) in enumerate(risks.items()):
            curve = risk_curve(labels, values, bins)
            look = line_look(number)
            marker = markers[number % len(markers)]
            axes.plot(curve.risk, curve.share, **look)
            axes.vlines(curve.risk, curve.low, curve.high, color=look["color"], linewidth=0.7)
            axes.scatter(
                curve.risk,
                curve.share,
                s=4 + 60 * curve.patients / curve.patients.sum(),
                color=look["color"],
                marker=marker,
                zorder=3,
                clip_on=False,
            )
            label = f"{name}: Brier {number_text(brier_score(labels, values))}"
            axes.plot([], [], marker=marker, markersize=3, label=label, **look)
        axes.set(xlabel=f"Mean {what} of a bin's patients", ylabel="Share of high grade (95% interval)")
        axes.legend(loc="upper left")
        return figure


def decision_figure(labels: ArrayLike, risks: Mapping[str, ArrayLike]) -> Figure:
    """Net benefit of each arm over thresholds, beside treating all and none (see `decision_curve`).

    Args:
        labels: (P,), of patients.
        risks: (P,) of each arm, by its name.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN, 2.4)
        axes = figure.add_subplot()
        share = float(as_labels(labels).mean())
        curves = {name: decision_curve(labels, values) for name, values in risks.items()}
        for number, (name, curve) in enumerate(curves.items()):
            if number == 0:
                axes.plot(curve.thresholds, curve.treat_all, color="0.55", label="treat all")
                axes.axhline(0, color="0.55", linestyle=":", linewidth=0.8, label="treat none")
            look = line_look(number) | {"clip_on": True}
            axes.plot(curve.thresholds, curve.model, label=name, **look)
        axes.set(
            xlabel="Threshold of the risk",
            ylabel="Net benefit",
            xlim=(0, 1),
            ylim=(-0.25 * share - 0.01, 1.1 * share + 0.02),
        )
        axes.legend(loc="upper right")
        return figure


def score_figure(labels: ArrayLike, scores: ArrayLike, threshold: float | None = THRESHOLD) -> Figure:
    """Histogram of one arm's scores, (N,), by class; each class's bars add up to 100%.

    Args:
        threshold: drawn as a line, unless None.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN, 2.2)
        axes = figure.add_subplot()
        positive = as_labels(labels)
        values = np.asarray(scores, np.float64)
        edges = np.linspace(min(0.0, values.min()), max(1.0, values.max()), 21)
        for side, (name, chosen) in enumerate(zip(CLASSES, (~positive, positive), strict=True)):
            share = np.histogram(values[chosen], edges)[0] / max(1, chosen.sum()) * 100
            axes.bar(
                edges[:-1] + (0.05 + 0.45 * side) * np.diff(edges),
                share,
                0.45 * np.diff(edges),
                align="edge",
                color=SHADES[side],
                hatch=HATCHES[side],
                edgecolor="black",
                linewidth=0.4,
                label=f"{name} ({chosen.sum():,} images)",
            )
        if threshold is not None:
            axes.axvline(threshold, color="black", linestyle="--", linewidth=0.8)
            top = axes.get_ylim()[1]
            axes.text(threshold, top, f" threshold {threshold:.2f}", va="top", fontsize=6)
        axes.set(xlabel="Score for high grade", ylabel="Images of the class (%)")
        axes.set_xlim(edges[0], edges[-1])
        figure.legend(loc="outside upper center", ncols=2)
        return figure


def weight_figure(labels: ArrayLike, weights: Mapping[str, ArrayLike]) -> Figure:
    """The weight of each modality by class, as boxes: quartiles, and whiskers from 5% to 95%.

    Args:
        labels: (N,).
        weights: (N,) of each modality, by its name: `{"α (B-mode)": ..., "β (CEUS)": ...}`.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(COLUMN, 2.2)
        axes = figure.add_subplot()
        positive = as_labels(labels)
        for side, (name, chosen) in enumerate(zip(CLASSES, (~positive, positive), strict=True)):
            parts = [np.asarray(values, np.float64)[chosen] for values in weights.values()]
            places = np.arange(len(weights)) + (side - 0.5) * 0.36
            boxes = axes.boxplot(
                parts,
                positions=places,
                widths=0.3,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": "black", "linewidth": 1.2},
                whiskerprops={"linewidth": 0.6},
                capprops={"linewidth": 0.6},
            )
            for box in boxes["boxes"]:
                box.set(facecolor=SHADES[side], hatch=HATCHES[side], linewidth=0.6)
            boxes["boxes"][0].set_label(f"{name} ({chosen.sum():,} images)")
        axes.set_xticks(range(len(weights)), list(weights))
        axes.set(ylabel="Weight", xlim=(-0.6, len(weights) - 0.4))
        figure.legend(loc="outside upper center", ncols=2)
        return figure


METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
"""What would change with the day is left out."""


def figure_files(figure: Figure, name: str, dpi: int = DPI) -> dict[str, bytes]:
    """`name.png` and `name.pdf`, as bytes; the same data give the same bytes.

    Args:
        figure: any Matplotlib figure.
        name: of the files, without an ending.
        dpi: dots an inch, of the PNG and of the pictures in the PDF.
    """
    return {f"{name}.{ending}": _saved(figure, ending, dpi) for ending in METADATA}


def figure_png(figure: Figure, dpi: int = DPI) -> bytes:
    """The PNG alone, in half the time."""
    return _saved(figure, "png", dpi)


def _saved(figure: Figure, ending: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=ending, dpi=dpi, metadata=METADATA[ending])
        figure.set_layout_engine("none")  # the places that were found hold for the next form too
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches that keeps its parts apart, and that no window knows of."""
    return FigureCanvasAgg(Figure(figsize=(width, height), layout="constrained")).figure


def square() -> tuple[Figure, Axes]:
    """A figure of a column's width with axes from 0 to 1 both ways."""
    figure = new_figure(COLUMN, COLUMN)
    figure.set_layout_engine("compressed")  # for axes that keep their aspect
    axes = figure.add_subplot()
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=ticks, yticks=ticks)
    return figure, axes


def line_look(number: int) -> LineLook:
    """How Matplotlib draws an arm's line, by the arm's place."""
    turn, colour = divmod(number, len(COLOURS))
    style = LINES[(colour + turn) % len(LINES)]
    # along the frame a line keeps its whole width
    return {"color": COLOURS[colour], "linestyle": style, "clip_on": False}


def _confusion(axes: Axes, name: str, counts: Confusion, first: bool) -> None:
    table = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
    share = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Greys", vmin=0, vmax=1.25)  # black print on the darkest cell is readable
    for row in (0, 1):
        for column in (0, 1):
            text = f"{table[row, column]:,}\n{share[row, column]:.1%}"
            colour = "white" if share[row, column] > 0.7 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_title(name)
    axes.set_xticks([0, 1], ["low", "high"])
    axes.set_yticks([0, 1], ["low", "high"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("Called")
    if first:
        axes.set_ylabel("True grade")
