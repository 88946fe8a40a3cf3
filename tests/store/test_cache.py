"""Laws of the caches: a row is its PNG resized, built once, read in constant memory."""

from __future__ import annotations

import mmap
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mufnet_lightning.store.cache import open_cache, resized
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.seal import StoreSums
from mufnet_lightning.store.store import CropStore


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> CropStore:
    return CropStore.open(Path(shutil.copytree(whole_store, tmp_path / "copy")))


@pytest.mark.parametrize("size", [8, 20, 64])
def test_a_row_of_the_cache_is_its_png_resized(store: CropStore, size: int, files: ModuleType) -> None:
    for modality in store.modalities:
        cache = store.cache(modality, size)
        assert len(cache) == 12
        for row, name in enumerate(store.manifest[f"{modality}_path"]):
            assert cache[row].dtype == np.uint8
            expected = resized(files.read_rgb(store.root / name), size)
            np.testing.assert_array_equal(cache[row], expected)
    with pytest.raises(IndexError):
        cache[12]
    with pytest.raises(IndexError):
        cache[-1]


def test_shrinking_averages_and_growing_is_smooth() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(200)
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert (resized(board, 16) == 100).all()
    assert resized(board[:4, :4], 16).shape == (16, 16, 3)


def test_a_cache_is_built_once_even_by_many(store: CropStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: store.cache("ceus", 24), range(4)))
    assert len({cache.path for cache in caches}) == 1
    before = caches[0].path.stat().st_mtime_ns
    assert store.cache("ceus", 24).path.stat().st_mtime_ns == before
    names = sorted(path.name for path in (store.root / "cache").iterdir())
    assert names == ["ceus_24.json", "ceus_24.u8", "lock"]


def test_what_is_read_is_a_copy(store: CropStore) -> None:
    cache = store.cache("ceus", 24)
    first = cache[0].copy()
    cache[0][:] = 0
    np.testing.assert_array_equal(cache[0], first)


def test_a_cache_of_another_store_or_half_a_cache_is_built_again(
    store: CropStore, cohort: Path, tmp_path: Path
) -> None:
    old = store.cache("ceus", 24)
    other = prepare_store(cohort, tmp_path / "other", margin=0.3)
    shutil.copytree(store.root / "cache", other.root / "cache")
    new = other.cache("ceus", 24)
    assert not np.array_equal(new[0], old[0])
    expected = new[11]
    with open(new.path, "r+b") as file:
        file.truncate(1000)
    np.testing.assert_array_equal(other.cache("ceus", 24)[11], expected)


def test_pickling_sends_the_path_and_not_the_pixels(store: CropStore) -> None:
    cache = store.cache("bmode", 64)
    message = pickle.dumps(cache)
    assert len(message) < 2000
    np.testing.assert_array_equal(pickle.loads(message)[5], cache[5])


def test_a_store_that_cannot_be_written_to_is_cached_elsewhere(
    store: CropStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (store.root / "cache").write_text("in the way, as for root every folder can be written to")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    cache = store.cache("ceus", 24)
    assert cache.path.is_relative_to(tmp_path / "home/mufnet")
    assert "cannot be written to, its cache is in" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(store.cache("ceus", 24)[3], cache[3])
    assert caplog.text == ""


def test_it_is_read_where_pages_cannot_be_given_back(
    store: CropStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = store.cache("ceus", 24)
    expected = [cache[row] for row in range(12)]
    monkeypatch.delattr(mmap, "MADV_DONTNEED")  # as on Windows
    for row in [*range(12)] * 3:
        np.testing.assert_array_equal(cache[row], expected[row])


def test_what_a_killed_process_left_goes_when_a_cache_is_built(store: CropStore) -> None:
    (store.root / "cache").mkdir()
    (store.root / "cache" / ".partial-1-1-ceus_300.u8").write_bytes(bytes(1000))
    store.cache("ceus", 24)
    names = sorted(path.name for path in (store.root / "cache").iterdir())
    assert names == ["ceus_24.json", "ceus_24.u8", "lock"]


READER = """
import sys
from pathlib import Path
from mufnet_lightning.store.cache import CropCache
cache = CropCache(Path(sys.argv[1]), 2000, 128)
def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
cache[0]
before, most = resident(), 0.0
for row in range(2000):
    cache[row]
    if row % 50 == 0:
        most = max(most, resident())
assert "pandas" not in sys.modules
print(most - before)
"""


def test_memory_stays_constant_however_much_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.u8"
    with open(path, "wb") as file:  # 98 MB
        for row in range(2000):
            file.write(bytes([row % 256]) * (128 * 128 * 3))
    out = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) < 30


def test_grey_crops_take_one_channel_and_one_crop_of_colour_makes_all_rgb(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    greys = [np.repeat(random.integers(0, 255, (30, 40, 1), np.uint8), 3, axis=2) for _ in range(70)]
    tint = random.integers(0, 255, (30, 40, 3), np.uint8)
    for name, crops in (("grey", greys), ("late", [*greys, tint]), ("early", [tint, *greys])):
        store = tmp_path / name
        store.mkdir()
        for number, crop in enumerate(crops):
            cv2.imwrite(str(store / f"{number}.png"), crop[..., ::-1])
        names = [*(f"{number}.png" for number in range(len(crops))), ""]
        cache = open_cache(StoreSums(store, None), "d", "bmode", names, 24)
        assert cache.channels == (1 if name == "grey" else 3)
        assert cache.path.stat().st_size == len(names) * 24 * 24 * cache.channels
        for number, crop in enumerate(crops):
            expected = resized(crop, 24)[..., : cache.channels]
            np.testing.assert_array_equal(cache[number], expected)
        assert not cache[len(crops)].any()
        again = open_cache(
            StoreSums(store, None), "d", "bmode", names, 24
        )  # found, and not built again
        assert (again.channels, again.path) == (cache.channels, cache.path)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))[3], cache[3])
        assert sorted(path.name for path in cache.path.parent.iterdir()) == [
            "bmode_24.json",
            "bmode_24.u8",
            "lock",
        ]
