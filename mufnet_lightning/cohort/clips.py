"""Frames out of a clip (AVI, MP4, DICOM), and the crops out of its frames.

Video is decoded in order from frame 0: seeking is not exact for every codec, and a box on the wrong
frame shows other tissue. DICOM frames are read one by one, so memory does not grow with the clip.
Of a DICOM header nothing is read but what describes its pixels.

Worker processes import this module, so it stays light: OpenCV and NumPy, pydicom when a clip needs
it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# A damaged file makes FFmpeg print lines of its own; the user gets one clear message from us
# instead.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from mufnet_lightning.cohort.roi import Box, Pane, crop
from mufnet_lightning.errors import InputFault

VIDEO_ENDINGS = (".avi", ".mp4")
DICOM_ENDINGS = (".dcm", "")  # DICOM media name their files without an ending
CLIP_ENDINGS = VIDEO_ENDINGS + DICOM_ENDINGS
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class ClipFault(InputFault):
    """A clip or image that cannot give what is wanted of it.

    Attributes:
        reason: the message without the file, e.g. "has 18 frames that can be read, ...".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Cut:
    """What is wanted of one annotated frame: for each modality a box and the crop file to write."""

    frame: int
    row: int  # of boxes.csv
    boxes: dict[str, Box]
    crops: dict[str, Path]


@dataclass(frozen=True)
class ClipJob:
    """All cuts of one clip."""

    where: str  # "clips.csv row 2: clips/a.avi", to start a message with
    source: Path
    panes: dict[str, Pane]
    cuts: tuple[Cut, ...]
    finished: Path  # written when all crops are; a clip that has it is not decoded again


@dataclass(frozen=True)
class ImageJob:
    """Images that are crops already: (where, source, crop file to write) each."""

    images: tuple[tuple[str, Path, Path], ...]
    finished: Path


def iter_frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip once, as far as the last wanted frame.

    A frame that a damaged video lost in its middle cannot be noticed from outside; a video that is
    cut off is noticed, even where the decoder fills the last picture up with grey.

    Args:
        path: AVI or MP4, else DICOM (one or many frames).
        wanted: frame numbers from 0, in any order.

    Yields:
        (frame number, height × width × 3 uint8 RGB), in ascending order.

    Raises:
        ClipFault: unreadable, cut off, or shorter than a wanted frame; says how many frames can be
            read.
    """
    numbers = sorted(set(wanted))
    if not numbers:
        return
    if numbers[0] < 0:
        raise ValueError(f"frames count from 0, got {numbers[0]}")
    if path.suffix.lower() in VIDEO_ENDINGS:
        yield from _iter_video(path, numbers)
    else:
        yield from _iter_dicom(path, numbers)


def read_image(path: Path) -> np.ndarray:
    """A still image as height × width × 3 uint8 RGB.

    Raises:
        ClipFault: it cannot be decoded.
    """
    cv2.utils.logging.setLogLevel(0)
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise ClipFault(path, "cannot be decoded, expected a whole image file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cut_clip(job: ClipJob) -> list[str]:
    """Write every crop of a clip as lossless PNG, then mark the clip as finished.

    Returns:
        The clip's faults, each one sentence; empty when all went well.

    Raises:
        OSError: the crops cannot be written.
    """
    cuts: dict[int, list[Cut]] = {}
    for cut in job.cuts:
        cuts.setdefault(cut.frame, []).append(cut)
    try:
        for number, frame in iter_frames(job.source, list(cuts)):
            outside = _panes_outside(job, frame)
            if outside:
                return outside
            for cut in cuts[number]:
                for modality, box in cut.boxes.items():
                    _write_png(cut.crops[modality], crop(frame, box))
    except ClipFault as fault:
        last = max(job.cuts, key=lambda cut: cut.frame)
        return [f"{job.where} {fault.reason} (boxes.csv row {last.row} needs frame {last.frame})"]
    _mark(job.finished, [path.name for cut in job.cuts for path in cut.crops.values()])
    return []


def copy_images(job: ImageJob) -> list[str]:
    """Write images as lossless PNG, pixels only, then mark the job as finished.

    Returns:
        The images' faults, each one sentence; empty when all went well.

    Raises:
        OSError: the crops cannot be written.
    """
    faults = []
    for where, source, target in job.images:
        try:
            _write_png(target, read_image(source))
        except ClipFault as fault:
            faults.append(f"{where} {fault.reason}")
    if not faults:
        _mark(job.finished, [target.name for _, _, target in job.images])
    return faults


Job = TypeVar("Job")


def in_processes(work: Callable[[Job], list[str]], jobs: Sequence[Job], title: str) -> list[list[str]]:
    """Do all jobs, a process a core, with a progress bar on standard error.

    An exception (Ctrl-C too) stops the workers within a fraction of a second, and so does the end
    of this process, however it ends.

    Returns:
        What `work` returned, in the order of the jobs.
    """
    if not jobs:
        return []
    import multiprocessing

    context = multiprocessing.get_context("spawn")  # a fork of threads (progress, torch) may hang
    stop = context.Event()
    pool = ProcessPoolExecutor(min(cores(), len(jobs)), context, _begin_worker, (stop,))
    try:
        with progress_bar(title, len(jobs)) as advance:
            results = [pool.submit(work, job) for job in jobs]
            for result in results:
                result.add_done_callback(lambda _: advance())
            return [result.result() for result in results]
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], object]]:
    """A bar on standard error, silent where that is no terminal; yields what advances it by 1."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)


