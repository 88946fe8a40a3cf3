"""Which of two panes is the tinted one, in pictures as scanners store them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mufnet_lightning.cohort.geometry import Pane
from mufnet_lightning.cohort.tint import GREY, TINTED, TintJob, described, tinted_of, tints

PANES = (Pane(0, 0, 96, 96), Pane(96, 0, 96, 96))
AMBER = np.array([1.0, 0.68, 0.2])


def speckle(seed: int, brightness: float = 1.0) -> np.ndarray:
    """Grey, 96 × 96, as bright as ultrasound is: mostly dark."""
    values = np.random.default_rng(seed).gamma(1.2, 35, (24, 24)).repeat(4, 0).repeat(4, 1)
    return np.repeat((brightness * values).clip(0, 255)[..., None], 3, 2)


def measured(tmp_path: Path, frame: np.ndarray, ending: str = ".png") -> tuple[float, ...]:
    path = tmp_path / f"still{ending}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 60] if ending == ".jpg" else []
    cv2.imwrite(str(path), frame.astype(np.uint8)[..., ::-1], quality)
    result = tints(TintJob(path, (0,), PANES))
    assert not isinstance(result, str)
    return result


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("ceus", [0, 1])
def test_amber_beside_grey_is_known_through_compression(ceus: int, ending: str, tmp_path: Path) -> None:
    panes = [speckle(1), speckle(2)]
    panes[ceus] = panes[ceus] * AMBER
    result = measured(tmp_path, np.hstack(panes), ending)
    assert tinted_of(*result) == ceus
    assert (described(result[ceus]), described(result[1 - ceus])) == ("tinted", "grey")


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_marks_and_letters_in_colour_make_no_tint(ending: str, tmp_path: Path) -> None:
    frame = np.hstack([speckle(1), speckle(2) * AMBER])
    frame[10:13, :96] = (255, 255, 0)
    frame[:, 40:43] = (0, 255, 0)
    assert tinted_of(*measured(tmp_path, frame, ending)) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (speckle(1), speckle(2)),
        (speckle(1) * AMBER, speckle(2) * AMBER),  # B-mode in sepia
        (speckle(1) * 0, speckle(2) * AMBER),  # nothing to see of B-mode
        (speckle(1), speckle(2, 0.02) * AMBER),  # contrast has not come
        (speckle(1), speckle(2) * np.array([1.0, 0.95, 0.83])),  # hardly any colour
    ],
)
def test_nobody_is_guessed(left: np.ndarray, right: np.ndarray, tmp_path: Path) -> None:
    assert tinted_of(*measured(tmp_path, np.hstack([left, right]))) is None


def test_what_a_fault_calls_a_tint() -> None:
    middle = (GREY + TINTED) / 2
    assert [described(tint) for tint in (0.0, middle, 0.9, float("nan"))] == [
        "grey",
        "faintly tinted",
        "tinted",
        "dark",
    ]


def test_a_clip_that_cannot_be_read_gives_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert tints(TintJob(tmp_path / "a.png", (0,), PANES)) == (
        "cannot be decoded, expected a whole image file"
    )
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 20, 3), np.uint8))
    assert tints(TintJob(tmp_path / "small.png", (0,), PANES)) == (
        "has frames of another size than its header says"
    )
