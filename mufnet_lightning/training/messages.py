"""What the libraries say, in words for users."""

from __future__ import annotations

import logging
import re
import warnings
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from mufnet_lightning.errors import InputFault


def quiet_libraries() -> None:
    """Leave out what the libraries say to programmers; a user reads progress and results."""
    for name in ("lightning.pytorch", "lightning.fabric", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*LightningCLI's args parameter.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


class _Parser(LightningArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputFault(_one_sentence(message)) from None


def _one_sentence(message: str) -> str:
    """What jsonargparse says, in words that do not need Python."""
    text = " ".join(message.split())
    text = re.sub(r"Parser key \"([\w.]+)\": ", r"\1: ", text)
    union = re.match(
        r"([\w.]+): Does not validate against any of the Union subtypes Subtypes: (.*)", text
    )
    if union:
        values = re.findall(r"Literal\[([^]]*)\]", union[2].split(" Errors: ")[0])
        kinds = re.findall(r"<class '(\w+)'>", union[2].split(" Errors: ")[0])
        return f"{union[1]}: expected one of {', '.join(values + kinds)}"
    text = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", text)
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    return text.replace("fit.data", "data")
