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


def check_share(name: str, value: float, one: bool = True) -> None:
    """Refuse what is not within 0 and 1; `one` says whether 1 itself is allowed."""
    if not (0 <= value < 1 or (one and value == 1)):
        raise InputFault(f"{name} is {value}, expected 0 {'to 1' if one else 'up to, but not, 1'}")


def check_least(name: str, value: float, least: float, more: bool = False) -> None:
    """Refuse what is below `least`, or with `more` not above it."""
    if not (value > least or (not more and value == least)):
        raise InputFault(
            f"{name} is {value}, expected {'more than ' if more else ''}{least:g}"
            f"{'' if more else ' or more'}"
        )


def check_among(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a setting that is none of the known words.

    Raises:
        InputFault: it names them.
    """
    if value not in known:
        raise InputFault(f"{name} is {value!r}, expected {' or '.join(known)}")
