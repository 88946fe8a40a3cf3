"""Whether somebody answers at an address."""

from __future__ import annotations

import socket

_CONNECTED = 10.0  # seconds for a machine to answer


def silence_of(address: str) -> str:
    """Why nobody answers at HOST:PORT; empty where somebody does, and where it is no such address.

    >>> silence_of("auto")
    ''
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return ""
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECTED).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""
