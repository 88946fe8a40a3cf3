"""Configurations are found by name: the working folder's first, then the package's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.configs import config_layers, config_names, find_config


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_packages_own_are_found_from_any_folder() -> None:
    assert find_config("fused").is_file()
    assert {"bmode", "ceus", "demo", "fused"} <= set(config_names())


def test_the_working_folders_come_first(folder: Path) -> None:
    (folder / "configs").mkdir()
    (folder / "configs" / "fused.yaml").write_text("")
    (folder / "configs" / "mine.yaml").write_text("")
    assert find_config("fused") == Path("configs/fused.yaml")
    assert find_config("mine") == Path("configs/mine.yaml")
    assert "mine" in config_names()


def test_a_path_stays_a_path(folder: Path) -> None:
    (folder / "fused.yaml").write_text("")
    assert find_config("fused.yaml") == Path("fused.yaml")
    assert find_config(str(folder / "fused.yaml")) == folder / "fused.yaml"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fuse", r"configuration fuse is not there; did you mean fused\? \(by name there are bmode, "),
        ("configs/fused.yaml", r"configuration configs/fused.yaml is not there; did you mean fused\?"),
        ("quantum", r"configuration quantum is not there \(by name there are"),
        (".", r"configuration . is a folder"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(name: str, sentence: str) -> None:
    with pytest.raises(InputFault, match=sentence):
        find_config(name)


def test_what_is_extended_lies_below(folder: Path) -> None:
    (folder / "mine.yaml").write_text("extends: fused\ndata: {fold: 1}\n")
    assert [file.name for file in config_layers("mine.yaml")] == [
        "paper.yaml",
        "fused.yaml",
        "mine.yaml",
    ]
    (folder / "mine.yaml").write_text("extends: mine.yaml\n")
    with pytest.raises(InputFault, match="extends itself"):
        config_layers("mine.yaml")
    (folder / "mine.yaml").write_text("extends: [fused]\n")
    with pytest.raises(InputFault, match="expected the name of a file"):
        config_layers("mine.yaml")
