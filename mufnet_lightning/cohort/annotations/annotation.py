"""What every format gives: boxes with the name of the picture or clip that they were drawn on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.documents import parse_json
from mufnet_lightning.system.guards import LARGEST_NOTES, read_bytes

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
"""What reading a field of a file raises that is not as its format says."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A box in fractions of pixels; (0, 0) is the top left corner of the top left pixel."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.x, self.y, self.width, self.height))):
            raise ValueError("a coordinate is no finite number")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One box of one tumour on one frame, as its file has it.

    Attributes:
        where: its place in the file, for messages: "boxes.xml track 3 frame 12".
        source: name of the picture, film or task that it was drawn on.
        box: in pixels; in shares of the picture (0 to 1) where `digits` is given.
        label: its class.
        frame: number of the frame; None where only the name can tell it.
        counts_from: what `frame` counts from, 0 or 1; None where the format does not say.
        seconds: time in the film instead of a frame.
        track: what is the same object on several frames; "" where the format does not say.
        drawn: False where the program filled it in between key frames.
        size: width and height of the picture, where the file says.
        digits: decimals of the shares; None for pixels.
        frames: of how many frames the file speaks, one for each of the clip's; None for other files.
        uid: SOP Instance UID of the DICOM file that it was drawn on, instead of a name.
    """

    where: str
    source: str
    box: Extent
    label: str
    frame: int | None = None
    counts_from: int | None = None
    seconds: float | None = None
    track: str = ""
    drawn: bool = True
    size: tuple[int, int] | None = None
    digits: int | None = None
    frames: int | None = None
    uid: str = ""


@dataclass
class Reading:
    """What has been read so far.

    Attributes:
        label_attribute: attribute that holds the label, in formats where there can be several (VIA).
        annotations: the boxes.
        faults: one sentence each.
        left_out: what holds no box, by kind, counted.
        notes: sentences of what must be known.
        warnings: sentences of what is odd, and no fault.
    """

    label_attribute: str | None = None
    annotations: list[Annotation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def malformed(self, where: str, form: str, error: Exception) -> None:
        """Note an entry that is not as its format says."""
        lacking = f"has no {error}" if isinstance(error, KeyError) else str(error)
        self.faults.append(f"{where} is not as {form} has it: {lacking}")


def read_text(path: Path, reading: Reading) -> str | None:
    """A text file in UTF-8; None where it is none, which is a fault then."""
    try:
        return read_bytes(path, LARGEST_NOTES).decode("utf-8-sig")
    except OSError as error:
        reading.faults.append(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        reading.faults.append(f"{path} is not text in UTF-8")
    return None


def read_json(path: Path, reading: Reading) -> Any:
    """A JSON file's content; None where it is none, which is a fault then."""
    text = read_text(path, reading)
    if text is None:
        return None
    try:
        return parse_json(text)
    except ValueError as error:
        reading.faults.append(f"{path} {error}")
    return None


def need(path: Path, *modules: str) -> None:
    """Refuse a file that needs a library which is not installed.

    Raises:
        InputFault: it says what to install.
    """
    lacking = [name for name in modules if find_spec(name) is None]
    if lacking:
        raise InputFault(
            f"{path}: reading it needs {' and '.join(lacking)}; install them with "
            "`pip install 'mufnet-lightning[annotations]'`"
        )
