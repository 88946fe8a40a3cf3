"""Crops with their activation maps over them, as a reader of a paper wants to see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from mufnet_lightning.evaluation.figures import new_figure
from mufnet_lightning.vocabulary import MODALITY_NAMES

COLOURS = "turbo"
OPACITY = 0.45
STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 7}
COLUMNS = 6  # of a montage


@dataclass(frozen=True)
class Explained:
    """One pair with its maps.

    Attributes:
        title: over the pair.
        crops: for each modality (H, W, 3) uint8 RGB.
        maps: for each modality (H, W), 0 or more, on one scale for all modalities.
        score: probability of high grade.
    """

    title: str
    crops: Mapping[str, NDArray[np.uint8]]
    maps: Mapping[str, NDArray[np.float32]]
    score: float = float("nan")


def panel_figure(rows: Sequence[Explained], margin: float = 0.0) -> Figure:
    """A row a pair: each crop, and beside it the crop with its map.

    The colours of a row go from 0 to the largest value in any of its maps, so that a modality that
    hardly counts is seen to be faint. The dashed ellipse is the lesion's, see `lesion_ellipse`.

    Args:
        rows: at least one.
        margin: context around the box, as a share of its side.
    """
    modalities = list(rows[0].crops)
    columns = 2 * len(modalities)
    with mpl.rc_context(STYLE):
        width = 1.55 if columns > 2 else 1.9  # a title needs some room
        figure = new_figure(width * columns, (width + 0.2) * len(rows) + 0.5)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for line, explained in zip(axes, rows, strict=True):
            top = max(float(values.max()) for values in explained.maps.values())
            for number, modality in enumerate(modalities):
                crop, over = line[2 * number], line[2 * number + 1]
                crop.imshow(explained.crops[modality])
                _overlay(over, explained, modality, top, margin)
                crop.set_xlabel(MODALITY_NAMES[modality])
            line[0].set_title(" ")  # room above; the text itself may be longer than the column
            title = line[0].text(0, 1.03, explained.title, transform=line[0].transAxes)
            title.set_in_layout(False)
        _colour_bar(figure, axes, "map, as a share of the row's maximum")
        return figure


def montage_figure(images: Sequence[Explained], title: str, margin: float = 0.0) -> Figure:
    """Images of one patient side by side, below each crop the crop with its map.

    The colours go from 0 to the largest value in any map of the patient.

    Args:
        images: at least one.
        title: over the whole.
        margin: see `panel_figure`.
    """
    modalities = list(images[0].crops)
    columns = min(COLUMNS, len(images))
    bands = -(-len(images) // columns)
    high = 2 * len(modalities)
    top = max(float(values.max()) for image in images for values in image.maps.values())
    with mpl.rc_context(STYLE):
        figure = new_figure(max(1.25 * columns, 3), bands * (1.3 * high + 0.25) + 0.8)
        figure.suptitle(title, fontsize=8)
        axes = figure.subplots(bands * high, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, image in enumerate(images):
            band, column = divmod(number, columns)
            for row, modality in enumerate(modalities):
                crop, over = (axes[band * high + 2 * row + i][column] for i in (0, 1))
                crop.imshow(image.crops[modality])
                _overlay(over, image, modality, top, margin)
                if row == 0:
                    crop.set_title(image.title)
        _colour_bar(figure, axes, "map, as a share of the patient's maximum")
        return figure


def _overlay(axes: Axes, explained: Explained, modality: str, top: float, margin: float) -> None:
    crop = explained.crops[modality]
    # in grey: then every colour is the map's
    axes.imshow(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cmap="gray", vmin=0, vmax=255)
    share = explained.maps[modality] / top if top > 0 else explained.maps[modality]
    axes.imshow(share, cmap=COLOURS, vmin=0, vmax=1, alpha=OPACITY)
    height, width = share.shape
    axes.add_patch(
        Ellipse(
            (width / 2 - 0.5, height / 2 - 0.5),
            width / (1 + 2 * margin),
            height / (1 + 2 * margin),
            fill=False,
            edgecolor="white",
            linestyle="--",
            linewidth=0.6,
        )
    )
    axes.set_xlabel(f"{MODALITY_NAMES[modality]}, map")


def _colour_bar(figure: Figure, axes: NDArray[Any], label: str) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), COLOURS)
    bar = figure.colorbar(scale, ax=axes, location="bottom", aspect=40, pad=0.01, shrink=0.8)
    bar.set_label(label)
