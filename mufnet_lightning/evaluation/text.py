"""Numbers as papers print them."""

from __future__ import annotations


def p_text(p: float | None) -> str:
    """A p-value as papers print it."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
