"""What the libraries say, in words for users; needs neither torch nor lightning, so it is said at once."""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mufnet_lightning.tracking.configuration import EARLIER_SETTINGS

_UNHELPFUL = (
    "does not have many workers",
    "smaller than the logging interval",
    "LightningCLI's args parameter",
    "sync_dist=True",
    "callbacks used to create the checkpoint",
    "configure_optimizers` will be overridden",
    "instantiate_classes",
    "JSONARGPARSE_DEPRECATION_WARNINGS",
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Leave out what the libraries say to programmers; what was asked for, as a profile, is still told."""
    levels = {"mlflow": logging.ERROR, "alembic": logging.ERROR, "lightning.fabric": logging.ERROR}
    levels |= {"lightning.pytorch": logging.ERROR, "lightning.pytorch.profilers": logging.INFO}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            for text in _UNHELPFUL:
                warnings.filterwarnings("ignore", message=f"[\\s\\S]*{re.escape(text)}")
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def one_sentence(message: str, names: Iterable[str] = ()) -> str:
    """What jsonargparse or Lightning says, in words that do not need Python.

    Args:
        message: as it was raised.
        names: options and settings that there are, for a suggestion where one is not known.

    >>> one_sentence("unrecognized arguments: --trainer.max_epoch 3", ["--trainer.max_epochs"])
    'unrecognized arguments: --trainer.max_epoch 3; did you mean --trainer.max_epochs?'
    """
    text = " ".join(message.split())
    for earlier, now in EARLIER_SETTINGS.items():
        section, _, name = earlier.rpartition(".")
        option, key = rf"--{re.escape(earlier)}\b", rf"\b{section}\b.*\b{name}' is not accepted"
        if re.search(f"{option}|{key}", text):
            return f"{earlier} is --{now} now: optimiser and schedule are chosen by class"
    text = re.sub(r"Parser key \"([\w.]+)\": ", r"\1: ", text)
    refused = re.match(
        r"([\w.]+): .*?Problem with given class_path '([\w.]+)': (.*?) - Expected a", text
    )
    if refused:
        return _of_class(refused[1], refused[2], refused[3])
    union = re.match(
        r"([\w.]+): Does not validate against any of the Union subtypes Subtypes: (.*)", text
    )
    if union:
        values = re.findall(r"Literal\[([^]]*)\]", union[2].split(" Errors: ")[0])
        kinds = re.findall(r"<class '(?:\w+\.)*(\w+)'>", union[2].split(" Errors: ")[0])
        return f"{union[1]}: expected one of {', '.join(values + kinds)}"
    unknown = re.match(r"unrecognized arguments: (--?[\w.-]+)|Option '([\w.]+)' is not accepted", text)
    if unknown:
        return _plain(text) + suggestion(unknown[1] or unknown[2], names)
    return _plain(text)


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` of the nearest of `names`, or nothing where none is near.

    >>> suggestion("frobnicate", ["fit", "test"])
    ''
    """
    near = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _of_class(key: str, class_path: str, problem: str) -> str:
    """What is wrong with an argument of a class that a setting names."""
    unknown = re.match(r"Option '([\w.]+)' is not accepted", problem)
    if unknown:
        return f"{key} does not accept {unknown[1]!r} ({class_path.rpartition('.')[2]} has no such argument)"
    inner = re.sub(r"^(?:Parser key \"?)?([\w.]+)\"?: ", rf"{key}.\1: ", problem)
    return _plain(inner if inner != problem else f"{key}: {problem}")


def _plain(text: str) -> str:
    text = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", text)
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    return re.sub(r"\b(?:fit|validate|test|predict)\.(data|model|trainer)\b", r"\1", text)
