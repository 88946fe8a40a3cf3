"""The headers of clips: DICOM (see `header_dicom`), films (see `header_film`); stills have none."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mufnet_lightning.cohort.clips import FILM_ENDINGS
from mufnet_lightning.cohort.dicom_file import is_dicom, quiet
from mufnet_lightning.cohort.faults import ClipFault
from mufnet_lightning.cohort.header import ClipHeader
from mufnet_lightning.cohort.header_dicom import dicom_header
from mufnet_lightning.cohort.header_film import film_header
from mufnet_lightning.cohort.series import series_files
from mufnet_lightning.cohort.stills import IMAGE_ENDINGS
from mufnet_lightning.system.processes import cores, progress_bar

READERS_PER_CORE = 4  # they wait for the disk more than they compute


def read_header(path: Path) -> ClipHeader | None:
    """The header of a clip; None where there is none, or it cannot be read (decoding says why).

    >>> from pydicom.data import get_testdata_file
    >>> header = read_header(Path(get_testdata_file("examples_ybr_color.dcm")))
    >>> header.width, header.time_s(3)
    (320, 0.099999)
    """
    with quiet():
        return _read(path)


def read_headers(paths: Mapping[str, Path]) -> dict[str, ClipHeader]:
    """The headers of many clips, by what they are called; those without a header are left out."""
    headers = {}
    with (
        quiet(),
        ThreadPoolExecutor(READERS_PER_CORE * cores()) as pool,
        progress_bar("headers", len(paths)) as advance,
    ):
        for name, header in zip(paths, pool.map(_read, paths.values()), strict=True):
            if header is not None:
                headers[name] = header
            advance()
    return headers


def _of_series(folder: Path) -> ClipHeader | None:
    """Of a folder of single frames what the first says, but for number and times of frames."""
    try:
        first = series_files(folder)[0]
    except ClipFault:
        return None
    header = _read(first)
    return header and replace(header, frames=None, interval_s=None, times_s=(), timing="")


def _read(path: Path) -> ClipHeader | None:
    if path.is_dir():
        return _of_series(path)
    ending = path.suffix.lower()
    if not is_dicom(path):  # the order of `clips.iter_frames`
        if ending in FILM_ENDINGS:
            return film_header(path)
        if ending in IMAGE_ENDINGS:
            return None
    return dicom_header(path)