def _begin_worker(stop: Any) -> None:
    """Ctrl-C is the parent's to handle; libraries' lines about damaged files go nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()


def _end_with_parent(stop: Any) -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    while not stop.wait(0.2) and parent is not None and parent.is_alive():
        pass
    os._exit(1)


def _iter_video(path: Path, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    cv2.utils.logging.setLogLevel(
        0
    )  # the environment above came too late if somebody else imported cv2
    # An absolute path never looks like one of FFmpeg's protocols ("a:b.avi").
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise ClipFault(path, "cannot be opened as video: damaged, cut off, or another format")
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(numbers)
        for number in range(numbers[-1] + 1):
            grabbed = capture.grab()
            image = None
            if grabbed and number in wanted:
                grabbed, image = capture.retrieve()
            if not grabbed:
                raise ClipFault(path, _too_short(number, promised))
            if image is not None:
                yield number, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        # The last picture of a cut-off file decodes, half of it grey: is there one after it?
        read = numbers[-1] + 1
        if read < promised and not capture.grab():
            raise ClipFault(path, _too_short(read, promised) + ", and the last may be incomplete")
    finally:
        capture.release()


def _too_short(read: int, promised: int) -> str:
    frames = f"has {read} frames that can be read" if read != 1 else "has 1 frame that can be read"
    return f"{frames}, though its header says {promised}" if promised > read else frames


def _iter_dicom(path: Path, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    from pydicom.pixels import iter_pixels
    from pydicom.pixels.processing import apply_color_lut

    header = _pixel_header(path)
    promised = int(header.get("NumberOfFrames") or 1)
    if promised <= numbers[-1]:
        raise ClipFault(path, _too_short(promised, promised))
    if header.get("BitsStored") != 8:
        raise ClipFault(path, f"has {header.BitsStored}-bit pixels, expected 8-bit ultrasound")
    frames = iter_pixels(path, indices=numbers)  # YBR becomes RGB in here
    for number in numbers:
        try:
            pixels = _quietly(next, frames)
        except Exception:  # pydicom and its plugins raise whatever they like for damaged pixels
            raise ClipFault(path, _undecodable(path, header, promised)) from None
        if header.PhotometricInterpretation == "PALETTE COLOR":
            pixels = _quietly(apply_color_lut, pixels, header)
            pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels
        elif header.PhotometricInterpretation == "MONOCHROME1":  # 0 is white
            pixels = 255 - pixels
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        yield number, np.ascontiguousarray(pixels, dtype=np.uint8)


def _pixel_header(path: Path) -> Any:
    """The elements that describe the pixels, and no others: a header names the patient."""
    from pydicom import dcmread

    palette = [f"{c}PaletteColorLookupTable{part}" for c in COLOURS for part in ("Data", "Descriptor")]
    tags = ["NumberOfFrames", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"]
    try:
        header = _quietly(dcmread, path, stop_before_pixels=True, specific_tags=tags + palette)
        header.PhotometricInterpretation, header.file_meta.TransferSyntaxUID  # noqa: B018 - needed
    except Exception:
        raise ClipFault(path, "cannot be read as DICOM: damaged, or another format") from None
    return header


COLOURS = ("Red", "Green", "Blue")


def _undecodable(path: Path, header: Any, promised: int) -> str:
    from pydicom.pixels import get_decoder, iter_pixels

    syntax = header.file_meta.TransferSyntaxUID
    try:
        missing = syntax.is_compressed and not get_decoder(syntax).is_available
    except NotImplementedError:  # not a syntax of pixels at all
        missing = True
    if missing:
        return f"is compressed as {syntax.name}, for which no pydicom decoder is installed"
    read, frames = 0, iter_pixels(path)
    try:
        while read < promised:
            _quietly(next, frames)
            read += 1
    except Exception:
        pass
    return _too_short(read, promised)


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call pydicom without its warnings and logs: they may quote a header."""
    import logging
    import warnings

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def _panes_outside(job: ClipJob, frame: np.ndarray) -> list[str]:
    height, width = frame.shape[:2]
    return [
        f"{job.where} has frames of {width} × {height} pixels, its {modality}_pane {pane} reaches "
        "outside them"
        for modality, pane in job.panes.items()
        if not Box(0, 0, width, height).contains(pane)
    ]


def _write_png(path: Path, rgb: np.ndarray) -> None:
    # Encoded in memory: cv2.imwrite would hide why a write fails.
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


def _mark(finished: Path, crops: list[str]) -> None:
    draft = finished.with_suffix(".writing")
    draft.write_text("".join(f"{name}\n" for name in crops), encoding="utf-8")
    draft.rename(finished)
