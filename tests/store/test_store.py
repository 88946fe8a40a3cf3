"""A store is opened, or a sentence says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore


def test_what_is_no_store_is_told_in_a_sentence(whole_store: Path, tmp_path: Path) -> None:
    def fault(path: Path) -> str:
        with pytest.raises(InputFault) as raised:
            CropStore.open(path)
        return str(raised.value)

    nowhere = tmp_path / "nowhere"
    assert fault(nowhere) == (
        f"there is no crop store at {nowhere}: expected store.json; make one with `mufnet prepare`"
    )
    copy = Path(shutil.copytree(whole_store, tmp_path / "copy"))
    (copy / "manifest.csv").unlink()
    assert "expected manifest.csv" in fault(copy)
    info = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(info | {"format_version": 99}))
    assert "has format version 99, expected 1" in fault(copy)
    (copy / "store.json").write_text("[]")
    assert "is not a crop store" in fault(copy)
    (copy / "store.json").write_text("{")
    assert "store.json is not JSON" in fault(copy)


def test_a_store_that_lost_crops_is_not_called_whole(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare_store(cohort, tmp_path / "store").root
    (store / "crops/p000003_ceus.png").unlink()
    assert main(["prepare", str(cohort), str(store)]) == 2
    assert "23 of 24 crops are there" in capsys.readouterr().err
    with pytest.raises(InputFault, match=r"p000003_ceus\.png cannot be read"):
        CropStore.open(store).cache("ceus", 8)
    assert [path.name for path in (store / "cache").iterdir()] == ["lock"]
