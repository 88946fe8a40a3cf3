"""Progress and messages go to standard error; results alone to standard output."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PACKAGE = "mufnet_lightning"


def start_logging() -> None:
    """Show what the package logs, from INFO on, on whatever is standard error at that moment.

    A line as it was logged; warnings and errors begin with `mufnet: `. For the command and its worker
    processes: a notebook or a script sets up logging as it likes. Calling it again changes nothing.
    """
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _StandardError) for handler in logger.handlers):
        logger.addHandler(_StandardError())


@cache
def console() -> Console:
    """The console of our bars and lines: what is logged goes above a progress bar, not through it."""
    from rich.console import Console  # `mufnet --help` needs none

    return Console(stderr=True)  # asks for sys.stderr at each use


class _StandardError(logging.Handler):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "mufnet: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            console().print(
                self.format(record), soft_wrap=True, markup=False, highlight=False, emoji=False
            )
        except Exception:
            self.handleError(record)
