"""What is wrong with annotations is said in a sentence; nothing is guessed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import annotation_files as made
import nibabel
import numpy as np
import pytest
from annotation_files import Drawn

from mufnet_lightning.cohort.annotations.annotation import Annotation, Extent
from mufnet_lightning.cohort.annotations.importing import ImportPlan, plan_import
from mufnet_lightning.cohort.annotations.names import ClipNames
from mufnet_lightning.cohort.annotations.placing import Choices, Frames
from mufnet_lightning.errors import InputFault

BOX = Drawn("C1", 3, 90, 20, 16, 12)
NAMED = Choices(frames_from="{clip}_{frame}", first_frame=0)


def faults(call: Callable[[], ImportPlan]) -> str:
    """The sentences, a line each."""
    with pytest.raises(InputFault) as caught:
        call()
    return "\n".join(caught.value.faults)


def edited(path: Path, old: str, new: str) -> Path:
    """Change what is in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


# names


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("C1", "C1"),
        ("C1.avi", "C1"),
        ("clips/C1.avi", "C1"),
        ("/data/study/clips/C1.avi", "C1"),
        (r"D:\study\clips\C1.mp4", "C1"),
        ("left.mov", "Ö 2"),
        ("Ö 2", "Ö 2"),
        ("b/same.avi", "S2"),
        (r"C:\x\a\same.avi", "S1"),
    ],
)
def test_a_name_means_the_clip_of_that_id_or_file(name: str, clip: str) -> None:
    names = ClipNames(
        {"C1": "clips/C1.avi", "Ö 2": "clips/left.avi", "S1": "a/same.avi", "S2": "b/same.avi"}
    )
    assert names.match(name) == clip


def test_a_name_that_means_two_clips_is_a_fault() -> None:
    names = ClipNames({"S1": "a/same.avi", "S2": "b/same.avi", "same": "x.avi"})
    with pytest.raises(LookupError, match="could be the clips S1, S2, same"):
        names.match("same.avi")
    with pytest.raises(LookupError, match="is no clip's path"):
        names.match("c/other.avi")


def test_what_is_no_file_in_a_folder_is_left_out_with_a_warning(cohort: Path, tmp_path: Path) -> None:
    notes = made.labelme(tmp_path / "notes", [BOX])
    (notes / "thumbs.json").symlink_to("nowhere")
    os.mkfifo(notes / "pipe.json")
    plan = plan_import(notes, cohort, NAMED)
    assert len(plan.boxes) == 1
    assert {
        f"{notes}/pipe.json is left out: it is a named pipe, expected a file",
        f"{notes}/thumbs.json is left out: No such file or directory",
    } < set(plan.warnings)
    assert "pipe.json cannot be read: it is a named pipe" in faults(
        lambda: plan_import(notes / "pipe.json", cohort, NAMED)
    )


def test_a_clip_that_is_not_there_is_named_once(cohort: Path, tmp_path: Path) -> None:
    boxes = [Drawn("C9", frame, 90, 20, 16, 12) for frame in (1, 2)]
    message = faults(lambda: plan_import(made.cvat_film(tmp_path / "a.xml", boxes, "C9.avi"), cohort))
    assert message.count("'C9.avi' is no clip's path, clip_id or file name in clips.csv") == 1


def test_names_of_other_letters_and_folders(cohort: Path, tmp_path: Path) -> None:
    table = cohort / "clips.csv"
    edited(table, "C1,P1,clips/C1.avi", "Müller 1,P1,clips/Ü 1.avi")
    (cohort / "clips" / "C1.avi").rename(cohort / "clips" / "Ü 1.avi")
    decomposed = "C:\\Filme\\U\N{COMBINING DIAERESIS} 1.avi"
    plan = plan_import(made.cvat_film(tmp_path / "a.xml", [BOX], decomposed), cohort)
    assert [(one.clip, one.frame) for one in plan.boxes] == [("Müller 1", 3)]


