"""A cohort is named once; whoever asks, at the same time or later, gets that name."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mufnet_lightning.cohort import identity
from mufnet_lightning.cohort.faults import Report
from mufnet_lightning.cohort.identity import give_id, read_id, write_id
from mufnet_lightning.cohort.read import read_cohort
from mufnet_lightning.errors import InputFault


def test_many_who_ask_at_once_get_one_name(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: give_id(tmp_path), range(12)))
    assert len(ids - {None}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.json"]
    assert json.loads((tmp_path / "cohort.json").read_text()) == {"id": ids.pop()}


def test_two_cohorts_of_the_same_patients_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert give_id(tmp_path / "a") != give_id(tmp_path / "b")


def test_a_copied_folder_keeps_its_name(cohort: Path, tmp_path: Path) -> None:
    (cohort / "cohort.json").unlink()
    assert read_cohort(cohort).id is None
    given = give_id(cohort)
    copy = Path(shutil.copytree(cohort, tmp_path / "copy"))
    assert read_cohort(copy).id == given


def test_what_is_written_is_read_whatever_wrote_it(tmp_path: Path) -> None:
    write_id(tmp_path, "kidneys of Köln")
    assert read_id(tmp_path, Report()) == "kidneys of Köln"
    text = (tmp_path / "cohort.json").read_text().replace("\n", "\r\n")
    (tmp_path / "cohort.json").write_bytes(b"\xef\xbb\xbf" + text.encode())  # Windows' Notepad
    assert read_id(tmp_path, Report()) == "kidneys of Köln"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"id": null}', '{"id": " "}', '{"id": 3}', "\xff"]
)
def test_what_names_nothing_is_a_fault_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cohort.json"
    path.write_bytes(text.encode("latin-1"))
    report = Report()
    assert read_id(tmp_path, report) is None
    with pytest.raises(InputFault, match=r"cohort\.json cannot be read, expected {"):
        report.raise_faults()
    with pytest.raises(InputFault, match=r"cohort\.json cannot be read"):
        give_id(tmp_path)
    assert path.read_bytes() == text.encode("latin-1")


def test_without_a_place_to_write_nothing_names_the_cohort_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, content: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(identity, "write_atomic", refuse)
    assert give_id(tmp_path) is None
    assert f"{tmp_path / 'cohort.json'} cannot be written (Permission denied)" in caplog.text
    assert not list(tmp_path.iterdir())
