"""Cohort folders as hospitals send them: each fault is named with file, row and reason, and nothing
is written."""

from __future__ import annotations

import csv
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from mufnet_lightning.cli import main

Breaking = Callable[[Path, ModuleType], object]
CASES: list[ParameterSet] = []
SAVE = "save it as CSV UTF-8 (comma separated)"


def broken(*messages: str) -> Callable[[Breaking], Breaking]:
    """Register a way to break a valid cohort, with all lines that it must print."""

    def register(breaking: Breaking) -> Breaking:
        CASES.append(pytest.param(breaking, messages, id=breaking.__name__))
        return breaking

    return register


def change(folder: Path, table: str, row: int, **cells: str) -> None:
    """Set cells of a row (its line in the file)."""
    with open(folder / table, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    for column, cell in cells.items():
        lines[row - 1][lines[0].index(column)] = cell
    with open(folder / table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def replace(folder: Path, table: str, old: str, new: str) -> None:
    """Replace text everywhere in a table."""
    text = (folder / table).read_text(encoding="utf-8")
    assert old in text
    (folder / table).write_text(text.replace(old, new), encoding="utf-8")


def append(folder: Path, table: str, line: str) -> None:
    """Add a line at a table's end."""
    with open(folder / table, "a", encoding="utf-8") as file:
        file.write(line + "\n")


# The files.


@broken("there is no cohort folder {folder}")
def no_folder(folder: Path, files: ModuleType) -> None:
    shutil.rmtree(folder)


@broken("{folder} has no patients.csv, expected one with a row a patient")
def no_patients(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").unlink()


@broken(
    "{folder} has no patients.csv (there is Patients.CSV, expected lower case), expected one "
    "with a "
    "row a patient"
)
def file_name_in_capitals(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").rename(folder / "Patients.CSV")


@broken(
    "{folder} has no clips, expected clips.csv and boxes.csv, or pairs.csv for images that are "
    "cropped already"
)
def neither_clips_nor_pairs(folder: Path, files: ModuleType) -> None:
    (folder / "clips.csv").unlink()
    (folder / "boxes.csv").unlink()


@broken("{folder} has no boxes.csv, expected one with a row an annotated frame")
def no_boxes(folder: Path, files: ModuleType) -> None:
    (folder / "boxes.csv").unlink()


@broken(
    "{folder} has both pairs.csv and boxes.csv, expected either pairs.csv or clips.csv and boxes.csv",
    "{folder} has both pairs.csv and clips.csv, expected either pairs.csv or clips.csv and boxes.csv",
)
def clips_and_pairs(folder: Path, files: ModuleType) -> None:
    (folder / "pairs.csv").write_text("patient_id,bmode_path\n")


@broken("patients.csv is empty, expected a header and at least one row")
def empty_file(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").write_text("")


@broken("boxes.csv has a header and no rows, expected at least one row")
def header_only(folder: Path, files: ModuleType) -> None:
    (folder / "boxes.csv").write_text("clip_id,frame,x,y,width,height\n,,,,,\n")


@broken(f"patients.csv row 2: the text is not UTF-8, {SAVE}")
def latin_1(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "north", "Köln")
    path = folder / "patients.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))


@broken(f"clips.csv is UTF-16 text, {SAVE}")
def utf_16(folder: Path, files: ModuleType) -> None:
    path = folder / "clips.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


@broken(f"patients.csv is an Excel workbook, {SAVE}")
def excel_workbook_named_csv(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").write_bytes(b"PK\x03\x04" + bytes(100))


@broken(f"patients.csv is not plain text, {SAVE}")
def binary_rubbish(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").write_bytes(b"patient_id,grade\n\0\0\0")


@broken(f"boxes.csv has its columns separated by semicolons, {SAVE}")
def semicolons(folder: Path, files: ModuleType) -> None:
    replace(folder, "boxes.csv", ",", ";")


@broken(f"patients.csv has its columns separated by tabs, {SAVE}")
def tabs(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", ",", "\t")


@broken("patients.csv row 3: has 4 cells, the header has 3")
def ragged_row(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "P2,3,south", "P2,3,south,x")


@broken(
    'clips.csv row 2: has 7 cells, the header has 5 (a pane is quoted: "0,0,320,240")',
)
def unquoted_pane(folder: Path, files: ModuleType) -> None:
    path = folder / "clips.csv"
    lines = path.read_text().splitlines()
    lines[1] = "C1,P1,clips/C1.avi,0,8,64,48"
    path.write_text("\n".join(lines))


@broken("patients.csv row 4: is not readable as CSV: unexpected end of data")
def quote_without_end(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "P3,1", 'P3,"1')


# The columns.


@broken("patients.csv has 2 columns grade, expected one")
def column_twice(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "center", "grade")


@broken("boxes.csv has no column height, which is needed")
def column_missing(folder: Path, files: ModuleType) -> None:
    replace(folder, "boxes.csv", "height", "h")


@broken("clips.csv has a column 'Clip ID', expected clip_id")
def column_in_capitals(folder: Path, files: ModuleType) -> None:
    replace(folder, "clips.csv", "clip_id", "Clip ID")


@broken("patients.csv has no column grade, expected grade (1 to 4) or label (0, 1)")
def no_grade_and_no_label(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "grade", "who")


@broken("clips.csv has no column bmode_pane or ceus_pane, expected at least one")
def no_panes(folder: Path, files: ModuleType) -> None:
    replace(folder, "clips.csv", "bmode_pane,ceus_pane", "left,right")


# The patients.


@broken("patients.csv row 4: patient_id 'P2' is in row 3 already")
def patient_with_two_grades(folder: Path, files: ModuleType) -> None:
    append(folder, "patients.csv", "P4,1,")
    change(folder, "patients.csv", 4, patient_id="P2")
    replace(folder, "patients.csv", "P4", "P3")


@broken("patients.csv row 5: patient_id is empty, expected some text")
def patient_without_id(folder: Path, files: ModuleType) -> None:
    append(folder, "patients.csv", " ,1,south")


@broken("patients.csv row 2: grade is 2.5, expected 1, 2, 3 or 4")
def half_grade(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 2, grade="2.5")


@broken("patients.csv row 3: grade is 'three', expected 1, 2, 3 or 4")
def grade_in_words(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 3, grade="three")


@broken("patients.csv row 3: grade is 'NaN', expected 1, 2, 3 or 4")
def grade_not_a_number(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 3, grade="NaN")


@broken("patients.csv row 4: grade and label are empty, expected a grade (1 to 4) or a label (0 or 1)")
def empty_grade(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 4, grade="  ")


@broken("patients.csv row 2: label is 2, expected 0 (low) or 1 (high)")
def grade_in_the_label_column(folder: Path, files: ModuleType) -> None:
    replace(folder, "patients.csv", "grade", "label")
    change(folder, "patients.csv", 3, label="1")


@broken(
    "patients.csv row 3: grade 3 and label 0 disagree, expected label 0 for grades 1 and 2, 1 for "
    "grades 3 and 4"
)
def grade_against_label(folder: Path, files: ModuleType) -> None:
    (folder / "patients.csv").write_text("patient_id,grade,label\nP1,2,0\nP2,3,0\nP3,1,\n")


# The clips.


@broken("clips.csv row 3: clip_id 'C1' is in row 2 already")
def clip_twice(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 3, clip_id="C1", patient_id="P1")
    replace(folder, "boxes.csv", "C2,", "C3,")
    lines = (folder / "boxes.csv").read_text().splitlines()
    (folder / "boxes.csv").write_text("\n".join(dict.fromkeys(lines)))


@broken("clips.csv row 5: patient_id is 'P9', expected one that patients.csv has")
def clip_of_nobody(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 5, patient_id="P9")


@broken("clips.csv row 2: path is empty, expected some text")
def clip_without_path(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="")


@broken("clips.csv row 2: path 'clips/gone.avi' does not exist")
def clip_not_there(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="clips/gone.avi")


@broken(
    "clips.csv row 2: films is a folder with C1.avi in it, expected the frames of one clip, each a "
    "picture or a DICOM file of its own (boxes.csv row 4 needs frame 10)"
)
def clip_is_a_folder(folder: Path, files: ModuleType) -> None:
    (folder / "films").mkdir()
    (folder / "clips/C1.avi").rename(folder / "films/C1.avi")
    change(folder, "clips.csv", 2, path="films")


@broken(
    "clips.csv row 2: path '/data/C1.avi' is absolute, expected a path relative to the cohort folder, "
    "or to --root"
)
def absolute_path(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="/data/C1.avi")


@broken(
    "clips.csv row 2: path 'D:/data/C1.avi' is absolute, expected a path relative to the cohort "
    "folder, or to --root"
)
def windows_drive(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="D:/data/C1.avi")


@broken(
    "clips.csv row 2: path 'clips\\\\C1.avi' has a backslash, expected folders separated by /",
)
def backslash(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="clips\\C1.avi")


@broken(
    "clips.csv row 2: path 'clips/../../C1.avi' climbs with .., expected a path inside the cohort "
    "folder"
)
def path_that_climbs_out(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, path="clips/../../C1.avi")


@broken(
    "clips.csv row 2: path 'clips/C1.avi' is a link that leads out of the cohort folder; "
    "--root DIR allows those into DIR"
)
def link_out_of_the_folder(folder: Path, files: ModuleType) -> None:
    outside = folder.parent / "elsewhere.avi"
    (folder / "clips/C1.avi").rename(outside)
    os.symlink(outside, folder / "clips/C1.avi")


@broken(
    "clips.csv row 3: path 'clips/C1.avi' of patient 'P2' is used in row 2 for patient 'P1' already"
)
def one_clip_for_two_patients(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 3, path="clips/C1.avi")


PANE = "expected x,y,width,height in whole pixels of the frame, width and height above 0"


@broken(
    f"clips.csv row 2: bmode_pane is '0,8,64', {PANE}",
    f"clips.csv row 3: ceus_pane is '80 8 64 48', {PANE}",
    f"clips.csv row 4: bmode_pane is '0,-8,64,48', {PANE}",
    f"clips.csv row 5: ceus_pane is '80,8,64,0', {PANE}",
)
def panes_that_are_none(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, bmode_pane="0,8,64")
    change(folder, "clips.csv", 3, ceus_pane="80 8 64 48")
    change(folder, "clips.csv", 4, bmode_pane="0,-8,64,48")
    change(folder, "clips.csv", 5, ceus_pane="80,8,64,0")


@broken("clips.csv row 2: bmode_pane and ceus_pane are both empty, expected at least one")
def both_panes_empty(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, bmode_pane="", ceus_pane="")


@broken("clips.csv row 2: bmode_pane 20,8,64,48 and ceus_pane 80,8,64,48 overlap")
def overlapping_panes(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, bmode_pane="20,8,64,48")


@broken(
    "clips.csv row 2: bmode_pane 0,8,32,48 and ceus_pane 80,8,64,48 differ in shape, expected one "
    "ratio of width to height, as both show the same tissue"
)
def panes_of_different_shape(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, bmode_pane="0,8,32,48")


# The boxes.


@broken("boxes.csv row 13: clip_id is 'C9', expected one that clips.csv has")
def box_of_no_clip(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 13, clip_id="C9")


@broken(
    "boxes.csv row 3: clip 'C1' frame 2 has its ceus box in row 2 already, expected one box "
    "a frame and pane, or a lesion_id for each tumour"
)
def frame_twice(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 3, frame="2")


@broken(
    "boxes.csv row 2: frame is -1, expected a whole frame number, 0 or more",
    "boxes.csv row 3: frame is 7.5, expected a whole frame number, 0 or more",
    "boxes.csv row 4: frame is empty, expected a whole frame number, 0 or more",
)
def frames_that_are_none(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, frame="-1")
    change(folder, "boxes.csv", 3, frame="7.5")
    change(folder, "boxes.csv", 4, frame="")


@broken(
    "boxes.csv row 7: width is -3, expected a positive number of pixels",
    "boxes.csv row 8: height is 0, expected a positive number of pixels",
    "boxes.csv row 9: width is 'nan', expected a positive number of pixels",
    "boxes.csv row 10: x is '12,5', expected a number of pixels, 0 or more",
    "boxes.csv row 11: y is 'inf', expected a number of pixels, 0 or more",
)
def sizes_that_are_none(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 7, width="-3")
    change(folder, "boxes.csv", 8, height="0")
    change(folder, "boxes.csv", 9, width="nan")
    change(folder, "boxes.csv", 10, x="12,5")
    change(folder, "boxes.csv", 11, y="inf")


@broken("boxes.csv row 2: the box 130,14,20,18 reaches outside its ceus_pane 80,8,64,48")
def box_outside_its_pane(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, x="130")


@broken(
    "boxes.csv row 2: the box 60,14,20,18 does not lie inside bmode_pane 0,8,64,48 or ceus_pane "
    "80,8,64,48 of its clip"
)
def box_in_no_pane(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, x="60", pane="")


@broken("boxes.csv row 5: pane is ceus, but clips.csv gives no ceus_pane for this clip")
def box_on_a_pane_that_is_not_given(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 3, ceus_pane="")
    for row in (6, 7):
        change(folder, "boxes.csv", row, pane="bmode", x="10")


@broken("boxes.csv row 2: pane is 'doppler', expected bmode or ceus")
def unknown_pane(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, pane="Doppler")


@broken("boxes.csv row 2: phase is 'late', expected cortical or medullary")
def unknown_phase(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, phase="late")


# What only decoding shows.


@broken(
    "clips.csv row 3: clips/C2.avi has 12 frames that can be read (boxes.csv row 7 needs frame 12, "
    "counted from 0; does the table count from 1?)",
    "clips.csv row 5: clips/C4.avi has 12 frames that can be read (boxes.csv row 13 needs frame 99)",
)
def clips_shorter_than_their_boxes(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 7, frame="12")
    change(folder, "boxes.csv", 13, frame="99")


@broken(
    "clips.csv row 2: clips/C1.avi has 5 frames that can be read, though its header says 12 "
    "(boxes.csv row 4 needs frame 10)",
    "clips.csv row 4: clips/C3.avi cannot be opened as video: damaged, cut off, or another format "
    "(boxes.csv row 10 needs frame 10)",
)
def clips_cut_off(folder: Path, files: ModuleType) -> None:
    path = folder / "clips/C1.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (folder / "clips/C3.avi").write_bytes(b"not a video")


@broken(
    "clips.csv row 2: clips/C1.avi has frames of 160 × 64 pixels, its ceus_pane 100,8,64,48 "
    "reaches "
    "outside them"
)
def pane_outside_the_frame(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, ceus_pane="100,8,64,48")
    for row in (2, 3, 4):
        change(folder, "boxes.csv", row, x="110")


@broken(
    "clips.csv row 2: clips/C1.dcm cannot be read as DICOM: damaged, or another format (boxes.csv "
    "row 4 needs frame 10)",
    "clips.csv row 3: clips/C2.dcm has 4 frames that can be read, though its header says 12 "
    "(boxes.csv row 7 needs frame 10)",
)
def damaged_dicom(folder: Path, files: ModuleType) -> None:
    replace(folder, "clips.csv", "C1.avi", "C1.dcm")
    replace(folder, "clips.csv", "C2.avi", "C2.dcm")
    (folder / "clips/C1.dcm").write_bytes(b"hello" * 100)
    whole = folder / "clips/C2.dcm"
    files.write_dicom(whole, np.stack([files.clip_frame(i) for i in range(12)]))
    whole.write_bytes(whole.read_bytes()[: 5 * 160 * 64 * 3])


# Already cropped pairs.


def pairs(breaking: Breaking) -> Breaking:
    """Start from a cohort of pairs instead."""

    def start(folder: Path, files: ModuleType) -> None:
        shutil.rmtree(folder)
        files.write_pairs_cohort(folder)
        breaking(folder, files)

    start.__name__ = f"pairs_{breaking.__name__}"
    return start


@broken("pairs.csv row 5: bmode_path and ceus_path are both empty, expected at least one")
@pairs
def without_images(folder: Path, files: ModuleType) -> None:
    change(folder, "pairs.csv", 5, ceus_path="")


@broken("pairs.csv row 2: bmode_path and ceus_path are both 'images/0 ceus.png', expected two images")
@pairs
def of_one_image(folder: Path, files: ModuleType) -> None:
    change(folder, "pairs.csv", 2, bmode_path="images/0 ceus.png")


@broken(
    "pairs.csv row 3: ceus_path 'images/0 ceus.png' of patient 'P2' is used in row 2 for patient "
    "'P1' already"
)
@pairs
def image_of_two_patients(folder: Path, files: ModuleType) -> None:
    change(folder, "pairs.csv", 3, ceus_path="images/0 ceus.png")


@broken("pairs.csv row 4: the same images are in row 2 already")
@pairs
def twice(folder: Path, files: ModuleType) -> None:
    images = {f"{name}_path": f"images/0 {name}.png" for name in ("bmode", "ceus")}
    change(folder, "pairs.csv", 4, **images)


@broken("pairs.csv row 2: frame is 99999999999999999999999, expected less than 10,000,000 frames")
@pairs
def of_no_frame(folder: Path, files: ModuleType) -> None:
    change(folder, "pairs.csv", 2, frame="9" * 23)


@broken("pairs.csv row 2: patient_id is 'P01', expected one that patients.csv has")
@pairs
def of_nobody(folder: Path, files: ModuleType) -> None:
    change(folder, "pairs.csv", 2, patient_id="P01")


@broken(
    "pairs.csv row 2: images/0 bmode.png cannot be decoded, expected a whole image file",
    "pairs.csv row 5: images/3 ceus.png cannot be decoded, expected a whole image file",
)
@pairs
def of_damaged_images(folder: Path, files: ModuleType) -> None:
    path = folder / "images/0 bmode.png"
    path.write_bytes(path.read_bytes()[:-40])
    (folder / "images/3 ceus.png").write_bytes(b"")


# All at once.


@broken(
    "patients.csv row 2: grade is 7, expected 1, 2, 3 or 4",
    "clips.csv row 3: path 'C2.avi' does not exist",
    "clips.csv row 4: bmode_pane is 'left', expected x,y,width,height in whole pixels of the "
    "frame, "
    "width and height above 0",
    "boxes.csv row 4: the box 90,14,200,26 reaches outside its ceus_pane 80,8,64,48",
    "boxes.csv row 5: clip_id is 'C7', expected one that clips.csv has",
    "boxes.csv row 5: width is empty, expected a positive number of pixels",
    "boxes.csv row 13: the box 0,14,20,26 reaches outside its ceus_pane 80,8,64,48",
)
def many_faults_in_many_files(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 2, grade="7")
    change(folder, "clips.csv", 3, path="C2.avi")
    change(folder, "clips.csv", 4, bmode_pane="left")
    change(folder, "boxes.csv", 4, x="90", width="200")
    change(folder, "boxes.csv", 5, clip_id="C7", width="")
    change(folder, "boxes.csv", 13, x="0")


@broken(
    *(f"boxes.csv row {row}: x is -1, expected a number of pixels, 0 or more" for row in range(2, 52)),
    "... and 1,450 more faults like these",
)
def one_fault_in_every_row(folder: Path, files: ModuleType) -> None:
    rows = [f"C1,{frame},-1,14,20,18" for frame in range(1500)]
    (folder / "boxes.csv").write_text("clip_id,frame,x,y,width,height\n" + "\n".join(rows))


@broken(
    "patients.csv row 2: grade is '2b', expected 1, 2, 3 or 4",
    'cohort.json cannot be read, expected {{"id": "..."}} as it was first written',
)
def a_name_that_is_none(folder: Path, files: ModuleType) -> None:
    change(folder, "patients.csv", 2, grade="2b")
    (folder / "cohort.json").write_text('{"id": 7}')


# What would take the machine down, or was a traceback.


@broken(
    "boxes.csv row 2: x is 1e308, expected at most 1,048,576 pixels",
    "boxes.csv row 3: width is 1e308, expected at most 1,048,576 pixels",
    "boxes.csv row 4: frame is 99999999999999999999999, expected less than 10,000,000 frames",
    "boxes.csv row 5: width is 1e-320, expected a positive number of pixels",
)
def numbers_without_measure(folder: Path, files: ModuleType) -> None:
    change(folder, "boxes.csv", 2, x="1e308")
    change(folder, "boxes.csv", 3, width="1e308")
    change(folder, "boxes.csv", 4, frame="9" * 23)
    change(folder, "boxes.csv", 5, width="1e-320")


@broken(
    "clips.csv row 2: bmode_pane is '0,8,99999999999999999999999,48', expected x,y,width,height in "
    "whole pixels of the frame, width and height above 0",
)
def pane_without_measure(folder: Path, files: ModuleType) -> None:
    change(folder, "clips.csv", 2, bmode_pane=f"0,8,{'9' * 23},48")


@broken(
    "clips.csv row 2: path 'clips/C1.avi' cannot be read: it is a named pipe, expected a file",
    "clips.csv row 3: path 'clips/C2.avi' is a link that leads to itself",
)
def pipe_and_loop(folder: Path, files: ModuleType) -> None:
    for name in ("C1", "C2"):
        (folder / f"clips/{name}.avi").unlink()
    os.mkfifo(folder / "clips/C1.avi")
    (folder / "clips/C2.avi").symlink_to("C2.avi")


@broken("boxes.csv cannot be read: it is a named pipe, expected a file")
def table_that_is_a_pipe(folder: Path, files: ModuleType) -> None:
    (folder / "boxes.csv").unlink()
    os.mkfifo(folder / "boxes.csv")


@broken("boxes.csv row 1: has more than 4,096 columns")
def columns_without_measure(folder: Path, files: ModuleType) -> None:
    lines = (folder / "boxes.csv").read_text().splitlines()
    lines[0] += "".join(f",c{number}" for number in range(100_000))
    (folder / "boxes.csv").write_text("\n".join(lines))


@broken("boxes.csv has a line of more than 1,048,576 bytes, expected a table")
def line_without_end(folder: Path, files: ModuleType) -> None:
    append(folder, "boxes.csv", "x," * 1_000_000)


@broken(
    "clips.csv row 2: clips/C1.avi has 16,000 × 16,000 pixels, expected at most 67,108,864 in all "
    "(boxes.csv row 4 needs frame 10)"
)
def film_that_claims_too_much(folder: Path, files: ModuleType) -> None:
    data = bytearray((folder / "clips/C1.avi").read_bytes())
    for start in (data.find(b"avih") + 8 + 32, data.find(b"strf") + 8 + 4):
        data[start : start + 8] = struct.pack("<II", 16_000, 16_000)
    (folder / "clips/C1.avi").write_bytes(data)


@pytest.mark.parametrize(("breaking", "messages"), CASES)
def test_every_fault_is_reported_and_nothing_is_written(
    breaking: Breaking,
    messages: tuple[str, ...],
    cohort: Path,
    files: ModuleType,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    breaking(cohort, files)
    before = sorted(tmp_path.iterdir())

    code = main(["prepare", str(cohort), str(tmp_path / "store")])

    out, err = capfd.readouterr()
    lines = err.splitlines()
    kept = [line for line in lines if line.endswith("kept in .store.partial for the next call")]
    faults = [line for line in lines if line not in kept]
    assert faults == [f"mufnet: {line}".format(folder=cohort) for line in messages]
    assert code == 2
    assert out == ""
    left = [path.name for path in tmp_path.iterdir() if path not in before]
    assert left == [".store.partial"] * len(kept), (
        "a fault leaves no store or lock, and says what it does"
    )


def test_there_are_many_broken_cohorts() -> None:
    assert len(CASES) >= 32
