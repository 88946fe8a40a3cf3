"""Frames out of a DICOM clip or still.

They are read one by one, so memory does not grow with the clip. Of a header nothing is read but what
describes its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mufnet_lightning.cohort.dicom_file import check_claims, is_dicom, quietly, read_dicom
from mufnet_lightning.cohort.faults import ClipFault, too_short
from mufnet_lightning.cohort.palette import NEEDED, coloured, in_own_order
from mufnet_lightning.cohort.video import iter_video

VIDEO = tuple(
    f"1.2.840.10008.1.2.4.{number}{fragments}" for number in range(100, 109) for fragments in ("", ".1")
)
"""Syntaxes whose pixel data are one film: MPEG-2, H.264, HEVC (PS3.5 10.7 to 10.18)."""
_OF_SAMPLES = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422"),
}
"""How colours are told, by the samples of a pixel."""


@dataclass(frozen=True)
class FramePlace:
    """Where a file stands among the files of a series.

    Attributes:
        series: its UID; empty where the file names none.
        number: Instance Number; None where the file gives none.
        frames: how many it holds.
    """

    series: str
    number: int | None
    frames: int


def frame_place(path: Path) -> FramePlace:
    """Where a DICOM file stands in its series.

    Raises:
        ClipFault: it is none, or holds no picture.
    """
    frames = count_dicom(path)
    try:
        header = quietly(
            read_dicom,
            path,
            stop_before_pixels=True,
            specific_tags=["SeriesInstanceUID", "InstanceNumber"],
            force=True,
        )
        number = header.get("InstanceNumber")
        return FramePlace(
            str(header.get("SeriesInstanceUID") or ""), None if number is None else int(number), frames
        )
    except Exception:  # as below
        raise ClipFault(path, "cannot be read as DICOM: its place in its series is damaged") from None


def sop_class(path: Path) -> str:
    """What kind of DICOM object a file holds, as its SOP Class UID; "" where it cannot be read."""
    return _uid(path, "SOPClassUID")


def instance_uid(path: Path) -> str:
    """What other DICOM objects call a file, to be compared and not kept; "" where it has none."""
    return _uid(path, "SOPInstanceUID")


def count_dicom(path: Path) -> int:
    """How many frames a DICOM file says it has.

    Raises:
        ClipFault: it cannot be read.
    """
    return _frames(path, _pixel_header(path))


def iter_dicom(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames of 8-bit ultrasound, or of palette colours, in any syntax that is installed.

    Args:
        path: a DICOM file with one frame or many; it may lack the preamble that files begin with.
        numbers: frame numbers from 0, ascending, at least one.

    Yields:
        (frame number, height × width × 3 uint8 RGB).

    Raises:
        ClipFault: unreadable, cut off, of another depth, or shorter than the last of `numbers`.
    """
    header = _pixel_header(path)
    promised = _frames(path, header)
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    if header.get("BitsStored") != 8 and not palette:
        raise ClipFault(path, f"has {header.get('BitsStored')}-bit pixels, expected 8-bit ultrasound")
    if header.file_meta.TransferSyntaxUID in VIDEO:  # the film itself says what its pixels are
        with _film(path) as film:
            yield from iter_video(film, numbers, path, promised)
        return
    if reason := _odd_pixels(header):
        raise ClipFault(path, reason)
    if promised <= numbers[-1]:
        raise ClipFault(path, too_short(promised, promised))
    frames = _iter_pixels(path, header, numbers)  # YBR becomes RGB in here
    for number in numbers:
        try:
            pixels = quietly(next, frames)
            if palette:
                pixels = quietly(coloured, header, pixels)
        except Exception:  # pydicom and its plugins raise whatever they like for damaged pixels
            raise ClipFault(path, _undecodable(path, header, promised)) from None
        if header.PhotometricInterpretation == "MONOCHROME1":  # 0 is white
            pixels = 255 - pixels
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        yield number, np.ascontiguousarray(pixels, dtype=np.uint8)


