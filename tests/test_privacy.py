"""Nothing that tells who somebody is leaves the cohort folder, on the whole way to the report.

A word is planted in every element of every header that takes text, in the names of files and folders,
in ids, columns and the account, and a colour in every pixel outside the boxes; then everything that the
way leaves behind is searched for them, inside archives, databases and pictures too.
"""

from __future__ import annotations

import base64
import io
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_dict
from working_folder import enter, make_working_folder

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.clips import iter_frames
from mufnet_lightning.cohort.geometry import Box, carry
from mufnet_lightning.cohort.pseudonyms import Pseudonyms
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.tracking.stores import NOTED

WORD = "Geheim"
COLOUR = (255, 0, 255)
NEEDLE = re.compile(WORD.encode() + b"|" + WORD.encode("utf-16-le"), re.IGNORECASE)
OF_MLFLOW = {"artifact_location", "artifact_uri", "storage_location", "source"}
"""Columns of MLflow's database that say where it keeps its files; a database cannot do without."""
TEXTS = {"LO": WORD, "SH": WORD, "PN": f"{WORD}^Gerda", "LT": WORD, "ST": WORD, "UT": WORD, "UC": WORD}


def planted(folder: Path, files: ModuleType, patients: int, seed: int, first: int = 0) -> Path:
    """A phantom's cohort with the word and the colour wherever they can be."""
    options = PhantomOptions(
        patients=patients, high_share=0.5, frames=2, clip_length=3, pane_size=128, seed=seed
    )
    write_phantom(folder, options)
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("patients", "clips", "boxes")
    }
    cohort = read_cohort(folder)
    assert cohort.clips is not None
    assert cohort.boxes is not None
    for number, (_, clip) in enumerate(cohort.clips.iterrows()):
        frames = np.stack([frame for _, frame in iter_frames(folder / clip["path"], range(3))])
        shown = np.zeros(frames.shape[:3], bool)
        for _, row in cohort.boxes[cohort.boxes["clip_id"] == clip["clip_id"]].iterrows():
            box = Box(row["x"], row["y"], row["width"], row["height"])
            other = carry(box, clip["ceus_pane"], clip["bmode_pane"])
            for one in (box, other):
                shown[row["frame"], one.y : one.bottom, one.x : one.right] = True
        frames[~shown] = COLOUR
        path = f"{WORD}/{WORD}_{number + first}.dcm"
        files.write_dicom(folder / path, frames)
        plant(folder / path)
        tables["clips"].loc[number, "path"] = path
    names = {old: f"{WORD}, {old} {first}" for old in tables["patients"]["patient_id"]}
    for table in tables.values():
        if "patient_id" in table:
            table["patient_id"] = table["patient_id"].map(names)
        if "clip_id" in table:
            table["clip_id"] = f"{WORD} {first} " + table["clip_id"]
    tables["patients"]["center"] = f"{WORD}klinik"
    tables["patients"]["remark"] = [WORD, "none"] * (patients // 2)
    tables["clips"]["scanner"] = f"{WORD}scanner"
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "truth.json").unlink()
    return folder


def plant(path: Path) -> None:
    """The word in every element that takes text, and in private ones."""
    dataset = dcmread(path)
    for element in planted_elements():
        if element.tag not in dataset:
            dataset.add(element)
    dataset.private_block(0x0011, WORD, create=True).add_new(1, "LO", WORD)
    dataset.save_as(path, enforce_file_format=True)


@cache
def planted_elements() -> Dataset:
    """The word in every element that takes text; made once, it takes as long as to write a file."""
    dataset = Dataset()
    for keyword, tag in keyword_dict.items():
        representation = dictionary_VR(tag)
        if representation in TEXTS and tag >> 16 > 2:
            setattr(dataset, keyword, TEXTS[representation])
    return dataset


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_tracking: bytes) -> Path:
    """A working folder of somebody whose account and folders have the word in their names."""
    folder = tmp_path / f"{WORD}user" / "work"
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, f"{WORD}user")
    monkeypatch.setenv("HOME", str(folder.parent))
    make_working_folder(folder, empty_tracking)
    enter(folder, monkeypatch)
    return folder


