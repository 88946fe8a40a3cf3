"""Stores that a test edits by hand, as nobody else may."""

from __future__ import annotations

import json
from pathlib import Path

from mufnet_lightning.store.seal import CROPS, SUMS, sealed, sha256, write_sums


def seal(store: Path | str) -> None:
    """Let a store that was edited be one that was made so."""
    store = Path(store)
    crops = {file.name: sha256(file.read_bytes()) for file in (store / CROPS).iterdir()}
    content = _content(store) | {"sums": write_sums(store, crops)}
    (store / "store.json").write_text(json.dumps(sealed(content), indent=2) + "\n")


def unseal(store: Path | str) -> None:
    """Let a store be one of an earlier version, which had no digests."""
    store = Path(store)
    (store / SUMS).unlink(missing_ok=True)
    content = {name: value for name, value in _content(store).items() if name != "sums"}
    (store / "store.json").write_text(json.dumps(content, indent=2) + "\n")


def _content(store: Path) -> dict[str, object]:
    content = json.loads((store / "store.json").read_text())
    return {name: value for name, value in content.items() if name != "seal"}