# frames


def test_a_picture_of_a_clip_needs_a_frame(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [BOX])
    assert "say how names are made: --frames-from" in faults(lambda: plan_import(path, cohort))
    edited(path, "C1_0003.png", "C1.png")
    assert "nothing says which" in faults(lambda: plan_import(path, cohort))


def test_what_frames_count_from_is_never_guessed(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [BOX])
    message = faults(lambda: plan_import(path, cohort, Choices(frames_from="{clip}_{frame}")))
    assert message == (
        "frames are numbered from 3 (C1_0003.png) to 3, and nothing says what they count from; give "
        "--first-frame 0 or --first-frame 1"
    )


def test_a_format_that_counts_from_0_takes_no_other_word(cohort: Path, tmp_path: Path) -> None:
    path = made.cvat_film(tmp_path / "a.xml", [BOX], "C1.avi")
    assert "counts frames from 0 by definition" in faults(
        lambda: plan_import(path, cohort, Choices(first_frame=1))
    )


def test_frame_0_of_a_file_that_counts_from_1_is_a_fault(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [Drawn("C1", 0, 90, 20, 16, 12)])
    choices = Choices(frames_from="{clip}_{frame}", first_frame=1)
    assert "frame 0, though frames count from 1" in faults(lambda: plan_import(path, cohort, choices))


def test_a_frame_behind_the_last_asks_what_is_counted_from(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [Drawn("C1", 12, 90, 20, 16, 12)])
    message = faults(lambda: plan_import(path, cohort, NAMED))
    assert "12 frames" in message
    assert message.endswith("frame 12 (from 0) is annotated, do the annotations count from 1?")
    made.coco(path, [Drawn("C1", 15, 90, 20, 16, 12)])
    assert faults(lambda: plan_import(path, cohort, NAMED)).endswith("frame 15 (from 0) is annotated")


def test_pictures_of_one_clip_that_do_not_name_it(cohort: Path, tmp_path: Path) -> None:
    path = edited(made.coco(tmp_path / "a.json", [BOX]), "C1_0003.png", "frame_000003.PNG")
    choices = Choices(frames_from="frame_{frame}", first_frame=0)
    assert "does not tell the clip" in faults(lambda: plan_import(path, cohort, choices))
    choices = Choices(frames_from="frame_{frame}", first_frame=0, clip="C2")
    (box,) = plan_import(path, cohort, choices).boxes
    assert (box.clip, box.frame) == ("C2", 3)


@pytest.mark.parametrize("pattern", ["frame", "{clip}{frame}", "{clip}_{clip}_{frame}"])
def test_a_pattern_without_sense_is_a_fault(cohort: Path, tmp_path: Path, pattern: str) -> None:
    path = made.coco(tmp_path / "a.json", [BOX])
    choices = Choices(frames_from=pattern, first_frame=0)
    assert "--frames-from is" in faults(lambda: plan_import(path, cohort, choices))


def test_folders_may_name_the_clip(cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "yolo"
    for clip, frame in (("C1", 3), ("C2", 5)):
        (folder / clip).mkdir(parents=True)
        (folder / clip / f"frame_{frame:06d}.txt").write_text("0 0.6125 0.40625 0.1 0.1875\n")
    choices = Choices(frames_from="{clip}/frame_{frame}.png", first_frame=0)
    plan = plan_import(folder, cohort, choices)
    assert [(box.clip, box.frame, box.box.x) for box in plan.boxes] == [("C1", 3, 90), ("C2", 5, 90)]


def coco_film(path: Path, field: str, number: int) -> Path:
    """COCO of a film, whose frames have a number of their own."""
    image = {"id": 1, "video_id": 5, "file_name": "x/1.jpg", "width": 160, "height": 64, field: number}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [90, 20, 16, 12]}
    content = {
        "videos": [{"id": 5, "name": "C1.mp4"}],
        "images": [image],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "tumour"}],
    }
    path.write_text(json.dumps(content))
    return path


