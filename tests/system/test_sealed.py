"""Sealed files: every flipped bit that matters is noticed, and torch reads them as before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.sealed import check_sealed, not_finite, read_sealed, write_sealed

CONTENT = {"state_dict": {"a": torch.arange(4000.0)}, "epoch": 3, "text": "config"}


def same(content: object) -> bool:
    assert isinstance(content, dict)
    return (
        torch.equal(content["state_dict"]["a"], CONTENT["state_dict"]["a"])  # type: ignore[index]
        and content["epoch"] == 3
        and content["text"] == "config"
    )


def flip(file: Path, position: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[position] ^= 1 << (position % 8)
    file.write_bytes(raw)


def read(file: Path) -> str | None:
    """Why it is refused; None where it is what it was."""
    try:
        content = read_sealed(file)
    except InputFault as fault:
        return str(fault)
    assert same(content)
    return None


def test_a_copy_is_whole_and_torch_reads_it_alone(tmp_path: Path) -> None:
    write_sealed(CONTENT, tmp_path / "a.ckpt")
    shutil.copyfile(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    assert same(read_sealed(tmp_path / "b.ckpt"))
    for mmap in (False, True):
        assert same(torch.load(tmp_path / "b.ckpt", weights_only=True, mmap=mmap))
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["a.ckpt", "b.ckpt"]


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "of an earlier version"])
def test_no_flipped_bit_changes_what_is_read(tmp_path: Path, sealed: bool) -> None:
    file = tmp_path / "a.ckpt"
    write = write_sealed if sealed else torch.save
    write(CONTENT, file)
    good = file.read_bytes()
    draws = np.random.default_rng(0).integers(0, len(good), 150)
    refused = 0
    for position in [*draws.tolist(), 0, len(good) - 1, len(good) - 85, len(good) - 90]:
        flip(file, position)
        refusal = read(file)
        assert refusal is None or str(file) in refusal
        refused += refusal is not None
        file.write_bytes(good)
    # a digest may be hit itself; without one, what lies between the parts is padding that nobody reads
    assert refused >= (150 if sealed else 120)
    (tmp_path / "half.ckpt").write_bytes(good[: len(good) // 2])
    with pytest.raises(InputFault, match=r"half\.ckpt: not a checkpoint of mufnet: it cannot be read"):
        read_sealed(tmp_path / "half.ckpt")


def test_a_damaged_file_is_named_and_what_to_do_is_said(tmp_path: Path) -> None:
    write_sealed(CONTENT, tmp_path / "a.ckpt")
    flip(tmp_path / "a.ckpt", 5000)
    with pytest.raises(InputFault, match=r"runs:/1: damaged: its digest .* the run's other checkpoint"):
        check_sealed(tmp_path / "a.ckpt", "runs:/1")
    with pytest.raises(InputFault, match="there is no such file"):
        check_sealed(tmp_path / "none.ckpt", "none.ckpt")


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    write_sealed(CONTENT, tmp_path / "a.ckpt")
    with pytest.raises(AttributeError):
        write_sealed({"a": lambda: None}, tmp_path / "a.ckpt")
    assert same(read_sealed(tmp_path / "a.ckpt"))
    assert len(list(tmp_path.iterdir())) == 1


def test_numbers_that_are_none_are_named() -> None:
    tensors = {"whole": torch.ones(2, dtype=torch.int64), "a": torch.ones(3)}
    assert not_finite(tensors) is None
    assert not_finite({}) is None
    assert not_finite(tensors | {"b": torch.tensor([1.0, torch.inf])}) == "b"
    mask = torch.full((3, 3), -torch.inf).triu(1)
    assert not_finite(tensors | {"mask": mask}) is None
    for no_mask in (-mask, mask + torch.eye(3), mask[0], torch.full((3, 3), -torch.inf), mask * 0):
        assert not_finite(tensors | {"mask": mask, "b": no_mask}) == "b"