def _odd_pixels(header: Any) -> str | None:
    """Why pixels would be read as others than they are; ultrasound has none of these (PS3.3 C.8.5.6).

    Returns:
        A sentence; None where they are read as what they are.
    """
    from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000TransferSyntaxes

    if header.get("PixelRepresentation", 0) != 0:
        return "has signed pixels, expected unsigned ones"
    colours = str(header.PhotometricInterpretation)
    samples = header.get("SamplesPerPixel", 3 if colours.startswith(("RGB", "YBR")) else 1)
    bits = header.get("BitsStored", 8)
    highest = header.get("HighBit")
    if highest is None and isinstance(bits, int):  # some leave it empty
        highest = bits - 1
    if not all(isinstance(number, int) for number in (samples, bits, highest)):
        return "does not say how its pixels are stored"
    if highest != bits - 1:
        return f"has {bits}-bit pixels whose highest bit is {highest}, expected {bits - 1}"
    syntax = header.file_meta.TransferSyntaxUID
    known = _OF_SAMPLES.get(samples, ())
    if syntax in (*JPEG2000TransferSyntaxes, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL):
        known = (*known, "YBR_ICT", "YBR_RCT")
    if colours not in known:
        return f"has pixels of {samples} samples in {colours}, which this syntax or ultrasound has not"
    return None


def _iter_pixels(path: Path, header: Any, numbers: Sequence[int] | None) -> Iterator[Any]:
    """pydicom's frames: read one by one, or all at once where it cannot do so with this file."""
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    indices = None if numbers is None else list(numbers)
    whole = not is_dicom(path) or header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    if not whole:
        try:
            frames = iter_pixels(path, indices=indices)
            first = quietly(next, frames)
        except Exception:  # of an odd table of offsets, say, which a dataset is read without
            whole = True
    if whole:
        dataset = quietly(read_dicom, path, force=True)
        dataset.file_meta = header.file_meta
        yield from iter_pixels(dataset, indices=indices)
    else:
        yield first
        yield from frames


def _uid(path: Path, name: str) -> str:
    try:
        header = quietly(read_dicom, path, stop_before_pixels=True, specific_tags=[name], force=True)
        return str(header.get(name) or "")
    except Exception:  # as above
        return ""


def _frames(path: Path, header: Any) -> int:
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        raise ClipFault(path, "cannot be read as DICOM: its number of frames is none") from None


@contextmanager
def _film(path: Path) -> Iterator[Path]:
    """The film in a file of MPEG-2, H.264 or HEVC, as a file of its own meanwhile."""
    from pydicom.encaps import generate_frames

    with TemporaryDirectory(prefix="mufnet-") as folder:
        film = Path(folder) / "film"
        try:
            dataset = quietly(read_dicom, path, specific_tags=["PixelData"])
            film.write_bytes(b"".join(generate_frames(dataset.PixelData, number_of_frames=1)))
        except Exception:  # as above
            raise ClipFault(path, "cannot be decoded: the film in it is damaged") from None
        yield film


def _pixel_header(path: Path) -> Any:
    """The elements that describe the pixels, and no others: a header names the patient."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    tags = ["NumberOfFrames", "PhotometricInterpretation", "BitsStored", "PixelRepresentation", "Rows"]
    tags += ["Columns", "HighBit", "SamplesPerPixel"]
    try:
        header = quietly(
            read_dicom, path, stop_before_pixels=True, specific_tags=[*tags, *NEEDED], force=True
        )
        header.PhotometricInterpretation, header.Rows  # noqa: B018 - needed
        if "TransferSyntaxUID" not in header.file_meta:  # a file without the part that says it
            implicit, little = header.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            header.file_meta = FileMetaDataset()
            header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        in_own_order(header)
        doubt = quietly(check_claims, path, header)
    except ClipFault:
        raise
    except Exception:
        other = "it holds no picture" if is_dicom(path) else "damaged, or another format"
        raise ClipFault(path, f"cannot be read as DICOM: {other}") from None
    if doubt:
        raise ClipFault(path, doubt)
    return header


def _undecodable(path: Path, header: Any, promised: int) -> str:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    try:
        missing = syntax.is_compressed and not get_decoder(syntax).is_available
    except NotImplementedError:  # how pydicom says that the syntax is none of pixels
        missing = True
    if missing:
        return f"is compressed as {syntax.name}, for which no pydicom decoder is installed"
    read = 0
    try:
        frames = _iter_pixels(path, header, None)
        while read < promised:
            quietly(next, frames)
            read += 1
    except Exception:
        pass
    return too_short(read, promised)
