"""What is damaged in a store, or was edited in it, is told with its name and never used."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from edited_stores import seal, unseal

from mufnet_lightning.cli import main
from mufnet_lightning.cohort.pseudonyms import Pseudonyms
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.inspection.gather import inspect_path
from mufnet_lightning.store.known_looks import FINGERPRINTS, store_looks
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.seal import SUMS
from mufnet_lightning.store.store import CropStore

CROP = "crops/p000003_ceus.png"


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_store, tmp_path / "store"))


def flip(file: Path, place: int, bit: int = 0) -> None:
    """One bit of a file becomes the other."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["store.json", "manifest.csv", "fingerprints.csv", SUMS])
def test_a_flipped_bit_of_a_table_is_a_fault_that_names_it(store: Path, name: str) -> None:
    whole = (store / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int).tolist():
        flip(store / name, place, place % 8)
        with pytest.raises(InputFault, match=name.replace(".", r"\.")):
            CropStore.open(store)
        (store / name).write_bytes(whole)
    CropStore.open(store)


def test_edited_labels_are_refused_with_what_to_do(
    store: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = store / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace(",1,0,", ",3,1,"))
    assert manifest.read_text() != text
    assert main(["inspect", str(store), "--out", str(store.parent / "page.html")]) == 2
    told = capsys.readouterr().err
    assert f"the crop store {store}: manifest.csv is not as it was written" in told
    assert "grades and ids are changed in the cohort's tables" in told
    assert main(["prepare", str(cohort), str(store)]) == 2
    assert "manifest.csv is not as it was written" in capsys.readouterr().err


def test_a_table_that_is_gone_or_new_is_told_with_the_others(store: Path) -> None:
    (store / FINGERPRINTS).unlink()
    (store / "twins.csv").write_text("patient_id,twin_id,crop,twin_crop,similarity\nP1,P2,a,b,0.9\n")
    with pytest.raises(InputFault) as raised:
        CropStore.open(store)
    assert [FINGERPRINTS in fault for fault in raised.value.faults] == [True, False]
    (store / SUMS).unlink()
    with pytest.raises(InputFault, match=r"sums\.csv cannot be read"):
        CropStore.open(store)


def test_a_crop_that_is_damaged_or_another_is_told_by_whoever_reads_it(store: Path) -> None:
    opened, crop = CropStore.open(store), store / CROP
    whole = crop.read_bytes()
    words = rf"{CROP} is not as it was written: it is damaged: delete the store and prepare it again"
    for place in range(0, len(whole), 50):
        flip(crop, place, place % 8)
        with pytest.raises(InputFault, match=words):
            opened.crop(CROP)
        crop.write_bytes(whole)
    assert opened.crop(CROP).any()
    crop.unlink()
    os.mkfifo(crop)
    with pytest.raises(
        InputFault, match=rf"{CROP} cannot be read \(it is a named pipe, expected a file\)"
    ):
        opened.crop(CROP)
    crop.unlink()

    shutil.copy(store / "crops/p000007_ceus.png", crop)  # a whole picture, of another patient
    with pytest.raises(InputFault, match=words):
        opened.cache("ceus", 16)
    assert opened.cache("bmode", 16)[0].any()
    faults = [finding.sentence for finding in inspect_path(store).of("fault")]
    assert sum(re.search(words, fault) is not None for fault in faults) == 1
    crop.write_bytes(whole)
    (store / FINGERPRINTS).unlink()
    seal(store)
    shutil.copy(store / "crops/p000007_ceus.png", crop)
    with pytest.raises(InputFault, match=words):
        store_looks(CropStore.open(store))


def test_a_store_of_before_is_used_and_told_of_once(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unseal(store)
    with caplog.at_level(logging.WARNING):
        first, second = CropStore.open(store), CropStore.open(store)
        assert first.cache("ceus", 16)[2].any()
    assert second.manifest["label"].notna().all()
    assert caplog.text.count("was made by an earlier version, which noted no digests") == 1
    shutil.copy(store / "manifest.csv", store / SUMS)
    with pytest.raises(InputFault, match=r"store\.json is not as it was written"):
        CropStore.open(store)


def test_tables_of_a_store_under_pseudonyms_are_sealed_too(cohort: Path, tmp_path: Path) -> None:
    names = Pseudonyms(os.urandom(32))
    root = prepare_store(cohort, tmp_path / "named", pseudonyms=names).root
    assert "\npatients.csv," in (root / SUMS).read_text()
    flip(root / "patients.csv", 40)
    with pytest.raises(InputFault, match=r"patients\.csv is not as it was written"):
        CropStore.open(root)


# Caches are made again.


def rows(store: Path) -> list[np.ndarray]:
    """All rows of a cache that is opened anew."""
    cache = CropStore.open(store).cache("ceus", 24)
    return [cache[row] for row in range(len(cache))]


@pytest.mark.parametrize("left", ["zeros", "ones of another store"])
def test_a_cache_of_zeros_is_built_again_when_it_is_opened(
    store: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = rows(store)
    file = store / "cache/ceus_24.u8"
    file.write_bytes(bytes([left != "zeros"]) * file.stat().st_size)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(rows(store), whole)
    assert caplog.text.count(f"the cache {file} is damaged, it is built again") == 1
    caplog.clear()
    np.testing.assert_array_equal(rows(store), whole)
    assert caplog.text == ""


def test_a_row_that_is_damaged_later_is_made_again_in_every_process(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = rows(store)
    cache = CropStore.open(store).cache("ceus", 24)
    sent = pickle.loads(pickle.dumps(cache))
    file = store / "cache/ceus_24.u8"
    for row in (5, 7):
        flip(file, row * len(whole[0].tobytes()) + 100, 6)
    for reader in (cache, sent):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                np.testing.assert_array_equal([reader[row] for row in range(12)], whole)
        assert caplog.text.count("row 5 is not as it was written") == 1, "told once"
    np.testing.assert_array_equal(rows(store), whole)
    assert b"\0" not in file.with_suffix(".json").read_bytes()
    np.testing.assert_array_equal(
        np.fromfile(file, np.uint8).reshape(np.shape(whole)), whole, "not built again"
    )


def test_a_damaged_note_of_a_cache_costs_a_build_at_most(store: Path) -> None:
    whole = rows(store)
    note = store / "cache/ceus_24.json"
    for place in np.linspace(0, note.stat().st_size - 2, 25).astype(int).tolist():
        flip(note, place, place % 7)
        np.testing.assert_array_equal(rows(store), whole)
