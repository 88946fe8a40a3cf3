"""The README's lines, for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def marked_block(test: str, language: str) -> str:
    """The code block that the README says is run by a test."""
    marked = rf"<!-- {re.escape(test)} runs these lines -->\n```{language}\n(.*?)```"
    blocks: list[str] = re.findall(marked, README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = blocks
    return block


def verb_lines() -> list[str]:
    """A line a verb, in the order in which they work."""
    return marked_block("tests/test_readme.py", "console").splitlines()
