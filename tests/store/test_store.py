"""A store is opened, or a sentence says why not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edited_stores import unseal

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.store.prepare import prepare_store
from mufnet_lightning.store.store import CropStore


def test_what_is_no_store_is_refused_in_a_sentence(whole_store: Path, tmp_path: Path) -> None:
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
    unseal(copy)
    info = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps({k: info[k] for k in info if k != "margin"}))
    assert "is damaged: expected manifest.csv" not in fault(copy)
    assert "is damaged: store.json has no margin; make one" in fault(copy)
    (copy / "store.json").write_text(json.dumps(info | {"margin": "wide"}))
    assert "is damaged: store.json: could not convert string to float" in fault(copy)
    (copy / "store.json").write_text(json.dumps(info | {"format_version": 99}))
    assert "has format version 99, expected 1" in fault(copy)
    (copy / "store.json").write_text("[]")
    assert "is not a crop store" in fault(copy)
    (copy / "store.json").write_text('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}")
    assert "is damaged: store.json is not JSON" in fault(copy)
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


def test_what_store_json_says_can_be_read_back_and_printed(whole_store: Path) -> None:
    content = json.loads((whole_store / "store.json").read_text())
    info = StoreInfo.from_json(content)
    assert info.as_json() == content
    assert list(content) == [
        *("format", "format_version", "mufnet", "created", "margin", "with_grades", "pairs"),
        *("patients", "low", "high", "modalities", "crops", "digest", "cohort", "sums", "seal"),
    ]
    assert info.modalities == ("bmode", "ceus")
    later = ("cohort", "sums", "seal")
    before = {name: value for name, value in content.items() if name not in later}
    assert StoreInfo.from_json(before).as_json() == before
    assert str(info) == "12 pairs of 3 patients (2 low, 1 high), bmode and ceus"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"low": 0, "high": 0}, "12 pairs of 3 patients (3 ungraded), bmode and ceus"),
        ({"low": 1, "high": 1}, "12 pairs of 3 patients (1 low, 1 high, 1 ungraded), bmode and ceus"),
        (
            {"pairs": 1, "patients": 1, "low": 1, "high": 0, "modalities": ("ceus",)},
            "1 pair of 1 patient (1 low, 0 high), ceus",
        ),
        (
            {"pairs": 6293, "patients": 1000, "low": 740, "high": 260},
            "6,293 pairs of 1,000 patients (740 low, 260 high), bmode and ceus",
        ),
    ],
)
def test_a_store_in_one_line(whole_store: Path, changes: dict[str, Any], text: str) -> None:
    assert str(replace(CropStore.open(whole_store).info, **changes)) == text
