"""Figures that a paper could print."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mufnet_lightning.evaluation.figures import (
    COLUMN,
    STYLE,
    confusion_figure,
    figure_files,
    figure_png,
    line_look,
    reliability_figure,
    score_figure,
    weight_figure,
)
from mufnet_lightning.evaluation.roc_figures import DISTINCT, roc_figure, roc_folds_figure
from mufnet_lightning.evaluation.statistics.rates import Confusion


@pytest.fixture
def labels() -> np.ndarray:
    return np.repeat([0, 1], [120, 80])


@pytest.fixture(autouse=True)
def shipped_fonts(monkeypatch: pytest.MonkeyPatch, quick_pdfs: int) -> None:
    """PDFs as they are shipped."""
    monkeypatch.setitem(STYLE, "pdf.fonttype", quick_pdfs)


@pytest.fixture
def scores(labels: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: 1 / (1 + np.exp(-shift * labels - rng.normal(size=200) + 1))
        for name, shift in (("B-mode", 1), ("CEUS", 1.5), ("MUF-Net", 2.5))
    }


@pytest.fixture
def figures(labels: np.ndarray, scores: dict[str, np.ndarray]) -> dict[str, Figure]:
    return drawn(labels, scores)


def drawn(labels: np.ndarray, scores: dict[str, np.ndarray]) -> dict[str, Figure]:
    folds = [(labels[part::3], scores["CEUS"][part::3]) for part in range(3)]
    matrix = Confusion(3562, 878, 550, 1010)
    return {
        "roc": roc_figure(labels, scores, dict.fromkeys(scores, (0.8, 0.7, 0.9))),
        "folds": roc_folds_figure(folds),
        "confusion": confusion_figure(dict.fromkeys(scores, matrix)),
        "reliability": reliability_figure(labels, scores),
        "scores": score_figure(labels, scores["MUF-Net"]),
        "weights": weight_figure(labels, {"α": scores["CEUS"], "β": 1 - scores["CEUS"]}),
    }


@pytest.mark.slow
def test_png_and_pdf_are_the_same_each_time_and_fit_a_column(
    labels: np.ndarray, scores: dict[str, np.ndarray]
) -> None:
    again = drawn(labels, scores)
    for name, figure in drawn(labels, scores).items():
        files = figure_files(figure, name)
        assert set(files) == {f"{name}.png", f"{name}.pdf"}
        assert files[f"{name}.pdf"].startswith(b"%PDF")
        assert b"/FontFile2" in files[f"{name}.pdf"]  # text stays text
        assert files == figure_files(again[name], name)
        width, _ = Image.open(io.BytesIO(files[f"{name}.png"])).size
        assert width == pytest.approx(300 * COLUMN * (2 if name == "confusion" else 1), abs=1)


def test_dots_an_inch_are_the_callers(labels: np.ndarray, scores: dict[str, np.ndarray]) -> None:
    figure = roc_figure(labels, scores)
    for dpi in (100, 150):
        width, _ = Image.open(io.BytesIO(figure_files(figure, "roc", dpi)["roc.png"])).size
        assert width == pytest.approx(dpi * COLUMN, abs=1)


def test_arms_differ_by_more_than_colour(labels: np.ndarray) -> None:
    names = [f"arm {number}" for number in range(6)]
    rng = np.random.default_rng(0)
    figure = roc_figure(labels, {name: rng.random(200) for name in names})
    lines = [line for line in figure.axes[0].lines if line.get_label() in names]
    looks = {(str(line.get_linestyle()), str(vars(line)["_dash_pattern"])) for line in lines}
    assert len(looks) == 6


def test_the_legend_has_the_intervals(figures: dict[str, Figure]) -> None:
    def legend(name: str) -> list[str]:
        box = figures[name].axes[0].get_legend()
        assert box is not None
        return [text.get_text() for text in box.get_texts()]

    assert legend("roc")[0] == "B-mode: AUC 0.800 (0.700, 0.900)"
    assert legend("folds")[-1].startswith("mean AUC 0.")


def test_no_window_is_opened(figures: dict[str, Figure]) -> None:
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_one_class_still_has_a_picture() -> None:
    for labels in (np.zeros(5), np.ones(5)):
        figure_files(score_figure(labels, np.linspace(0, 1, 5)), "scores")
        figure_files(weight_figure(labels, {"α": np.linspace(0, 1, 5)}), "weights")
        figure_files(reliability_figure(labels, {"a": np.linspace(0, 1, 5)}), "reliability")


def test_many_curves_are_told_apart_and_hidden_by_no_legend() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    arms = {f"fused an_encoder_with_a_long_name {n}": rng.random(40) + 0.3 * labels for n in range(20)}
    figure = roc_figure(labels, arms, dict.fromkeys(arms, (0.7, 0.6, 0.8)))
    (axes,) = figure.axes
    assert len({str(line_look(number)) for number in range(DISTINCT)}) == DISTINCT == 36
    assert len(axes.lines) == 20 + 1  # and the diagonal
    figure_png(figure, 100)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 20
    box, inside = legend.get_window_extent(), figure.bbox
    assert not box.overlaps(axes.get_window_extent())
    assert inside.y0 <= box.y0
    assert inside.x0 <= box.x0
    assert box.x1 <= inside.x1


def test_of_a_crowd_the_first_is_seen_and_the_others_are_counted() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    arms = {f"arm {n}": rng.random(40) + 0.3 * labels for n in range(100)}
    aucs = {name: (0.7 + number / 1000, 0.6, 0.8) for number, name in enumerate(arms)}
    some = {**aucs, "arm 99": (0.9, np.nan, np.nan)}
    all_chosen = dict.fromkeys(arms, (0.9, np.nan, np.nan)) | {"arm 0": aucs["arm 0"]}
    for intervals, others in (
        (aucs, "99 others: AUC 0.701 to 0.799"),
        (some, "99 others: AUC 0.701 to 0.798, 1 chosen here"),
        (all_chosen, "99 others: 99 chosen here"),
        (None, "99 others"),
    ):
        (axes,) = roc_figure(labels, arms, intervals).axes
        legend = axes.get_legend()
        assert legend is not None
        shown = [text.get_text() for text in legend.get_texts()]
        assert shown == ["arm 0: AUC 0.700 (0.600, 0.800)" if intervals else "arm 0", others]
        assert len(axes.lines) == 100 + 1
        first, *rest = axes.lines[:100]
        assert all(first.get_zorder() > line.get_zorder() for line in rest)