@pytest.mark.slow
def test_nothing_that_the_way_to_the_report_leaves_behind_tells_who_somebody_is(
    away: Path, files: ModuleType, tiny_options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = planted(away.parent / "cohort", files, 20, seed=1)
    more = planted(away.parent / "next", files, 2, seed=2, first=100)
    key, store = away.parent / "key", away.parent / "store"
    assert searched(cohort), "it is there to be found"
    assert coloured(cohort / WORD)

    prepare = ["prepare", str(cohort), str(store), f"--pseudonymize={key}", "--columns=age,sex"]
    assert main(prepare) == 0
    options = [*tiny_options, f"--data.store={store}", "--explain.enabled=true"]
    assert main(["fit", *options, "--tracking.figures=true", "--tracking.register=grade"]) == 0
    run = re.findall(r"run \S+ ([0-9a-f]{32})", capsys.readouterr().out)[0]
    assert main(["export", run, "model.onnx"]) == 0
    predict = ["predict", f"--run={run}", f"--pseudonymize={key}", "--device=cpu"]
    assert main([*predict, f"--cohort={more}", "--out=predicted"]) == 0
    assert "ids do not tell" not in capsys.readouterr().err
    clip = next((more / WORD).glob("*.dcm"))
    assert main([*predict, f"--clip={clip}", "--out=one"]) == 0
    assert main(["report", "demo", f"--cohort={store}"]) == 0
    left = [
        away / name for name in ("mlruns", "predicted", "one", "model.onnx", "report-demo.html")
    ] + [store]
    assert all(path.exists() for path in left)
    note = (
        away / "mlruns" / NOTED
    )  # of where stores lie on this machine: beside MLflow's own, in no run
    note.unlink()
    assert [hit for path in left for hit in searched(path)] == []
    assert [name for path in left for name in coloured(path)] == []

    # who trained is known by the same key; without it, that ids cannot tell, and by the pictures
    capsys.readouterr()
    assert main([*predict, f"--cohort={cohort}", "--out=predicted"]) == 0
    trained = pd.read_csv("predicted/patients.csv").set_index("patient_id")["trained"] == "yes"
    assert 0 < trained.sum() < 20
    assert main(["predict", f"--run={run}", f"--cohort={cohort}", "--out=named"]) == 0
    assert "ids do not tell whether these patients trained" in capsys.readouterr().err
    likes = pd.read_csv("named/patients.csv")["looks_like"].dropna()
    assert set(likes) == set(trained.index[trained])

    # and the pseudonyms are the same people
    pseudonyms = Pseudonyms.read(key)
    ids = pd.read_csv(store / "patients.csv")["patient_id"]
    named = pd.read_csv(cohort / "patients.csv")["patient_id"]
    assert ids.tolist() == sorted(pseudonyms.of("patient", name) for name in named), "in no known order"


def searched(path: Path) -> list[str]:
    """Where the word is, in the names and in all that the files hold."""
    hits = []
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if one != path and WORD.lower() in one.name.lower():
            hits.append(f"the name {one.name}")
        if one.is_file():
            hits += [f"{one.name}: {hit}" for hit in inside(one.name, one.read_bytes())]
    return hits


def inside(name: str, content: bytes) -> Iterator[str]:
    """Where the word is in a file, an archive or a database."""
    if content.startswith(b"SQLite format 3"):
        yield from in_database(content)
        return
    for hit in NEEDLE.finditer(content):
        yield repr(content[max(0, hit.start() - 60) : hit.end() + 60])
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from inside(member, archive.read(member))


def in_database(content: bytes) -> Iterator[str]:
    """Where the word is in the rows of a database, but for where MLflow keeps its files."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    for (table,) in tables:
        rows = connection.execute(f'select * from "{table}"')
        columns = [column for column, *_ in rows.description]
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                if column not in OF_MLFLOW and NEEDLE.search(str(value).encode()):
                    yield f"{table}.{column}: {value}"
    connection.close()


def coloured(path: Path) -> list[str]:
    """The pictures, in pages too, and DICOM files with the colour of pixels outside the boxes."""
    hits = []
    for one in path.rglob("*") if path.is_dir() else [path]:
        pictures: list[np.ndarray] = []
        if one.suffix == ".dcm":
            pictures = [frame for _, frame in iter_frames(one, [0])]
        elif one.suffix in (".png", ".jpg"):
            pictures = [np.asarray(Image.open(one).convert("RGB"))]
        elif one.suffix == ".html":
            coded = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", one.read_text())
            assert coded, "a page without a picture"
            opened = [Image.open(io.BytesIO(base64.b64decode(text))) for text in coded]
            pictures = [np.asarray(picture.convert("RGB")) for picture in opened]
        far = [np.abs(picture.astype(int) - COLOUR).max(axis=-1) for picture in pictures]
        if any((distance < 12).any() for distance in far):
            hits.append(one.name)
    return hits


def test_without_a_key_a_store_has_ids_and_no_other_column(
    whole_cohort: Path, whole_store: Path
) -> None:
    assert not (whole_store / "patients.csv").exists()
    ids = set(pd.read_csv(whole_cohort / "patients.csv")["patient_id"])
    assert set(pd.read_csv(whole_store / "manifest.csv")["patient_id"]) == ids


def test_one_key_gives_one_pseudonym_and_another_key_another(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    command = ["prepare", str(cohort), str(tmp_path / "store"), f"--pseudonymize={key}"]
    assert main(command) == 0
    assert key.stat().st_mode & 0o077 == 0, "for its owner alone"
    assert "is the key to the pseudonyms" in capsys.readouterr().err
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    one, other = Pseudonyms.read(key), Pseudonyms(bytes(range(32)))
    manifest = pd.read_csv(tmp_path / "store/manifest.csv", keep_default_na=False)
    assert manifest["patient_id"].drop_duplicates().tolist() == sorted(
        one.of("patient", name) for name in ("P1", "P2", "P3")
    )
    assert one.of("clip", "C1") in set(manifest["clip_id"])
    assert set(manifest["center"]) == {one.of("center", "north"), one.of("center", "south"), ""}
    assert one.of("patient", "P1") != other.of("patient", "P1")
    assert one.of("patient", "X") != one.of("clip", "X")
    assert main([*command, "--columns=center"]) == 2, "what leaves is part of the inputs"
    # another key, or none, makes other inputs
    (tmp_path / "another").write_text(other.key.hex())
    assert main([*command[:-1], f"--pseudonymize={tmp_path / 'another'}"]) == 2
    assert main(command[:-1]) == 2
    assert "store of other inputs" in capsys.readouterr().err


def test_ids_of_another_key_say_nothing_of_the_same_cohort(cohort: Path, tmp_path: Path) -> None:
    plain = prepare_store(cohort, tmp_path / "plain")
    stores = [
        prepare_store(cohort, tmp_path / f"{seed}", pseudonyms=Pseudonyms(bytes([seed] * 32)))
        for seed in (1, 2)
    ]
    assert len({plain.cohort, *(store.cohort for store in stores)}) == 3
    for store in stores:
        crops = sorted((store.root / path).read_bytes() for path in store.manifest["ceus_path"])
        assert crops == sorted((plain.root / path).read_bytes() for path in plain.manifest["ceus_path"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--pseudonymize=KEY", "--columns=ward"], "patients.csv has no such column"),
        (["--pseudonymize=KEY", "--columns=born"], "it may not leave: its values are dates"),
        (["--pseudonymize=KEY", "--columns=mrn"], "it may not leave: its name says"),
        (["--columns=born"], "--columns goes with --pseudonymize"),
        (["--pseudonymize=STORE/key"], "the key lies in the store"),
        (["--pseudonymize=COHORT/patients.csv"], "no key, expected 32 or more hexadecimal digits"),
        (["--pseudonymize=COHORT"], "Is a directory"),
    ],
)
def test_what_may_not_leave_and_keys_that_are_none(
    options: list[str], reason: str, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patients = pd.read_csv(cohort / "patients.csv")
    dates, numbers = ["1950-12-31", "1960-01-02", "1971-04-05"], [4711001, 4711002, 4711002]
    patients.assign(born=dates, mrn=numbers).to_csv(cohort / "patients.csv", index=False)
    places = {"KEY": tmp_path / "key", "STORE": tmp_path / "store", "COHORT": cohort}
    for name, place in places.items():
        options = [option.replace(name, str(place)) for option in options]
    assert main(["prepare", str(cohort), str(tmp_path / "store"), *options]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_key_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("00" * 15)
    with pytest.raises(InputFault, match="32 or more hexadecimal digits"):
        Pseudonyms.read(tmp_path / "key")
