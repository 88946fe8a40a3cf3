"""Patients who look alike are found, whatever was done to the picture, and strangers are not."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.phantom.generate import write_phantom
from mufnet_lightning.phantom.options import PhantomOptions
from mufnet_lightning.store import twins
from mufnet_lightning.store.inputs import TWINS
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore
from mufnet_lightning.store.twins import (
    Twins,
    find_twins,
    fingerprint,
    keep_twins,
    read_twins,
    similarity,
)

PATIENTS = 60


def changed(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same tissue as somebody else might have kept it: shifted, rescaled, brighter, re-encoded."""
    height, width = crop.shape[:2]
    moved = cv2.getRotationMatrix2D((width / 2, height / 2), 0, rng.uniform(0.94, 1.06))
    moved[:, 2] = moved[:, 2] + rng.uniform(-0.04, 0.04, 2) * (width, height)
    shown = cv2.warpAffine(crop, moved, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    scale = rng.uniform(0.6, 1.4)
    size = (round(width * scale), round(height * scale))
    shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    shown = np.clip(255 * (shown / 255.0) ** rng.uniform(0.9, 1.15), 0, 255).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 90))])[1]
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.astype(np.uint8)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> CropStore:
    folder = tmp_path_factory.mktemp("phantom")
    options = PhantomOptions(patients=PATIENTS, high_share=0.5, frames=2, clip_length=4, pane_size=224)
    write_phantom(folder / "cohort", options)
    return prepare_store(folder / "cohort", folder / "store")


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["bmode", "ceus"])
def test_of_single_stills_95_in_100_twins_are_found_and_no_strangers(
    modality: str, phantom: CropStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    (tmp_path / "crops").mkdir()
    rows, prints = [], {}
    for row in phantom.manifest.drop_duplicates("patient_id").itertuples():
        crop = cv2.imread(str(phantom.root / str(getattr(row, f"{modality}_path"))))
        assert crop is not None
        for copy, pixels in enumerate((crop.astype(np.uint8), changed(crop.astype(np.uint8), rng))):
            name = f"{row.patient_id}_{copy}.png"
            cv2.imwrite(str(tmp_path / "crops" / name), pixels)
            prints[name] = fingerprint(pixels[..., ::-1])
            paths = {"bmode_path": "", "ceus_path": "", f"{modality}_path": f"crops/{name}"}
            who = {"patient_id": f"{row.patient_id}_{copy}", "clip_id": "", "label": row.label}
            rows.append({**who, **paths})
    pairs = {pair.patients for pair in find_twins(tmp_path, rows, prints, ())}
    wanted = {(f"{p}_0", f"{p}_1") for p in phantom.manifest["patient_id"].unique()}
    assert len(wanted) == PATIENTS
    assert len(wanted & pairs) >= 0.95 * PATIENTS
    strangers = len(list(combinations(rows, 2))) - PATIENTS
    wrong = {name for pair in pairs - wanted for name in pair}
    assert len(pairs - wanted) <= 0.01 * strangers
    assert len(wrong) <= 0.01 * len(rows)  # pictures that are named with one that is no twin


def test_no_patients_of_a_phantom_look_alike(phantom: CropStore) -> None:
    assert read_twins(phantom.root) == []
    assert not (phantom.root / TWINS).exists()


def encoded_anew(files: ModuleType, folder: Path, grade: str) -> Path:
    """A cohort in which P2 has the clip of P1, of grade 2, in another codec."""
    cohort: Path = files.write_cohort(folder)
    patients = cohort / "patients.csv"
    patients.write_text(patients.read_text().replace("P2,3", f"P2,{grade}"))
    frames = [files.clip_frame(number, 1) for number in range(files.CLIP_LENGTH)]
    files.write_clip(cohort / "clips" / "C2.avi", frames, "MJPG")
    return cohort


def test_one_scan_under_two_grades_is_a_fault(files: ModuleType, tmp_path: Path) -> None:
    cohort = encoded_anew(files, tmp_path / "cohort", "4")
    with pytest.raises(
        InputFault, match=r"'P1' and 'P2', one of low .* one scan under two grades"
    ) as raised:
        prepare_store(cohort, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    shown = [word.strip(",") for word in str(raised.value).split() if word.strip(",").endswith(".png")]
    assert len(shown) == 2
    assert all((tmp_path / ".store.partial/crops" / name).is_file() for name in shown), (
        "to be looked at"
    )
    encoded_anew(files, cohort, "2")
    assert len(prepare_store(cohort, tmp_path / "store").manifest) == 12


def test_a_clip_that_was_encoded_anew_under_another_id_is_named(
    files: ModuleType,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort = encoded_anew(files, tmp_path / "cohort", "2")
    store = prepare_store(cohort, tmp_path / "store")
    assert read_twins(store.root) == [("P1", "P2")]
    assert "patients 'P1' and 'P2' look alike" in caplog.text
    prepare_store(cohort, tmp_path / "store")
    assert f"named in {tmp_path / 'store' / TWINS}: 1" in capsys.readouterr().out
    (line,) = (store.root / TWINS).read_text().splitlines()[1:]
    patient, twin, crop, other, similarity = line.split(",")
    assert (patient, twin) == ("P1", "P2")
    assert float(similarity) > 0.97
    owners = store.manifest.set_index("bmode_path")["patient_id"]
    assert (owners[crop], owners[other]) == ("P1", "P2")


def test_ids_that_a_spreadsheet_would_run_are_quoted_and_come_back(tmp_path: Path) -> None:
    ids = ('=HYPERLINK("http://x")', "'P2")
    keep_twins(tmp_path, [Twins(ids, ("p0_bmode.png", "p1_bmode.png"), 0.99)])
    assert not (tmp_path / TWINS).read_text().splitlines()[1].startswith(("=", '"='))
    assert read_twins(tmp_path) == [ids]


def test_an_even_picture_is_like_none() -> None:
    noise = np.random.default_rng(0).uniform(0, 255, (64, 64)).astype(np.float32)
    rim = np.zeros((64, 64), np.float32)
    rim[:4] = 200
    assert similarity(noise, rim) == similarity(rim, noise) == similarity(rim, rim) == -1
    assert similarity(noise, noise) > 0.99


def test_the_nearest_crops_are_looked_at_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(twins, "MOST_LOOKS", 5)
    names = np.arange(40)
    codes = np.random.default_rng(0).integers(0, 1 << 6, 40).astype(np.uint64)
    near = twins._near(codes, names)
    assert len(near) == 5
    apart = {(a, b): int(codes[a] ^ codes[b]).bit_count() for a in range(40) for b in range(a + 1, 40)}
    assert sorted(apart[pair] for pair in near) == sorted(apart.values())[:5]
    assert "775 were not looked at" in caplog.text
