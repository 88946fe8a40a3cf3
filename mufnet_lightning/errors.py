"""What a user's mistake raises: the command prints it and exits with 2, without a traceback."""

from __future__ import annotations

from collections.abc import Sequence


class InputFault(Exception):
    """Something that the user gave is wrong; the message says what, where, and what was expected.

    Args:
        faults: one message, or several found together (they are reported in one go, a line each).
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))
