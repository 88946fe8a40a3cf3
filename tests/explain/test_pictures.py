"""What the pictures show: the maps on one colour scale, each over its own crop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from matplotlib.text import Text
from numpy.typing import NDArray

from mufnet_lightning.evaluation.statistics.attention import lesion_ellipse
from mufnet_lightning.explain.pictures import Explained, montage_figure, panel_figure

BOTH = ("bmode", "ceus")


def pair(seed: int, modalities: Sequence[str] = BOTH, strength: float = 1.0) -> Explained:
    rng = np.random.default_rng(seed)
    crops = {m: rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for m in modalities}
    maps = {
        m: (strength * rng.random((24, 24)) / (i + 1)).astype(np.float32)
        for i, m in enumerate(modalities)
    }
    return Explained(f"pair {seed}", crops, maps)


def pixels(image: AxesImage) -> NDArray[np.float64]:
    return np.asarray(image.get_array(), np.float64)


def check_pair(crop: Axes, over: Axes, explained: Explained, modality: str, top: float) -> None:
    np.testing.assert_array_equal(crop.images[0].get_array(), explained.crops[modality])
    grey, colours = over.images
    np.testing.assert_array_equal(
        grey.get_array(), cv2.cvtColor(explained.crops[modality], cv2.COLOR_RGB2GRAY)
    )
    assert grey.get_clim() == (0, 255)
    np.testing.assert_allclose(pixels(colours), explained.maps[modality] / top, rtol=1e-6)
    assert colours.get_clim() == (0, 1)


@pytest.mark.parametrize("modalities", [BOTH, ("ceus",)])
def test_a_row_has_one_colour_scale_and_a_faint_modality_stays_faint(modalities: Sequence[str]) -> None:
    rows = [pair(0, modalities), pair(1, modalities, strength=1e-6)]
    figure = panel_figure(rows)
    *axes, _ = figure.axes
    assert len(axes) == 4 * len(modalities)
    places = iter(axes)
    for row in rows:
        top = max(values.max() for values in row.maps.values())
        for modality in modalities:
            check_pair(next(places), next(places), row, modality, top)
    assert "pair 0" in [text.get_text() for text in axes[0].findobj(Text)]
    if len(modalities) == 2:
        assert pixels(axes[1].images[1]).max() == 1
        assert pixels(axes[3].images[1]).max() < 0.6


@pytest.mark.parametrize("count", [1, 5, 8])
@pytest.mark.parametrize("modalities", [BOTH, ("bmode",)])
def test_a_montage_has_every_image_in_bands_of_six_on_the_patients_scale(
    modalities: Sequence[str], count: int
) -> None:
    images = [pair(i, modalities, strength=1 + i) for i in range(count)]
    figure = montage_figure(images, "P001")
    *axes, _ = figure.axes
    columns, high = min(6, count), 2 * len(modalities)
    grid = np.array(axes).reshape(-1, columns)
    assert len(grid) == high * (1 if count <= 6 else 2)
    top = max(values.max() for image in images for values in image.maps.values())
    for number, image in enumerate(images):
        band, column = number // 6 * high, number % 6
        assert grid[band, column].get_title() == image.title
        for row, modality in enumerate(modalities):
            crop, over = grid[band + 2 * row : band + 2 * row + 2, column]
            check_pair(crop, over, image, modality, top)
    assert sum(bool(axis.images) for axis in axes) == count * high
    assert figure.get_suptitle() == "P001"


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_ellipse_drawn_is_the_one_that_is_measured(margin: float) -> None:
    explained = pair(0)
    for figure in (panel_figure([explained], margin), montage_figure([explained], "", margin)):
        (drawn,) = figure.axes[1].patches or figure.axes[0].patches
        assert isinstance(drawn, Ellipse)
        outline = drawn.get_path().transformed(drawn.get_patch_transform())
        y, x = np.mgrid[:24, :24]
        inside = outline.contains_points(np.c_[x.ravel(), y.ravel()]).reshape(24, 24)
        assert (inside == lesion_ellipse(24, 24, margin)).mean() > 0.98


def test_maps_of_zeros_are_drawn_without_a_warning(
    recwarn: pytest.WarningsRecorder, tmp_path: Path
) -> None:
    panel_figure([pair(0, strength=0)]).savefig(tmp_path / "even.png")
    assert np.asarray(cv2.imread(str(tmp_path / "even.png"))).std() > 0
    assert [str(w.message) for w in recwarn] == []
