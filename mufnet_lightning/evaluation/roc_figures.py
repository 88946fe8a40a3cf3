"""ROC curves of arms and of folds, as `figures` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mufnet_lightning.evaluation.figures import COLOURS, COLUMN, LINES, STYLE, line_look, square
from mufnet_lightning.evaluation.statistics.checks import Floats
from mufnet_lightning.evaluation.statistics.intervals import fold_spread
from mufnet_lightning.evaluation.statistics.rates import roc_curve
from mufnet_lightning.evaluation.text import interval_text, limits_text, number_text
from mufnet_lightning.vocabulary import CHOSEN_HERE

DISTINCT = len(COLOURS) * len(LINES)
"""Curves that can be told apart."""


def roc_figure(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    intervals: Mapping[str, tuple[float, float, float]] | None = None,
) -> Figure:
    """ROC curves of several arms on the same images.

    Of more arms than can be told apart the first one is drawn over all others in grey.

    Args:
        labels: (N,).
        scores: (N,) of each arm, by its name.
        intervals: AUC with its lower and upper limit, for the legend; without, the AUC is left out.
            Limits that are NaN are of scores that chose the epoch, and the legend says so.
    """
    with mpl.rc_context(STYLE):
        figure, axes = square()
        crowd = _crowd(list(scores)[1:], intervals) if len(scores) > DISTINCT else ""
        for number, (name, values) in enumerate(scores.items()):
            low, high = roc_curve(labels, values)
            if crowd and number:
                label = crowd if number == 1 else None
                axes.plot(low, high, color="0.7", linewidth=0.4, zorder=1, label=label)
            else:
                label = _with_auc(name, (intervals or {}).get(name))
                axes.plot(low, high, label=label, **line_look(number))
        _finish_roc(figure, axes)
        return figure


def roc_folds_figure(folds: Sequence[tuple[ArrayLike, ArrayLike]]) -> Figure:
    """ROC curve of each fold, and their mean at each false positive rate.

    How much the folds' curves differ is seen, and is no interval. The mean is taken vertically:
    Fawcett T. An introduction to ROC analysis. Pattern Recognition Letters 2006;27:861-874.

    Args:
        folds: labels and scores of each fold, two folds at least.
    """
    with mpl.rc_context(STYLE):
        figure, axes = square()
        grid = np.linspace(0, 1, 201)
        curves = [roc_curve(labels, scores) for labels, scores in folds]
        spread = fold_spread([float(np.trapezoid(high, low)) for low, high in curves])
        heights = np.stack([_height(grid, *curve) for curve in curves])
        for number, (low, high) in enumerate(curves):
            label = f"folds: {limits_text((spread.low, spread.high), ' to ')}" if number == 0 else None
            axes.plot(low, high, color="0.55", linewidth=0.6, label=label)
        label = f"mean AUC {number_text(spread.mean)}, SD {number_text(spread.sd)}"
        axes.plot(grid, heights.mean(axis=0), color="#0072B2", linewidth=1.6, label=label)
        _finish_roc(figure, axes)
        return figure


def _with_auc(name: str, auc: tuple[float, float, float] | None) -> str:
    if auc is None:
        return name
    text = f"{number_text(auc[0])}, {CHOSEN_HERE}" if np.isnan(auc[1:]).all() else None
    return f"{name}: AUC {text or interval_text(auc[0], auc[1:])}"


def _crowd(names: Sequence[str], aucs: Mapping[str, tuple[float, float, float]] | None) -> str:
    """Of curves that are not told apart."""
    known = [aucs[name] for name in names if name in aucs] if aucs else []
    tested = [auc for auc, *limits in known if not np.isnan(limits).all()]
    texts = [f"AUC {limits_text((min(tested), max(tested)), ' to ')}"] if tested else []
    if len(tested) < len(known):
        texts.append(f"{len(known) - len(tested)} {CHOSEN_HERE}")
    return ": ".join([f"{len(names)} others", *filter(None, [", ".join(texts)])])


def _finish_roc(figure: Figure, axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.6)
    axes.set(xlabel="1 − specificity", ylabel="Sensitivity")
    if len(labels := axes.get_legend_handles_labels()[1]) > 3:  # below, where it hides no curve
        width = max(COLUMN, 0.6 + 0.05 * max(map(len, labels)))
        figure.set_size_inches(width, COLUMN + 0.13 * len(labels))
        figure.legend(loc="outside lower center")
    else:
        axes.legend(loc="lower right")


def _height(grid: Floats, low: Floats, high: Floats) -> Floats:
    """Sensitivity at each false positive rate of `grid`: the top of a step, but 0 at 0."""
    last = np.append(np.diff(low) > 0, True)
    height = np.interp(grid, low[last], high[last])
    return np.where(grid == 0, 0.0, height)
