"""What a user's mistake raises: the command prints it and exits with 2, without a traceback."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

_OF_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n")


class InputFault(Exception):
    """Something that the user gave is wrong; the message says what, where, and what was expected.

    Args:
        faults: one message, or several found together (they are reported in one go, a line each). A
            data loader hands on what its worker raised as one text, with the traceback in front.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        if isinstance(faults, str) and _OF_WORKER.match(faults):
            faults = faults.rpartition(f"{type(self).__qualname__}: ")[2].splitlines()
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class NotRecorded(InputFault):
    """The tracking store has no such run, or the run no such artifact: it was asked, and said so."""


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


def check_within(name: str, value: float, least: float, most: float) -> None:
    """Refuse what is not within two bounds."""
    check_least(name, value, least)
    if value > most:
        raise InputFault(f"{name} is {value}, expected at most {most:,}")


def check_among(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a setting that is none of the known words.

    Raises:
        InputFault: it names them.
    """
    if value not in known:
        raise InputFault(f"{name} is {value!r}, expected {' or '.join(known)}")


def check_finite(settings: Mapping[str, object]) -> None:
    """Refuse numbers that are none, or without end, however deep they lie in lists and mappings.

    Args:
        settings: values by the name that a message gives them.

    Raises:
        InputFault: it names each setting.

    >>> check_finite({"optimizer.lr": float("inf"), "data.fold": 0})
    Traceback (most recent call last):
    mufnet_lightning.errors.InputFault: optimizer.lr is inf, expected a number
    """
    faults = [
        f"{name} is {value}, expected a number"
        for setting, values in settings.items()
        for name, value in _numbers(setting, values)
        if not math.isfinite(value)
    ]
    if faults:
        raise InputFault(faults)


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(name, inner)
