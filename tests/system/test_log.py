"""Messages come out as they were logged, on the standard error of the moment, and once."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest
from rich.console import Console

from mufnet_lightning.system.log import console, start_logging
from mufnet_lightning.system.processes import progress_bar

log = logging.getLogger("mufnet_lightning.test")


def test_a_message_is_plain_and_a_warning_begins_with_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_logging()
    log.info("fold %d of %d", 1, 5)
    log.warning("%s cannot be written to", "/store")
    log.debug("not shown")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "fold 1 of 5\nmufnet: /store cannot be written to\n")


def test_starting_again_repeats_nothing_and_follows_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_logging()
    start_logging()
    elsewhere = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", elsewhere)
        log.info("there")
    log.info("here")
    assert elsewhere.getvalue() == "there\n"
    assert capsys.readouterr().err == "here\n"


def test_no_word_is_styled_wrapped_or_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging()
    line = "[bold]store[/bold] :smile: /data/a b/'c' [1, 2] 50 % " + "long " * 60 + "end"
    log.info("%s", line)
    log.info("two\nlines")
    assert capsys.readouterr().err == f"{line}\ntwo\nlines\n"


def test_an_exception_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging()
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("it failed")
    err = capsys.readouterr().err
    assert err.startswith("mufnet: it failed\nTraceback")
    assert err.endswith("ValueError: why\n")


def test_a_message_goes_above_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    start_logging()
    terminal = io.StringIO()
    screen = Console(file=terminal, force_terminal=True, width=80)
    monkeypatch.setattr("mufnet_lightning.system.log.console", lambda: screen)
    monkeypatch.setattr("mufnet_lightning.system.processes.console", lambda: screen)
    with progress_bar("cutting", 2) as advance:
        advance()
        log.info("C1 is done")
    assert "cutting" in terminal.getvalue()
    assert "\r\x1b[2KC1 is done\n" in terminal.getvalue()  # the bar's line was cleared first


def test_without_a_terminal_a_bar_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert not console().is_terminal
    with progress_bar("cutting", 2) as advance:
        advance()
    assert capsys.readouterr().err == ""


def test_a_library_stays_silent_and_starts_light() -> None:
    code = (
        "import logging, sys\n"
        "import mufnet_lightning.system.log as log\n"
        "assert 'rich' not in sys.modules\n"
        "logging.getLogger('mufnet_lightning.test').info('a notebook did not ask for this')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
