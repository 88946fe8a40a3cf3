"""Tensors in one file that says itself whether it is whole: torch's own format, with a digest in it.

The format is a ZIP archive, and its comment, which torch does not read, carries a SHA-256 of all that
lies before it. So the digest goes wherever the file is copied, and other programs read it as before.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import atomic_path
from mufnet_lightning.system.guards import open_regular

if TYPE_CHECKING:
    import torch

_SEAL = re.compile(rb"\x4e\x00mufnet-sha256:([0-9a-f]{64})")  # behind its length, 78
_SEAL_BYTES = 2 + 78
_NO_COMMENT = b"\x00\x00"


def write_sealed(content: object, path: Path) -> None:
    """Write what `torch.load(..., weights_only=True)` can read: tensors and plain values, whole or not.

    Args:
        content: to be written.
        path: of the file; what is there is replaced.

    Raises:
        OSError: it cannot be written.
    """
    import torch

    with atomic_path(path) as draft:
        torch.save(content, draft)
        with draft.open("r+b") as file:
            end = file.seek(-2, 2)
            if file.read() != _NO_COMMENT:
                raise OSError(f"{path}: torch has written a file that is not understood")
            digest = _digest(file, end)
            file.seek(end)
            comment = b"mufnet-sha256:" + digest.encode()
            file.write(struct.pack("<H", len(comment)) + comment)


def read_sealed(
    path: Path, name: str | None = None, what: str = "checkpoint", map_location: Any = "cpu"
) -> Any:
    """Read such a file, after it was found whole; no code in it is run.

    A file without a digest, as an earlier version or another program wrote it, has checksums of its
    parts (CRC-32), which are checked in its place.

    Args:
        path: of the file.
        name: of it in messages.
        what: it is, in messages.
        map_location: where the tensors go, see `torch.load`.

    Raises:
        InputFault: it is not there, it is damaged, or it holds anything but tensors and plain values.
    """
    import torch

    name = name or str(path)
    check_sealed(path, name, what)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # what is no checkpoint can make torch's reader raise anything
        reason = "it holds code" if "GLOBAL" in str(error) else "it cannot be read"
        raise InputFault(f"{name}: not a {what} of mufnet: {reason}") from None


def check_sealed(path: Path, name: str, what: str = "checkpoint") -> None:
    """Find out whether a file is as it was written.

    Raises:
        InputFault: it is not; or there is no such file.
    """
    damaged = InputFault(
        f"{name}: damaged: its digest is not that of its content; take another copy, or the run's "
        "other checkpoint"
    )
    try:
        with open_regular(path) as file:
            is_archive = file.read(2) == b"PK"
            end = max(0, file.seek(0, 2) - _SEAL_BYTES)
            file.seek(end)
            seal = _SEAL.fullmatch(file.read())
            if seal is not None and _digest(file, end) != seal[1].decode():
                raise damaged
        if seal is not None or not is_archive:
            return  # what is no archive is no file of ours, as whoever reads it says
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise damaged
    except FileNotFoundError:
        raise InputFault(f"{name}: there is no such file") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise InputFault(f"{name}: not a {what} of mufnet: it cannot be read") from None
    except OSError as error:
        raise InputFault(
            f"{name}: not a {what} of mufnet: it cannot be read ({error.strerror})"
        ) from None


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first of some tensors that holds NaN or infinity; None where all are numbers.

    An additive attention mask, of two dimensions or more and of nothing but 0 and -inf, is no fault:
    networks keep such ones beside their weights.

    >>> import torch
    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])})
    'b'
    """
    import torch

    named = list(_floating(tensors))
    if not named:
        return None
    flags = torch.stack([value.isfinite().all().cpu() for _, value in named]).tolist()
    strange = (one for one, good in zip(named, flags, strict=True) if not good)
    return next((name for name, value in strange if not _is_mask(value)), None)


def refuse_not_finite(weights: Mapping[str, Any], name: str) -> None:
    """Refuse a network that can give no number.

    Args:
        weights: tensors by name.
        name: where they are from.

    Raises:
        InputFault: NaN or infinity is among them.
    """
    strange = not_finite(weights)
    if strange is not None:
        raise InputFault(
            f"{name}: its weights are no numbers (NaN or infinite, first in {strange}): the training "
            "diverged, or the file was changed; nothing is computed with it"
        )


def _floating(tensors: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for name, value in tensors.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            yield str(name), value.detach()


def _is_mask(value: torch.Tensor) -> bool:
    return value.ndim > 1 and bool((value == 0).any()) and bool(((value == 0) | value.isneginf()).all())


def _digest(file: Any, end: int) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    left = end
    while left:
        block = file.read(min(left, 1 << 20))
        if not block:
            break
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()
