"""Grad-CAM of the test part, as artifacts of the run: pictures, measures, and checks of the maps."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.explain import ExplainOptions, explain
from mufnet_lightning.explain.record import NOT_EXPLAINED, record_explanation
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.training.logger import RunLogger

if TYPE_CHECKING:
    pass


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
            # in single precision, whatever it was trained in; what is made in a scoring loop's
            # inference mode could have no gradients
            with torch.inference_mode(False):
                net: MufNet = copy.deepcopy(pl_module.net).float()  # type: ignore[operator, assignment]
            found = explain(net, data, rows, self.options)
        # an encoder without feature maps, or no memory left: the training is not lost with it
        except (InputFault, RuntimeError) as fault:
            logger.experiment.set_tag(logger.run, NOT_EXPLAINED, str(fault)[:5000])
            print(f"mufnet: the test part is not explained: {fault}", file=sys.stderr)
            return
        record_explanation(logger.experiment, logger.run, self.options.label, found)