def test_frames_of_films_in_coco(cohort: Path, tmp_path: Path) -> None:
    (box,) = plan_import(coco_film(tmp_path / "a.json", "frame_index", 3), cohort).boxes
    assert (box.clip, box.frame) == ("C1", 3)
    path = coco_film(tmp_path / "b.json", "frame_id", 3)
    assert "--first-frame" in faults(lambda: plan_import(path, cohort))
    assert plan_import(path, cohort, Choices(first_frame=1)).boxes[0].frame == 2


def test_a_film_in_one_annotation_of_coco(cohort: Path, tmp_path: Path) -> None:
    annotation = {"id": 1, "video_id": 5, "category_id": 1, "bboxes": [None, [90, 20, 16, 12], None]}
    film = {"id": 5, "file_names": ["C2/0.jpg", "C2/1.jpg", "C2/2.jpg"], "width": 160, "height": 64}
    content = {"videos": [film], "annotations": [annotation]}
    path = tmp_path / "vis.json"
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "tumour"}]}))
    (box,) = plan_import(path, cohort).boxes
    assert (box.clip, box.frame, box.box.x) == ("C2", 1, 90)


def test_what_cvat_says_in_coco(cohort: Path, tmp_path: Path) -> None:
    boxes = [BOX, Drawn("C1", 4, 91, 20, 16, 12)]
    path = made.coco(tmp_path / "a.json", boxes)
    content = json.loads(path.read_text())
    content["annotations"][0]["attributes"] = {"rotation": 90.0, "track_id": 0, "keyframe": True}
    content["annotations"][1]["attributes"] = {"rotation": 0.0, "track_id": 0, "keyframe": False}
    path.write_text(json.dumps(content))
    plan = plan_import(path, cohort, NAMED)
    assert plan.text.splitlines()[1:] == ["C1,3,92,18,12,16,ceus"]
    content["annotations"][0]["attributes"] = ["a list"]
    path.write_text(json.dumps(content))
    assert plan_import(path, cohort, NAMED).boxes[0].box.x == 90


def test_boxes_of_pictures_in_via_3(cohort: Path, tmp_path: Path) -> None:
    path = made.via_film(tmp_path / "a.json", [BOX])
    content = json.loads(path.read_text())
    content["file"]["1"] |= {"fname": "C1_0003.png", "type": 2}
    content["attribute"]["1"]["type"] = 2  # check boxes
    content["attribute"]["1"]["options"] = {"0": "tumour", "1": "cyst"}
    content["metadata"]["1_0"] |= {"z": [], "av": {"1": "0,1"}}
    content["metadata"]["1_1"] = {"vid": "1", "flg": 0, "z": [1.0, 2.0], "xy": [], "av": {"1": "0"}}
    path.write_text(json.dumps(content))
    plan = plan_import(path, cohort, NAMED)
    assert [(box.frame, box.label) for box in plan.boxes] == [(3, "tumour,cyst")]
    assert any("1 left out, as it has no box: VIA span of time" in note for note in plan.notes)


def test_stills_need_no_frame(tmp_path: Path, files: ModuleType) -> None:
    import cv2

    cohort = tmp_path / "stills"
    cohort.mkdir()
    cv2.imwrite(str(cohort / "busi (1).png"), files.clip_frame(0))
    row = {"clip_id": "1", "patient_id": "P1", "path": "busi (1).png", "bmode_pane": "0,0,160,64"}
    files.write_table(cohort / "clips.csv", [row])
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "busi (1)_mask.png"), BOX.mask() * 255)
    plan = plan_import(tmp_path / "masks", cohort, Choices(frames_from="{clip}_mask.png"))
    assert plan.text == "clip_id,frame,x,y,width,height,pane\n1,0,90,20,16,12,bmode\n"


# labels and panes


