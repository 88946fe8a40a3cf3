"""Ids that a reader would take for one another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

SHOWN = 5
_IGNORED = {"Cf", "Zs", "Cc", "Pd", "Pc"}  # zero-width marks, spaces, dashes, underscores


def bare(identifier: str) -> str:
    """An id without what the eye skips: case, spaces, dashes, invisible marks, zeros before numbers.

    >>> bare("P-007"), bare("p7\u200b"), bare("P 70")
    ('p7', 'p7', 'p70')
    """
    text = unicodedata.normalize("NFKC", identifier).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) not in _IGNORED)
    return re.sub(r"0+(?=\d)", lambda zeros: "" if _begins(text, zeros.start()) else zeros[0], text)


def alike(table: str, column: str, ids: Iterable[str]) -> list[str]:
    """A warning about ids that differ in such things alone, or none."""
    groups: dict[str, list[str]] = {}
    for identifier in dict.fromkeys(ids):
        groups.setdefault(bare(identifier), []).append(identifier)
    doubtful = [group for group in groups.values() if len(group) > 1]
    if not doubtful:
        return []
    named = "; ".join(" and ".join(map(repr, group)) for group in doubtful[:SHOWN])
    more = f"; and {len(doubtful) - SHOWN:,} more" if len(doubtful) > SHOWN else ""
    return [
        f"{table}: {column} differs in case, spaces, dashes, invisible marks or leading zeros alone, "
        f"are they the same: {named}{more}"
    ]


def _begins(text: str, place: int) -> bool:
    """Whether a number begins there, and not in its middle."""
    return place == 0 or not text[place - 1].isdigit()
