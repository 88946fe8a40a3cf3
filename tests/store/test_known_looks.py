"""Laws of hashes that are kept: the same scan is known again, whatever was done to its file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edited_stores import seal, unseal

from mufnet_lightning.store.known_looks import FINGERPRINTS, KNOWN, alike, store_looks
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.store.twins import fingerprint


@pytest.fixture(scope="module")
def looks(phantom_store: Path) -> dict[str, dict[str, list[str]]]:
    return store_looks(CropStore.open(phantom_store))


def test_strangers_do_not_look_alike_and_everybody_like_himself(
    looks: dict[str, dict[str, list[str]]],
) -> None:
    patients = sorted(looks["ceus"])
    assert len(patients) == 30
    for name in patients:
        own = {modality: {name: codes[name]} for modality, codes in looks.items()}
        others = {
            modality: {other: code for other, code in codes.items() if other != name}
            for modality, codes in looks.items()
        }
        assert alike(own, others) == {}
        assert (alike(own, looks)[name].patient, alike(own, looks)[name].apart) == (name, 0)


def test_a_scan_that_was_encoded_anew_is_known_again(
    phantom_store: Path, looks: dict[str, dict[str, list[str]]]
) -> None:
    crops = CropStore.open(phantom_store).manifest.groupby("patient_id").first()["bmode_path"]
    again = {}
    for name, path in crops.items():
        bgr = cv2.imread(str(phantom_store / path))
        assert bgr is not None
        smaller = cv2.resize(bgr, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        brighter = np.clip(smaller * 1.2 + 5, 0, 255).astype(np.uint8)
        coded: Any = cv2.imdecode(cv2.imencode(".jpg", brighter, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
        again[f"new {name}"] = [f"{fingerprint(coded[..., ::-1]):016x}"]
    known = alike({"bmode": again}, looks)
    right = [name for name, likeness in known.items() if name == f"new {likeness.patient}"]
    assert len(right) >= 0.95 * len(again)
    assert len(right) == len(known), "nobody is taken for somebody else"
    assert max(likeness.apart for likeness in known.values()) <= KNOWN


def test_a_store_of_the_code_before_is_hashed_when_it_is_asked(
    phantom_store: Path, looks: dict[str, dict[str, list[str]]], tmp_path: Path
) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    (store / FINGERPRINTS).unlink()
    unseal(store)
    assert store_looks(CropStore.open(store)) == looks
    some = store_looks(CropStore.open(store), ["P001"])
    assert set(some["ceus"]) == {"P001"}


def test_crops_that_show_nothing_are_like_nobody(phantom_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(phantom_store, tmp_path / "store"))
    manifest = CropStore.open(store).manifest
    own = manifest.loc[manifest["patient_id"] == "P001", "ceus_path"]
    lines = [f"{Path(path).name},black\n" for path in own]
    (store / "odd_crops.csv").write_text("crop,looks\n" + "".join(lines))
    seal(store)
    assert "P001" not in store_looks(CropStore.open(store))["ceus"]