def test_several_labels_must_be_chosen(cohort: Path, tmp_path: Path) -> None:
    boxes = [BOX, Drawn("C1", 3, 100, 30, 9, 9, "cyst"), Drawn("C2", 3, 100, 30, 9, 9, "cyst")]
    path = made.coco(tmp_path / "a.json", boxes)
    assert "has several labels (cyst 2, tumour 1)" in faults(lambda: plan_import(path, cohort, NAMED))
    chosen = Choices(frames_from="{clip}_{frame}", first_frame=0, labels=["tumour"])
    assert len(plan_import(path, cohort, chosen).boxes) == 1
    chosen = Choices(frames_from="{clip}_{frame}", first_frame=0, labels=["Tumour"])
    assert "no label 'Tumour', only cyst 2, tumour 1" in faults(
        lambda: plan_import(path, cohort, chosen)
    )


def test_two_boxes_on_one_pane_of_a_frame_are_a_fault(cohort: Path, tmp_path: Path) -> None:
    boxes = [BOX, Drawn("C1", 3, 100, 30, 9, 9, "cyst")]
    path = made.coco(tmp_path / "a.json", boxes)
    both = Choices(frames_from="{clip}_{frame}", first_frame=0, labels=["tumour", "cyst"])
    assert faults(lambda: plan_import(path, cohort, both)) == (
        "a.json annotation 2: clip 'C1' frame 3 has its ceus box from a.json annotation 1 already, "
        "expected one box a frame and pane, or a lesion_id for each tumour"
    )


def test_a_label_tells_the_pane(cohort: Path, tmp_path: Path) -> None:
    boxes = [Drawn("C1", 3, 90, 20, 16, 12, "c"), Drawn("C1", 3, 10, 20, 16, 12, "b")]
    path = made.coco(tmp_path / "a.json", boxes)
    panes = Choices(
        frames_from="{clip}_{frame}", first_frame=0, pane_labels={"c": "ceus", "b": "bmode"}
    )
    plan = plan_import(path, cohort, panes)
    assert [(one.pane, one.box.x) for one in plan.boxes] == [("bmode", 10), ("ceus", 90)]
    turned = Choices(
        frames_from="{clip}_{frame}", first_frame=0, pane_labels={"c": "bmode", "b": "ceus"}
    )
    message = faults(lambda: plan_import(path, cohort, turned))
    assert "a.json annotation 1: the box 90,20,16,12 reaches outside its bmode_pane" in message


# boxes


@pytest.mark.parametrize("outside", [0.4, 1.5])
def test_a_box_may_reach_outside_by_less_than_a_pixel(
    tmp_path: Path, files: ModuleType, outside: float
) -> None:
    cohort = tmp_path / "whole"
    files.write_clip(cohort / "C1.avi", [files.clip_frame(i) for i in range(2)])
    row = {"clip_id": "C1", "patient_id": "P1", "path": "C1.avi", "ceus_pane": "0,0,160,64"}
    files.write_table(cohort / "clips.csv", [row])
    box = Drawn("C1", 1, 140, -outside, 20 + outside, 30)
    path = made.cvat_film(tmp_path / "a.xml", [box], "C1.avi")
    if outside > 1:
        assert "reaches outside its frame of 160 × 64 pixels" in faults(
            lambda: plan_import(path, cohort)
        )
        return
    plan = plan_import(path, cohort)
    assert plan.text.splitlines()[1] == "C1,1,140,0,20,29.6,ceus"
    assert "1 boxes reached outside their frame, by at most 0.4 pixels" in "\n".join(plan.notes)


def test_another_size_of_picture_is_a_fault(cohort: Path, tmp_path: Path) -> None:
    path = edited(made.coco(tmp_path / "a.json", [BOX]), '"width": 160', '"width": 320')
    assert "was drawn on 320 × 64 pixels, but the frames of its clip C1 have 160 × 64" in faults(
        lambda: plan_import(path, cohort, NAMED)
    )


