"""The `mufnet` command: one verb a step, from a scanner's clips to scores.

A verb is a file in commands/, imported when it is called, so that `mufnet --help` and a mistyped word
are answered at once.
"""

from __future__ import annotations

import difflib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from mufnet_lightning import __version__
from mufnet_lightning.commands.verbs import LIGHTNING_VERBS, VERBS
from mufnet_lightning.errors import InputFault

log = logging.getLogger(__name__)

DONE, OUR_FAULT, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
"""What a system says of a disk that is full, broken or not ours to write on, wherever that was met."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    0: done. 2: bad input or usage, told in plain sentences on standard error. 1: a fault of ours, with
    its traceback. 130: interrupted from the keyboard, or by SIGTERM or SIGHUP.
    """
    from mufnet_lightning.system.log import start_logging
    from mufnet_lightning.system.signals import closing, stopping, terminated_as_interrupted

    start_logging()
    with terminated_as_interrupted():
        try:
            _run(list(sys.argv[1:] if argv is None else argv))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or stopping():
                closing()
                log.warning("interrupted")
                return INTERRUPTED
            return _exit_code(error)
    return DONE


def _exit_code(error: BaseException) -> int:
    """Say what went wrong."""
    if isinstance(error, InputFault):
        for line in error.faults:
            log.error("%s", line)
        return BAD_INPUT
    if isinstance(error, BrokenPipeError):  # `mufnet ... | head`: nobody reads on, and that is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    if isinstance(error, SystemExit):  # a parser has printed its help
        if error.code is None or isinstance(error.code, int):
            return error.code or DONE
        log.error("%s", error.code)
        return OUR_FAULT
    if not isinstance(error, Exception):
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        log.error("%.60s: %s", error.filename, error.strerror)  # whatever it was to be read for
        return BAD_INPUT
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        log.error("%s: %s", error.filename or "the disk", error.strerror)
        log.debug("where", exc_info=error)
        return BAD_INPUT
    if type(error).__module__.partition(".")[0] == "mlflow":  # a server in trouble, or a wrong password
        from mufnet_lightning.tracking.mlflow_calls import refusal

        log.error("%s", refusal(error))
        log.debug("where", exc_info=error)
        return BAD_INPUT
    traceback.print_exception(error)
    return OUR_FAULT


def overview() -> str:
    """What `mufnet --help` prints."""
    width = max(map(len, VERBS)) + 2
    return "\n".join(
        [
            "usage: mufnet VERB ...",
            "",
            "Grade kidney tumours from paired B-mode and contrast-enhanced ultrasound.",
            "",
            *(f"    {verb:{width}}{summary}" for verb, summary in VERBS.items()),
            "",
            "`mufnet VERB --help` tells what a verb takes; `mufnet --version` the version.",
        ]
    )


def _run(arguments: list[str]) -> None:
    verb, *rest = arguments or [""]
    if verb in ("-h", "--help"):
        print(overview())
    elif verb == "--version":
        print(f"mufnet {__version__}")
    elif verb in LIGHTNING_VERBS:
        from mufnet_lightning.commands.lightning import run_verb

        run_verb(verb, rest)
    elif verb in VERBS:
        from mufnet_lightning.commands.options import command_of, parse

        parse(command_of(verb), verb, rest).run()
    else:
        near = difflib.get_close_matches(verb, VERBS, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        problem = f"there is no verb {verb}{meant}" if verb else "a verb is needed"
        raise InputFault(f"{problem} (`mufnet --help` lists them)")
