"""Annotations of other programs as a cohort's boxes.csv: planned, shown, and only then written."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mufnet_lightning.cohort.annotations.annotation import Annotation
from mufnet_lightning.cohort.annotations.formats import NAMES, Format, read_annotations
from mufnet_lightning.cohort.annotations.interpolation import drawn_only, interpolate
from mufnet_lightning.cohort.annotations.placing import Choices, Frames, Placed, in_pixels
from mufnet_lightning.cohort.annotations.sheet import NAME, Look, look_at, sheet
from mufnet_lightning.cohort.csv_text import read_table
from mufnet_lightning.cohort.faults import quoted, raise_faults
from mufnet_lightning.cohort.read import Cohort, check_cohort
from mufnet_lightning.cohort.schemas import NEEDED
from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import write_atomic

FIRST_ROWS = 5
MOST_LINES = 60  # of the summary's table


@dataclass(frozen=True)
class ImportPlan:
    """The boxes that would be written, and what there is to say of them.

    Attributes:
        folder: of the cohort.
        title: what was read.
        boxes: in the order of clips.csv, and of frames.
        looks: of each clip that has a box.
        notes: a sentence each about what was left out, moved, or taken for granted.
        warnings: a sentence each about what is odd, but no fault.
    """

    folder: Path
    title: str
    boxes: tuple[Placed, ...]
    looks: dict[str, Look]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        """boxes.csv; the column `box_source` is there where a box was filled in."""
        filled = not all(box.drawn for box in self.boxes)
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, lineterminator="\n")
        columns = [*NEEDED["boxes.csv"], "pane"]
        writer.writerow([*columns, "box_source"] if filled else columns)
        for box in self.boxes:
            row = _cells(box)
            writer.writerow(row if filled else row[:-1])
        return lines.getvalue()

    def summary(self) -> str:
        """Counts by clip and label, frames, the first rows, and the notes."""
        kinds = Counter((box.clip, box.label, box.drawn) for box in self.boxes)
        frames: dict[str, list[int]] = {}
        for box in self.boxes:
            frames.setdefault(box.clip, []).append(box.frame)
        table = [("clip", "label", "drawn", "filled in", "frames", "of")]
        for clip, label in dict.fromkeys((box.clip, box.label) for box in self.boxes):
            has = self.looks[clip].frames
            table.append(
                (
                    *(clip, label or "-", f"{kinds[clip, label, True]:,}"),
                    *(f"{kinds[clip, label, False]:,}", f"{min(frames[clip])} to {max(frames[clip])}"),
                    "?" if has is None else f"0 to {has - 1}",
                )
            )
        lines = [self.title, "", *_aligned(table[:MOST_LINES])]
        if len(table) > MOST_LINES:
            lines.append(f"... and {len(table) - MOST_LINES:,} more")
        lines += ["", "boxes.csv begins:", *self.text.splitlines()[: FIRST_ROWS + 1]]
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    def show(self) -> Path:
        """Write the page of pictures beside boxes.csv, and return its path."""
        path = self.folder / NAME
        write_atomic(path, sheet(self.title, self.summary(), self.boxes, self.looks))
        return path

    def write(self, over: bool = False) -> Path:
        """Write boxes.csv, and return its path.

        Raises:
            InputFault: there is one, and it is not to be written over.
        """
        check_free(self.folder, over)
        write_atomic(self.folder / "boxes.csv", self.text)
        return self.folder / "boxes.csv"


def check_free(folder: Path, over: bool) -> None:
    """Refuse to write over a boxes.csv that nobody gave up.

    Raises:
        InputFault: there is one, and `over` is False.
    """
    if (folder / "boxes.csv").exists() and not over:
        raise InputFault(f"{folder / 'boxes.csv'} is there already; --replace writes over it")


def plan_import(
    annotations: Path,
    cohort: Path,
    choices: Choices | None = None,
    form: Format | None = None,
    label_attribute: str | None = None,
) -> ImportPlan:
    """Read annotations and place them on the frames of a cohort's clips. Nothing is written.

    Args:
        annotations: a file, or a folder of files of one format.
        cohort: folder with clips.csv.
        choices: what the user says of them.
        form: their format; told by their content unless given.
        label_attribute: see `annotation.Reading`.

    Raises:
        InputFault: with everything that is wrong, a sentence each.

    >>> import cv2, numpy, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = cv2.imwrite(str(folder / "scan.png"), numpy.zeros((48, 64, 3), numpy.uint8))
    >>> clips = "clip_id,patient_id,path,ceus_pane", 'C1,P1,scan.png,"0,0,64,48"'
    >>> _ = (folder / "clips.csv").write_text(chr(10).join(clips))
    >>> _ = (folder / "scan.txt").write_text("0 0.5 0.5 0.25 0.5")  # YOLO
    >>> plan_import(folder / "scan.txt", folder).text.splitlines()
    ['clip_id,frame,x,y,width,height,pane', 'C1,0,24,12,16,24,ceus']
    """
    choices = choices or Choices()
    clips, paths = _clips(cohort, choices)
    form, reading = read_annotations(annotations, form, label_attribute)
    raise_faults(reading.faults)
    chosen = _choose(annotations, reading.annotations, choices)
    named = dict(zip(clips["clip_id"], clips["path"], strict=True))
    frames = Frames(paths, named, choices)
    placed = [(one, place) for one in chosen if (place := frames.place(one)) is not None]
    raise_faults(frames.finish())
    wanted: dict[str, list[int]] = {}
    for _, (clip, frame) in placed:
        wanted.setdefault(clip, []).append(frame)
    looks = look_at(paths, {clip: wanted[clip] for clip in named if clip in wanted})
    raise_faults(
        _asked(look.fault, wanted[clip], choices) for clip, look in looks.items() if look.fault
    )
    boxes, notes = _boxes(placed, looks, choices)
    boxes = _on_panes(boxes, _checked(cohort, clips, boxes, choices))
    fill = interpolate(boxes, choices.most_gap) if choices.interpolate else drawn_only(boxes)
    if not fill[0]:
        raise InputFault(f"{annotations} holds no box that was drawn")
    order = {clip: number for number, clip in enumerate(named)}
    boxes = sorted(fill[0], key=lambda box: (order[box.clip], box.frame, box.pane))
    warnings = (*reading.warnings, *_checked(cohort, clips, boxes, choices).warnings)
    notes += fill[1]
    notes += sorted(reading.notes)
    notes += [f"frames: {count:,} {what}" for what, count in frames.notes.items()]
    notes += [
        f"{count:,} left out, as it has no box: {what}" for what, count in reading.left_out.items()
    ]
    count = len(looks)
    title = f"{annotations}: {NAMES[form]}, {len(boxes):,} boxes in {count:,} clip{'s' * (count != 1)}"
    return ImportPlan(cohort, title, tuple(boxes), looks, tuple(notes), warnings)


def _clips(cohort: Path, choices: Choices) -> tuple[pd.DataFrame, dict[str, Path]]:
    """clips.csv as text, checked, and the file of each clip."""
    if not (cohort / "clips.csv").is_file():
        raise InputFault(f"{cohort} has no clips.csv, expected one with a row a clip")
    table = read_table(cohort / "clips.csv")
    lacking = [name for name in NEEDED["clips.csv"] if name not in table]
    raise_faults(f"clips.csv has no column {name}, which is needed" for name in lacking)
    # without a box no header is asked for panes yet: contrast is looked for on the annotated frames
    none = pd.DataFrame(columns=[*NEEDED["boxes.csv"]], dtype=str)
    texts = {"patients.csv": _patients(table), "clips.csv": table, "boxes.csv": none}
    read = check_cohort(texts, cohort, False, contrast=choices.contrast, root=choices.root)
    paths = zip(table["clip_id"], table["path"], strict=True)
    return table, {clip: read.file(path) for clip, path in paths}


def _patients(clips: pd.DataFrame) -> pd.DataFrame:
    """The patients that clips.csv speaks of: patients.csv may not be there yet."""
    table = clips[["patient_id"]].drop_duplicates()
    return table[table["patient_id"] != ""]


def _choose(path: Path, annotations: Sequence[Annotation], choices: Choices) -> list[Annotation]:
    """The annotations whose labels count."""
    if not annotations:
        raise InputFault(f"{path} holds no box")
    counts = Counter(one.label for one in annotations)
    shown = ", ".join(f"{label or 'no label'} {count:,}" for label, count in counts.most_common())
    labels = [*(choices.labels or choices.pane_labels)]
    unknown = [label for label in (*labels, *choices.pane_labels) if label not in counts]
    if unknown:
        raise InputFault(f"{path} has no label {', '.join(map(quoted, unknown))}, only {shown}")
    outside = [label for label in choices.pane_labels if label not in labels]
    if outside:
        raise InputFault(f"--pane-labels names {', '.join(outside)}, which --labels leaves out")
    if not labels and len(counts) > 1:
        raise InputFault(
            f"{path} has several labels ({shown}); choose those of the tumour with --labels, or tell "
            "the panes by --pane-labels ceus=LABEL,bmode=LABEL"
        )
    return [one for one in annotations if one.label in labels or not labels]


def _boxes(
    placed: Sequence[tuple[Annotation, tuple[str, int]]], looks: dict[str, Look], choices: Choices
) -> tuple[list[Placed], list[str]]:
    """The boxes in pixels, and a sentence about those that were cut at the edge of their frame."""
    faults: dict[str, None] = {}
    boxes = []
    cut = 0
    most = 0.0
    for one, (clip, frame) in placed:
        look = looks[clip]
        if one.size not in (None, (look.width, look.height)):
            assert one.size is not None
            faults[
                f"{one.source}: was drawn on {one.size[0]} × {one.size[1]} pixels, but the frames of "
                f"its clip {clip} have {look.width} × {look.height}"
                + (
                    ", as if rows and columns were exchanged"
                    if one.size == (look.height, look.width)
                    else ""
                )
            ] = None
            continue
        try:
            box, outside = in_pixels(one, look.width, look.height)
        except ValueError as error:
            faults[f"{one.where}: {error}"] = None
            continue
        cut += outside > 0
        most = max(most, outside)
        pane = choices.pane_labels.get(one.label, choices.pane or "")
        boxes.append(Placed(one.where, clip, frame, box, one.label, pane, one.track, one.drawn))
    raise_faults(faults)
    note = (
        f"{cut:,} boxes reached outside their frame, by at most {most:.2g} pixels, and were cut there"
    )
    return boxes, [note] if cut else []


def _on_panes(boxes: Sequence[Placed], cohort: Cohort) -> list[Placed]:
    """The boxes with the pane that holds each, where nobody said: tracks are filled pane by pane."""
    assert cohort.boxes is not None
    return [replace(one, pane=pane) for one, pane in zip(boxes, cohort.boxes["pane"], strict=True)]


def _checked(folder: Path, clips: pd.DataFrame, boxes: Sequence[Placed], choices: Choices) -> Cohort:
    """Judge the table as `mufnet prepare` will, with faults that name the annotations."""
    index = pd.Index(range(2, len(boxes) + 2), name="row")
    columns = [*NEEDED["boxes.csv"], "pane", "box_source"]
    table = pd.DataFrame([_cells(box) for box in boxes], index=index, columns=columns, dtype=str)
    texts = {"patients.csv": _patients(clips), "clips.csv": clips, "boxes.csv": table}
    try:
        return check_cohort(
            texts, folder, with_grades=False, contrast=choices.contrast, root=choices.root
        )
    except InputFault as fault:
        raise InputFault([_worded(one, boxes) for one in fault.faults]) from None


def _worded(fault: str, boxes: Sequence[Placed]) -> str:
    """A sentence about a row of the table as one about the annotation that it would be of."""
    place, colon, reason = fault.partition(": ")
    row = place.removeprefix("boxes.csv row ")
    if not colon or not row.isdigit():
        return fault
    before, _, first = reason.partition(" in row ")
    number = first.partition(" ")[0]
    if number.isdigit():
        rest = first.removeprefix(number)
        reason = f"{before} from {boxes[int(number) - 2].where}{rest}"
    return f"{boxes[int(row) - 2].where}: {reason}"


def _asked(fault: str, frames: Sequence[int], choices: Choices) -> str:
    """A clip's fault, with the question that explains most of those that are a frame short."""
    last = max(frames)
    asked = f"has {last} frame" in fault and choices.first_frame != 1
    hint = ", do the annotations count from 1?" if asked else ""
    return f"{fault}; frame {last} (from 0) is annotated{hint}"


def _cells(box: Placed) -> list[str]:
    left, top = round(box.box.x, 6), round(box.box.y, 6)
    right, bottom = round(box.box.x + box.box.width, 6), round(box.box.y + box.box.height, 6)
    sides = (left, top, right - left, bottom - top)
    numbers = [f"{side:.6f}".rstrip("0").rstrip(".") for side in sides]
    return [box.clip, str(box.frame), *numbers, box.pane, "drawn" if box.drawn else "interpolated"]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
