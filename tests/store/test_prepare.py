"""Laws of a store in the making: whole or not there, the same from one input, the right pixels."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from edited_stores import unseal

from mufnet_lightning import __version__
from mufnet_lightning.cli import main
from mufnet_lightning.cohort import clips
from mufnet_lightning.cohort.geometry import Box, crop
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store import inputs
from mufnet_lightning.store.inputs import SEEN, SETTLED_S, made_before
from mufnet_lightning.store.notes import read_notes
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore


def contents(store: Path) -> dict[str, bytes]:
    """Everything in a store that its inputs decide."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in ("store.json", SEEN)
    }


def rows_of(store: CropStore) -> list[Any]:
    """The rows of its manifest, as named tuples."""
    return list(store.manifest.itertuples())


# What a store holds.


def test_boxes_on_both_panes_of_a_frame_are_one_pair(files: ModuleType, tmp_path: Path) -> None:
    ceus = {"clip_id": "C1", "frame": 7, "x": 90, "y": 14, "width": 20, "height": 16, "pane": "ceus"}
    bmode = {**ceus, "x": 12, "y": 20, "width": 18, "height": 14, "pane": "bmode"}
    single = [{**ceus, "clip_id": f"C{clip}", "frame": 2} for clip in (1, 2, 3, 4)]
    tables = {**files.cohort_tables(), "boxes": [ceus, bmode, *single]}
    store = prepare_store(files.write_cohort(tmp_path / "cohort", tables), tmp_path / "store")
    assert len(store.manifest) == 5
    (row,) = (row for row in rows_of(store) if row.frame == 7)
    frame = files.clip_frame(7, 1)
    for modality, box in (("ceus", ceus), ("bmode", bmode)):
        own = Box(*(int(str(box[side])) for side in ("x", "y", "width", "height")))
        pixels = files.read_rgb(store.root / getattr(row, f"{modality}_path"))
        np.testing.assert_array_equal(pixels, crop(frame, own))


def test_every_crop_shows_its_frame_and_place_and_both_panes_the_same_tissue(
    whole_store: Path, files: ModuleType
) -> None:
    store = CropStore.open(whole_store)
    assert store.modalities == ("bmode", "ceus")
    for row in rows_of(store):
        box = Box(row.box_x - 80, row.box_y - 8, row.box_width, row.box_height)  # in the pane
        for modality in store.modalities:
            pane = files.pane_pixels(row.frame, modality, int(row.clip_id[1:]))
            pixels = files.read_rgb(whole_store / getattr(row, f"{modality}_path"))
            np.testing.assert_array_equal(pixels, crop(pane, box))


def test_the_manifest_follows_the_tables(whole_store: Path) -> None:
    manifest = CropStore.open(whole_store).manifest
    assert manifest["pair_id"].tolist() == [f"p{number:06d}" for number in range(12)]
    assert manifest["patient_id"].tolist() == ["P1"] * 3 + ["P2"] * 6 + ["P3"] * 3
    assert manifest["clip_id"].unique().tolist() == ["C1", "C2", "C3", "C4"]
    assert manifest["frame"].tolist() == [2, 7, 10] * 4
    assert manifest["label"].tolist() == [0] * 3 + [1] * 6 + [0] * 3
    assert manifest["phase"].tolist() == ["cortical", "medullary", "medullary"] * 4
    assert manifest["center"].tolist() == ["north"] * 3 + ["south"] * 6 + [""] * 3
    assert (manifest["box_pane"] == "ceus").all()


def test_store_json_says_how_it_was_made(whole_store: Path) -> None:
    info = CropStore.open(whole_store).info
    assert (info.pairs, info.crops) == (12, 24)
    assert (info.patients, info.low, info.high) == (3, 2, 1)
    assert info.margin == 0
    assert info.with_grades
    assert len(info.digest) == 64
    assert info.mufnet == __version__
    assert datetime.now(UTC) - datetime.fromisoformat(info.created) < timedelta(hours=1)


