"""What a fit, validation or test prints at its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from lightning.pytorch.loggers import Logger

from mufnet_lightning.tracking.runs import Tracking, tracking_uri
from mufnet_lightning.tracking.views import run_link_line
from mufnet_lightning.training.logger import RunLogger
from mufnet_lightning.vocabulary import CHOSEN_HERE

_COLUMNS = ("auc", "patient_auc", "accuracy", "sensitivity", "specificity")


def print_numbers(
    numbers: Mapping[str, Mapping[str, float]], parts: Sequence[str], chosen: Collection[str]
) -> None:
    """A row a part.

    Args:
        numbers: of each part, as its scores give them: the trainer has the last part's alone.
        parts: to print, as far as there are numbers.
        chosen: parts that chose the epoch.
    """
    known = {part: numbers[part] for part in parts if part in numbers}
    named = {part: f"{part} ({CHOSEN_HERE})" if part in chosen else part for part in known}
    rows = {named[part]: [one.get(name) for name in _COLUMNS] for part, one in known.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS))
    print(table.to_string(float_format="{:.3f}".format))


def print_run(logger: Logger | None) -> None:
    """Where it is recorded."""
    if isinstance(logger, RunLogger):
        print(f"run {logger.title} {logger.run_id} in {tracking_uri()}")


def print_link(logger: Logger | None, filed: Tracking) -> None:
    """How a fit is looked at; of a fold the cross-validation tells it.

    Behind the run's end: a server that was away may have been waited for.
    """
    if not isinstance(logger, RunLogger) or filed.parent_run is not None:
        return
    if line := run_link_line(logger.run, "fits"):
        print(line)