def test_exchanged_axes_of_a_volume_are_a_fault(cohort: Path, tmp_path: Path) -> None:
    volume = np.zeros((made.HEIGHT, made.WIDTH, made.LENGTH), np.uint8)
    volume[20:32, 90:106, 3] = 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "C1.nii")  # type: ignore[attr-defined]
    assert "as if rows and columns were exchanged" in faults(
        lambda: plan_import(tmp_path / "C1.nii", cohort)
    )


def test_a_volume_of_some_frames_is_a_fault(cohort: Path, tmp_path: Path) -> None:
    volume = np.zeros((made.WIDTH, made.HEIGHT, 3), np.uint8)
    volume[90:106, 20:32, 1] = 1
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "C1.nii")  # type: ignore[attr-defined]
    assert "C1.nii has 3 frames, but its clip C1 has 12" in faults(
        lambda: plan_import(tmp_path / "C1.nii", cohort)
    )


def test_turned_rectangles_and_ellipses_give_the_box_around(cohort: Path, tmp_path: Path) -> None:
    path = made.cvat_film(tmp_path / "a.xml", [BOX], "C1.avi")  # its middle is 98, 26
    edited(path, 'xtl="90"', 'rotation="90" xtl="90"')
    assert plan_import(path, cohort).text.splitlines()[1] == "C1,3,92,18,12,16,ceus"
    ellipse = (
        '<ellipse frame="3" keyframe="1" outside="0" cx="98" cy="26" rx="8" ry="6" rotation="45"/>'
    )
    edited(path, "</track>", f'</track><track id="1" label="tumour">{ellipse}</track>')
    edited(path, 'frame="3" keyframe="1" outside="0" occluded', 'frame="4" keyframe="1" occluded')
    (round_one, _) = plan_import(path, cohort).boxes
    half = (8**2 / 2 + 6**2 / 2) ** 0.5
    assert (round_one.box.x, round_one.box.width) == pytest.approx((98 - half, 2 * half))


def test_masks_of_cvats(cohort: Path, tmp_path: Path) -> None:
    path = made.cvat_film(tmp_path / "a.xml", [BOX], "C1.avi")
    # 4 columns, 3 rows: set are columns 1 and 2 of the rows 1 and 2
    place = 'left="90" top="20" width="4" height="3"'
    mask = f'<mask frame="5" keyframe="1" outside="0" rle="5,2,2,2,1" {place}/>'
    edited(path, "</track>", f"{mask}</track>")
    assert plan_import(path, cohort).text.splitlines()[2] == "C1,5,91,21,2,2,ceus"


# files


@pytest.mark.parametrize("form", ["a.xml", "a.json", "me", "v.json", "v.csv", "seg.dcm", "C1.nii"])
def test_a_file_that_was_cut_off_is_a_fault(cohort: Path, tmp_path: Path, form: str) -> None:
    writers: dict[str, Callable[[], Path]] = {
        "a.xml": lambda: made.cvat_film(tmp_path / form, [BOX], "C1.avi"),
        "a.json": lambda: made.coco(tmp_path / form, [BOX]),
        "me": lambda: made.labelme(tmp_path / form, [BOX]) / "C1_0003.json",
        "v.json": lambda: made.via(tmp_path / form, [BOX]),
        "v.csv": lambda: made.via(tmp_path / form, [BOX]),
        "C1.nii": lambda: (made.nifti(tmp_path / "n", [BOX]) / "C1.nii.gz").rename(tmp_path / "C1.nii"),
        "seg.dcm": lambda: _dicom_without_pixels(tmp_path / form),
    }
    path = writers[form]()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    message = faults(lambda: plan_import(path, cohort, NAMED))
    assert path.name in message
    assert "Traceback" not in message