def test_a_margin_adds_the_same_context_to_both_panes(
    cohort: Path, tmp_path: Path, files: ModuleType
) -> None:
    store = prepare_store(cohort, tmp_path / "store", margin=0.5)
    row = store.manifest.iloc[0]
    assert (row["box_x"], row["box_width"]) == (92, 20), "the manifest keeps the drawn box"
    for modality in store.modalities:
        pane = files.pane_pixels(2, modality, 1)
        pixels = files.read_rgb(store.root / row[f"{modality}_path"])
        np.testing.assert_array_equal(pixels, pane[0 : 6 + 18 + 9, 2:42])  # clipped at the top


def test_panes_of_different_size_are_cut_in_proportion(
    cohort: Path, tmp_path: Path, files: ModuleType
) -> None:
    text = (cohort / "clips.csv").read_text().replace("0,8,64,48", "0,8,32,24", 1)
    text = text.replace("80,8,32,24", "80,8,64,48")
    (cohort / "clips.csv").write_text(text)
    store = prepare_store(cohort, tmp_path / "store")
    row = store.manifest.iloc[0]
    assert files.read_rgb(store.root / row["ceus_path"]).shape == (18, 20, 3)
    assert files.read_rgb(store.root / row["bmode_path"]).shape == (9, 10, 3)


@pytest.mark.parametrize("margin", ["-0.1", "nan", "inf", "1e308", "101"])
def test_a_margin_that_is_none(
    margin: str, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(cohort), str(tmp_path / "s"), f"--margin={margin}"]) == 2
    assert "margin" in capsys.readouterr().err
    with pytest.raises(InputFault, match=r"--margin is .*, expected (0 or more|at most 100)"):
        prepare_store(cohort, tmp_path / "s", margin=float(margin))
    assert not (tmp_path / "s").exists()


