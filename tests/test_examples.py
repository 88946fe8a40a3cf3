"""Every example of a docstring is true."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path.relative_to(ROOT)
    for path in (ROOT / "hatch_build.py", *sorted(ROOT.glob("mufnet_lightning/**/*.py")))
    if ">>> " in path.read_text(encoding="utf-8")
]


def module_of(file: Path) -> ModuleType:
    """Of the package by its name, another file by its path."""
    if len(file.parts) > 1:
        names = file.with_suffix("").parts
        return importlib.import_module(".".join(names[: -1 if names[-1] == "__init__" else None]))
    spec = importlib.util.spec_from_file_location(file.stem, ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=str)
def test_examples(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(file)
    monkeypatch.chdir(tmp_path)
    ways = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(module, optionflags=ways)
    assert results.attempted > 0
    assert results.failed == 0
