"""The folder of `--out`: its files appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mufnet_lightning.errors import InputFault
from mufnet_lightning.system.files import write_atomic


def make_folder(folder: Path) -> None:
    """Make the folder, where it is not there yet.

    Raises:
        InputFault: it cannot be made.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_files(files: Mapping[str, bytes | str], folder: Path) -> None:
    """Write files by their names into the folder, which is made; each appears whole or not at all.

    Raises:
        InputFault: the folder cannot be written to.
    """
    make_folder(folder)
    with _writing(folder):
        for name, content in files.items():
            write_atomic(folder / name, content)


def remove_files(names: Iterable[str], folder: Path) -> None:
    """Remove files by their names, as far as they are there: of an earlier call, and not this one's.

    Raises:
        InputFault: the folder cannot be written to.
    """
    with _writing(folder):
        for name in names:
            (folder / name).unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputFault(f"--out {folder} cannot be written: {error.strerror}") from None