def _dicom_without_pixels(path: Path) -> Path:
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SegmentationStorage, generate_uid()
    dataset.ContentDescription = "x" * 60
    dataset.PatientName = "Geheim^Gerda"
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_an_xml_bomb_does_not_go_off(cohort: Path, tmp_path: Path) -> None:
    levels = "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(10)
    )
    path = tmp_path / "bomb.xml"
    path.write_text(f"<!DOCTYPE annotations [{levels}]><annotations>&l9;</annotations>")
    started = time.monotonic()
    assert "declares a document type or entities" in faults(lambda: plan_import(path, cohort))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"a"', "null"])
def test_a_coordinate_that_is_none_is_a_fault(cohort: Path, tmp_path: Path, value: str) -> None:
    path = edited(made.coco(tmp_path / "a.json", [BOX]), "[90, 20", f"[{value}, 20")
    assert "a.json annotation 1 is not as COCO has it" in faults(
        lambda: plan_import(path, cohort, NAMED)
    )


def test_all_faults_come_at_once(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [BOX, Drawn("C2", 3, 90, 20, 16, 12)])
    edited(path, '"category_id": 1', '"category_id": 8')
    assert len(faults(lambda: plan_import(path, cohort, NAMED)).splitlines()) == 2


def test_a_box_that_is_not_around_its_outline_is_a_fault(cohort: Path, tmp_path: Path) -> None:
    path = made.coco(tmp_path / "a.json", [BOX], "polygon")
    edited(path, '"segmentation"', '"bbox": [0, 0, 16, 12], "segmentation"')
    assert "is not around its segmentation" in faults(lambda: plan_import(path, cohort, NAMED))


def test_yolo_in_pixels_is_a_fault(cohort: Path, tmp_path: Path) -> None:
    folder = made.yolo(tmp_path / "yolo", [BOX])
    (folder / "labels" / "C1_0003.txt").write_text("0 98 26 16 12\n")
    assert "expected shares of the picture" in faults(lambda: plan_import(folder, cohort, NAMED))


def test_a_picture_is_no_mask(cohort: Path, tmp_path: Path, files: ModuleType) -> None:
    import cv2

    (tmp_path / "png").mkdir()
    cv2.imwrite(str(tmp_path / "png" / "C1_0003.png"), files.clip_frame(3))
    assert "expected a mask with one for each tumour" in faults(
        lambda: plan_import(tmp_path / "png", cohort, NAMED)
    )


def test_a_folder_of_two_formats_needs_a_word(cohort: Path, tmp_path: Path) -> None:
    made.coco(tmp_path / "a.json", [BOX])
    made.cvat_film(tmp_path / "b.xml", [BOX], "C1.avi")
    made.pictures(tmp_path / "png", [BOX])  # the pictures themselves, perhaps
    own = tmp_path.parent / f"{tmp_path.name} cohort"
    cohort.rename(own)
    assert "1 of coco, 1 of cvat); choose one with --format" in faults(
        lambda: plan_import(tmp_path, own, NAMED)
    )
    assert plan_import(tmp_path, own, form="cvat").boxes[0].frame == 3


def test_several_attributes_of_via_need_a_word(cohort: Path, tmp_path: Path) -> None:
    path = edited(
        made.via(tmp_path / "a.json", [BOX]), '{"label": "tumour"}', '{"label": "t", "sure": "no"}'
    )
    assert "several attributes (label, sure), expected --label-attribute" in faults(
        lambda: plan_import(path, cohort, NAMED)
    )
    assert plan_import(path, cohort, NAMED, label_attribute="label").boxes[0].label == "t"


