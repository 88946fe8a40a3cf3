"""Checkpoints and saved models that are damaged, broken or hold no numbers: refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from trained_models import Models
from working_folder import enter

from mufnet_lightning.cli import main
from mufnet_lightning.errors import InputFault
from mufnet_lightning.inference.load import load_grader, read_grader, save_grader
from mufnet_lightning.inference.trained import load_trained
from mufnet_lightning.system.sealed import read_sealed, write_sealed
from mufnet_lightning.tracking.checkpoints import CHECKPOINT, read_checkpoint
from mufnet_lightning.tracking.runs import resolve_artifact


@pytest.fixture
def checkpoint(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a fit's checkpoint, in the folder of its run's store."""
    enter(models.folder, monkeypatch)
    return Path(shutil.copy(resolve_artifact(models.fits[0], CHECKPOINT), tmp_path / "a.ckpt"))


def change(file: Path, how: Callable[[dict[str, Any]], object]) -> None:
    content = read_sealed(file)
    how(content)
    write_sealed(content, file)


def flip(file: Path, position: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[position] ^= 1
    file.write_bytes(raw)


def test_what_a_training_writes_is_sealed(checkpoint: Path) -> None:
    assert b"mufnet-sha256:" in checkpoint.read_bytes()[-80:]
    flip(checkpoint, checkpoint.stat().st_size // 2)
    for use in (read_checkpoint, load_grader, load_trained):
        with pytest.raises(
            InputFault, match=r"a\.ckpt: damaged: its digest is not that of its content"
        ):
            use(str(checkpoint))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_grade_nobody(
    checkpoint: Path,
    bad: float,
    phantom_store: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["state_dict"]["net.head.weight"][0, 0] = bad

    change(checkpoint, spoil)
    out = tmp_path / "out"
    calls = [
        ["predict", f"--ckpt_path={checkpoint}", f"--data.store={phantom_store}", f"--output={out}"],
        ["predict", f"--run={checkpoint}", f"--store={phantom_store}"],
        ["test", f"--ckpt_path={checkpoint}"],
        ["validate", f"--ckpt_path={checkpoint}"],
        ["export", f"{checkpoint}", f"{out}.onnx"],
    ]
    for words in calls:
        capsys.readouterr()
        code = main(words)
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, ""), words
        (line,) = [one for one in printed.err.splitlines() if one]
        assert "its weights are no numbers (NaN or infinite, first in net.head.weight)" in line, words
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a list", "it is no YAML of sections"),
        ("data: [", "it is no YAML"),
        ("data: {}", "its section model is missing"),
        ("{model: {}, data: 3}", "its section data is missing, or holds no settings"),
        ("{model: {}, data: {init_args: [1]}}", "its section data is missing, or holds no settings"),
        ({"image_size": "big"}, "data.image_size is 'big', expected a whole number"),
        ({"augmentation": 3}, "data.augmentation is 3, expected settings by name"),
        ({"store": None}, "data.store is None, expected the folder of a store"),
    ],
)
def test_a_broken_configuration_is_one_sentence(
    checkpoint: Path, text: str | dict[str, Any], expected: str
) -> None:
    def spoil(content: dict[str, Any]) -> None:
        if isinstance(text, str):
            content["mufnet_config"] = text
            return
        config = yaml.safe_load(content["mufnet_config"])
        config["data"]["init_args"] |= text
        content["mufnet_config"] = yaml.safe_dump(config)

    change(checkpoint, spoil)
    with pytest.raises(InputFault, match="configuration in this checkpoint is broken") as caught:
        load_trained(str(checkpoint))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content["hyper_parameters"].update(dropout="much"),
        lambda content: content["hyper_parameters"].update(encoder=3),
        lambda content: content["state_dict"].pop("net.head.weight"),
        lambda content: content["state_dict"].update({"net.head.weight": torch.ones(1)}),
        lambda content: content.update(state_dict=[1]),
        lambda content: content.update(mufnet_trained=3),
    ],
    ids=["dropout", "encoder", "missing", "shape", "list", "trained"],
)
def test_a_checkpoint_that_does_not_fit_itself_is_one_sentence(
    checkpoint: Path, spoil: Callable[[dict[str, Any]], object]
) -> None:
    change(checkpoint, spoil)
    with pytest.raises(InputFault, match=r"a\.ckpt"):
        load_grader(str(checkpoint))


def test_a_saved_model_has_digests_and_older_ones_are_read(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_grader(load_grader(str(checkpoint)), folder)
    assert read_grader(folder).card.members == 1
    card, member = folder / "card.json", folder / "member_0.pt"
    whole = card.read_text(), member.read_bytes()

    card.write_text(whole[0].replace('"threshold": ', '"threshold": 1'))
    with pytest.raises(InputFault, match=r"card\.json: damaged"):
        read_grader(folder)
    card.write_text(whole[0])
    flip(member, len(whole[1]) // 2)
    with pytest.raises(InputFault, match=r"member_0\.pt: damaged"):
        read_grader(folder)
    member.write_bytes(whole[1])
    change(member, lambda content: content["state_dict"]["head.bias"].zero_())  # another network's
    with pytest.raises(
        InputFault, match=r"member_0\.pt: damaged: its digest is not that in card\.json"
    ):
        read_grader(folder)

    content = json.loads(whole[0])
    del content["digest"], content["files"]  # of an earlier version
    card.write_text(json.dumps(content))
    assert read_grader(folder).card.members == 1
    change(member, lambda content: content["state_dict"]["head.bias"].fill_(torch.nan))
    with pytest.raises(InputFault, match="no numbers"):
        read_grader(folder)
