"""DICOM files are opened here, within bounds and without pydicom's remarks, which may name somebody."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mufnet_lightning.cohort.faults import ClipFault
from mufnet_lightning.system.guards import LARGEST_INFLATED, open_regular, too_large

PREAMBLE = 132
_CHUNK = 1 << 20
_MOST_PACKED = 1032
"""Bytes that one byte of deflated data can stand for."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
Result = TypeVar("Result")


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, whatever its name ends in."""
    try:
        with open_regular(path) as file:
            return file.read(PREAMBLE)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom(path: Path, **options: Any) -> Any:
    """`pydicom.dcmread` of what is no DICOM bomb; call it `quietly`.

    Args:
        path: of the file.
        options: of `dcmread`.

    Raises:
        Exception: pydicom raises whatever it likes for damaged files.
        OSError: it is no plain file.
        ClipFault: packed, it holds more than a machine may be asked to unpack.
    """
    from pydicom import dcmread

    check_inflation(path)
    return dcmread(path, **options)


def check_claims(path: Path, header: Any) -> str:
    """Why what a header says of its pixels cannot be, or is too much; empty where it can.

    Args:
        path: of the file.
        header: its Rows, Columns and NumberOfFrames.

    Raises:
        Exception: one of them is no number.
    """
    if reason := too_large(int(header.Columns), int(header.Rows)):
        return reason
    try:
        frames, size = int(header.get("NumberOfFrames") or 1), path.stat().st_size
    except (TypeError, ValueError):  # several; whoever needs the number says so
        return ""
    packed = header.file_meta.get("TransferSyntaxUID") == _DEFLATED
    if not 0 < frames <= (size * _MOST_PACKED if packed else size):
        return f"claims {frames:,} frames in {size:,} bytes"
    return ""


def check_inflation(path: Path) -> None:
    """Count what a deflated file holds: pydicom unpacks all of it at once, to read one element.

    Raises:
        Exception: as `read_dicom` says.
    """
    from pydicom.filereader import _read_file_meta_info, read_preamble

    with open_regular(path) as file:
        read_preamble(file, force=True)
        if _read_file_meta_info(file).get("TransferSyntaxUID") != _DEFLATED:
            return
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or file.read(_CHUNK)
            if not packed:
                break
            size += len(unpacker.decompress(packed, _CHUNK))
            if size > LARGEST_INFLATED:
                raise ClipFault(path, f"unpacks to more than {LARGEST_INFLATED:,} bytes")


def quietly(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call pydicom without its warnings and logs: they may quote a header."""
    with quiet():
        return function(*args, **kwargs)


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings and logs, which may quote a header."""
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