def test_a_library_that_is_not_installed_is_named(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mufnet_lightning.cohort.annotations.annotation.find_spec", lambda name: None)
    folder = made.nifti(tmp_path / "nii", [BOX])
    assert faults(lambda: plan_import(folder, cohort)).endswith(
        "reading it needs nibabel; install them with `pip install 'mufnet-lightning[annotations]'`"
    )


@pytest.mark.slow
def test_a_hundred_thousand_boxes_take_seconds(tmp_path: Path, files: ModuleType) -> None:
    cohort = tmp_path / "many"
    frame = files.clip_frame(0)
    rows = []
    for number in range(4):
        files.write_clip(cohort / f"C{number}.avi", [frame] * 100, "MJPG")
        row = {"clip_id": f"C{number}", "patient_id": f"P{number}", "path": f"C{number}.avi"}
        rows.append(row | {"ceus_pane": "80,8,64,48"})
    files.write_table(cohort / "clips.csv", rows)
    boxes = [Drawn(f"C{n % 4}", n // 4 % 100, 90, 20, 16, 12, "t") for n in range(400)]
    others = [Drawn("C0", 0, 90, 20, 16, 12, "other")] * 99_600
    path = made.coco(tmp_path / "a.json", boxes + others)
    started = time.monotonic()
    choices = Choices(frames_from="{clip}_{frame}", first_frame=0, labels=["t"])
    assert len(plan_import(path, cohort, choices).boxes) == 400
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("paths", "name", "reason"),
    [
        ({"C1": "clips/1.2.840.113.1"}, "1.2.840.113.7", "is no clip's path"),
        ({"C1": "P1.2"}, "other/P1.v2", "is no clip's path"),
        ({"C1": "P1/scan.avi", "C2": "P2/b.avi"}, "P3/scan.avi", "lies in another folder"),
        ({"C1": "P1/scan.avi", "C2": "P2/b.avi"}, "P2/scan.png", "lies in another folder"),
    ],
)
def test_a_name_does_not_mean_somebody_elses_clip(
    paths: dict[str, str], name: str, reason: str
) -> None:
    with pytest.raises(LookupError, match=reason):
        ClipNames(paths).match(name)


def test_a_name_means_its_clip_whatever_folder_the_export_lies_in() -> None:
    assert ClipNames({"C1": "clips/scan.avi", "C2": "clips/b.avi"}).match("frames/scan.png") == "C1"
    assert ClipNames({"C1": "P1/scan.avi", "C2": "P2/scan.avi"}).match("D:/x/P2/scan.avi") == "C2"
    assert ClipNames({"C1": "clips/1.2.840.113.1"}).match("1.2.840.113.1.png") == "C1"


def test_a_row_of_a_tracker_is_no_triangle(cohort: Path, tmp_path: Path) -> None:
    path = tmp_path / "C1.txt"
    path.write_text("0 0.5 0.5 0.2 0.2 0.9 1\n")
    assert "confidence and track" in faults(lambda: plan_import(path, cohort))


def test_what_was_drawn_on_a_file_of_a_folder_lies_on_its_frame(
    cohort: Path, files: ModuleType, tmp_path: Path
) -> None:
    folder = cohort / "clips" / "series"
    uids = {}
    for number in (3, 1, 2):
        dataset = files.write_dicom(folder / f"IM{number}", files.clip_frame(number, 1))
        dataset.SeriesInstanceUID, dataset.InstanceNumber = "1.2.3", number
        dataset.save_as(folder / f"IM{number}", enforce_file_format=True)
        uids[number] = str(dataset.SOPInstanceUID)
    frames = Frames({"C1": folder}, {"C1": "clips/series"}, Choices())
    for number, uid in uids.items():
        one = Annotation(where="a", source="seg", box=Extent(1, 1, 2, 2), label="t", uid=uid)
        assert frames.place(one) == ("C1", number - 1)
    # a file that is no frame of it tells no frame, whatever clip is named
    named = Frames({"C1": folder}, {"C1": "clips/series"}, Choices(clip="C1"))
    other = Annotation(where="a", source="seg", box=Extent(1, 1, 2, 2), label="t", uid="1.2.9")
    assert named.place(other) is None
    assert "which has more than one frame, and nothing says which" in named.finish()[0]
