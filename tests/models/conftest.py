"""Somebody's own blocks, on the path where Python looks for modules."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

OWN = Path(__file__).parent / "own"


@pytest.fixture
def own_blocks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `own_blocks`, which nothing has been made of yet."""
    import importlib

    monkeypatch.syspath_prepend(str(OWN))
    blocks = importlib.import_module("own_blocks")
    blocks.MADE.clear()
    return blocks
