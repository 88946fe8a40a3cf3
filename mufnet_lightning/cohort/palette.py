"""Colours of DICOM pictures whose pixels are numbers of a palette (PALETTE COLOR)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = ("Red", "Green", "Blue")
PLAIN = tuple(f"{colour}PaletteColorLookupTableData" for colour in COLOURS)
NEEDED = (
    *PLAIN,
    *(f"Segmented{name}" for name in PLAIN),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in COLOURS),
)
"""Elements of a header."""


def in_own_order(header: Any) -> None:
    """Bring plain palettes of a big endian file into the order that pydicom reads them in; in place."""
    for name in PLAIN:
        if name in header and not header.original_encoding[1] and header[name].VR != "OB":
            words = np.frombuffer(header[name].value, ">u2")
            header[name].value = words.astype("<u2").tobytes()


def coloured(header: Any, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The picture (H, W, 3), RGB, of pixels (H, W) that are numbers of a palette.

    Palettes have 8 or 16 bits, 8 bits in words of 16, or segments (DICOM PS3.3 C.7.6.3.1.5, C.7.9.2).

    Args:
        header: a dataset with the elements of `NEEDED`, see `in_own_order`.
        pixels: as they are stored.
    """
    from pydicom.pixels.processing import apply_color_lut

    picture = np.asarray(apply_color_lut(pixels, header))
    if picture.dtype == np.uint16:
        tables = [np.frombuffer(header[name].value, "<u2") for name in PLAIN if name in header]
        # some writers keep entries of 8 bits in words of 16, whatever the descriptor says
        wide = not tables or max(int(table.max()) for table in tables) > 255
        picture = picture >> 8 if wide else picture
    return picture.astype(np.uint8)
