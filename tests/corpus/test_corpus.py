"""What once took the machine down, or was a traceback, is refused in a sentence, within bounds.

Files beside this one that benchmarks/fuzz.py has found are named in `FOUND`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import bombs
import numpy as np
import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.annotations.annotation import Reading
from mufnet_lightning.cohort.annotations.masks import read_pictures
from mufnet_lightning.cohort.clips import count_frames, iter_frames
from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.headers import read_header
from mufnet_lightning.cohort.stills import read_image
from mufnet_lightning.errors import InputFault
from mufnet_lightning.evaluation.predictions import read_predictions
from mufnet_lightning.system.configs import read_config

MEMORY, SECONDS = 1 << 29, 8
HERE = Path(__file__).parent
CLAIM = "has 900,000,000 pixels, expected at most 67,108,864 in all"


def _frames(path: Path) -> None:
    list(iter_frames(path, [0, 5]))


def _bombs(folder: Path) -> list[tuple[str, Callable[[], object], str]]:
    """Name, what opens it, and what must be said."""
    (folder / "wide.csv").write_text(",".join(f"c{n}" for n in range(100_000)) + "\n1\n")
    (folder / "commas.csv").write_text("a,b\n" + "," * 30_000_000)
    (folder / "line.csv").write_text("label,score\n0," + "x" * 30_000_000)
    layers = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (folder / "laughs.yaml").write_text("\n".join(["a0: &a0 [x]", *layers]))
    (folder / "deep.yaml").write_text("[" * 500_000)
    (folder / "large.yaml").write_text("a: 1\n" * 500_000)
    os.mkfifo(folder / "pipe.avi")
    files = {
        ending: bombs.picture(folder / f"bomb.{ending}") for ending in ("png", "jpg", "bmp", "tif")
    }
    webp = bombs.picture(folder / "bomb.webp").rename(folder / "webp.png")
    many = bombs.dicom(folder / "many.dcm", frames="1000000000")
    wide = bombs.dicom(folder / "wide.dcm", side=65_535)
    packed = bombs.dicom(folder / "packed.dcm", deflated=3 << 29)
    pipe, claims = folder / "pipe.avi", "claims 1,000,000,000 frames in "
    return [
        *((ending, lambda path=path: read_image(path), CLAIM) for ending, path in files.items()),
        ("WebP", lambda: read_image(webp), "cannot be decoded"),
        ("mask", lambda: _mask(files["png"]), CLAIM),
        ("frames", lambda: count_frames(many), claims),
        ("decoded", lambda: _frames(many), claims),
        ("header", lambda: _no_header(many), "no header"),
        ("rows", lambda: _frames(wide), "has 65,535 × 65,535 pixels"),
        ("deflated", lambda: _frames(packed), "unpacks to more than 1,073,741,824 bytes"),
        ("deflated header", lambda: _no_header(packed), "no header"),
        ("pipe", lambda: _frames(pipe), "it is a named pipe, expected a file"),
        ("pipe header", lambda: _no_header(pipe), "no header"),
        ("device", lambda: read_image(Path("/dev/zero")), "it is a device, expected a file"),
        ("columns", lambda: read_table(folder / "wide.csv"), "has more than 4,096 columns"),
        ("commas", lambda: read_table(folder / "commas.csv"), "has a line of more than"),
        ("line", lambda: read_predictions(folder / "line.csv"), "has a line of more than"),
        ("laughs", lambda: read_config(folder / "laughs.yaml"), "has more than 100,000 values"),
        ("deep", lambda: read_config(folder / "deep.yaml"), "nests deeper than 50"),
        ("large", lambda: read_config(folder / "large.yaml"), "it has 2,500,000 bytes"),
    ]


def _mask(path: Path) -> None:
    reading = Reading()
    read_pictures([path], reading)
    raise InputFault(reading.faults)


def _no_header(path: Path) -> None:
    assert read_header(path) is None
    raise InputFault("no header")


def _said(work: Callable[[], object]) -> str:
    began = time.process_time()
    try:
        work()
    except InputFault as fault:
        text = str(fault)
    except BaseException:
        text = traceback.format_exc()
    else:
        text = "accepted"
    spent = time.process_time() - began
    return text if spent < SECONDS else f"{spent:.0f} s: {text}"


def test_bombs_are_refused_in_bounded_time_and_memory(tmp_path: Path) -> None:
    cases = _bombs(tmp_path)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # what hangs ends here
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        said = {}
        try:
            for name, work, _ in cases:
                said[name] = _said(work)
                (tmp_path / "said.json").write_text(json.dumps(said))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = json.loads((tmp_path / "said.json").read_text())
    wrong = {
        name: said.get(name, "hang or end") for name, _, text in cases if text not in said.get(name, "")
    }
    assert wrong == {}


FOUND = [
    ("numbers.csv", "boxes.csv", "boxes.csv row 2: x is 1e308, expected at most 1,048,576 pixels"),
    ("nul.csv", "patients.csv", "patients.csv is not plain text"),
    ("twins.json", "cohort.json", 'cohort.json cannot be read, expected {"id": "..."}'),
    ("deep.json", "cohort.json", 'cohort.json cannot be read, expected {"id": "..."}'),
    ("many.dcm", "clips/C1.avi", "claims 1,000,000,000 frames in"),
]
"""A file beside this one, what it takes the place of in a cohort, and a part of what is said."""


@pytest.mark.parametrize(("name", "place", "sentence"), FOUND)
def test_what_was_found_is_one_sentence(
    cohort: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    place: str,
    sentence: str,
) -> None:
    shutil.copy(HERE / name, cohort / place)
    began = time.process_time()
    code = main(["prepare", str(cohort), str(tmp_path / "store")])
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert (code, printed.out) == (2, "")
    assert sentence in printed.err
    assert time.process_time() - began < SECONDS


def test_the_bombs_go_off_elsewhere(tmp_path: Path) -> None:
    """Without these bounds they are read: a whole picture of that form is."""
    for ending in ("png", "jpg", "bmp", "tif"):
        import cv2

        assert cv2.imwrite(str(tmp_path / f"a.{ending}"), np.full((8, 8, 3), 7, np.uint8))
        assert read_image(tmp_path / f"a.{ending}").shape == (8, 8, 3)
