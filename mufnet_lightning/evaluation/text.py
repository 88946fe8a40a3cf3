"""Numbers, intervals and tables as papers print them, and JSON as programs read it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mufnet_lightning.vocabulary import CHOSEN_HERE

if TYPE_CHECKING:
    import pandas as pd


def p_text(p: float | None) -> str:
    """A p-value as papers print it; empty where there is none (None or NaN).

    >>> p_text(0.0123), p_text(2e-9)
    ('0.012', '<0.001')
    """
    return "" if p is None or math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def number_text(value: float | None, undefined: str = "") -> str:
    """A number to three places; `undefined` where it is None, NaN or infinite.

    >>> number_text(0.83791), number_text(float("nan"), "n/a")
    ('0.838', 'n/a')
    """
    return undefined if value is None or not math.isfinite(value) else f"{value:.3f}"


def names_text(names: Sequence[str], most: int = 12) -> str:
    """Names as a sentence has them; of more than can be read the first one, and how many others.

    >>> names_text(["bmode", "ceus", "fused"]), names_text(["bmode", "ceus", "fused"], most=2)
    ('bmode, ceus, fused', 'bmode and 2 others')
    """
    return ", ".join(names) if len(names) <= most else f"{names[0]} and {len(names) - 1} others"


def limits_text(limits: Sequence[float], between: str = ", ") -> str:
    """Both limits of an interval.

    >>> limits_text((0.7438, 0.9091), " to ")
    '0.744 to 0.909'
    """
    return f"{limits[0]:.3f}{between}{limits[1]:.3f}"


def interval_text(
    value: float | None,
    limits: Sequence[float] | None,
    between: str = ", ",
    undefined: str = "",
    *,
    chosen: bool = False,
) -> str:
    """A number with its interval in brackets; the number alone where it has none.

    >>> interval_text(0.838, (0.744, 0.909))
    '0.838 (0.744, 0.909)'
    >>> interval_text(0.838, None, chosen=True)
    '0.838 (chosen here)'

    Args:
        value: None, NaN or infinite where it is not defined.
        limits: of the interval.
        between: what stands between them.
        undefined: all that is printed where the value is not defined.
        chosen: whether the patients whose number it is chose the epoch: it says so and has no interval.
    """
    text = number_text(value)
    if not text:
        return undefined
    if chosen:
        return f"{text} ({CHOSEN_HERE})"
    return text if limits is None else f"{text} ({limits_text(limits, between)})"


def json_text(content: object) -> str:
    """Strict JSON, as `--format json` and the files have it.

    >>> print(json_text({"auc": 0.5}))
    {
      "auc": 0.5
    }

    Args:
        content: of numbers, texts, None, lists and dictionaries.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts as Markdown; its index is not shown."""
    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in table.to_numpy()])
