"""Grad-CAM of the test part, as artifacts of the run: pictures, measures, and checks of the maps."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.callbacks.explained_tables import ExplainedTables, log_pictures, record_tables
from mufnet_lightning.callbacks.run_record import RunLogger
from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.explanation import ExplainOptions, Explanation, explain

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ExplainAfterTest(ExplainOptions):
    """Whether and how the test part is explained at the end of `fit` and `test`.

    Args:
        enabled: whether at all.
        method, layer, target, seed, draws, steps: see `ExplainOptions`.
    """

    enabled: bool = True


class Explain(Callback):
    """After test: `explain/METHOD/` with panels, images.csv, checks.csv and summary.json.

    Args:
        options: how; see `ExplainAfterTest`.
    """

    def __init__(self, options: ExplainAfterTest | None = None) -> None:
        self.options = options or ExplainAfterTest()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain on the first process; what cannot be explained is told, and the run goes on."""
        logger = trainer.logger
        wanted = self.options.enabled and isinstance(logger, RunLogger) and trainer.is_global_zero
        if not wanted or not isinstance(logger, RunLogger):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        rows = pl_module.latest["test"]["row"].numpy()  # type: ignore[operator, index]
        try:
            found = explain(pl_module.net, data, rows, self.options)  # type: ignore[arg-type]
        except InputFault as fault:  # an encoder without feature maps; its training is not lost
            logger.experiment.set_tag(logger.run, "not_explained", str(fault)[:5000])
            print(f"mufnet: the test part is not explained: {fault}", file=sys.stderr)
            return
        record_explanation(logger.experiment, logger.run, self.options.label, found)


def record_explanation(client: MlflowClient, run_id: str, label: str, found: Explanation) -> None:
    """Write tables, numbers and pictures of an explanation into a run, see `record_tables`."""
    record_tables(client, run_id, label, ExplainedTables(found.table, found.checks, found.summary))
    log_pictures(client, run_id, label, found.figures)