def test_a_store_that_leads_to_itself(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s").symlink_to("s")
    assert main(["prepare", str(cohort), str(tmp_path / "s")]) == 2
    assert capsys.readouterr().err == f"mufnet: {tmp_path / 's'} is a link that leads to itself\n"


def test_one_pane_makes_a_store_of_one_modality(cohort: Path, tmp_path: Path) -> None:
    text = (cohort / "clips.csv").read_text().replace("bmode_pane", "scanner")
    (cohort / "clips.csv").write_text(text)
    store = prepare_store(cohort, tmp_path / "store")
    assert store.modalities == ("ceus",)
    assert (store.manifest["bmode_path"] == "").all()
    assert len(list((store.root / "crops").iterdir())) == 12
    with pytest.raises(InputFault, match="has no bmode crops, only ceus"):
        store.cache("bmode", 32)


def test_pairs_keep_their_pixels_and_a_missing_image_stays_missing(
    files: ModuleType, tmp_path: Path
) -> None:
    cohort = files.write_pairs_cohort(tmp_path / "pairs")
    store = prepare_store(cohort, tmp_path / "store")
    manifest = store.manifest
    assert manifest["frame"].tolist() == [0, 2, 1, 3], "in the order of patients.csv"
    assert manifest["label"].tolist() == [0, 0, 1, 1]
    assert manifest["box_x"].isna().all()
    assert manifest["bmode_path"].tolist()[-1] == ""
    for row in rows_of(store):
        for modality in store.modalities:
            name = getattr(row, f"{modality}_path")
            if name:
                pixels = files.read_rgb(store.root / name)
                expected = files.pane_pixels(row.frame, modality, row.frame)[: 20 + row.frame]
                np.testing.assert_array_equal(pixels, expected)
    assert not store.cache("bmode", 16)[3].any()
    assert store.cache("ceus", 16)[3].any()


def test_an_unlabelled_cohort(cohort: Path, tmp_path: Path) -> None:
    (cohort / "patients.csv").write_text("patient_id\nP1\nP2\nP3\n")
    out = tmp_path / "store"
    assert main(["prepare", str(cohort), str(out), "--without-grades"]) == 0
    assert CropStore.open(out).manifest["label"].isna().all()


def test_nothing_of_a_dicom_header_is_anywhere(
    cohort: Path, tmp_path: Path, files: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    clips = np.stack([files.clip_frame(number, 1) for number in range(12)])
    files.write_dicom(cohort / "clips/C1.dcm", clips)
    text = (cohort / "clips.csv").read_text().replace("C1.avi", "C1.dcm")
    (cohort / "clips.csv").write_text(text)
    (cohort / "truth.json").write_text("{}")
    assert main(["prepare", str(cohort), str(tmp_path / "store")]) == 0
    left = contents(tmp_path / "store")
    left["store.json"] = (tmp_path / "store/store.json").read_bytes()
    left["printed"] = "".join(capfd.readouterr()).encode()
    assert not [k for k, v in left.items() for name in files.IDENTIFIERS if name in v]
    assert not any("truth" in name for name in left)
    store = CropStore.open(tmp_path / "store")
    pixels = files.read_rgb(store.root / store.manifest["ceus_path"][0])
    np.testing.assert_array_equal(pixels, files.pane_pixels(2, "ceus", 1)[6:24, 12:32])


def test_any_id_will_do(cohort: Path, tmp_path: Path) -> None:
    odd = '../P 1/*\\:"é,\n=cmd|x'
    quoted = '"' + odd.replace('"', '""') + '"'
    for table in ("patients.csv", "clips.csv"):
        text = (cohort / table).read_text().replace("P1", quoted)
        (cohort / table).write_text(text)
    store = prepare_store(cohort, tmp_path / "store")
    assert store.manifest["patient_id"][0] == odd
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cohort", "store"]


def test_one_clip_under_two_names_and_patients_is_warned_of(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(cohort / "clips/C1.avi", cohort / "clips/C2.avi")
    table = cohort / "patients.csv"
    table.write_text(table.read_text().replace("P2,3", "P2,1"))
    assert main(["prepare", str(cohort), str(tmp_path / "store")]) == 0
    same, alike = capsys.readouterr().err.splitlines()
    assert same == (
        "mufnet: warning: clips/C1.avi of patient 'P1' and clips/C2.avi of patient 'P2' are the same "
        "file, byte for byte"
    )
    assert alike.startswith("mufnet: warning: patients 'P1' and 'P2' look alike (1.00): p000000_bmode")


# What names the cohort.


def test_a_store_knows_its_cohort_however_it_grows_or_is_cut(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "cohort.json").unlink()
    first = prepare_store(cohort, tmp_path / "first")
    path = cohort / "cohort.json"
    assert json.loads(path.read_text()) == {"id": first.cohort}
    assert first.cohort is not None
    assert len(first.cohort) == 32
    assert sorted(p.name for p in cohort.iterdir() if p.name.startswith(".")) == []
    assert prepare_store(cohort, tmp_path / "wider", margin=0.2).cohort == first.cohort
    elsewhere = Path(shutil.copytree(cohort, tmp_path / "elsewhere"))
    with open(elsewhere / "patients.csv", "a") as file:
        file.write("P4,2,south\n")
    with open(elsewhere / "clips.csv", "a") as file:
        file.write('C5,P4,clips/C4.avi,"0,8,64,48","80,8,64,48"\n')
    (elsewhere / "clips.csv").write_text(
        (elsewhere / "clips.csv").read_text().replace("C5,P4,clips/C4.avi", "C5,P4,clips/C5.avi")
    )
    shutil.copy(elsewhere / "clips/C1.avi", elsewhere / "clips/C5.avi")
    with open(elsewhere / "boxes.csv", "a") as file:
        file.write("C5,2,92,14,20,18,ceus,cortical\n")
    grown = prepare_store(elsewhere, tmp_path / "grown")
    assert grown.info.patients == 4
    assert grown.cohort == first.cohort
    assert grown.digest != first.digest


def test_it_is_said_once_that_a_cohort_was_named(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cohort / "cohort.json"
    path.unlink()
    assert main(["prepare", str(cohort), str(tmp_path / "one")]) == 0
    line = f"{path} names this cohort from now on: keep it with the tables\n"
    assert capsys.readouterr().err == line
    assert main(["prepare", str(cohort), str(tmp_path / "two"), "--margin=0.1"]) == 0
    assert capsys.readouterr().err == ""


def test_the_name_decides_no_pixel_and_no_digest(
    cohort: Path, whole_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "cohort.json").write_text('{"id": "another"}')
    store = prepare_store(cohort, tmp_path / "store")
    whole = CropStore.open(whole_store)
    assert (store.cohort, whole.cohort) == ("another", "cohort of the tests")
    assert store.digest == whole.digest
    assert contents(store.root) == contents(whole_store)
    (cohort / "cohort.json").write_text('{"id": "a third"}')
    assert main(["prepare", str(cohort), str(store.root)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert CropStore.open(store.root).cohort == "another"


def test_nothing_names_a_cohort_that_cannot_be_written_to_and_its_store_is_whole(
    cohort: Path, whole_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "cohort.json").unlink()
    (cohort / ".cohort.json.lock").mkdir()  # for root every folder can be written to
    assert main(["prepare", str(cohort), str(tmp_path / "store")]) == 0
    path = cohort / "cohort.json"
    err = capsys.readouterr().err
    assert err.startswith(f"mufnet: {path} cannot be written (Is a directory), so nothing names this")
    assert not path.exists()
    store = CropStore.open(tmp_path / "store")
    assert store.cohort is None
    assert contents(store.root) == contents(whole_store)


def test_a_store_of_the_code_before_has_no_name_and_stays_as_it_is(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare_store(cohort, tmp_path / "store").root
    unseal(store)
    content = json.loads((store / "store.json").read_text())
    del content["cohort"]
    (store / "store.json").write_text(json.dumps(content, indent=2) + "\n")
    (cohort / "cohort.json").unlink()
    before = (store / "store.json").read_bytes()
    assert CropStore.open(store).cohort is None
    assert main(["prepare", str(cohort), str(store)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (store / "store.json").read_bytes() == before
    assert not (cohort / "cohort.json").exists(), "nothing was to be done"


# Made once, and whole.


def test_the_same_inputs_make_the_same_store(
    whole_cohort: Path, whole_store: Path, tmp_path: Path
) -> None:
    again = prepare_store(whole_cohort, tmp_path / "again")
    assert contents(again.root) == contents(whole_store)
    assert again.digest == CropStore.open(whole_store).digest


def test_a_second_call_has_nothing_to_do(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", str(cohort), str(tmp_path / "store")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("12 pairs of 3 patients (2 low, 1 high), bmode and ceus")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    after.pop(tmp_path / "store" / SEEN, None)
    assert after == before


def test_what_looks_as_before_is_not_read_again_and_what_was_touched_is(
    cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tmp_path / "store"
    long_ago = time.time() - 3600
    for file in cohort.rglob("*"):
        os.utime(file, (long_ago, long_ago))
    prepare_store(cohort, store)
    assert made_before(cohort, store, 0.0, True) is None  # written too shortly before to be sure
    time.sleep(SETTLED_S + 0.1)
    prepare_store(cohort, store)
    same = CropStore.open(store).info
    assert made_before(cohort, store, 0.0, True) == same
    assert made_before(cohort, store, 0.2, True) is None
    assert made_before(cohort, store, 0.0, False) is None
    # names of files may tell of people
    kept = (store / SEEN).read_text()
    assert re.fullmatch(r"[0-9a-f]{64}", kept)
    script = "import sys; from mufnet_lightning.cli import main; code = main(sys.argv[1:]); "
    script += "assert not {'pandas', 'cv2'} & set(sys.modules), 'loaded'; sys.exit(code)"
    words = [sys.executable, "-c", script, "prepare", str(cohort), str(store)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "nothing to do" in told
    monkeypatch.setattr(inputs, "SETTLED_S", 0.2)
    # the same length, the same time of modification, another content
    clip = next(iter(sorted((cohort / "clips").iterdir())))
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, (long_ago, long_ago))
    time.sleep(0.3)
    assert made_before(cohort, store, 0.0, True) is None
    capsys.readouterr()
    with pytest.raises(InputFault, match="is a store of other inputs"):
        prepare_store(cohort, store)
    # a crop that got lost is not nothing to do
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, (long_ago, long_ago))
    time.sleep(0.3)
    prepare_store(cohort, store)
    assert made_before(cohort, store, 0.0, True) == same
    next((store / "crops").iterdir()).unlink()
    assert made_before(cohort, store, 0.0, True) is None
    with pytest.raises(InputFault, match="is damaged"):
        prepare_store(cohort, store)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",path", ", path", 1),
        lambda text: text.replace(",clips/", ", clips/"),
        lambda text: "\n" + text,
        lambda text: "," * 5 + "\n" + text,
    ],
)
def test_every_clip_is_watched_however_the_table_is_written(
    change: Callable[[str], str], cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "SETTLED_S", 0.0)
    table = cohort / "clips.csv"
    table.write_text(change(table.read_text()))
    before = inputs.look_of(cohort, 0.0, True)
    assert before is not None
    for clip in sorted((cohort / "clips").iterdir()):
        clip.write_bytes(clip.read_bytes())
        after = inputs.look_of(cohort, 0.0, True)
        assert after != before
        before = after
    clip.unlink()
    assert inputs.look_of(cohort, 0.0, True) is None


def test_other_inputs_leave_a_store_alone(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare_store(cohort, tmp_path / "store").root
    before = contents(store)

    def refuses(*options: str) -> None:
        capsys.readouterr()
        assert main(["prepare", str(cohort), str(store), *options]) == 2
        assert "is a store of other inputs" in capsys.readouterr().err
        assert contents(store) == before

    refuses("--margin", "0.1")
    refuses("--without-grades")
    with open(cohort / "clips/C1.avi", "ab") as file:
        file.write(b"\0")
    refuses()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_store_is_left_alone(
    kind: str, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "thesis"
    if kind == "folder":
        place.mkdir()
        (place / "chapter 1.txt").write_text("once")
    else:
        place.write_text("once")
    assert main(["prepare", str(cohort), str(place)]) == 2
    assert "exists and is no crop store" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == (
        ["chapter 1.txt"] if kind == "folder" else []
    )


def test_an_empty_folder_may_become_the_store_and_parents_are_made(
    cohort: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert len(prepare_store(cohort, tmp_path / "empty").manifest) == 12
    assert len(prepare_store(cohort, tmp_path / "a/b/store").manifest) == 12
    assert not list(tmp_path.rglob(".*"))


def test_a_place_that_cannot_be_written_to_is_a_fault(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["prepare", str(cohort), str(tmp_path / "file/store")]) == 2
    assert capsys.readouterr().err == (
        f"mufnet: cannot write {tmp_path}/file/store: File exists ({tmp_path}/file)\n"
    )


def start_prepare(cohort: Path, store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "prepare", str(cohort), str(store)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


LONG = 24  # clips: a machine that is busy may see a stop late
RUN = "import sys; from mufnet_lightning.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="session")
def long_cohort(tmp_path_factory: pytest.TempPathFactory, files: ModuleType) -> Path:
    """Clips that take a while each, so that a run can be stopped between them."""
    folder = tmp_path_factory.mktemp("long")
    tables = files.cohort_tables()
    [clip, box] = tables["clips"][0], tables["boxes"][0]
    numbers = range(LONG)
    tables["clips"] = [
        clip | {"clip_id": f"C{n}", "patient_id": f"P{n % 3 + 1}", "path": f"{n}.avi"} for n in numbers
    ]
    tables["boxes"] = [
        box | {"clip_id": f"C{n}", "frame": frame} for n in numbers for frame in range(0, 120, 6)
    ]
    for name, rows in tables.items():
        files.write_table(folder / f"{name}.csv", rows)
    for patient in range(3):
        own = np.random.default_rng(patient).integers(0, 80, (192, 480, 3), np.uint8)
        frames = [cv2.resize(files.clip_frame(n % 20), (480, 192)) // 2 + own for n in range(120)]
        files.write_clip(folder / f"{patient}.avi", frames, "MJPG")
    for n in numbers[3:]:
        (folder / f"{n}.avi").write_bytes((folder / f"{n % 3}.avi").read_bytes() + bytes(n))
    return folder


@pytest.fixture(scope="session")
def long_store(long_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store, made without a stop."""
    store = prepare_store(long_cohort, tmp_path_factory.mktemp("straight") / "store")
    assert len(store.manifest) == 480
    return store.root


def wait_until_gone(group: int) -> None:
    """Workers notice within a fraction of a second that their parent is gone."""
    deadline = time.monotonic() + 5
    try:
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
    except ProcessLookupError:
        return
    raise AssertionError("workers outlive their parent")


def wait_for_a_part(partial: Path, process: subprocess.Popen[str], parts: int) -> None:
    deadline = time.monotonic() + 30
    while len(list((partial / "parts").glob("*/notes"))) < parts:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_is_taken_up_where_it_stopped(
    how: signal.Signals,
    long_cohort: Path,
    long_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, partial = tmp_path / "store", tmp_path / ".store.partial"
    process = start_prepare(long_cohort, store)
    wait_for_a_part(partial, process, 3)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # Ctrl-C reaches the workers too
    else:
        process.kill()
    out, err = process.communicate(timeout=10)
    if how == signal.SIGINT:
        assert (process.returncode, out) == (130, "")
        assert err.startswith("mufnet: interrupted")
        assert len(err.splitlines()) == 1
    wait_until_gone(process.pid)
    assert not store.exists()
    done = sorted((partial / "parts").glob("*/notes"))
    assert 3 <= len(done) < LONG
    written = sorted(
        (part.parent / note.name).stat().st_mtime_ns for part in done for note in read_notes(part)
    )

    assert main(["prepare", str(long_cohort), str(store)]) == 0
    assert f"{len(done)} of {LONG} clips are done" in capsys.readouterr().err
    times = {crop.stat().st_mtime_ns for crop in (store / "crops").iterdir()}
    assert times >= set(written), "cut a second time"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert contents(store) == contents(long_store)


@pytest.mark.slow
def test_a_worker_that_is_killed_neither_hangs_the_run_nor_costs_a_crop(
    long_cohort: Path, long_store: Path, tmp_path: Path
) -> None:
    process = start_prepare(long_cohort, tmp_path / "store")
    wait_for_a_part(tmp_path / ".store.partial", process, 1)
    tree = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in tree if one.parent().pid != process.pid]  # children of the fork server
    assert workers
    workers[0].kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.startswith("480 pairs of 3 patients")
    assert contents(tmp_path / "store") == contents(long_store)


def test_a_partial_folder_of_other_inputs_is_not_taken_up(
    cohort: Path, whole_store: Path, tmp_path: Path
) -> None:
    partial = tmp_path / ".store.partial"
    other = partial / "parts" / ("0" * 32)
    other.mkdir(parents=True)
    (other / "000000_ceus.png").write_bytes(b"of somebody else")
    (other / "notes").write_text("000000_ceus.png - 0000000000000000\n")
    (partial / "parts/digest").write_text("0" * 64)  # of earlier versions
    (partial / "crops").mkdir()
    (partial / "crops/p000000_ceus.png").write_bytes(b"of somebody else")
    assert contents(prepare_store(cohort, tmp_path / "store").root) == contents(whole_store)


def test_a_finished_clip_whose_crops_got_lost_is_cut_again(
    cohort: Path, whole_store: Path, tmp_path: Path
) -> None:
    partial = stopped_by_one_clip(cohort, tmp_path / "store")
    lost, *_, gone = sorted((partial / "parts").glob("*/*_ceus.png"))
    lost.write_bytes(b"")
    gone.unlink()
    assert contents(prepare_store(cohort, tmp_path / "store").root) == contents(whole_store)


def stopped_by_one_clip(cohort: Path, store: Path) -> Path:
    """The partial folder of a call that one clip stopped; the clip is mended afterwards."""
    whole = (cohort / "clips/C2.avi").read_bytes()
    (cohort / "clips/C2.avi").write_bytes(whole[:3000])
    with pytest.raises(InputFault, match=r"C2\.avi"):
        prepare_store(cohort, store)
    (cohort / "clips/C2.avi").write_bytes(whole)
    return store.with_name(f".{store.name}.partial")


def test_one_bad_clip_costs_no_crop_of_another(
    cohort: Path, whole_store: Path, files: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    partial = stopped_by_one_clip(cohort, tmp_path / "store")
    cut = {path: path.stat().st_mtime_ns for path in (partial / "parts").glob("*/*.png")}
    assert len(cut) >= 3 * 3 * 2, "three of four clips were cut"
    caplog.clear()
    store = prepare_store(cohort, tmp_path / "store").root
    assert "3 of 4 clips are done" in caplog.text
    assert contents(store) == contents(whole_store)
    times = {crop.stat().st_mtime_ns for crop in (store / "crops").iterdir()}
    assert times >= set(cut.values()), "cut a second time"

    # a table that changes for one clip, and moves the rows of all others, costs that clip alone
    tables = files.cohort_tables()
    for table in tables.values():
        table.reverse()
    tables["boxes"][0]["x"] += 3
    files.write_cohort(cohort, tables)
    (cohort / "clips/C2.avi").write_bytes(b"cut off")
    with pytest.raises(InputFault):
        prepare_store(cohort, tmp_path / "other")
    files.write_cohort(cohort, files.cohort_tables())
    caplog.clear()
    prepare_store(cohort, tmp_path / "other")
    assert "2 of 4 clips are done" in caplog.text
    assert contents(tmp_path / "other") == contents(whole_store)


def test_no_bad_file_hides_the_fault_of_another(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cohort / "clips/C1.avi").write_bytes(b"no film")
    monkeypatch.setattr(
        "mufnet_lightning.store.cut.iter_frames", raises_for("C3.avi", RuntimeError("Geheim"))
    )
    monkeypatch.setattr("mufnet_lightning.store.prepare.in_processes", one_by_one)
    monkeypatch.setattr("mufnet_lightning.store.sums.open", unreadable("C2.avi"), raising=False)
    with pytest.raises(InputFault) as raised:
        prepare_store(cohort, tmp_path / "store")
    faults = raised.value.faults
    assert len(faults) == 3
    for name in ("C1.avi", "C2.avi", "C3.avi"):
        assert sum(name in fault for fault in faults) == 1
    assert not any("Geheim" in fault for fault in faults), "a decoder's words may quote a header"


def raises_for(name: str, error: Exception) -> Callable[..., Any]:
    """`iter_frames`, which raises what no decoder should for one clip."""

    def iter_frames(path: Path, wanted: Any) -> Any:
        if path.name == name:
            raise error
        return clips.iter_frames(path, wanted)

    return iter_frames


def unreadable(name: str) -> Callable[..., Any]:
    """`open`, which root may do with every file but one."""

    def opened(path: Path, *modes: Any) -> Any:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *modes)

    return opened


def one_by_one(work: Callable[[Any], Any], jobs: Any, *others: Any) -> list[Any]:
    """`in_processes` in this one, where a patch is seen."""
    return [work(job) for job in jobs]


@pytest.mark.slow
def test_two_runs_do_not_meet_in_one_store(
    long_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    process = start_prepare(long_cohort, store)
    wait_for_a_part(tmp_path / ".store.partial", process, 1)
    process.send_signal(signal.SIGSTOP)
    try:
        assert main(["prepare", str(long_cohort), str(store)]) == 2
        assert "is being prepared by another process" in capsys.readouterr().err
    finally:
        process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("480 pairs of 3 patients")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
