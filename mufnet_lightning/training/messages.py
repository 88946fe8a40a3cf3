"""What the libraries say, in words for users; needs no torch and no lightning: it is said at once."""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mufnet_lightning.errors import InputFault
from mufnet_lightning.tracking.configuration import EARLIER_SETTINGS

_UNHELPFUL = (
    "does not have many workers",
    "smaller than the logging interval",
    "LightningCLI's args parameter",
    "sync_dist=True",
    "callbacks used to create the checkpoint",
    "across ranks is zero",  # no validation part, as protocol `kfold` has it
    "configure_optimizers` will be overridden",
    "instantiate_classes",
    "JSONARGPARSE_DEPRECATION_WARNINGS",
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Leave out what libraries say to programmers; what was asked for, as a profile, is still told."""
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
    key, problem = _key_and_problem(message)
    reasons = [reason for reason in _reasons(problem) if not _is_noise(reason)]
    inner_key, inner = _key_and_problem(reasons[0] if reasons else problem)
    where = ".".join(part for part in (key, inner_key) if part)
    option = re.match(r"(?:Subcommand '\w+' does not accept option|Option) '([\w.]+)'", inner)
    argument = re.match(r"unrecognized arguments: (--?[\w.-]+)", inner)
    if option or argument:
        name = f"{where}.{option[1]}".lstrip(".") if option else argument[1] if argument else ""
        if name.lstrip("-") in EARLIER_SETTINGS:
            setting = name.lstrip("-")
            now = EARLIER_SETTINGS[setting]
            return f"{setting} is --{now} now: optimiser and schedule are chosen by class"
        problem = f"there is no setting {name}" if option else _plain(inner)
        return problem + suggestion(name, names)
    if not reasons:
        return _plain(f"{where}: {inner}" if where else inner)
    no_class = re.search(r"Expected a dot import path string: (.*)", "\n".join(reasons))
    if no_class:
        return f"{where}: {no_class[1]} is no class that is known here; give its dotted path"
    if all(re.match("Expected an? ", reason) for reason in reasons):
        return f"{where}: expected one of {', '.join(_kinds(reasons))}" + _given(message)
    return _plain(f"{where}: {inner}")


def fault_of(error: Exception) -> InputFault | None:
    """What is wrong with a configuration that jsonargparse could not build; None for a fault of ours.

    jsonargparse wraps what a class raises in words of its own.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputFault | ModuleNotFoundError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, InputFault):
        return cause
    if cause is not None:
        return InputFault(f"the configuration asks for more than is installed: {cause}")
    odd = re.search(r"argument after \*\* must be a mapping, not (\w+)", str(error))
    if odd:  # a dataclass, as data.augmentation is
        return InputFault(f"data, or model: a group of settings is a {odd[1]}, expected them by name")
    if str(error).startswith("Does not validate against any"):
        return InputFault(one_sentence(str(error)))
    return None


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean ...?` of the nearest of `names`, or nothing where none is near.

    >>> suggestion("frobnicate", ["fit", "test"])
    ''
    """
    near = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _key_and_problem(message: str) -> tuple[str, str]:
    """`Parser key "data.fold": what is wrong` taken apart; the key may be missing."""
    keyed = re.match(
        r"\s*(?:Problem with given class_path '[\w.]+':\s*)?Parser key \"([\w.]+)\":(.*)", message, re.S
    )
    return (keyed[1], keyed[2].strip()) if keyed else ("", message.strip())


def _reasons(problem: str) -> list[str]:
    """What each type of a union had against the value, one after the other."""
    listed = re.split(r"\n\s*- ", f"\n{problem.split('Given value type:')[0]}")[1:]
    return [_inside_class(reason.strip()) for reason in listed]


def _inside_class(reason: str) -> str:
    return re.sub(r"^Problem with given class_path '[\w.]+':\s*", "", reason)


def _is_noise(reason: str) -> bool:
    """What says nothing of the value that was given."""
    return bool(
        re.match(
            r"Expected a <class 'NoneType'>|Expected a path but|Does not validate against|Import path",
            reason,
        )
    )


def _kinds(reasons: Iterable[str]) -> list[str]:
    kinds: list[str] = []
    for reason in reasons:
        literal = re.search(r"Literal\[([^]]*)\]", reason)
        name = re.search(r"<class '(?:\w+\.)*(\w+)'>", reason)
        kinds += literal[1].split(", ") if literal else [name[1] if name else reason.split(" ", 2)[2]]
    return list(dict.fromkeys(kinds))


def _given(message: str) -> str:
    value = re.search(r"Given value: (.*)", message)
    return f" (given: {value[1]})" if value and len(value[1]) < 60 else ""


def _plain(text: str) -> str:
    text = re.sub(r"an? typing\.Literal\[([^]]*)\]", r"one of \1", " ".join(text.split()))
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(
        r"Subcommand '\w+' does not accept option '([\w.]+)'", r"there is no setting \1", text
    )
    return re.sub(r"\b(?:fit|validate|test|predict)\.(data|model|trainer)\b", r"\1", text)
