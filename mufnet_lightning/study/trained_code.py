"""The code that a kept weight depends on, as a digest."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import mufnet_lightning

_DATA = (
    "augmentation",
    "datamodule",
    "dataset",
    "device_augmentation",
    "loaders",
    "resident",
    "sampler",
    "transforms",
)
TRAINS = (
    "models",
    *(f"data/{name}.py" for name in _DATA),
    "store/cache.py",
    "training/callbacks/averaging.py",
    "training/callbacks/checkpoint.py",
)
"""Code of this package that a kept weight depends on; the folds are compared as a table."""
TRAINS_NOT = ("models/ensemble.py",)
"""What of it has to do with weights that are kept already."""


def own_code_digest() -> str:
    """Of the code of this package that a kept weight depends on, in hexadecimal digits."""
    return code_digest(_own_files())


def code_digest(files: Iterable[Path]) -> str:
    """Of what the code does: a comment or a docstring may change while a study runs."""
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = [part for part in node.body if not _is_text(part)]
        digest.update(file.name.encode())
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _own_files() -> Iterator[Path]:
    package = Path(mufnet_lightning.__file__).parent
    left_out = [package / name for name in TRAINS_NOT]
    for name in TRAINS:
        place = package / name
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        yield from (file for file in files if file not in left_out)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and (
        isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
